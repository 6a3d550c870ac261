//! The load under which things fail: topics with sockets and callbacks, publishers that do not give up, and the judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use harness::callback_server::CallbackServer;
use harness::client::App;
use harness::examples::Message;
use harness::history::{Findings, History};
use harness::redis_cluster::ClusterRedis;
use harness::socket::Listener;
use harness::system::{Hub, System};
use harness::wait::{self, PATIENCE};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

/// The events of the load.
const EVENT: &str = "Patient-open";
/// The event that shows that a callback is in service; it is no part of the load.
const FIRST: &str = "userHibernate";
/// Partitions in tests that are about where Redis has them: few, so that topics share them.
pub const PARTITIONS: u16 = 4;
/// Between two events of one publisher.
pub const PACE: Duration = Duration::from_millis(50);
/// Before a publisher sends again what was not accepted.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// For so long a publisher sends an event again: the 5 s for which the hub knows it again (FC-REQ-07), less the 2 s
/// that a request may wait for Redis. Later it could be broadcast twice, as is right by FC-REQ-05.
const RESEND_FOR: Duration = Duration::from_secs(3);

/// A topic and who subscribed to it. A callback's path is the topic's name.
pub struct Topic {
    pub name: String,
    pub listeners: Vec<Listener>,
    endpoints: Vec<String>,
    has_callback: bool,
}

impl Topic {
    /// A topic of the test's own.
    pub fn new() -> Topic {
        Topic {
            name: Uuid::new_v4().to_string(),
            listeners: Vec::new(),
            endpoints: Vec::new(),
            has_callback: false,
        }
    }

    /// Adds sockets, which answer what they get.
    pub async fn listen(&mut self, app: &App, count: usize) {
        for _ in 0..count {
            let endpoint = app.subscribe_websocket(&self.name, EVENT, &[]).await.unwrap();
            self.listeners.push(Listener::connect(&endpoint).await.unwrap());
            self.endpoints.push(endpoint);
        }
    }

    /// Adds a callback, and waits until it is in service.
    pub async fn call_back(&mut self, app: &App, server: &CallbackServer) {
        let path = self.path();
        let events = format!("{EVENT},{FIRST}");
        let answer = app.subscribe_webhook(&self.name, &events, &server.url(&path), &[]).await.unwrap();
        answer.expect_status(202).unwrap();
        self.has_callback = true;
        // Only an event tells whether the verified subscription is in force.
        wait::eventually(PATIENCE, "the callback's first event", || async {
            let event = Message::example("3.0.0/userHibernate").unwrap().topic(&self.name).unwrap();
            let event = event.id(&Uuid::new_v4().to_string()).unwrap();
            app.publish(event.text()).await.unwrap().expect_status(202).unwrap();
            (!server.notifications(&path).is_empty()).then_some(())
        })
        .await
        .unwrap();
    }

    /// The path of its callback.
    pub fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Waits until all sockets are closed; answers with the codes.
    pub async fn wait_closed(&self) -> Vec<Option<u16>> {
        let closed = self.listeners.iter().map(|listener| listener.wait_closed(PATIENCE));
        try_join_all(closed).await.unwrap()
    }

    /// Waits until everyone has been sent the event `id`.
    pub async fn wait_for_event(&self, id: &str, server: Option<&CallbackServer>) {
        for listener in &self.listeners {
            listener.wait_for_event(PATIENCE, id).await.unwrap();
        }
        if self.has_callback {
            let server = server.expect("the server of the callback");
            server.wait_for_event(PATIENCE, &self.path(), id).await.unwrap();
        }
    }

    /// Waits until everyone has the last of what was accepted, and judges what everyone saw: all of it, in order.
    pub async fn judge(&self, sent: &[Record], server: Option<&CallbackServer>) -> Findings<String> {
        let mut history = History::default();
        for record in sent {
            // Under a load beyond capacity one may get nothing through.
            if let Some(last) = record.accepted.last() {
                self.wait_for_event(last, server).await;
            }
            history.accepted_in_order(record.accepted.iter().cloned());
            history.uncertain(record.given_up.iter().cloned());
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            listener.tell(&mut history, &format!("socket {number}"), EVENT);
        }
        if let Some(server) = server.filter(|_| self.has_callback) {
            server.tell(&mut history, &self.path(), EVENT);
        }
        let findings = history.check();
        assert!(findings.is_clean(), "topic {}:\n{findings}", self.name);
        findings
    }
}

/// An app for each hub of the system: one client each for all who talk to that hub.
pub fn apps(system: &System) -> Vec<App> {
    system.hubs.iter().map(|hub| hub.app().unwrap()).collect()
}

/// The slot of a topic's partition, when there are [`PARTITIONS`].
pub async fn slot_of(cluster: &ClusterRedis, topic: &Topic) -> u16 {
    let topic: shared::protocol::Topic = topic.name.parse().unwrap();
    cluster.slot(&format!("{{{}}}", topic.key().partition(PARTITIONS))).await.unwrap()
}

