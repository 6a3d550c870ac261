//! The store of the embedded hub: in the memory of one process, and gone when it ends.
//!
//! It promises what [`Store`] promises, by one lock around plain data. Nothing waits while it is
//! held. Each room below says what happens to that data at a time that is passed in; this one
//! adds the lock and the clock.
//!
//! What nobody will ask for again is thrown away as others are written ([`state`]).

mod absences;
mod census;
mod due;
mod sockets;
mod state;
mod topic;
mod webhooks;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;

use self::state::State;
use super::{
    Activated, Activation, Address, Announced, Announcement, Attached, Census, Claim, Commit, Committed,
    Connection, CursorMove, Departure, DueListener, Holder, Listener, LogPage, Once, Owner, Position,
    Progress, Release, Result, Retention, Revision, Snapshot, Store, Subscribed, Subscription,
    WebhookRequest,
};
use crate::{
    lock::lock,
    protocol::{SubscriptionId, TopicKey},
};

/// A store for one process: whoever shares this value shares the state, nobody else does.
pub struct MemoryStore {
    partitions: u16,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(partitions: u16, retention: Retention) -> Arc<Self> {
        Arc::new(Self { partitions, state: Mutex::new(State::new(partitions, retention)) })
    }

    fn read<T>(&self, look: impl FnOnce(&State, u64) -> T) -> Result<T> {
        Ok(look(&lock(&self.state), clock()))
    }

    /// All that adds to the state goes through here, so that it cannot grow for ever.
    fn write<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> Result<T> {
        let (mut state, now) = (lock(&self.state), clock());
        state.throw_away(now);
        Ok(change(&mut state, now))
    }
}

/// Milliseconds since 1970.
fn clock() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// May whoever asks not touch what is this owner's? Nobody in particular asks while authentication
/// is off.
fn is_foreign(owner: Option<&Owner>, asking: Option<&Owner>) -> bool {
    asking.is_some() && owner != asking
}

/// The moment at which what lasts for `duration` from now on ends.
fn end_of(duration: Duration, now: u64) -> u64 {
    now.saturating_add(millis(duration))
}

#[async_trait]
impl Store for MemoryStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn agree(&self) -> Result<()> {
        Ok(())
    }

    fn silent_for(&self) -> Duration {
        Duration::ZERO
    }

    async fn census(&self, partitions: &[u16]) -> Result<Vec<Census>> {
        self.read(|state, now| state.census(partitions, now))
    }

    async fn session(&self, topic: TopicKey, once: Option<&Once>) -> Result<(Snapshot, bool)> {
        self.read(|state, now| state.session(topic, once, now))
    }

    async fn commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed> {
        self.write(|state, now| state.commit(topic, commit, now))
    }

    async fn announce(&self, topic: TopicKey, announcement: &Announcement) -> Result<Announced> {
        self.write(|state, now| state.announce(topic, announcement, now))
    }

    async fn content(
        &self,
        topic: TopicKey,
        prefix: &str,
        revision: Revision,
    ) -> Result<Option<Vec<String>>> {
        self.read(|state, _| state.content(topic, prefix, revision))
    }

    async fn log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage> {
        self.read(|state, _| state.log(topic, after, limit))
    }

    async fn heads(&self, topics: &[TopicKey]) -> Result<Vec<Option<Position>>> {
        self.read(|state, _| topics.iter().map(|topic| Some(state.head(*topic))).collect())
    }

    async fn listen(&self, topic: TopicKey) -> Result<Listener> {
        // Who has stopped listening is noticed when things are thrown away: nothing to register.
        self.write(|state, now| Listener::new(state.topic(topic, now).listen(), ()))
    }

    async fn subscribe_websocket(&self, subscription: &Subscription, limit: usize) -> Result<Subscribed> {
        self.write(|state, now| state.subscribe_websocket(subscription, limit, now))
    }

    async fn renew_websocket(&self, subscription: &Subscription, grace: Duration) -> Result<Subscribed> {
        self.write(|state, now| state.renew_websocket(subscription, grace, now))
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<(Subscription, Duration)>> {
        self.read(|state, now| state.subscription(id, now))
    }

    async fn attach(&self, address: Address, connection: &Connection) -> Result<Option<Attached>> {
        self.write(|state, now| state.attach(address, connection, now))
    }

    async fn activate(&self, address: Address, activation: &Activation) -> Result<Activated> {
        self.write(|state, now| match &activation.holder {
            Holder::Connection(connection) => state.activate_websocket(address, connection, activation, now),
            Holder::Claim { token, request } => {
                state.activate_webhook(address, token, request.as_deref(), activation, now)
            }
        })
    }

    async fn save_cursors(&self, moves: &[CursorMove]) -> Result<Vec<bool>> {
        self.write(|state, _| state.save_cursors(moves))
    }

    async fn detach(&self, address: Address, connection: &Connection, departure: Departure) -> Result<()> {
        self.write(|state, now| state.detach(address, |holder| holder == connection, departure, now))?;
        Ok(())
    }

    async fn end_websocket(
        &self,
        address: Address,
        owner: Option<&Owner>,
        reason: &str,
    ) -> Result<Subscribed> {
        self.write(|state, now| state.end_websocket_for(owner, address, reason, now))
    }

    async fn request_webhook(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed> {
        self.write(|state, now| state.request_webhook(request, limit, now))
    }

    async fn withdraw_webhook(&self, address: Address, owner: Option<&Owner>) -> Result<bool> {
        self.write(|state, now| state.withdraw_webhook(address, owner, now))
    }

    async fn due(&self, partitions: &[u16], limit: usize) -> Result<Vec<Address>> {
        self.read(|state, now| state.due.first(partitions, limit, now))
    }

    async fn claim(&self, address: Address, hold: Duration, max_entries: usize) -> Result<Option<Claim>> {
        self.write(|state, now| state.claim(address, hold, max_entries, now))
    }

    async fn settle(
        &self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
    ) -> Result<bool> {
        self.write(|state, now| state.settle(claim, progress, answered, release, now))
    }

    fn due_listener(&self) -> DueListener {
        DueListener { receiver: lock(&self.state).due.listen() }
    }

    async fn watch_due(&self, partitions: &[u16]) -> Result<()> {
        self.write(|state, _| state.due.watch(partitions))
    }

    async fn register_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>> {
        self.write(|state, now| state.register_worker(id, ttl, now))
    }

    async fn register_node(&self, id: &str, ttl: Duration) -> Result<bool> {
        self.write(|state, now| state.register_node(id, ttl, now))
    }

    async fn lapsed_nodes(&self) -> Result<Vec<String>> {
        self.read(|state, now| state.lapsed_nodes(now))
    }

    async fn orphan(&self, node: &str, grace: Duration) -> Result<usize> {
        self.write(|state, now| state.orphan(node, grace, now))
    }

    fn interruptions(&self) -> u64 {
        0
    }

    async fn now(&self) -> Result<u64> {
        Ok(clock())
    }
}
