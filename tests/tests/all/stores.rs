//! The stores under test, and what their tests write into them.
//!
//! A test on one server has a server of its own. Those behind Sentinels and those in a cluster share one Redis of each
//! shape, which takes longer to start: they keep apart by their topics, and one that looks at more than topics has it
//! to itself for a while.

use std::{cell::OnceCell, ops::Deref, sync::Arc, time::Duration};

use harness::{
    data_keys::{NEW, OLD},
    redis_server::{Durability, RedisServer},
    redis_shape::{Redis as RunningRedis, Shape},
    wait::{PATIENCE, eventually},
};
use serde_json::{json, value::RawValue};
use shared::{
    protocol::{
        EventFilter, SubscriptionId, Topic, TopicKey,
        subscription_request::{Callback, Terms},
        webhook::Mode,
    },
    session::{Audience, Entry, Notice},
    settings::{DataKeys, Redis, RedisUrl},
    store::{
        Activated, Activation, Address, Channel, Commit, Committed, Connection, Departure, Holder, LogEntry,
        Once, Owner, Parting, Position, Progress, Release, Retention, Revision, Store, StoreError,
        Subscribed, Subscription, WebhookRequest, memory::MemoryStore, redis::RedisStore,
    },
};
use tokio::sync::{OnceCell as AsyncOnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use uuid::Uuid;

/// Few, so that tests have several topics in one.
pub const PARTITIONS: u16 = 4;
pub const ALL_PARTITIONS: [u16; 4] = [0, 1, 2, 3];

/// So long that nothing ends while a test runs.
pub const LONG: Duration = Duration::from_secs(600);

pub const RETENTION: Retention =
    Retention { log: LONG, log_entries: 10_000, log_bytes: 1 << 24, session: LONG, resend: LONG };

/// Which store. That on the cluster has data keys: the scripts are the same everywhere.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Memory,
    Redis,
    Sentinel,
    Cluster,
}

impl Kind {
    /// Is what it keeps sealed?
    pub fn seals(self) -> bool {
        matches!(self, Kind::Cluster)
    }
}

/// A store, empty as far as the test can see.
pub struct Opened {
    store: Arc<dyn Store>,
    /// The same state as another process has it.
    pub other: Arc<dyn Store>,
    server: Option<RedisServer>,
    _turn: Option<Turn>,
}