/// Topics, each with so many sockets at the hub of `app`.
pub async fn topics_with_sockets(count: usize, app: &App, sockets: usize) -> Vec<Topic> {
    let topics = (0..count).map(|_| async {
        let mut topic = Topic::new();
        topic.listen(app, sockets).await;
        topic
    });
    join_all(topics).await
}

/// All sockets of the topics connect again, at this hub, by the endpoints that they were given.
pub async fn reconnect_at(hub: &Hub, topics: &mut [Topic]) {
    for topic in topics {
        let listeners = topic.listeners.iter_mut().zip(&topic.endpoints);
        let reconnected = listeners.map(|(listener, endpoint)| async move {
            listener.reconnect_to(&hub.endpoint_here(endpoint).unwrap()).await
        });
        try_join_all(reconnected).await.unwrap();
    }
}

/// How a request to publish ended.
pub struct Attempt {
    pub at: Instant,
    pub took: Duration,
    /// `None`: no answer came.
    pub status: Option<u16>,
    pub retry_after: String,
}

/// What a publisher sent.
#[derive(Default)]
pub struct Record {
    /// The ids of the events that were accepted, in order.
    pub accepted: Vec<String>,
    /// The ids of those that were not, as far as the publisher knows.
    pub given_up: Vec<String>,
    pub attempts: Vec<Attempt>,
}

impl Record {
    /// Those attempts that were not accepted.
    pub fn failed(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| attempt.status != Some(202))
    }

    /// When the first event was accepted that was sent after `since`.
    pub fn accepted_after(&self, since: Instant) -> Option<Instant> {
        let is_it = |attempt: &&Attempt| attempt.at > since && attempt.status == Some(202);
        self.attempts.iter().find(is_it).map(|attempt| attempt.at + attempt.took)
    }
}

/// Publishes one event after the other. What was not accepted it sends again, the same bytes, for a while, and to
/// the next hub when one does not answer at all; then it gives that event up.
pub struct Publisher {
    record: Arc<watch::Sender<Record>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Publisher {
    /// Starts to publish to `topic`, at most `most` events.
    pub fn start(apps: &[&App], topic: &Topic, pace: Duration, most: usize) -> Publisher {
        let apps: Vec<App> = apps.iter().copied().cloned().collect();
        let (record, stop) = (Arc::new(watch::Sender::default()), Arc::new(AtomicBool::new(false)));
        let run = run(apps, topic.name.clone(), pace, most, record.clone(), stop.clone());
        Publisher { record, stop, task: tokio::spawn(run) }
    }

    /// How many events have been accepted.
    pub fn accepted(&self) -> usize {
        self.record.borrow().accepted.len()
    }

    /// Waits until the record makes `find` answer `Some`.
    pub async fn wait_for<R>(&self, what: &str, find: impl FnMut(&Record) -> Option<R>) -> R {
        wait::until(&self.record, PATIENCE, what, find).await.unwrap()
    }

    /// Waits until so many more events have been accepted.
    pub async fn wait_for_more(&self, more: usize) {
        let wanted = self.accepted() + more;
        self.wait_for("accepted events", |record| (record.accepted.len() >= wanted).then_some(())).await;
    }

    /// Waits until the last event is accepted: all, or after a request to stop the one under way.
    pub async fn finished(self) -> Record {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the publisher ends").unwrap();
        self.record.send_replace(Record::default())
    }

    /// Ends after the event that is under way.
    pub async fn stop(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        self.finished().await
    }
}

/// Waits until each has had so many more events accepted.
pub async fn wait_for_more(publishers: &[Publisher], more: usize) {
    join_all(publishers.iter().map(|publisher| publisher.wait_for_more(more))).await;
}

/// Ends all of them.
pub async fn stop(publishers: Vec<Publisher>) -> Vec<Record> {
    join_all(publishers.into_iter().map(Publisher::stop)).await
}

async fn run(
    apps: Vec<App>,
    topic: String,
    pace: Duration,
    most: usize,
    record: Arc<watch::Sender<Record>>,
    stop: Arc<AtomicBool>,
) {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut apps = apps.iter().cycle().peekable();
    for _ in 0..most {
        ticks.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = Uuid::new_v4().to_string();
        let event = Message::example("3.0.0/Patient-open").unwrap().topic(&topic).unwrap().id(&id).unwrap();
        let first = Instant::now();
        loop {
            let at = Instant::now();
            let answer = apps.peek().expect("a hub").publish(event.text()).await;
            let attempt = Attempt {
                at,
                took: at.elapsed(),
                status: answer.as_ref().ok().map(|answer| answer.status),
                retry_after: answer.as_ref().map_or("", |answer| answer.header("Retry-After")).to_owned(),
            };
            let status = attempt.status;
            record.send_modify(|record| {
                record.attempts.push(attempt);
                if status == Some(202) {
                    record.accepted.push(id.clone());
                }
            });
            match status {
                Some(202) => break,
                Some(503) => {}
                None => {
                    apps.next();
                }
                Some(_) => panic!("an event is refused: {answer:?}"),
            }
            if first.elapsed() + TRY_AGAIN > RESEND_FOR {
                record.send_modify(|record| record.given_up.push(id));
                break;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}
