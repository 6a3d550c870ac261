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

    /// All of a partition, with their times, the earliest first.
    fn all(&self, partition: u16) -> impl Iterator<Item = (u64, Address)> {
        let order = self.order.get(&partition).into_iter().flatten();
        order.map(|((time, id), topic)| (*time, Address { id: *id, topic: *topic }))
    }

    /// Those whose time has come, at most `limit`, the earliest first.
    fn first(&self, partition: u16, limit: usize, now: u64) -> impl Iterator<Item = Address> {
        let come = self.all(partition).take_while(move |(time, _)| *time <= now).take(limit);
        come.map(|(_, address)| address)
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

    /// Whose lease has not been acted on yet, in a partition.
    pub fn leased(&self, partition: u16) -> impl Iterator<Item = Address> {
        self.leases.all(partition).map(|(_, address)| address)
    }

    /// What waits for a worker in a partition, and since when, the earliest first; and how many are to wait for later.
    pub fn waiting(&self, partition: u16, now: u64) -> (Vec<(Address, u64)>, usize) {
        let (mut waiting, mut later) = (Vec::new(), 0);
        for (time, address) in self.due.all(partition) {
            if time <= now { waiting.push((address, time)) } else { later += 1 }
        }
        for (time, address) in self.leases.all(partition).take_while(|(time, _)| *time <= now) {
            if waiting.iter().all(|(known, _)| *known != address) {
                waiting.push((address, time));
            }
        }
        waiting.sort_by_key(|(_, since)| *since);
        (waiting, later)
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
