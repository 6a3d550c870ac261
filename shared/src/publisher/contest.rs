//! Many who publish on one topic at once: each commit makes the others decide again.
//!
//! Those of one process take turns, once they have met a conflict; so a topic is contested by one of
//! each node, however many its senders are. Those of different nodes step aside for a moment.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    lanes::{Lanes, Turn},
    protocol::TopicKey,
};

/// How long a publish decides anew before it gives up: each round somebody else got through.
pub(super) const CONFLICTS_FOR: Duration = Duration::from_secs(2);
/// Conflicts in a row after which a publish begins to step aside for a moment.
const PATIENT_CONFLICTS: u32 = 3;
/// The longest such moment.
const MAX_STEP_ASIDE: Duration = Duration::from_millis(50);

/// The turns of this process, one at a time for each topic.
pub(super) type Turns = Lanes<TopicKey>;

/// One publish among others on its topic.
pub(super) struct Contest<'a> {
    turns: &'a Turns,
    topic: TopicKey,
    turn: Option<Turn<TopicKey>>,
    since: Instant,
    conflicts: u32,
}

/// What has been since a conflict: how far what was learned from it can still be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// Nothing.
    Nothing,
    /// Others of this process had their turn.
    Turn,
    /// A pause, for the other nodes to get through.
    Pause,
}

impl<'a> Contest<'a> {
    pub(super) fn begin(turns: &'a Turns, topic: TopicKey) -> Self {
        Self { turns, topic, turn: None, since: Instant::now(), conflicts: 0 }
    }

    /// Whether it is tried again.
    pub(super) fn goes_on(&self) -> bool {
        self.since.elapsed() < CONFLICTS_FOR
    }

    /// Another commit came before: waits until it is worth while to decide again.
    pub(super) async fn lost(&mut self) -> Since {
        self.conflicts += 1;
        if self.turn.is_none() {
            self.turn = timeout_at(self.since + CONFLICTS_FOR, self.turns.turn(self.topic)).await.ok();
            let is_at_once = self.turn.as_ref().is_some_and(|turn| !turn.has_waited());
            return if is_at_once { Since::Nothing } else { Since::Turn };
        }
        if self.conflicts <= PATIENT_CONFLICTS {
            return Since::Nothing;
        }
        let doublings = (self.conflicts - PATIENT_CONFLICTS).min(8);
        let longest = Duration::from_millis(1 << doublings).min(MAX_STEP_ASIDE);
        sleep(longest.mul_f64(rand::random())).await;
        Since::Pause
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;
    use crate::protocol::Topic;

    /// What is contested, and how often it was tried to change it. A round trip is a moment in which all others go on.
    #[derive(Default)]
    struct Session {
        revision: AtomicU32,
        tries: AtomicU32,
    }

    impl Session {
        async fn read(&self) -> u32 {
            yield_now().await;
            self.revision.load(Ordering::SeqCst)
        }

        /// Compare and set: the revision that came before, if one did.
        async fn commit(&self, known: u32) -> Result<u32, u32> {
            yield_now().await;
            self.tries.fetch_add(1, Ordering::SeqCst);
            self.revision.compare_exchange(known, known + 1, Ordering::SeqCst, Ordering::SeqCst)
        }
    }

    /// One publish; `left_over` is what the process knows. Whether it got through.
    async fn publish(turns: &Turns, session: &Session, left_over: &AtomicU32) -> bool {
        let topic: Topic = "t".parse().unwrap();
        let mut contest = Contest::begin(turns, topic.key());
        let mut known = left_over.load(Ordering::SeqCst);
        while contest.goes_on() {
            match session.commit(known).await {
                Ok(before) => {
                    left_over.fetch_max(before + 1, Ordering::SeqCst);
                    return true;
                }
                Err(present) => {
                    left_over.fetch_max(present, Ordering::SeqCst);
                    known = match contest.lost().await {
                        Since::Nothing => present,
                        Since::Turn => left_over.load(Ordering::SeqCst),
                        Since::Pause => session.read().await,
                    };
                }
            }
        }
        false
    }

    #[tokio::test]
    async fn of_hundreds_at_once_on_three_nodes_all_get_through_with_few_conflicts() {
        const NODES: usize = 3;
        const SENDERS: u32 = 100;
        let session = Arc::new(Session::default());
        let nodes: Vec<(Turns, AtomicU32)> =
            (0..NODES).map(|_| (Turns::new(1), AtomicU32::default())).collect();
        let all = nodes.iter().flat_map(|(turns, left_over)| {
            let publish = |_| publish(turns, &session, left_over);
            (0..SENDERS).map(publish).collect::<Vec<_>>()
        });
        let through = join_all(all).await.into_iter().filter(|is_through| *is_through).count();
        assert_eq!(through, NODES * 100);
        let tries = session.tries.load(Ordering::SeqCst);
        assert!(tries < 5 * 300, "each meets one conflict, and some of other nodes: {tries}");
    }
}
