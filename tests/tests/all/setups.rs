//! The setups in which every promise of the protocol is tested: the embedded hub, and two hubs with one worker on one
//! Redis server, on Redis behind Sentinels, and on Redis Cluster; there, what is subscribed on one node is published on
//! the other.
//!
//! A test is an `async fn` that takes a [`Kind`]; [`on_each_setup!`] makes a test of it for each, and [`on_both_setups!`]
//! two, when how Redis is run can make no difference. [`Kind::shared`] is one setup for all tests: it lives as long as
//! the test program. They keep apart by topics of their own. A test that needs other settings, or ends processes, has
//! its [`Kind::own`].

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use harness::{
    callback_server::{CallbackServer, Request},
    client::App,
    data_keys::OLD,
    examples::fresh_id,
    metrics::Metrics,
    redis_server::Durability,
    redis_shape::Shape,
    socket::Listener,
    system::{Hub, System},
    wait::PATIENCE,
};
use tokio::sync::OnceCell;

use crate::messages::event;

/// Makes two tests of each function: `embedded::…` and `cluster::…`.
macro_rules! on_both_setups {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test] async fn $test() { super::$test(crate::setups::Kind::Embedded).await })*
        }
        mod cluster {
            $(#[tokio::test] async fn $test() { super::$test(crate::setups::Kind::Cluster).await })*
        }
    };
}
pub(crate) use on_both_setups;

/// Makes four tests of each function: those two, and `sentinel::…` and `redis_cluster::…`.
macro_rules! on_each_setup {
    ($($test:ident),* $(,)?) => {
        crate::setups::on_both_setups![$($test),*];
        mod sentinel {
            $(#[tokio::test] async fn $test() { super::$test(crate::setups::Kind::Sentinel).await })*
        }
        mod redis_cluster {
            $(#[tokio::test] async fn $test() { super::$test(crate::setups::Kind::RedisCluster).await })*
        }
    };
}
pub(crate) use on_each_setup;

/// The origin that the shared setups let in (FC-TRN-07).
pub const ORIGIN: &str = "https://viewer.example";

/// So that a retry is not waited for.
const QUICK_RETRY: (&str, &str) = ("retry.initial_secs", "0.1");

/// An event that nobody but [`Setup::webhook`] asks for.
const PROBE: &str = "org.example.probe";

/// How long a probe is waited for before the next one.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// Which setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The embedded hub.
    Embedded,
    /// Two hubs and a worker on one Redis server.
    Cluster,
    /// The same on Redis behind Sentinels.
    Sentinel,
    /// The same on Redis Cluster, and sealed.
    RedisCluster,
}

/// Running programs.
pub enum Setup {
    Embedded(Box<Hub>),
    Cluster(Box<System>),
}

static SHARED: [OnceCell<Setup>; 4] = [const { OnceCell::const_new() }; 4];

/// The use by one test of what all share: a setup, or what holds one. When it ends, the programs' output is searched.
pub struct Shared<T: AsRef<Setup> + 'static = Setup>(pub &'static T);

impl<T: AsRef<Setup>> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: AsRef<Setup>> Drop for Shared<T> {
    fn drop(&mut self) {
        let setup = self.0.as_ref();
        let leaks = setup.leaks();
        if std::thread::panicking() {
            setup.print_logs();
            eprintln!("{leaks:#?}");
        } else {
            assert!(leaks.is_empty(), "FC-SEC-03: a shared program has printed what it must not: {leaks:#?}");
        }
    }
}

impl Kind {
    /// The setup that all tests of this kind use together.
    pub async fn shared(self) -> Shared {
        let start = || self.own(&[("cors.allowed_origins", ORIGIN)]);
        Shared(SHARED[self as usize].get_or_init(start).await)
    }

    fn shape(self) -> Shape {
        match self {
            Kind::Embedded | Kind::Cluster => Shape::Single,
            Kind::Sentinel => Shape::Sentinel,
            Kind::RedisCluster => Shape::Cluster,
        }
    }

