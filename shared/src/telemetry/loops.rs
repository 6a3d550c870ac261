//! Whether the loops of a program turn: what `/healthz` says.
//!
//! A program is as good as dead when a loop of its stands still, though it may answer: a lease that nobody renews, a due
//! set that nobody looks at. So each loop says that it turns, and one that has not said so for too long makes the program
//! unhealthy: whoever watches it starts it anew. That the store is away stops no loop; each of its calls has a time-out.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::metrics::METRICS;
use crate::lock::lock;

/// How often a loop says so that waits for something of unknown length.
const WHILE_WAITING: Duration = Duration::from_secs(1);

/// The longest time for which it may say so: whatever waits for longer hangs.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The loops of one program. Clones share their state.
#[derive(Clone, Debug)]
pub struct Loops {
    turns: Arc<Mutex<Vec<Turn>>>,
    patience: Duration,
    has_ended: Arc<AtomicBool>,
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
    place: usize,
}

impl Loops {
    /// Loops that stand still when they have not turned for `patience`.
    pub fn new(patience: Duration) -> Self {
        Self { turns: Arc::default(), patience, has_ended: Arc::default() }
    }

    /// From now on a loop of this name has to turn.
    pub fn watch(&self, name: &'static str) -> Loop {
        let mut turns = lock(&self.turns);
        turns.push(Turn { name, at: Instant::now() });
        Loop { loops: self.clone(), place: turns.len() - 1 }
    }

    /// The program has been asked to stop: from now on nothing has to turn. Whoever asked does not wait for ever.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// How long ago each has turned, in the order in which they began; of several of a name the longest.
    fn ages(&self, now: Instant) -> Vec<(&'static str, Duration)> {
        let mut ages: Vec<(&'static str, Duration)> = Vec::new();
        for Turn { name, at } in lock(&self.turns).iter() {
            let age = now.saturating_duration_since(*at);
            match ages.iter_mut().find(|(known, _)| known == name) {
                Some((_, longest)) => *longest = age.max(*longest),
                None => ages.push((name, age)),
            }
        }
        ages
    }

    /// Whether all turn, and a line for each: `claims: turns`, `claims: has not turned for 12 s`.
    pub fn report(&self) -> (bool, String) {
        self.report_at(Instant::now())
    }

    fn report_at(&self, now: Instant) -> (bool, String) {
        if self.has_ended.load(Ordering::Relaxed) {
            return (true, "stopping\n".to_owned());
        }
        let (mut all_turn, mut lines) = (true, String::new());
        for (name, age) in self.ages(now) {
            // Writing to a string cannot fail.
            let _ = if age < self.patience {
                writeln!(lines, "{name}: turns")
            } else {
                all_turn = false;
                writeln!(lines, "{name}: has not turned for {} s", age.as_secs())
            };
        }
        (all_turn, lines)
    }

    /// Shows in the metrics when each has turned last.
    pub fn expose(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for (name, age) in self.ages(Instant::now()) {
            METRICS.loop_turned(name, now.saturating_sub(age).as_secs_f64());
        }
    }
}

impl Loop {
    /// It turns.
    pub fn turned(&self) {
        if let Some(turn) = lock(&self.loops.turns).get_mut(self.place) {
            turn.at = Instant::now();
        }
    }

    /// Does something that may take as long as it takes, and ends by itself: the loop counts as turning meanwhile, for
    /// some minutes at most.
    pub async fn while_waiting<T>(&self, work: impl Future<Output = T>) -> T {
        let (begun, mut work) = (Instant::now(), std::pin::pin!(work));
        while begun.elapsed() < LONGEST_WAIT {
            let done = tokio::time::timeout(WHILE_WAITING, &mut work).await;
            self.turned();
            if let Ok(done) = done {
                return done;
            }
        }
        work.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(8);

    #[test]
    fn one_loop_that_stands_still_is_enough_and_is_named() {
        let loops = Loops::new(PATIENCE);
        let (lease, _cursors) = (loops.watch("lease"), loops.watch("cursors"));
        let begun = Instant::now();
        assert_eq!(loops.report(), (true, "lease: turns\ncursors: turns\n".to_owned()));
        let later = begun + PATIENCE;
        assert_eq!(loops.report_at(later).1.lines().last(), Some("cursors: has not turned for 8 s"));
        lock(&loops.turns)[lease.place].at = later;
        let expected = "lease: turns\ncursors: has not turned for 8 s\n".to_owned();
        assert_eq!(loops.report_at(later), (false, expected));
        lease.turned();
        assert!(lock(&loops.turns)[lease.place].at < later);
    }

    #[test]
    fn of_several_with_one_name_the_slowest_counts() {
        let loops = Loops::new(PATIENCE);
        let (one, _other) = (loops.watch("requests"), loops.watch("requests"));
        let later = Instant::now() + PATIENCE;
        lock(&loops.turns)[one.place].at = later;
        assert_eq!(loops.report().1, "requests: turns\n");
        assert!(!loops.report_at(later).0);
    }

    #[test]
    fn while_a_program_stops_nothing_has_to_turn() {
        let loops = Loops::new(PATIENCE);
        let _lease = loops.watch("lease");
        loops.end();
        assert_eq!(loops.report_at(Instant::now() + PATIENCE), (true, "stopping\n".to_owned()));
    }

    #[tokio::test]
    async fn who_waits_for_something_long_turns_meanwhile() {
        let loops = Loops::new(PATIENCE);
        let slow = loops.watch("slow");
        let begun = Instant::now();
        slow.while_waiting(tokio::time::sleep(2 * WHILE_WAITING)).await;
        assert!(begun.elapsed() >= 2 * WHILE_WAITING);
        assert!(loops.ages(Instant::now())[0].1 < WHILE_WAITING, "it has just said so");
    }
}
