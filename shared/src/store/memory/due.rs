//! The due set: when each webhook subscription next needs a worker.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::sync::broadcast;

use super::super::{Address, BELL_CAPACITY};
use crate::protocol::{SubscriptionId, TopicKey};

/// Addresses by the time at which they become due, and the bell that rings when one does at once.
pub(super) struct DueSet {
    partitions: u16,
    times: HashMap<SubscriptionId, u64>,
    /// For each partition, in the order of the times.
    order: HashMap<u16, BTreeMap<(u64, SubscriptionId), TopicKey>>,
    bell: broadcast::Sender<u16>,
    watched: HashSet<u16>,
}

impl DueSet {
    pub fn new(partitions: u16) -> Self {
        let (times, order, watched) = Default::default();
        Self { partitions, times, order, bell: broadcast::channel(BELL_CAPACITY).0, watched }
    }

    /// When it is due, if it ever is.
    pub fn time_of(&self, address: Address) -> Option<u64> {
        self.times.get(&address.id).copied()
    }

    /// Makes it due at this time, and no other.
    pub fn put(&mut self, address: Address, time: u64) {
        self.remove(address);
        self.times.insert(address.id, time);
        self.order_of(address).insert((time, address.id), address.topic);
    }

    pub fn remove(&mut self, address: Address) {
        if let Some(time) = self.times.remove(&address.id) {
            self.order_of(address).remove(&(time, address.id));
        }
    }

    fn order_of(&mut self, address: Address) -> &mut BTreeMap<(u64, SubscriptionId), TopicKey> {
        self.order.entry(address.topic.partition(self.partitions)).or_default()
    }

    /// What is due in these partitions, at most `limit` each, longest due first.
    pub fn first(&self, partitions: &[u16], limit: usize, now: u64) -> Vec<Address> {
        let orders = partitions.iter().filter_map(|partition| self.order.get(partition));
        let due = orders.flat_map(|order| order.iter().take_while(|((time, _), _)| *time <= now).take(limit));
        due.map(|((_, id), topic)| Address { id: *id, topic: *topic }).collect()
    }

    /// Tells that something of this topic is due.
    pub fn ring(&self, topic: TopicKey) {
        let partition = topic.partition(self.partitions);
        if self.watched.contains(&partition) {
            // Nobody may be listening.
            let _ = self.bell.send(partition);
        }
    }

    pub fn watch(&mut self, partitions: &[u16]) {
        self.watched = partitions.iter().copied().collect();
    }

    pub fn listen(&self) -> broadcast::Receiver<u16> {
        self.bell.subscribe()
    }
}
