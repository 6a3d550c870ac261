//! A topic on a memory store, with its worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix_rt::task::JoinHandle;
use serde_json::{Value, json};
use shared::{
    audit::Audit,
    protocol::{Event, EventFilter, SubscriptionId, Topic, subscription_request::Terms, webhook::Mode},
    publisher::{Published, Publisher},
    session,
    settings::{Defaults, Settings},
    store::{
        Activated, Activation, Address, Channel, Connection, Holder, Position, Retention, Store, Subscribed,
        Subscription, WebhookRequest, memory::MemoryStore,
    },
    telemetry::Loops,
};
use tokio::sync::oneshot;
use worker::{Served, Worker};

const PARTITIONS: u16 = 16;

pub struct System {
    pub store: Arc<dyn Store>,
    pub publisher: Arc<Publisher>,
    pub settings: Settings,
    pub topic: Topic,
}

/// A worker that runs.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

impl System {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With times that are short enough for tests.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(Defaults::Embedded);
        settings.ack_timeout_secs = 1;
        settings.drain_secs = 1;
        settings.retry.initial_secs = 0.05;
        settings.retry.max_secs = 0.2;
        settings.retry.max_attempts = 1000;
        settings.retry.claim_secs = 2;
        change(&mut settings);
        let store: Arc<dyn Store> = MemoryStore::new(PARTITIONS, Retention::from(&settings.limits));
        let rules = session::Rules { max_open: 9, max_content_bytes: 1 << 20 };
        let severity = settings.syncerror.severity;
        let publisher = Arc::new(Publisher::new(store.clone(), rules, severity, Audit::off()));
        Self { store, publisher, settings, topic: "topic".parse().unwrap() }
    }

    pub fn worker(&self) -> Worker {
        let loops = Loops::new(self.settings.stuck_after());
        Worker::new(self.store.clone(), self.publisher.clone(), Audit::off(), loops, &self.settings).unwrap()
    }

    /// Starts a worker.
    pub fn start(&self) -> Running {
        let (stop, stopped) = oneshot::channel();
        let worker = self.worker();
        let task = actix_rt::spawn(worker.run_until_stopped(async {
            let _ = stopped.await;
        }));
        Running { stop, task }
    }

    pub fn subscription(&self, callback: &str, events: &str) -> Subscription {
        let id = SubscriptionId::of_callback(self.topic.key().partition(PARTITIONS), &self.topic, callback);
        Subscription {
            id,
            topic: self.topic.clone(),
            channel: Channel::Webhook {
                callback: serde_json::from_value(callback.into()).unwrap(),
                secret: None,
            },
            terms: Terms {
                events: EventFilter::parse(events, 9).unwrap(),
                lease_secs: 3600,
                subscriber_name: None,
            },
            owner: None,
            not_after: None,
        }
    }

    /// Asks, as the hub does.
    pub async fn request(&self, mode: Mode, subscription: &Subscription) -> Address {
        static NONCES: AtomicUsize = AtomicUsize::new(0);
        let nonce = NONCES.fetch_add(1, Ordering::Relaxed).to_string();
        let request = WebhookRequest { nonce, mode, subscription: subscription.clone() };
        assert_eq!(self.store.request_webhook(&request, 100).await.unwrap(), Subscribed::Accepted);
        subscription.address()
    }

    /// Subscribes and verifies.
    pub async fn subscribe(&self, subscription: &Subscription) -> Address {
        let address = self.request(Mode::Subscribe, subscription).await;
        assert_eq!(self.step().await, [Served::Verified(Mode::Subscribe)]);
        address
    }

    /// The same for somebody who asks for nothing special.
    pub async fn subscribe_to(&self, callback: &str, events: &str) -> Address {
        self.subscribe(&self.subscription(callback, events)).await
    }

    /// A WebSocket subscription that this connection holds and has begun to read.
    pub async fn connect(&self, connection: &Connection, lease_secs: u64) -> Subscription {
        let mut subscription = self.subscription("https://no.example/", "*");
        subscription.id = SubscriptionId::random(self.topic.key().partition(PARTITIONS));
        subscription.channel = Channel::Websocket;
        subscription.terms.lease_secs = lease_secs;
        subscription.terms.subscriber_name = Some("Viewer".into());
        assert_eq!(self.store.subscribe_websocket(&subscription, 9).await.unwrap(), Subscribed::Accepted);
        let address = subscription.address();
        let attached = self.store.attach(address, connection).await.unwrap().unwrap();
        let (holder, revision) =
            (Holder::Connection(connection.clone()), attached.cursor.unwrap_err().revision);
        let activation = Activation { holder, revision, is_restart: false, entries: vec![] };
        assert!(matches!(self.store.activate(address, &activation).await.unwrap(), Activated::From(_)));
        subscription
    }

    pub async fn step(&self) -> Vec<Served> {
        self.worker().step().await.unwrap()
    }

    pub async fn publish(&self, event: &str, id: &str) {
        let kind = event.split('-').next().unwrap();
        let context = json!([{"key": "k", "resource": {"resourceType": kind, "id": id}}]);
        let context = if event.contains('-') { context } else { json!([]) };
        let text = json!({
            "timestamp": "2026-01-01T00:00:00Z",
            "id": id,
            "event": {"hub.topic": self.topic.as_str(), "hub.event": event, "context": context},
        })
        .to_string();
        let published = self.publisher.publish(&Event::read(&text).unwrap(), &text).await.unwrap();
        assert!(matches!(published, Published::At(_)));
    }

    /// Waits until nothing has been due for a moment.
    pub async fn settled(&self) {
        let all: Vec<u16> = (0..PARTITIONS).collect();
        let mut quiet = 0;
        while quiet < 20 {
            let is_due = !self.store.due(&all, 9).await.unwrap().is_empty();
            quiet = if is_due { 0 } else { quiet + 1 };
            actix_rt::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The SyncErrors that the hub has put into the log: event id, and diagnostics.
    pub async fn sync_errors(&self) -> Vec<(String, String)> {
        let page = self.store.log(self.topic.key(), Position::START, 1000).await.unwrap();
        let events = page.entries.iter().filter_map(|entry| entry.entry.as_event());
        let messages = events.map(|notice| serde_json::from_str::<Value>(notice.message.get()).unwrap());
        messages
            .filter_map(|message| {
                let issue = &message["event"]["context"][0]["resource"]["issue"][0];
                let text = |value: &Value| value.as_str().map(str::to_owned);
                Some((text(&issue["details"]["coding"][0]["code"])?, text(&issue["diagnostics"])?))
            })
            .collect()
    }

    /// The ids of the events of which the hub has told that they did not arrive.
    pub async fn reported(&self) -> Vec<String> {
        self.sync_errors().await.into_iter().map(|(id, _)| id).collect()
    }

    pub async fn exists(&self, address: Address) -> bool {
        self.store.subscription(address.id).await.unwrap().is_some()
    }
}

/// Waits until it is so.
pub async fn until<Is: Future<Output = bool>>(what: &str, is_so: impl Fn() -> Is) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        actix_rt::time::sleep(Duration::from_millis(5)).await;
    }
}
