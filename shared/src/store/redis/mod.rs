//! The store on Redis: what the nodes of a cluster share.
//!
//! A topic has a hash (its session), a stream (its log), a channel (its bell) and two sorted sets
//! (its subscriptions); a subscription is a hash; a partition has a sorted set of what is due.
//! Each change is one script, so it happens whole or not at all (see `scripts/`).
//!
//! Relies on Redis 7 or newer with `maxmemory-policy noeviction`; both are checked at the start.

mod bells;
mod connection;
mod keys;
mod reply;
mod scripts;
mod startup;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Client, IntoConnectionInfo, ScriptInvocation, Value, streams::StreamRangeReply};
use uuid::Uuid;

use self::{
    bells::Bells,
    connection::{Connections, text, unavailable},
    keys::TopicKeys,
    reply::{Reply, corrupt, log_entries},
    scripts::Scripts,
};
use super::{
    Activated, Activation, Address, Attached, Claim, Commit, Committed, Connection, CursorMove, DueListener,
    Holder, Listener, LogPage, Once, Position, Progress, Release, Result, Retention, Snapshot, Store,
    StoreError, Subscribed, Subscription, WebhookRequest,
};
use crate::{
    protocol::{SubscriptionId, TopicKey, json, webhook::Mode},
    session::{Entry, SubscriptionChange},
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

    /// The arguments with which every script begins that may append.
    fn with_retention<'a>(&self, script: &mut ScriptInvocation<'a>) {
        script
            .arg(self.retention.log.as_millis() as u64)
            .arg(self.retention.log_entries)
            .arg(self.retention.session.as_millis() as u64);
    }

    fn once_millis(&self, once: &Once) -> u64 {
        let remembered = match once {
            Once::Request(_) => self.retention.resend,
            Once::Cause(_) => self.retention.log,
        };
        remembered.as_millis().max(1) as u64
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
        let keys = self.topic(topic);
        let mut both = redis::pipe();
        both.hgetall(keys.session());
        if let Some(once) = once {
            both.exists(keys.once(once));
        }
        let both = &both;
        let ask = |mut connection| async move { both.query_async::<Value>(&mut connection).await };
        let mut reply = Reply::new(self.connections.call("session", ask).await?)?;
        let snapshot = reply.snapshot()?;
        let is_known = if once.is_some() { reply.value()? } else { false };
        Ok((snapshot, is_known))
    }

    async fn commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed> {
        let keys = self.topic(topic);
        let mut script = self.scripts.commit.prepare_invoke();
        script.key(keys.session()).key(keys.log()).key(keys.bell()).key(keys.webhooks());
        script.key(keys.due()).key(keys.due_bell()).key(keys.once(&commit.once));
        self.with_retention(&mut script);
        script.arg(topic.to_string()).arg(keys.partition());
        script.arg(commit.revision.map_or_else(String::new, |revision| revision.to_string()));
        script.arg(self.once_millis(&commit.once)).arg(commit.entry.to_json());
        let deleted: Vec<&String> =
            commit.writes.iter().filter(|(_, value)| value.is_none()).map(|(field, _)| field).collect();
        script.arg(deleted.len());
        for field in deleted {
            script.arg(field);
        }
        for (field, value) in &commit.writes {
            if let Some(value) = value {
                script.arg(field).arg(value);
            }
        }
        let mut reply = Reply::new(self.invoke("commit", &script).await?)?;
        match reply.text()?.as_str() {
            "committed" => Ok(Committed::At { position: reply.parsed()?, revision: reply.parsed()? }),
            "conflict" => Ok(Committed::Conflict(reply.snapshot()?)),
            "duplicate" => Ok(Committed::Duplicate),
            other => Err(corrupt(format!("an unknown answer: {other}"))),
        }
    }

    async fn log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage> {
        let keys = self.topic(topic);
        let mut connection = self.connections.bulk("log").await?;
        // The head is read first: a page that ends before it is known to be not the last.
        let answer: std::result::Result<(Option<String>, StreamRangeReply), _> = redis::pipe()
            .hget(keys.session(), ".head")
            .xrange_count(keys.log(), format!("({after}"), "+", limit)
            .query_async(&mut connection)
            .await;
        let (head, entries) = unavailable("log", answer.map_err(text))?;
        let head = head.map_or(Ok(Position::START), |head| head.parse().map_err(corrupt))?;
        let has_more = entries.ids.len() == limit;
        Ok(LogPage { entries: log_entries(entries.ids), head, has_more })
    }

    async fn listen(&self, topic: TopicKey) -> Result<Listener> {
        self.bells.listen(self.topic(topic).bell()).await
    }

    async fn subscribe_websocket(&self, subscription: &Subscription, limit: usize) -> Result<Subscribed> {
        let (Address { id, topic }, keys) = (subscription.address(), self.topic(subscription.topic.key()));
        let mut script = self.scripts.subscribe_websocket.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.sockets()).key(keys.session());
        script.arg(id.to_string()).arg(topic.to_string()).arg(record(subscription)?);
        script.arg(lease_millis(subscription)).arg(limit);
        subscribed(&self.invoke::<String>("subscribe_websocket", &script).await?)
    }

    async fn renew_websocket(&self, subscription: &Subscription) -> Result<Subscribed> {
        let (Address { id, topic }, keys) = (subscription.address(), self.topic(subscription.topic.key()));
        if id.partition() != keys.partition() {
            return Ok(Subscribed::Unknown);
        }
        let mut script = self.scripts.renew_websocket.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.sockets());
        script.key(keys.session()).key(keys.log()).key(keys.bell());
        self.with_retention(&mut script);
        script
            .arg(id.to_string())
            .arg(topic.to_string())
            .arg(record(subscription)?)
            .arg(lease_millis(subscription));
        script.arg(Entry::subscription(SubscriptionChange::Renewed { id }).to_json());
        subscribed(&self.invoke::<String>("renew_websocket", &script).await?)
    }

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<(Subscription, Duration)>> {
        let mut script = self.scripts.subscription.prepare_invoke();
        script.key(keys::subscription(id));
        let answer: Value = self.invoke("subscription", &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let subscription = reply.json()?.ok_or_else(|| corrupt("a subscription without a record"))?;
        Ok(Some((subscription, Duration::from_millis(reply.parsed()?))))
    }

    async fn attach(&self, address: Address, connection: &Connection) -> Result<Option<Attached>> {
        let (Address { id, topic }, keys) = (address, self.topic(address.topic));
        if id.partition() != keys.partition() {
            return Ok(None);
        }
        let mut script = self.scripts.attach.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.sockets());
        script.key(keys.session()).key(keys.log()).key(keys.bell());
        self.with_retention(&mut script);
        script.arg(id.to_string()).arg(&connection.node).arg(&connection.id);
        // The script knows which connection that is, and puts it in the place of the "?".
        let replaced = SubscriptionChange::Replaced { id, connection: "?".into() };
        script.arg(Entry::subscription(replaced).to_json());
        let answer: Value = self.invoke("attach", &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let subscription: Subscription =
            reply.json()?.ok_or_else(|| corrupt("a subscription without a record"))?;
        if subscription.topic.key() != topic {
            return Ok(None);
        }
        let lease = Duration::from_millis(reply.parsed()?);
        let head = reply.parsed()?;
        let cursor = reply.text()?;
        let cursor =
            if cursor.is_empty() { Err(reply.snapshot()?) } else { Ok(cursor.parse().map_err(corrupt)?) };
        Ok(Some(Attached { subscription, lease, head, cursor }))
    }

    async fn activate(&self, address: Address, activation: &Activation) -> Result<Activated> {
        let keys = self.topic(address.topic);
        let mut script = self.scripts.activate.prepare_invoke();
        script.key(keys::subscription(address.id)).key(keys.session());
        script.key(keys.log()).key(keys.bell()).key(keys.webhooks()).key(keys.leases());
        self.with_retention(&mut script);
        script.arg(address.id.to_string()).arg(address.topic.to_string());
        match &activation.holder {
            Holder::Connection(connection) => {
                script.arg("connection").arg(&connection.id).arg(activation.revision).arg("").arg(0).arg("");
            }
            Holder::Claim { token, request } => {
                script.arg("claim").arg(token).arg(activation.revision);
                script
                    .arg(record(&request.subscription)?)
                    .arg(lease_millis(&request.subscription))
                    .arg(&request.nonce);
            }
        }
        for entry in &activation.entries {
            script.arg(entry.to_json());
        }
        let mut reply = Reply::new(self.invoke("activate", &script).await?)?;
        match reply.text()?.as_str() {
            "from" => Ok(Activated::From(reply.parsed()?)),
            "conflict" => Ok(Activated::Conflict(reply.snapshot()?)),
            "lost" => Ok(Activated::Lost),
            other => Err(corrupt(format!("an unknown answer: {other}"))),
        }
    }

    async fn save_cursors(&self, moves: &[CursorMove]) -> Result<()> {
        let mut by_partition: std::collections::BTreeMap<u16, Vec<&CursorMove>> = Default::default();
        for each in moves {
            by_partition.entry(each.address.id.partition()).or_default().push(each);
        }
        for moves in by_partition.values() {
            let mut script = self.scripts.save_cursors.prepare_invoke();
            for each in moves {
                script.key(keys::subscription(each.address.id));
                script.arg(&each.connection.id).arg(each.cursor.to_string());
            }
            let _moved: u64 = self.invoke("save_cursors", &script).await?;
        }
        Ok(())
    }

    async fn detach(&self, address: Address, connection: &Connection, grace: Duration) -> Result<()> {
        let mut script = self.scripts.detach.prepare_invoke();
        script.key(keys::subscription(address.id)).key(self.topic(address.topic).sockets());
        script.arg(address.id.to_string()).arg(&connection.id).arg(grace.as_millis() as u64);
        let _was_held: bool = self.invoke("detach", &script).await?;
        Ok(())
    }

    async fn end_websocket(&self, address: Address, reason: &str) -> Result<bool> {
        let (Address { id, topic }, keys) = (address, self.topic(address.topic));
        if id.partition() != keys.partition() {
            return Ok(false);
        }
        let mut script = self.scripts.end_websocket.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.sockets());
        script.key(keys.session()).key(keys.log()).key(keys.bell());
        self.with_retention(&mut script);
        let ended = SubscriptionChange::Ended { id, reason: reason.to_owned() };
        script.arg(id.to_string()).arg(topic.to_string()).arg(Entry::subscription(ended).to_json());
        self.invoke("end_websocket", &script).await
    }

    async fn request_webhook(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed> {
        let Address { id, topic } = request.subscription.address();
        let keys = self.topic(topic);
        let mut script = self.scripts.request_webhook.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.webhooks()).key(keys.due()).key(keys.due_bell());
        let mode = match request.mode {
            Mode::Subscribe => "subscribe",
            Mode::Unsubscribe => "unsubscribe",
        };
        script.arg(id.to_string()).arg(topic.to_string()).arg(keys.partition()).arg(mode);
        script
            .arg(serde_json::to_string(request).map_err(|error| corrupt(json::problem(&error)))?)
            .arg(&request.nonce)
            .arg(limit);
        subscribed(&self.invoke::<String>("request_webhook", &script).await?)
    }

    async fn due(&self, partitions: &[u16], limit: usize) -> Result<Vec<Address>> {
        let now = self.now().await?;
        let mut all = redis::pipe();
        for partition in partitions {
            all.zrangebyscore_limit(keys::due(*partition), "-inf", now, 0, limit as isize);
            all.zrangebyscore_limit(keys::leases(*partition), "-inf", now, 0, limit as isize);
        }
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connections.bulk("due").await?;
        let members: Vec<Vec<String>> =
            unavailable("due", all.query_async(&mut connection).await.map_err(text))?;
        let mut addresses: Vec<Address> = Vec::new();
        for address in members.iter().flatten().filter_map(|member| keys::address(member)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    async fn claim(&self, address: Address, hold: Duration, max_entries: usize) -> Result<Option<Claim>> {
        let keys = self.topic(address.topic);
        let token = Uuid::new_v4().to_string();
        let mut script = self.scripts.claim.prepare_invoke();
        script.key(keys.due()).key(keys::subscription(address.id)).key(keys.log());
        script.key(keys.webhooks()).key(keys.leases()).key(keys.session());
        script.arg(address.id.to_string()).arg(address.topic.to_string());
        script.arg(hold.as_millis() as u64).arg(&token).arg(max_entries);
        let answer: Value = self.invoke("claim", &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let (now, lease) = (reply.parsed()?, Duration::from_millis(reply.parsed()?));
        let (subscription, request) = (reply.json()?, reply.json()?);
        let cursor = reply.text()?;
        let progress = Progress {
            cursor: if cursor.is_empty() { Position::START } else { cursor.parse().map_err(corrupt)? },
            attempts: reply.parsed()?,
            retry_at: reply.parsed()?,
            reported: reply.parsed()?,
        };
        let head: Position = reply.parsed()?;
        let ids = reply.value::<StreamRangeReply>()?.ids;
        let head = (ids.len() < max_entries).then_some(head);
        let entries = log_entries(ids);
        Ok(Some(Claim { address, token, subscription, lease, request, progress, entries, head, now }))
    }

    async fn settle(
        &self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
    ) -> Result<bool> {
        let keys = self.topic(claim.address.topic);
        let mut script = self.scripts.settle.prepare_invoke();
        script.key(keys.due()).key(keys::subscription(claim.address.id)).key(keys.session());
        script.key(keys.webhooks()).key(keys.due_bell()).key(keys.leases());
        script.arg(claim.address.id.to_string()).arg(claim.address.topic.to_string()).arg(keys.partition());
        script.arg(&claim.token).arg(progress.cursor.to_string()).arg(progress.attempts);
        script.arg(progress.retry_at).arg(progress.reported.to_string()).arg(answered.unwrap_or(""));
        match release {
            Release::Hold(time) => script.arg("hold").arg(time.as_millis() as u64),
            Release::After(time) => script.arg("after").arg(time.as_millis() as u64),
            Release::Idle => script.arg("idle").arg(0),
            Release::End => script.arg("end").arg(0),
        };
        self.invoke("settle", &script).await
    }

    fn due_listener(&self) -> DueListener {
        self.bells.due_listener()
    }

    async fn watch_due(&self, partitions: &[u16]) -> Result<()> {
        self.bells.watch_due(partitions).await
    }

    async fn register_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>> {
        let mut script = self.scripts.register_worker.prepare_invoke();
        script.key(keys::WORKERS).arg(id).arg(ttl.as_millis() as u64);
        let mut workers: Vec<String> = self.invoke("register_worker", &script).await?;
        workers.sort_unstable();
        Ok(workers)
    }

    async fn now(&self) -> Result<u64> {
        let ask = |mut connection| async move {
            redis::cmd("TIME").query_async::<(u64, u64)>(&mut connection).await
        };
        let (seconds, micros) = self.connections.call("now", ask).await?;
        Ok(seconds * 1000 + micros / 1000)
    }
}
