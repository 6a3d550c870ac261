//! The store on Redis: what the nodes of a cluster share.
//!
//! A topic has a hash (its session), a stream (its log), a channel (its bell) and two sorted sets
//! (its subscriptions); a subscription is a hash; a partition has a sorted set of what is due.
//! Each change is one script, so it happens whole or not at all (see `scripts/`).
//!
//! The rooms: `topics`, `sockets`, `claims` and `nodes` ask and answer; `keys` names what is asked
//! for, `scripts` does it, `reply` reads the answers; `connection` and `bells` are the wires.
//!
//! Relies on Redis 7 or newer with `maxmemory-policy noeviction`; both are checked at the start.

mod bells;
mod claims;
mod connection;
mod keys;
mod nodes;
mod reply;
mod scripts;
mod sockets;
mod startup;
mod topics;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Client, IntoConnectionInfo, Script, ScriptInvocation};

use self::{bells::Bells, connection::Connections, keys::TopicKeys, reply::corrupt, scripts::Scripts};
use super::{
    Activated, Activation, Address, Attached, Claim, Commit, Committed, Connection, CursorMove, Departure,
    DueListener, Listener, LogPage, Once, Position, Progress, Release, Result, Retention, Snapshot, Store,
    StoreError, Subscribed, Subscription, WebhookRequest,
};
use crate::{
    protocol::{SubscriptionId, TopicKey, json},
    settings::Redis as RedisSettings,
};

/// The store of a process, on one Redis server.
pub struct RedisStore {
    connections: Connections,
    bells: Bells,
    scripts: Scripts,
    partitions: u16,
    retention: Retention,
}

impl RedisStore {
    /// Connects, and checks that Redis is what the hub needs and was set up for `partitions`.
    ///
    /// Must be called where tokio runs; the connections live on that runtime.
    pub async fn connect(settings: &RedisSettings, retention: Retention) -> Result<Arc<Self>> {
        let url =
            settings.url.as_ref().ok_or_else(|| StoreError::Misconfigured("redis.url is not set".into()))?;
        let misconfigured =
            |error: redis::RedisError| StoreError::Misconfigured(format!("redis.url: {error}"));
        let server = url.expose().as_str().into_connection_info().map_err(misconfigured)?;
        let client =
            Client::open(server.set_tcp_settings(connection::tcp(settings))).map_err(misconfigured)?;
        let connections = Connections::new(&client, settings).map_err(misconfigured)?;
        let scripts = Scripts::new();
        startup::check(&connections, settings.partitions).await?;
        startup::load(&connections, &scripts).await?;
        let bells = Bells::start(client, settings.timeout());
        Ok(Arc::new(Self { connections, bells, scripts, partitions: settings.partitions, retention }))
    }

    fn topic(&self, topic: TopicKey) -> TopicKeys {
        TopicKeys::new(topic, self.partitions)
    }

    async fn invoke<T: redis::FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T> {
        self.connections
            .call(operation, |mut connection| async move { script.invoke_async(&mut connection).await })
            .await
    }

    /// A script that changes a topic, with the keys and arguments that all of those begin with.
    fn on_topic<'s>(&self, script: &'s Script, keys: &TopicKeys) -> ScriptInvocation<'s> {
        let mut script = script.prepare_invoke();
        script.key(keys.session()).key(keys.log()).key(keys.bell());
        script.key(keys.content()).key(keys.content_names());
        script
            .arg(self.retention.log.as_millis() as u64)
            .arg(self.retention.log_entries)
            .arg(self.retention.session.as_millis() as u64);
        script
    }
}

fn subscribed(answer: &str) -> Result<Subscribed> {
    match answer {
        "accepted" => Ok(Subscribed::Accepted),
        "unknown" => Ok(Subscribed::Unknown),
        "too many" => Ok(Subscribed::TooMany),
        other => Err(corrupt(format!("an unknown answer: {other}"))),
    }
}

fn record(subscription: &Subscription) -> Result<String> {
    serde_json::to_string(subscription).map_err(|error| corrupt(json::problem(&error)))
}

fn lease_millis(subscription: &Subscription) -> u64 {
    subscription.terms.lease_secs.saturating_mul(1000)
}

#[async_trait]
impl Store for RedisStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn ping(&self) -> Result<()> {
        let ask = |mut connection| async move { redis::cmd("PING").query_async::<()>(&mut connection).await };
        self.connections.call("ping", ask).await
    }

    async fn session(&self, topic: TopicKey, once: Option<&Once>) -> Result<(Snapshot, bool)> {
        self.read_session(topic, once).await
    }

    async fn commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed> {
        self.write_commit(topic, commit).await
    }

    async fn content(&self, topic: TopicKey, prefix: &str, revision: u64) -> Result<Option<Vec<String>>> {
        self.read_content(topic, prefix, revision).await
    }

    async fn log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage> {
        self.read_log(topic, after, limit).await
    }

    async fn listen(&self, topic: TopicKey) -> Result<Listener> {
        self.bells.listen(self.topic(topic).bell()).await
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

    async fn end_websocket(&self, address: Address, reason: &str) -> Result<bool> {
        self.end_socket(address, reason).await
    }

    async fn request_webhook(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed> {
        self.note_request(request, limit).await
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
        self.bells.watch_due(partitions).await
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

    async fn now(&self) -> Result<u64> {
        let ask = |mut connection| async move {
            redis::cmd("TIME").query_async::<(u64, u64)>(&mut connection).await
        };
        let (seconds, micros) = self.connections.call("now", ask).await?;
        Ok(seconds * 1000 + micros / 1000)
    }
}
