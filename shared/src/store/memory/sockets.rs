//! WebSocket subscriptions: which connection holds each, and how far it has come.

use std::time::Duration;

use super::{
    super::{
        Absence, Activated, Activation, Address, Attached, Connection, CursorMove, Owner, Parting, Position,
        Progress, Subscribed, Subscription,
    },
    end_of, is_foreign,
    state::{Leased, State},
};
use crate::{
    protocol::TopicKey,
    session::{Entry, SubscriptionChange},
};

/// A WebSocket subscription.
pub(super) struct Socket {
    pub lease: Leased,
    /// Whose it is, from the beginning on.
    owner: Option<Owner>,
    holder: Option<Connection>,
    /// Since a connection has let go of it.
    pub absence: Option<Absence>,
    /// How far it has come. Nothing until it is activated.
    pub cursor: Option<Position>,
    /// What workers have noted about it; the cursor here is of no account.
    noted: Progress,
    answers: bool,
    /// The claim that holds it, or did until its time ran out.
    pub token: Option<String>,
}

impl Socket {
    pub fn is_over(&self, now: u64) -> bool {
        self.lease.is_over(now) || self.absence.is_some_and(|absence| absence.until <= now)
    }

    pub fn is_held(&self, is_holder: impl FnOnce(&Connection) -> bool) -> bool {
        self.holder.as_ref().is_some_and(is_holder)
    }

    pub fn let_go(
        &mut self,
        is_holder: impl FnOnce(&Connection) -> bool,
        parting: Parting,
        until: u64,
        now: u64,
    ) -> bool {
        if !self.is_held(is_holder) {
            return false;
        }
        self.holder = None;
        self.absence = Some(Absence { since: now, until, parting });
        true
    }

    pub fn progress(&self) -> Progress {
        Progress { cursor: self.cursor.unwrap_or(Position::START), ..self.noted.clone() }
    }

    pub fn save(&mut self, progress: &Progress) {
        self.noted = progress.clone();
        self.cursor = self.cursor.map(|_| progress.cursor);
    }
}

impl State {
    pub fn subscribe_websocket(&mut self, subscription: &Subscription, limit: usize, now: u64) -> Subscribed {
        let Address { id, topic } = subscription.address();
        if subscription.lease(now).is_none() {
            return Subscribed::TooLate;
        }
        let readers = self.topics.get(&topic).into_iter().flat_map(|state| &state.sockets);
        let living = readers.filter_map(|id| self.sockets.get(id)).filter(|socket| !socket.is_over(now));
        if living.count() >= limit {
            return Subscribed::TooMany;
        }
        let lease = Leased::new(subscription.clone(), now);
        self.due.put_lease(subscription.address(), lease.until);
        let owner = subscription.owner;
        let (holder, absence, cursor, noted, answers, token) = Default::default();
        self.sockets.insert(id, Socket { lease, owner, holder, absence, cursor, noted, answers, token });
        self.topic(topic, now).sockets.insert(id);
        Subscribed::Accepted
    }

    pub fn renew_websocket(&mut self, subscription: &Subscription, grace: Duration, now: u64) -> Subscribed {
        let address = subscription.address();
        let Some(socket) = self.socket(address).filter(|socket| !socket.is_over(now)) else {
            return Subscribed::Unknown;
        };
        if is_foreign(socket.owner.as_ref(), subscription.owner.as_ref()) {
            return Subscribed::Foreign;
        }
        if subscription.lease(now).is_none() {
            return Subscribed::TooLate;
        }
        socket.lease = Leased::new(subscription.clone(), now);
        // Whoever was about to end it looks again.
        socket.token = None;
        let (until, stays) = (socket.lease.until, grace.min(socket.lease.remaining(now)));
        if let Some(absence) = &mut socket.absence {
            *absence = Absence { since: now, until: end_of(stays, now), ..*absence };
        }
        let is_held = socket.holder.is_some();
        self.due.put_lease(address, until);
        if is_held {
            self.tell(address.topic, SubscriptionChange::Renewed { id: address.id }, now);
        }
        Subscribed::Accepted
    }

    pub fn attach(&mut self, address: Address, connection: &Connection, now: u64) -> Option<Attached> {
        let socket = self.socket(address).filter(|socket| !socket.is_over(now))?;
        let before = socket.holder.replace(connection.clone());
        (socket.absence, socket.token) = (None, None);
        let (subscription, lease) = (socket.lease.subscription.clone(), socket.lease.remaining(now));
        let (cursor, answers) = (socket.cursor, socket.answers);
        self.due.remove(address);
        if let Some(before) = before.filter(|before| before != connection) {
            let change = SubscriptionChange::Replaced { id: address.id, connection: before.id };
            self.tell(address.topic, change, now);
        }
        let cursor = cursor.ok_or_else(|| self.session(address.topic, None, now).0);
        let head = self.head(address.topic);
        Some(Attached { subscription, lease, head, answers, cursor })
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
                if let Some(cursor) = cursor.filter(|_| !activation.is_restart) {
                    return Activated::From(cursor);
                }
            }
            _ => return Activated::Lost,
        }
        match self.begin(address.topic, activation, now) {
            Ok(cursor) => {
                if let Some(socket) = self.socket(address) {
                    (socket.cursor, socket.noted) = (Some(cursor), Progress::default());
                }
                Activated::From(cursor)
            }
            Err(snapshot) => Activated::Conflict(snapshot),
        }
    }

    /// For each whether its connection holds the subscription.
    pub fn save_cursors(&mut self, moves: &[CursorMove]) -> Vec<bool> {
        let mut save = |moved: &CursorMove| {
            let CursorMove { address, connection, cursor, answers } = moved;
            let held = self.socket(*address).filter(|socket| socket.is_held(|holder| holder == connection));
            let Some(socket) = held else { return false };
            // One that has no cursor yet gets it when it is activated, and in no other way.
            socket.cursor = socket.cursor.map(|before| before.max(*cursor));
            socket.answers |= answers;
            true
        };
        moves.iter().map(&mut save).collect()
    }

    pub fn end_websocket_for(
        &mut self,
        owner: Option<&Owner>,
        address: Address,
        reason: &str,
        now: u64,
    ) -> Subscribed {
        match self.socket(address).filter(|socket| !socket.is_over(now)) {
            None => Subscribed::Unknown,
            Some(socket) if is_foreign(socket.owner.as_ref(), owner) => Subscribed::Foreign,
            Some(_) => {
                self.end_websocket(address, reason, now);
                Subscribed::Accepted
            }
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
        self.due.remove(address);
        self.due.remove_lease(address);
        if let Some(topic) = self.topics.get_mut(&address.topic) {
            topic.sockets.remove(&address.id);
        }
    }

    pub fn socket(&mut self, address: Address) -> Option<&mut Socket> {
        self.sockets.get_mut(&address.id).filter(|socket| socket.lease.subscription.address() == address)
    }

    /// Appends what the node that holds a socket must hear of.
    fn tell(&mut self, topic: TopicKey, change: SubscriptionChange, now: u64) {
        let retention = self.retention;
        self.topic(topic, now).append(Entry::subscription(change), now, &retention);
    }
}