    /// A setup of the test's own, with these settings in every program.
    pub async fn own(self, settings: &[(&str, &str)]) -> Setup {
        let settings = [&[QUICK_RETRY], settings].concat();
        match self {
            Kind::Embedded => Setup::Embedded(Box::new(Hub::start_embedded(&settings).await.unwrap())),
            _ => {
                let builder = System::builder().hubs(2).workers(1);
                let builder = builder.shape(self.shape()).durability(Durability::None);
                let builder =
                    if self == Kind::RedisCluster { builder.set("data_keys", OLD) } else { builder };
                let builder =
                    settings.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
                Setup::Cluster(Box::new(builder.start().await.unwrap()))
            }
        }
    }
}

impl AsRef<Setup> for Setup {
    fn as_ref(&self) -> &Setup {
        self
    }
}

impl Setup {
    /// The node that apps subscribe on.
    pub fn a(&self) -> &Hub {
        match self {
            Setup::Embedded(hub) => hub,
            Setup::Cluster(system) => &system.hubs[0],
        }
    }

    /// The node that apps publish on: another one, where there are two.
    pub fn b(&self) -> &Hub {
        match self {
            Setup::Embedded(hub) => hub,
            Setup::Cluster(system) => &system.hubs[1],
        }
    }

    /// Every node.
    pub fn nodes(&self) -> Vec<&Hub> {
        match self {
            Setup::Embedded(hub) => vec![hub],
            Setup::Cluster(system) => system.hubs.iter().collect(),
        }
    }

    /// All that its programs have printed.
    pub fn log_lines(&self) -> Vec<String> {
        let workers = match self {
            Setup::Embedded(_) => &[][..],
            Setup::Cluster(system) => &system.workers,
        };
        let of_workers = workers.iter().flat_map(|worker| worker.log_lines());
        self.nodes().into_iter().flat_map(|node| node.log_lines()).chain(of_workers).collect()
    }

    /// What its programs have printed that they must not, since this was asked last.
    fn leaks(&self) -> Vec<String> {
        let workers = match self {
            Setup::Embedded(_) => &[][..],
            Setup::Cluster(system) => &system.workers,
        };
        let of_workers = workers.iter().flat_map(|worker| worker.leaks());
        self.nodes().into_iter().flat_map(|node| node.leaks()).chain(of_workers).collect()
    }

    fn print_logs(&self) {
        for node in self.nodes() {
            eprintln!("--- the log of the shared {} ends:\n{}---", node.url(), node.log_tail());
        }
        if let Setup::Cluster(system) = self {
            for worker in &system.workers {
                eprintln!("--- the log of the shared worker ends:\n{}---", worker.log_tail());
            }
        }
    }

    /// What the process measures that makes the callbacks.
    pub async fn worker_metrics(&self) -> Metrics {
        match self {
            Setup::Embedded(hub) => hub.metrics().await.unwrap(),
            Setup::Cluster(system) => system.workers[0].metrics().await.unwrap(),
        }
    }

    /// An app that asks node a.
    pub fn subscriber(&self) -> App {
        self.a().app().unwrap()
    }

    /// An app that asks node b.
    pub fn publisher(&self) -> App {
        self.b().app().unwrap()
    }

    /// A WebSocket subscriber that answers with 200, subscribed and connected on node a, and confirmed.
    pub async fn listener(&self, topic: &str, events: &str) -> Listener {
        self.named_listener(topic, events, &[]).await
    }

    /// The same with further parameters of the subscribe request.
    pub async fn named_listener(&self, topic: &str, events: &str, extra: &[(&str, &str)]) -> Listener {
        let endpoint = self.subscriber().subscribe_websocket(topic, events, extra).await.unwrap();
        confirmed(&endpoint).await
    }

    /// Publishes on node b; the event must be accepted.
    pub async fn publish(&self, event: &str) {
        self.publisher().publish(event).await.unwrap().expect_status(202).unwrap();
    }

    /// A webhook subscriber whose subscription is in force. It asks for a probe besides `events`, and has got one;
    /// [`ids_at`] passes over it.
    pub async fn webhook(
        &self,
        server: &CallbackServer,
        path: &str,
        topic: &str,
        events: &str,
        extra: &[(&str, &str)],
    ) {
        let (events, callback) = (format!("{events},{PROBE}"), server.url(path));
        let asked = self.subscriber().subscribe_webhook(topic, &events, &callback, extra).await.unwrap();
        asked.expect_status(202).unwrap();
        self.probe(server, path.split('?').next().unwrap(), topic).await;
    }

