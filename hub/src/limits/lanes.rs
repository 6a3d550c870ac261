//! Turns at what takes long: of one caller so many at once, and its others wait, not those of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::key::CallerKey;

/// A lane for each caller that is in one now. It grows with the requests that are under way alone.
pub struct Lanes {
    width: usize,
    lanes: Arc<Mutex<HashMap<CallerKey, Lane>>>,
}

struct Lane {
    turns: Arc<Semaphore>,
    /// Those who have a turn, and those who wait for one.
    within: usize,
}

/// Somebody who is in a lane, with a turn once it has one.
pub struct Turn {
    lanes: Arc<Mutex<HashMap<CallerKey, Lane>>>,
    key: CallerKey,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    /// Lanes in which so many have their turn at once.
    pub fn new(width: usize) -> Self {
        Self { width, lanes: Arc::default() }
    }

    /// Waits for a turn in this caller's lane; it ends when it is dropped.
    pub async fn turn(&self, key: CallerKey) -> Turn {
        let turns = {
            let mut lanes = lock(&self.lanes);
            let new = || Lane { turns: Arc::new(Semaphore::new(self.width)), within: 0 };
            let lane = lanes.entry(key).or_insert_with(new);
            lane.within += 1;
            lane.turns.clone()
        };
        // Made before it waits: who leaves meanwhile leaves the lane.
        let mut turn = Turn { lanes: self.lanes.clone(), key, _turn: None };
        // Never closed.
        turn._turn = turns.acquire_owned().await.ok();
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get_mut(&self.key) {
            lane.within -= 1;
            if lane.within == 0 {
                lanes.remove(&self.key);
            }
        }
    }
}

fn lock(lanes: &Mutex<HashMap<CallerKey, Lane>>) -> MutexGuard<'_, HashMap<CallerKey, Lane>> {
    lanes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, future::poll_immediate};

    use super::{super::Network, *};

    const ONE: CallerKey = CallerKey::Address(Network::V6(1));
    const OTHER: CallerKey = CallerKey::Address(Network::V6(2));

    #[tokio::test]
    async fn who_has_his_turns_waits_and_no_other_does_and_nothing_stays_of_who_has_left() {
        let lanes = Lanes::new(2);
        let (first, second) = (lanes.turn(ONE).await, lanes.turn(ONE).await);
        let mut third = pin!(lanes.turn(ONE));
        assert!(poll_immediate(&mut third).await.is_none(), "its turns are taken");
        assert!(lanes.turn(OTHER).now_or_never().is_some(), "another's are its own");
        let leaves = Box::pin(lanes.turn(ONE));
        assert!(leaves.now_or_never().is_none());
        drop(first);
        let third = third.now_or_never();
        assert!(third.is_some());
        drop((second, third));
        assert!(lock(&lanes.lanes).is_empty());
    }
}
