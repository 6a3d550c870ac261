//! Counting what there is.

use std::time::Duration;

use super::{
    super::{
        Address, Census,
        census::{Counted, Kind},
    },
    state::State,
};

impl State {
    pub fn census(&self, partitions: &[u16], now: u64) -> Vec<Census> {
        partitions.iter().map(|partition| self.census_of(*partition, now)).collect()
    }

    fn census_of(&self, partition: u16, now: u64) -> Census {
        let (waiting, later) = self.due.waiting(partition, now);
        let age = |(address, since): (Address, u64)| (address, Duration::from_millis(now - since));
        let counted = |address: Address| Some(Counted { address, kind: self.kind(address)? });
        Census {
            partition,
            subscriptions: self.due.leased(partition).filter_map(counted).collect(),
            due_count: waiting.len(),
            due: waiting.into_iter().map(age).collect(),
            later,
        }
    }

    fn kind(&self, address: Address) -> Option<Kind> {
        if self.webhooks.contains_key(&address.id) {
            return Some(Kind::Webhook);
        }
        let socket = self.sockets.get(&address.id)?;
        Some(if socket.is_held(|_| true) { Kind::Connected } else { Kind::Away })
    }
}