impl Opened {
    /// The store, for tasks of their own.
    pub fn share(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

impl Opened {
    /// The store's Redis.
    pub fn server(&self) -> &RedisServer {
        self.server.as_ref().expect("a store on a Redis of its own")
    }

    /// The store's Redis, for those who end it.
    pub fn server_mut(&mut self) -> &mut RedisServer {
        self.server.as_mut().expect("a store on a Redis of its own")
    }

    /// A connection to the store's Redis, for those who want to see what it holds.
    pub async fn redis(&self) -> redis::aio::MultiplexedConnection {
        self.server().connection().await.unwrap()
    }
}

/// A Redis that tests share; it lives as long as the test program.
struct Shared {
    shape: Shape,
    running: AsyncOnceCell<RunningRedis>,
    turns: RwLock<()>,
}

/// The use of a shared Redis: together with others, or by one test alone.
enum Turn {
    Together { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

static SENTINEL: Shared = Shared::new(Shape::Sentinel);
static CLUSTER: Shared = Shared::new(Shape::Cluster);

impl Shared {
    const fn new(shape: Shape) -> Shared {
        Shared { shape, running: AsyncOnceCell::const_new(), turns: RwLock::const_new(()) }
    }

    async fn take(&'static self, is_alone: bool) -> (Turn, &'static RunningRedis) {
        let turn = if is_alone {
            Turn::Alone { _guard: self.turns.write().await }
        } else {
            Turn::Together { _guard: self.turns.read().await }
        };
        let start = || async { RunningRedis::start(self.shape, Durability::None).await.unwrap() };
        let redis = self.running.get_or_init(start).await;
        if is_alone {
            redis.flush().await.unwrap();
        }
        (turn, redis)
    }
}

tokio::task_local! {
    /// What the names of a test's topics begin with, once it has opened its store.
    pub static APART: OnceCell<String>;
}

impl Deref for Opened {
    type Target = dyn Store;
    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

/// Opens a store in which nobody else has the test's topics.
pub async fn open(kind: Kind, retention: Retention) -> Opened {
    open_for(kind, retention, false).await
}

/// Opens an empty store that no other test uses meanwhile.
pub async fn open_alone(kind: Kind, retention: Retention) -> Opened {
    open_for(kind, retention, true).await
}

async fn open_for(kind: Kind, retention: Retention, is_alone: bool) -> Opened {
    let is_shared = matches!(kind, Kind::Sentinel | Kind::Cluster) && !is_alone;
    let apart = || if is_shared { format!("{} ", Uuid::new_v4()) } else { String::new() };
    let _ = APART.try_with(|names| names.get_or_init(apart).len());
    match kind {
        Kind::Memory => {
            let store = MemoryStore::new(PARTITIONS, retention);
            Opened { store: store.clone(), other: store, server: None, _turn: None }
        }
        Kind::Redis => {
            let server = RedisServer::start(Durability::None).await.unwrap();
            let (store, other) = connect_twice(&server.url(), false, retention).await;
            Opened { store, other, server: Some(server), _turn: None }
        }
        Kind::Sentinel => open_shared(&SENTINEL, retention, is_alone).await,
        Kind::Cluster => open_shared(&CLUSTER, retention, is_alone).await,
    }
}

async fn open_shared(shared: &'static Shared, retention: Retention, is_alone: bool) -> Opened {
    let (turn, redis) = shared.take(is_alone).await;
    let (store, other) = connect_twice(&redis.url(), shared.shape == Shape::Cluster, retention).await;
    Opened { store, other, server: None, _turn: Some(turn) }
}

/// As two processes have it. If they seal, each does it with another key, as while keys are rotated.
async fn connect_twice(url: &str, seals: bool, retention: Retention) -> (Arc<dyn Store>, Arc<dyn Store>) {
    let keys = if seals { [[OLD, NEW], [NEW, OLD]].map(Vec::from) } else { [vec![], vec![]] };
    let [store, other] = keys.map(|keys| connect(url, keys, retention));
    (store.await, other.await)
}

/// A store as one more process has it, with these data keys.
pub async fn connect(url: &str, keys: Vec<&str>, retention: Retention) -> Arc<RedisStore> {
    try_connect(url, keys, retention).await.unwrap()
}

/// The same, which may be refused.
pub async fn try_connect(
    url: &str,
    keys: Vec<&str>,
    retention: Retention,
) -> Result<Arc<RedisStore>, StoreError> {
    connect_with(url, DataKeys::parse(keys).unwrap(), retention).await
}

/// The same, with keys that may be required.
pub async fn connect_with(
    url: &str,
    keys: DataKeys,
    retention: Retention,
) -> Result<Arc<RedisStore>, StoreError> {
    let url = RedisUrl::try_from(url.to_owned()).unwrap();
    let settings = Redis { url: Some(url), partitions: PARTITIONS, ..Redis::default() };
    RedisStore::connect(&settings, keys, retention).await
}

/// A topic of the test's own.
pub fn topic(name: &str) -> Topic {
    let apart = APART.try_with(|names| names.get().cloned()).ok().flatten().unwrap_or_default();
    format!("{apart}{name}").parse().unwrap()
}

/// A WebSocket subscription with a new id.
pub fn socket(topic: &Topic) -> Subscription {
    let id = SubscriptionId::random(topic.key().partition(PARTITIONS));
    subscription(id, topic, Channel::Websocket)
}

/// A webhook subscription; the same topic and path have the same id.
pub fn webhook(topic: &Topic, path: &str) -> Subscription {
    let callback: Callback = serde_json::from_value(json!(format!("https://app.example/{path}"))).unwrap();
    let id = SubscriptionId::of_callback(topic.key().partition(PARTITIONS), topic, callback.url().as_str());
    let channel = Channel::Webhook { callback, secret: None };
    subscription(id, topic, channel)
}

fn subscription(id: SubscriptionId, topic: &Topic, channel: Channel) -> Subscription {
    let terms = terms("*", LONG.as_secs());
    Subscription { id, topic: topic.clone(), channel, terms, owner: None, not_after: None }
}

/// An owner: the same name is the same one.
pub fn owner(name: &str) -> Option<Owner> {
    Some(Owner::of("https://as.example", Some(name), None))
}

pub fn terms(events: &str, lease_secs: u64) -> Terms {
    Terms { events: EventFilter::parse(events, 10).unwrap(), lease_secs, subscriber_name: None }
}

pub fn request(mode: Mode, subscription: &Subscription) -> WebhookRequest {
    WebhookRequest { nonce: Uuid::new_v4().to_string(), mode, subscription: subscription.clone() }
}

pub fn connection(id: &str) -> Connection {
    Connection { node: "node".into(), id: id.into() }
}

/// The departure of a connection that was lost.
pub fn lost(grace: Duration) -> Departure {
    Departure { parting: Parting::Lost, grace, look_after: LONG }
}

/// An entry for an event of this id.
pub fn event(id: &str) -> Entry {
    let message = RawValue::from_string(json!({ "id": id }).to_string()).unwrap();
    let name = "Patient-open".parse().unwrap();
    Entry::event(Notice::new(id.into(), name, Audience::Everyone, message))
}

/// A commit of an event, which writes its id into the field `last`.
pub fn commit(revision: Revision, id: &str) -> Commit {
    let writes = vec![("last".to_owned(), Some(id.to_owned()))];
    let once = Once::Request(id.into());
    Commit { revision: Some(revision), writes, content: vec![], max_content_bytes: 0, entry: event(id), once }
}

/// The revision of a session, or one that is further on or back.
pub async fn revision(store: &dyn Store, topic: TopicKey, further: i64) -> Revision {
    let present = store.session(topic, None).await.unwrap().0.revision;
    match present.number.saturating_add_signed(further) {
        0 => Revision::NONE,
        number => Revision { number, ..present },
    }
}

/// Commits an event on the session as it is.
pub async fn publish(store: &dyn Store, topic: &Topic, id: &str) -> Position {
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    match store.commit(topic.key(), &commit(session.revision, id)).await.unwrap() {
        Committed::At { position, .. } => position,
        other => panic!("{other:?}"),
    }
}

/// The whole log.
pub async fn log(store: &dyn Store, topic: TopicKey) -> Vec<Arc<LogEntry>> {
    store.log(topic, Position::START, usize::from(u16::MAX)).await.unwrap().entries
}

/// What the entries say: the ids of events, and the changes of subscriptions as they are written.
pub fn say<'a>(entries: impl IntoIterator<Item = &'a Arc<LogEntry>>) -> Vec<String> {
    let said = |entry: &Entry| entry.as_event().map_or_else(|| entry.to_json(), |event| event.id.clone());
    entries.into_iter().map(|each| said(&each.entry)).collect()
}

/// Each entry must name the one before it.
pub fn assert_chained(entries: &[Arc<LogEntry>]) {
    for pair in entries.windows(2) {
        assert!(pair[0].position < pair[1].position, "{pair:?}");
        assert_eq!(pair[0].position, pair[1].previous);
        assert!(pair[0].revision.number <= pair[1].revision.number, "{pair:?}");
    }
}

/// What a connection brings to a subscription that it reads for the first time.
pub fn first_reading(connection: &Connection, revision: Revision, entries: &[&str]) -> Activation {
    let entries = entries.iter().map(|id| event(id)).collect();
    Activation { holder: Holder::Connection(connection.clone()), revision, is_restart: false, entries }
}

/// What a worker brings to a subscription that it has verified.
pub fn verification(
    token: &str,
    request: &WebhookRequest,
    revision: Revision,
    entries: &[&str],
) -> Activation {
    let entries = entries.iter().map(|id| event(id)).collect();
    Activation {
        holder: Holder::Claim { token: token.into(), request: Some(Box::new(request.clone())) },
        revision,
        is_restart: false,
        entries,
    }
}

/// Subscribes and verifies a webhook; then it is idle, and has read all of the log.
pub async fn verify(store: &dyn Store, subscription: &Subscription) -> Address {
    let address = subscription.address();
    let request = request(Mode::Subscribe, subscription);
    assert_eq!(store.request_webhook(&request, 100).await.unwrap(), Subscribed::Accepted);
    let claim = store.claim(address, LONG, 10).await.unwrap().unwrap();
    let (session, _) = store.session(address.topic, None).await.unwrap();
    let activation = verification(&claim.token, &request, session.revision, &[]);
    let Activated::From(cursor) = store.activate(address, &activation).await.unwrap() else {
        panic!("not activated")
    };
    assert_eq!(cursor, session.head);
    let progress = Progress { cursor, ..Progress::default() };
    assert!(store.settle(&claim, &progress, Some(&request.nonce), Release::Idle).await.unwrap());
    address
}

/// Is this due now?
pub async fn is_due(store: &dyn Store, address: Address) -> bool {
    store.due(&ALL_PARTITIONS, 1000).await.unwrap().contains(&address)
}

/// Waits until the store's clock has passed this time.
pub async fn clock_passes(store: &dyn Store, millis: u64) {
    eventually(PATIENCE, "the store's clock goes on", || async {
        (store.now().await.unwrap() > millis).then_some(())
    })
    .await
    .unwrap();
}
