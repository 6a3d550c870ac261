//! The due set: when each webhook subscription next needs a worker.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::sync::broadcast;

use super::super::{Address, DUE_BELL_CAPACITY};
use crate::protocol::{SubscriptionId, TopicKey};

/// The webhook subscriptions by when they are due and by when their lease ends, and the bell that
/// rings when one becomes due at once.
pub(super) struct DueSet {
    partitions: u16,
    due: Timetable,
    leases: Timetable,
    bell: broadcast::Sender<u16>,
    watched: HashSet<u16>,
}

/// Addresses by a time each.
#[derive(Default)]
struct Timetable {
    times: HashMap<SubscriptionId, u64>,
    /// For each partition, in the order of the times.
    order: HashMap<u16, BTreeMap<(u64, SubscriptionId), TopicKey>>,
}

impl Timetable {
    fn put(&mut self, partition: u16, address: Address, time: u64) {
        self.remove(partition, address);
        self.times.insert(address.id, time);
        self.order.entry(partition).or_default().insert((time, address.id), address.topic);
    }

    fn remove(&mut self, partition: u16, address: Address) {
        if let Some(time) = self.times.remove(&address.id) {
            self.order.entry(partition).or_default().remove(&(time, address.id));
        }
    }

    /// Those whose time has come, at most `limit`, the earliest first.
    fn first(&self, partition: u16, limit: usize, now: u64) -> impl Iterator<Item = Address> {
        let order = self.order.get(&partition).into_iter().flatten();
        let come = order.take_while(move |((time, _), _)| *time <= now).take(limit);
        come.map(|((_, id), topic)| Address { id: *id, topic: *topic })
    }
}

impl DueSet {
    pub fn new(partitions: u16) -> Self {
        let (due, leases, watched) = Default::default();
        Self { partitions, due, leases, bell: broadcast::channel(DUE_BELL_CAPACITY).0, watched }
    }

    /// When it is due, if it ever is.
    pub fn time_of(&self, address: Address) -> Option<u64> {
        self.due.times.get(&address.id).copied()
    }

    /// When its lease ends, if it has one.
    pub fn lease_end_of(&self, address: Address) -> Option<u64> {
        self.leases.times.get(&address.id).copied()
    }

    /// Makes it due at this time, and no other.
    pub fn put(&mut self, address: Address, time: u64) {
        self.due.put(self.partition(address), address, time);
    }

    /// Notes when its lease ends.
    pub fn put_lease(&mut self, address: Address, end: u64) {
        self.leases.put(self.partition(address), address, end);
    }

    pub fn remove(&mut self, address: Address) {
        self.due.remove(self.partition(address), address);
    }

    pub fn remove_lease(&mut self, address: Address) {
        self.leases.remove(self.partition(address), address);
    }

    fn partition(&self, address: Address) -> u16 {
        address.topic.partition(self.partitions)
    }

    /// What is due in these partitions, and whose lease has ended: at most `limit` each, the
    /// earliest first.
    pub fn first(&self, partitions: &[u16], limit: usize, now: u64) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for partition in partitions {
            let (due, over) = (&self.due, &self.leases);
            for address in due.first(*partition, limit, now).chain(over.first(*partition, limit, now)) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses
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
