//! The store on Redis: what the nodes of a cluster share.
//!
//! A topic has a hash (its session), a stream (its log), a channel (its bell) and two sorted sets
//! (its subscriptions); a subscription is a hash; a partition has a sorted set of what is due.
//! Each change is one script, so it happens whole or not at all (see `scripts/`).
//!
//! The rooms: `topics`, `sockets`, `claims` and `nodes` ask and answer; `keys` names what is asked
//! for, `scripts` does it, `reply` reads the answers; `connection` and `bells` are the wires,
//! which `topology` says where to lay: one server, a primary behind Sentinels, and a cluster are
//! the same to everything else.
//!
//! With a data key, what is kept of messages and of subscribers is sealed (`seal`, FC-SEC-03): once for each write,
//! and opened once by each process that reads it. The scripts see bytes.
//!
//! Relies on Redis 7 or newer with `maxmemory-policy noeviction`; both are checked at the start.

mod agreement;
mod backoff;
mod bells;
mod bulk;
mod census;
mod claims;
mod confirmations;
mod connection;
mod dial;
mod keys;
mod link;
mod nodes;
mod overview;
mod promise;
mod refusal;
mod reply;
mod reseal;
mod scripts;
mod seal;
mod shares;
mod sockets;
mod startup;
mod topics;
mod topology;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use redis::{Script, ScriptInvocation};

use self::{
    agreement::Agreement,
    bells::Bells,
    confirmations::Confirmations,
    connection::{Connections, Target},
    dial::Dialer,
    keys::TopicKeys,
    refusal::Asker,
    reply::corrupt,
    scripts::Scripts,
    seal::{Place, Seal},
    shares::some,
    topology::{Slot, Topology},
};
use super::{
    Activated, Activation, Address, Announced, Announcement, Attached, Census, Claim, Commit, Committed,
    Connection, CursorMove, Departure, DueListener, Listener, LogPage, Once, Owner, Position, Progress,
    Release, Result, Retention, Revision, Snapshot, Store, StoreError, Subscribed, Subscription,
    WebhookRequest,
};
use crate::{
    format::Format,
    protocol::{SubscriptionId, TopicKey},
    session::{Entry, EntryKind, SubscriptionChange},
    settings::{DataKeys, Redis as RedisSettings},
    telemetry::metrics::METRICS,
};

pub use overview::{Overview, Program, Server, Session, Undelivered};
pub use reseal::Walk;

/// What reads what Redis holds and answers, for the fuzz targets.
pub mod edge {
    pub use super::{
        bells::read_entry,
        reply::{Reply, log_entries},
        seal::{NotOpened, Place, Seal, key_id},
        topology::{Primaries, SLOTS, Slot, read_slots},
    };
}

/// The connections to the servers that the settings name. Nothing is checked yet.
async fn connect(settings: &RedisSettings) -> Result<(Dialer, Connections)> {
    let url =
        settings.url.as_ref().ok_or_else(|| StoreError::Misconfigured("redis.url is not set".into()))?;
    let dialer = Dialer::new(url, settings)?;
    let topology = Topology::start(url, &dialer).await;
    let topology = topology.map_err(|error| refusal::of_who_knows_them(settings, &error))?;
    Ok((dialer.clone(), Connections::new(dialer, topology)))
}

/// Has all processes that share a Redis write the newest format that this program knows, which no older program reads
/// ([`crate::format`]). Answers with the format before, and now.
pub async fn raise_format(settings: &RedisSettings) -> Result<(Format, Format)> {
    let (_, connections) = connect(settings).await?;
    Agreement(Asker::at_the_start(&connections, settings)).raise_format().await
}

/// The store of a process.
pub struct RedisStore {
    settings: RedisSettings,
    connections: Arc<Connections>,
    bells: Bells,
    scripts: Scripts,
    seal: Arc<Seal>,
    confirmations: Confirmations,
    partitions: u16,
    retention: Retention,
    /// The number of the format that all processes write.
    format: AtomicU8,
}

