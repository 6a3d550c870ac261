//! Whether the loops of a program turn: what `/healthz` says.
//!
//! A program is as good as dead when a loop of its stands still, though it may answer: a lease that nobody renews, a due
//! set that nobody looks at. So each loop says that it turns, and one that has not said so for too long makes the program
//! unhealthy: whoever watches it starts it anew. That the store is away stops no loop; each of its calls has a time-out.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::metrics::METRICS;
use crate::lock::lock;

/// How often a loop says so that waits for something of unknown length.
const WHILE_WAITING: Duration = Duration::from_secs(1);

/// The loops of one program. Clones share their state.
#[derive(Clone, Debug)]
pub struct Loops {
    turns: Arc<Mutex<Vec<Turn>>>,
    patience: Duration,
}

/// When a loop has turned last.
#[derive(Debug)]
struct Turn {
    name: &'static str,
    at: Instant,
}

/// One loop, which has to say that it turns. There may be several of a name, one for each thread.
#[derive(Debug)]
pub struct Loop {
    loops: Loops,
    name: &'static str,
    place: usize,
}

impl Loops {
    /// Loops that stand still when they have not turned for `patience`.
    pub fn new(patience: Duration) -> Self {
        Self { turns: Arc::default(), patience }
    }

    /// From now on a loop of this name has to turn.
    pub fn watch(&self, name: &'static str) -> Loop {
        let place = {
            let mut turns = lock(&self.turns);
            turns.push(Turn { name, at: Instant::now() });
            turns.len() - 1
        };
        let watched = Loop { loops: self.clone(), name, place };
        watched.turned();
        watched
    }

    /// Whether all turn, and a line for each: `claims: turns`, `claims: has not turned for 12 s`.
    pub fn report(&self) -> (bool, String) {
        let (mut all_turn, mut lines, mut told) = (true, String::new(), Vec::new());
        let turns = lock(&self.turns);
        for Turn { name, .. } in turns.iter() {
            if told.contains(name) {
                continue;
            }
            told.push(*name);
            let of_this_name = turns.iter().filter(|turn| turn.name == *name);
            let longest = of_this_name.map(|turn| turn.at.elapsed()).max().unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = if longest < self.patience {
                writeln!(lines, "{name}: turns")
            } else {
                all_turn = false;
                writeln!(lines, "{name}: has not turned for {} s", longest.as_secs())
            };
        }
        (all_turn, lines)
    }
}

impl Loop {
    /// It turns.
    pub fn turned(&self) {
        if let Some(turn) = lock(&self.loops.turns).get_mut(self.place) {
            turn.at = Instant::now();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        METRICS.loop_turned(self.name, now.as_secs_f64());
    }

    /// Does something that may take as long as it takes, and ends by itself: the loop counts as turning meanwhile.
    pub async fn while_waiting<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(WHILE_WAITING, &mut work).await {
                Ok(done) => {
                    self.turned();
                    return done;
                }
                Err(_) => self.turned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loop_that_stands_still_is_enough_and_is_named() {
        let loops = Loops::new(Duration::from_millis(50));
        let (lease, _cursors) = (loops.watch("lease"), loops.watch("cursors"));
        assert_eq!(loops.report(), (true, "lease: turns\ncursors: turns\n".to_owned()));
        std::thread::sleep(Duration::from_millis(60));
        lease.turned();
        assert_eq!(loops.report(), (false, "lease: turns\ncursors: has not turned for 0 s\n".to_owned()));
    }

    #[test]
    fn of_several_with_one_name_the_slowest_counts() {
        let loops = Loops::new(Duration::from_millis(50));
        let (one, _other) = (loops.watch("requests"), loops.watch("requests"));
        assert_eq!(loops.report().1, "requests: turns\n");
        std::thread::sleep(Duration::from_millis(60));
        one.turned();
        assert!(!loops.report().0);
    }

    #[tokio::test]
    async fn who_waits_for_something_long_turns_meanwhile() {
        let loops = Loops::new(Duration::from_millis(1500));
        let slow = loops.watch("slow");
        let (slept, healthy) =
            tokio::join!(slow.while_waiting(tokio::time::sleep(Duration::from_millis(2200))), async {
                tokio::time::sleep(Duration::from_millis(2000)).await;
                loops.report().0
            });
        assert_eq!((slept, healthy), ((), true));
    }
}