    /// Publishes probes until the subscription is in force: all that was published before has arrived, or never will.
    pub async fn probe(&self, server: &CallbackServer, path: &str, topic: &str) {
        let app = self.publisher();
        let (probes, mut published) = (fresh_id(), 0);
        let deadline = Instant::now() + PATIENCE;
        loop {
            published += 1;
            let last = format!("{probes}-{published}");
            app.publish(&event(topic, &last, PROBE, "")).await.unwrap().expect_status(202).unwrap();
            let any = server.wait_for(PROBE_INTERVAL, "a probe", |requests| {
                let is_probe = |request: &&Request| {
                    request.path == path
                        && request.json()["id"].as_str().is_some_and(|id| id.starts_with(&probes))
                };
                requests.iter().rev().find(is_probe).map(|_| ())
            });
            if any.await.is_ok() {
                // None is left on its way.
                server.wait_for_event(PATIENCE, path, &last).await.unwrap();
                return;
            }
            assert!(Instant::now() < deadline, "no probe arrives at {path}");
        }
    }
}

/// Connects a listener and waits for its confirmation.
pub async fn confirmed(endpoint: &str) -> Listener {
    let listener = Listener::connect(endpoint).await.unwrap();
    let mode = |seen: &harness::socket::Seen| Some(seen.received.first()?.json["hub.mode"].clone());
    let mode = listener.wait_for(PATIENCE, "the confirmation", mode).await.unwrap();
    assert_eq!(mode, "subscribe", "FC-WSC-01: the first message is the confirmation");
    listener
}

/// The ids of the events that a listener has got by the time that `last` has come, in their order.
pub async fn ids_until(listener: &Listener, last: &str) -> Vec<String> {
    listener.wait_for_event(PATIENCE, last).await.unwrap();
    let id = |received: &harness::socket::Received| Some(received.event()?.0.to_owned());
    listener.seen(|seen| seen.received.iter().filter_map(id).collect())
}

/// The SyncErrors that a listener has got by the time that `last` has come.
pub async fn sync_errors_until(listener: &Listener, last: &str) -> Vec<serde_json::Value> {
    listener.wait_for_event(PATIENCE, last).await.unwrap();
    listener.seen(|seen| {
        let received = seen.received.iter();
        received.map(|received| received.json.clone()).filter(is_sync_error).collect()
    })
}

/// Waits for the next SyncError after the first `known` ones.
pub async fn sync_error_after(listener: &Listener, known: usize) -> serde_json::Value {
    let found = listener.wait_for(PATIENCE, "a SyncError", |seen| {
        seen.received
            .iter()
            .map(|received| &received.json)
            .filter(|json| is_sync_error(json))
            .nth(known)
            .cloned()
    });
    found.await.unwrap()
}

fn is_sync_error(message: &serde_json::Value) -> bool {
    message["event"]["hub.event"] == "syncerror"
}

/// A SyncError's code of this kind: `eventid`, `eventname`, `subscriber`.
pub fn code_of(sync_error: &serde_json::Value, kind: &str) -> String {
    let issue = &sync_error["event"]["context"][0]["resource"]["issue"][0];
    let codings = issue["details"]["coding"].as_array().cloned().unwrap_or_default();
    let system = format!("https://fhircast.hl7.org/events/syncerror/{kind}");
    let coding = codings.iter().find(|coding| coding["system"] == system.as_str());
    coding.and_then(|coding| coding["code"].as_str()).unwrap_or_default().to_owned()
}

/// The ids of the events that came to a callback, in their order, without probes.
pub fn ids_at(server: &CallbackServer, path: &str) -> Vec<String> {
    let notifications = server.notifications(path).into_iter().map(|request| request.json());
    notifications
        .filter(|message| message["event"]["hub.event"] != PROBE)
        .map(|message| message["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}