impl RedisStore {
    /// Connects, and checks that Redis is what the hub needs and was set up for `partitions`.
    ///
    /// Must be called where tokio runs; the connections live on that runtime.
    pub async fn connect(
        settings: &RedisSettings,
        data_keys: DataKeys,
        retention: Retention,
    ) -> Result<Arc<Self>> {
        let (dialer, connections) = connect(settings).await?;
        let connections = Arc::new(connections);
        let (scripts, seal) = (Scripts::new(), Arc::new(Seal::new(data_keys)));
        let format = startup::check(&connections, settings, &seal).await?;
        startup::load(&connections, settings, &scripts).await?;
        let confirmations = Confirmations::new(settings, &dialer, scripts.confirm.clone());
        let bells = Bells::start(dialer, &connections, settings.partitions, &seal);
        let partitions = settings.partitions;
        let settings = settings.clone();
        let format = AtomicU8::new(format.number());
        Ok(Arc::new(Self {
            format,
            settings,
            connections,
            bells,
            scripts,
            seal,
            confirmations,
            partitions,
            retention,
        }))
    }

    fn topic(&self, topic: TopicKey) -> TopicKeys {
        TopicKeys::new(topic, self.partitions)
    }

    /// The format that is written now.
    fn format(&self) -> Format {
        Format::new(self.format.load(Ordering::Relaxed))
    }

    /// What says that a subscription has changed, as a log keeps it.
    fn changed(&self, change: SubscriptionChange) -> String {
        Entry::subscription(change).to_json_in(self.format())
    }

    /// An entry as a log keeps it: what says no more than which subscription has changed is not sealed.
    fn entry(&self, topic: TopicKey, entry: &Entry) -> Result<Vec<u8>> {
        match entry.kind {
            EntryKind::Event(_) => self.seal.seal(Place::Log(topic), &entry.to_json_in(self.format())),
            EntryKind::Subscription(_) => Ok(entry.to_json_in(self.format()).into_bytes()),
        }
    }

    /// What a subscription asked for, as Redis keeps it.
    fn record(&self, subscription: &Subscription) -> Result<Vec<u8>> {
        self.seal.seal(Place::Record(subscription.id), &reply::record(subscription, self.format())?)
    }

    /// Runs a script where its keys are.
    async fn invoke<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        slot: Slot,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let ask = |mut wire| async move { script.invoke_async(&mut wire).await };
        self.connections.call(operation, Target::Slot(slot), ask).await
    }

    /// Runs a script with a long answer where its keys are.
    async fn invoke_long<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        slot: Slot,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        let ask = |mut wire| async move { script.invoke_async(&mut wire).await };
        self.connections.call_long(operation, Target::Slot(slot), ask).await
    }

    /// A script that changes a topic, with the keys and arguments that all of those begin with.
    fn on_topic<'s>(&self, script: &'s Script, keys: &TopicKeys) -> ScriptInvocation<'s> {
        let mut script = script.prepare_invoke();
        script.key(keys.session()).key(keys.log()).key(keys.bell());
        script.key(keys.content()).key(keys.content_names());
        script
            .arg(self.retention.log.as_millis() as u64)
            .arg(format!("{} {}", self.retention.log_entries, self.retention.log_bytes))
            .arg(self.retention.session.as_millis() as u64);
        script
    }
}

fn subscribed(answer: &str) -> Result<Subscribed> {
    match answer {
        "accepted" => Ok(Subscribed::Accepted),
        "unknown" => Ok(Subscribed::Unknown),
        "too many" => Ok(Subscribed::TooMany),
        "foreign" => Ok(Subscribed::Foreign),
        "too late" => Ok(Subscribed::TooLate),
        other => Err(corrupt(format!("an unknown answer: {other}"))),
    }
}

fn lease_millis(subscription: &Subscription) -> u64 {
    subscription.terms.lease_secs.saturating_mul(1000)
}

/// The end of the lease that cannot be passed, as scripts take it.
fn not_after(subscription: &Subscription) -> String {
    subscription.not_after.map(|end| end.to_string()).unwrap_or_default()
}

/// Whoever asks, as scripts take it.
fn owner(owner: Option<&Owner>) -> String {
    owner.map(Owner::to_string).unwrap_or_default()
}

