//! Turns at what takes long, or at what only one can have: of one key so many at once, and its others wait, not those of
//! other keys.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::lock::lock;

/// A lane for each key of which there is somebody in one now. It grows with those alone.
pub struct Lanes<K: Copy + Eq + Hash> {
    width: usize,
    lanes: Arc<Mutex<HashMap<K, Lane>>>,
}

struct Lane {
    turns: Arc<Semaphore>,
    /// Those who have a turn, and those who wait for one.
    within: usize,
}

/// Somebody who is in a lane, with a turn once it has one.
pub struct Turn<K: Copy + Eq + Hash> {
    lanes: Arc<Mutex<HashMap<K, Lane>>>,
    key: K,
    turn: Option<OwnedSemaphorePermit>,
    has_waited: bool,
}

impl<K: Copy + Eq + Hash> Lanes<K> {
    /// Lanes in which so many have their turn at once.
    pub fn new(width: usize) -> Self {
        Self { width, lanes: Arc::default() }
    }

    /// Waits for a turn in the lane of this key; it ends when it is dropped.
    pub async fn turn(&self, key: K) -> Turn<K> {
        let turns = {
            let mut lanes = lock(&self.lanes);
            let new = || Lane { turns: Arc::new(Semaphore::new(self.width)), within: 0 };
            let lane = lanes.entry(key).or_insert_with(new);
            lane.within += 1;
            lane.turns.clone()
        };
        // Made before it waits: who leaves meanwhile leaves the lane.
        let mut turn = Turn { lanes: self.lanes.clone(), key, turn: None, has_waited: false };
        turn.turn = match turns.clone().try_acquire_owned() {
            Ok(free) => Some(free),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                turn.has_waited = true;
                // Never closed.
                turns.acquire_owned().await.ok()
            }
        };
        turn
    }
}

impl<K: Copy + Eq + Hash> Turn<K> {
    /// Did others have their turn before?
    pub fn has_waited(&self) -> bool {
        self.has_waited
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt, future::poll_immediate};

    use super::*;

    const ONE: u32 = 1;
    const OTHER: u32 = 2;

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
