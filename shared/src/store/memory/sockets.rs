//! WebSocket subscriptions: which connection holds each, and how far it has come.

use std::time::Duration;

use super::{
    super::{
        Activated, Activation, Address, Attached, Connection, CursorMove, Position, Subscribed, Subscription,
    },
    end_of,
    state::{Leased, State},
};
use crate::{
    protocol::TopicKey,
    session::{Entry, SubscriptionChange},
};

/// A WebSocket subscription.
pub(super) struct Socket {
    pub lease: Leased,
    holder: Option<Connection>,
    /// Until when it may be taken again, once a connection has let go of it.
    grace_end: Option<u64>,
    /// How far it has come. Nothing until it is activated.
    cursor: Option<Position>,
}

impl Socket {
    pub fn is_over(&self, now: u64) -> bool {
        self.lease.is_over(now) || self.grace_end.is_some_and(|end| end <= now)
    }

    fn is_held_by(&self, connection: &Connection) -> bool {
        self.holder.as_ref() == Some(connection)
    }
}

impl State {
    pub fn subscribe_websocket(&mut self, subscription: &Subscription, limit: usize, now: u64) -> Subscribed {
        let Address { id, topic } = subscription.address();
        let readers = self.topics.get(&topic).into_iter().flat_map(|state| &state.sockets);
        let living = readers.filter_map(|id| self.sockets.get(id)).filter(|socket| !socket.is_over(now));
        if living.count() >= limit {
            return Subscribed::TooMany;
        }
        let lease = Leased::new(subscription.clone(), now);
        self.sockets.insert(id, Socket { lease, holder: None, grace_end: None, cursor: None });
        self.topic(topic, now).sockets.insert(id);
        Subscribed::Accepted
    }

    pub fn renew_websocket(&mut self, subscription: &Subscription, now: u64) -> Subscribed {
        let address = subscription.address();
        let Some(socket) = self.socket(address).filter(|socket| !socket.is_over(now)) else {
            return Subscribed::Unknown;
        };
        let terms = subscription.terms.clone();
        socket.lease = Leased::new(Subscription { terms, ..socket.lease.subscription.clone() }, now);
        socket.grace_end = None;
        if socket.holder.is_some() {
            self.tell(address.topic, SubscriptionChange::Renewed { id: address.id }, now);
        }
        Subscribed::Accepted
    }

    pub fn attach(&mut self, address: Address, connection: &Connection, now: u64) -> Option<Attached> {
        let socket = self.socket(address).filter(|socket| !socket.is_over(now))?;
        let before = socket.holder.replace(connection.clone());
        socket.grace_end = None;
        let (subscription, lease, cursor) =
            (socket.lease.subscription.clone(), socket.lease.remaining(now), socket.cursor);
        if let Some(before) = before.filter(|before| before != connection) {
            let change = SubscriptionChange::Replaced { id: address.id, connection: before.id };
            self.tell(address.topic, change, now);
        }
        let cursor = cursor.ok_or_else(|| self.session(address.topic, None, now).0);
        let head = self.head(address.topic);
        Some(Attached { subscription, lease, head, cursor })
    }

    pub fn activate_websocket(
        &mut self,
        address: Address,
        connection: &Connection,
        activation: &Activation,
        now: u64,
    ) -> Activated {
        match self.socket(address) {
            Some(Socket { holder: Some(holder), cursor, .. }) if holder == connection => {
                if let Some(cursor) = cursor {
                    return Activated::From(*cursor);
                }
            }
            _ => return Activated::Lost,
        }
        match self.begin(address.topic, activation, now) {
            Ok(cursor) => {
                if let Some(socket) = self.socket(address) {
                    socket.cursor = Some(cursor);
                }
                Activated::From(cursor)
            }
            Err(snapshot) => Activated::Conflict(snapshot),
        }
    }

    pub fn save_cursors(&mut self, moves: &[CursorMove]) {
        for CursorMove { address, connection, cursor } in moves {
            if let Some(socket) = self.socket(*address).filter(|socket| socket.is_held_by(connection)) {
                // One that has no cursor yet gets it when it is activated, and in no other way.
                socket.cursor = socket.cursor.map(|before| before.max(*cursor));
            }
        }
    }

    pub fn detach(&mut self, address: Address, connection: &Connection, grace: Duration, now: u64) {
        if let Some(socket) = self.socket(address).filter(|socket| socket.is_held_by(connection)) {
            socket.holder = None;
            socket.grace_end = Some(end_of(grace, now));
        }
    }

    /// `false` when there is none.
    pub fn end_websocket(&mut self, address: Address, reason: &str, now: u64) -> bool {
        let Some(socket) = self.socket(address) else { return false };
        if socket.holder.is_some() {
            self.tell(
                address.topic,
                SubscriptionChange::Ended { id: address.id, reason: reason.to_owned() },
                now,
            );
        }
        self.remove_socket(address);
        true
    }

    /// Those whose lease or grace ended before this time.
    pub fn sockets_over_before(&self, time: u64) -> Vec<Address> {
        let over = self.sockets.values().filter(|socket| socket.is_over(time));
        over.map(|socket| socket.lease.subscription.address()).collect()
    }

    pub fn remove_socket(&mut self, address: Address) {
        self.sockets.remove(&address.id);
        if let Some(topic) = self.topics.get_mut(&address.topic) {
            topic.sockets.remove(&address.id);
        }
    }

    fn socket(&mut self, address: Address) -> Option<&mut Socket> {
        self.sockets.get_mut(&address.id).filter(|socket| socket.lease.subscription.address() == address)
    }

    /// Appends what the node that holds a socket must hear of.
    fn tell(&mut self, topic: TopicKey, change: SubscriptionChange, now: u64) {
        let retention = self.retention;
        self.topic(topic, now).append(Entry::subscription(change), now, &retention);
    }
}