#[async_trait]
impl Store for RedisStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn ping(&self) -> Result<()> {
        let ask = |mut wire, _| async move { redis::cmd("PING").query_async::<()>(&mut wire).await };
        let partitions: Vec<u16> = (0..self.partitions).collect();
        some(self.connections.ask_each("ping", &partitions, ask).await).map(|_| ())
    }

    async fn agree(&self) -> Result<()> {
        let agreement = Agreement(Asker::later(&self.connections, &self.settings));
        let (format, is_first) = agreement.reach(&self.seal, self.format()).await?;
        if is_first {
            METRICS.store_emptied.inc();
            tracing::error!(
                "Redis had nothing any more: it was flushed, or came back without its files; all sessions and subscriptions are gone"
            );
        }
        if self.format.swap(format.number(), Ordering::Relaxed) != format.number() {
            tracing::info!(%format, "what Redis keeps is written in another format from now on");
        }
        Ok(())
    }

    fn silent_for(&self) -> Duration {
        self.bells.silent_for(|server| self.connections.has_answered(server))
    }

    async fn census(&self, partitions: &[u16]) -> Result<Vec<Census>> {
        self.census_of(partitions).await
    }

    async fn session(&self, topic: TopicKey, once: Option<&Once>) -> Result<(Snapshot, bool)> {
        self.read_session(topic, once).await
    }

    async fn commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed> {
        self.write_commit(topic, commit).await
    }

    async fn announce(&self, topic: TopicKey, announcement: &Announcement) -> Result<Announced> {
        self.append_announcement(topic, announcement).await
    }

    async fn content(
        &self,
        topic: TopicKey,
        prefix: &str,
        revision: Revision,
    ) -> Result<Option<Vec<String>>> {
        self.read_content(topic, prefix, revision).await
    }

    async fn log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage> {
        self.read_log(topic, after, limit).await
    }

    async fn heads(&self, topics: &[TopicKey]) -> Result<Vec<Option<Position>>> {
        self.read_heads(topics).await
    }

    async fn listen(&self, topic: TopicKey) -> Result<Listener> {
        let keys = self.topic(topic);
        self.bells.listen(keys.bell(), keys.slot()).await
    }

    async fn subscribe_websocket(&self, subscription: &Subscription, limit: usize) -> Result<Subscribed> {
        self.subscribe_socket(subscription, limit).await
    }

    async fn renew_websocket(&self, subscription: &Subscription, grace: Duration) -> Result<Subscribed> {
        self.renew_socket(subscription, grace).await
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<(Subscription, Duration)>> {
        self.read_subscription(id).await
    }

    async fn attach(&self, address: Address, connection: &Connection) -> Result<Option<Attached>> {
        self.attach_socket(address, connection).await
    }

    async fn activate(&self, address: Address, activation: &Activation) -> Result<Activated> {
        self.begin_reading(address, activation).await
    }

    async fn save_cursors(&self, moves: &[CursorMove]) -> Result<Vec<bool>> {
        self.move_cursors(moves).await
    }

    async fn detach(&self, address: Address, connection: &Connection, departure: Departure) -> Result<()> {
        self.detach_from(address, ("connection", &connection.id), departure).await.map(|_| ())
    }

    async fn end_websocket(
        &self,
        address: Address,
        owner: Option<&Owner>,
        reason: &str,
    ) -> Result<Subscribed> {
        self.end_socket(address, owner, reason).await
    }

    async fn request_webhook(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed> {
        self.note_request(request, limit).await
    }

    async fn withdraw_webhook(&self, address: Address, owner: Option<&Owner>) -> Result<bool> {
        self.take_request_back(address, owner).await
    }

    async fn due(&self, partitions: &[u16], limit: usize) -> Result<Vec<Address>> {
        self.due_in(partitions, limit).await
    }

    async fn claim(&self, address: Address, hold: Duration, max_entries: usize) -> Result<Option<Claim>> {
        self.claim_due(address, hold, max_entries).await
    }

    async fn settle(
        &self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
    ) -> Result<bool> {
        self.settle_claim(claim, progress, answered, release).await
    }

    fn due_listener(&self) -> DueListener {
        self.bells.due_listener()
    }

    async fn watch_due(&self, partitions: &[u16]) -> Result<()> {
        self.bells.watch_due(partitions);
        Ok(())
    }

    async fn register_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>> {
        self.note_worker(id, ttl).await
    }

    async fn register_node(&self, id: &str, ttl: Duration) -> Result<bool> {
        self.note_node(id, ttl).await
    }

    async fn lapsed_nodes(&self) -> Result<Vec<String>> {
        self.nodes_lapsed().await
    }

    async fn orphan(&self, node: &str, grace: Duration) -> Result<usize> {
        self.orphan_node(node, grace).await
    }

    fn interruptions(&self) -> u64 {
        self.bells.interruptions()
    }

    async fn now(&self) -> Result<u64> {
        let ask = |mut wire| async move { redis::cmd("TIME").query_async::<(u64, u64)>(&mut wire).await };
        let (seconds, micros) =
            self.connections.call("now", Target::Slot(keys::slot(keys::PARTITIONS)), ask).await?;
        Ok(seconds * 1000 + micros / 1000)
    }
}
