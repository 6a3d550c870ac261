//! What the containers are for, done through the load balancer as an app does it, while they are stopped and killed.

use std::process::Command;
use std::time::{Duration, Instant};

use harness::callback_server::CallbackServer;
use harness::client::App;
use harness::examples::{Message, fresh_id, fresh_topic};
use harness::history::{History, Repeats};
use harness::metrics::Metrics;
use harness::process::Signal;
use harness::socket::{Listener, Socket};
use harness::wait::{PATIENCE, eventually};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::containers::Containers;
use super::form::{seconds, services};

/// The confirmation has come.
async fn confirmed(listener: &Listener) {
    let what = "the confirmation";
    listener.wait_for(PATIENCE, what, |seen| (!seen.received.is_empty()).then_some(())).await.unwrap();
}

fn patient_open(topic: &str, id: &str) -> String {
    let message = Message::example("3.0.0/Patient-open").unwrap();
    message.topic(topic).unwrap().id(id).unwrap().text().to_owned()
}

async fn published(app: &App, topic: &str) -> String {
    let id = fresh_id();
    app.publish(&patient_open(topic, &id)).await.unwrap().expect_status(202).unwrap();
    id
}

/// Publishes one event after the other.
struct Publisher {
    stop: watch::Sender<bool>,
    task: JoinHandle<Vec<String>>,
}

impl Publisher {
    fn start(app: &App, topic: &str) -> Publisher {
        let (app, topic) = (app.clone(), topic.to_owned());
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ids = Vec::new();
            while !*stopping.borrow() {
                ids.push(published(&app, &topic).await);
            }
            ids
        });
        Publisher { stop, task }
    }

    /// The ids of what it has published.
    async fn stop(self) -> Vec<String> {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

/// Waits until so many have been closed, each of which comes back at once; answers how they were.
async fn come_back(listeners: &mut [Listener], expected: usize) -> Vec<Option<u16>> {
    let closed_by = Instant::now() + PATIENCE;
    let mut codes = Vec::new();
    while codes.len() < expected {
        for listener in &mut *listeners {
            if let Some(code) = listener.seen(|seen| seen.closed.get(seen.connections - 1).copied()) {
                codes.push(code);
                listener.reconnect().await.expect("FC-SUB-11: any node");
            }
        }
        assert!(Instant::now() < closed_by, "only {codes:?} of {expected} were closed");
        tokio::task::yield_now().await;
    }
    codes
}

/// A webhook subscription that is in force; answers the events that were published to see it.
async fn webhook(app: &App, topic: &str, server: &CallbackServer) -> Vec<String> {
    let callback = server.url("/callback");
    app.subscribe_webhook(topic, "Patient-open", &callback, &[]).await.unwrap().expect_status(202).unwrap();
    let mut probes = Vec::new();
    loop {
        probes.push(published(app, topic).await);
        let any = |requests: &[_]| {
            requests.iter().any(harness::callback_server::Request::is_notification).then_some(())
        };
        if server.wait_for(Duration::from_millis(100), "a notification", any).await.is_ok() {
            return probes;
        }
        assert!(probes.len() < 200, "the webhook's subscription is not in force");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_on_both_channels_are_served_through_the_load_balancer_and_lose_nothing_when_hubs_are_stopped_and_killed()
 {
    let mut containers = Containers::new();
    containers.up(&["proxy", "worker1", "worker2"]).await;
    let proxy = containers.at("proxy", 8080);
    let app = App::new(&format!("http://{proxy}/api/hub")).unwrap();
    let (topic, mut history) = (fresh_topic(), History::default());

    let mut listeners = Vec::new();
    // So many that a hub drains for long enough to meet those who come back.
    for _ in 0..40 {
        let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
        assert!(
            endpoint.starts_with(&format!("ws://{proxy}/")),
            "{endpoint} is not where this app reached the hub"
        );
        listeners.push(Listener::connect(&endpoint).await.unwrap());
        confirmed(listeners.last().unwrap()).await;
    }
    let server = CallbackServer::start().unwrap();
    let mut accepted = webhook(&app, &topic, &server).await;

    // A hub is stopped while events are published.
    let publisher = Publisher::start(&app, &topic);
    containers.process("hub1").signal(Signal::TERM).unwrap();
    let (_, hub) = services().into_iter().find(|(name, _)| name == "hub1").unwrap();
    let grace = Duration::from_secs(seconds(&hub["stop_grace_period"]));
    let exited = containers.process("hub1").wait_exit(grace);
    // The balance is even, so half of them were there.
    let half = listeners.len() / 2;
    assert_eq!(come_back(&mut listeners, half).await, vec![Some(1001); half], "FC-SUB-11");
    accepted.extend(publisher.stop().await);
    assert_eq!(exited.await.unwrap().code(), Some(0), "FC-SUB-11");

    // It comes back and takes its part again; then the other one is killed.
    containers.remove("hub1");
    containers.up(&["hub1"]).await;
    let hub1 = App::new(&format!("http://{}", containers.at("hub1", 9100))).unwrap();
    let publisher = Publisher::start(&app, &topic);
    eventually(PATIENCE, "a publish by the hub that came back", || async {
        let page = Metrics::from(hub1.get("/metrics").await.ok()?.body);
        (page.value("fhircast_publishes_total{outcome=\"accepted\"}")? > 0.0).then_some(())
    })
    .await
    .unwrap();
    containers.process("hub2").kill().unwrap();
    let all = listeners.len();
    assert_eq!(come_back(&mut listeners, all).await, vec![None; all], "without a word");
    accepted.extend(publisher.stop().await);
    accepted.push(published(&app, &topic).await);

    let last = accepted.last().unwrap();
    for (number, listener) in listeners.iter().enumerate() {
        listener.wait_for_event(PATIENCE, last).await.unwrap();
        listener.tell(&mut history, &format!("socket {number}"), "Patient-open");
    }
    server.wait_for_event(PATIENCE, "/callback", last).await.unwrap();
    let notified: Vec<String> = server
        .notifications("/callback")
        .iter()
        .map(|request| request.json()["id"].as_str().unwrap().to_owned())
        .collect();
    let since = accepted.iter().position(|id| *id == notified[0]).unwrap();
    history.seen_of(accepted[since..].to_vec(), "webhook", Repeats::OnResume, vec![notified]);
    history.accepted_in_order(accepted);
    let findings = history.check();
    assert!(findings.is_clean(), "FC-SUB-11, FC-WHK-07: {findings}");

    assert_eq!(containers.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn the_sentinels_put_the_replica_in_the_place_of_a_primary_that_was_killed_and_all_find_it_by_its_name()
{
    let mut containers = Containers::new();
    containers.up(&["proxy", "worker1", "worker2", "prometheus"]).await;
    let [one, two] = ["hub1", "hub2"]
        .map(|hub| App::new(&format!("http://{}/api/hub", containers.at(hub, 8080))).unwrap());
    let topic = fresh_topic();
    // The store is there before the hub listens.
    for hub in [&one, &two] {
        let look = || async { hub.current_context(&topic).await.ok().map(|_| ()) };
        eventually(PATIENCE, "a hub that listens", look).await.unwrap();
    }
    let endpoint = two.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    published(&one, &topic).await;

    // The replica has all that the primary has, or the subscription might be lost with it.
    let replica = containers.at("redis2", 6379);
    let (host, port) = replica.split_once(':').unwrap();
    let role = async || {
        let asked = Command::new("redis-cli").args(["-h", host, "-p", port, "role"]).output().unwrap();
        String::from_utf8(asked.stdout).unwrap()
    };
    eventually(PATIENCE, "a replica in sync", || async { role().await.contains("connected").then_some(()) })
        .await
        .unwrap();
    containers.process("redis1").kill().unwrap();
    eventually(PATIENCE, "a new primary", || async { role().await.starts_with("master").then_some(()) })
        .await
        .unwrap();
    let id = fresh_id();
    let event = patient_open(&topic, &id);
    eventually(PATIENCE, "a publish", || async {
        (one.publish(&event).await.ok()?.status == 202).then_some(())
    })
    .await
    .unwrap();
    while socket.next_json(PATIENCE).await.expect("the event")["id"] != id {}

    // The old primary comes back as the other's replica, and stays it: it is written in its own file.
    containers.remove("redis1");
    containers.up(&["redis1"]).await;
    let file = containers.text("redis1", "/data/redis.conf");
    eventually(2 * PATIENCE, "a replica again", || async {
        file().contains("\nreplicaof redis2 ").then_some(())
    })
    .await
    .unwrap();
    all_is_scraped(&containers.at("prometheus", 9090)).await;
    assert_eq!(containers.leaks(), Vec::<String>::new());
}

/// Prometheus has found all that is to be scraped, and has the alerts.
async fn all_is_scraped(prometheus: &str) {
    let api = App::new(&format!("http://{prometheus}/api/v1")).unwrap();
    let scraped = || async {
        let targets = api.get("/targets").await.ok()?.json().ok()?["data"]["activeTargets"].clone();
        let targets = targets.as_array()?.clone();
        let is_up = |target: &Value| target["health"] == "up";
        (targets.len() == 5 && targets.iter().all(is_up)).then_some(())
    };
    if let Err(error) = eventually(PATIENCE, "all that is to be scraped", scraped).await {
        panic!("{error}: {}", api.get("/targets").await.unwrap().body);
    }
    let rules = api.get("/rules").await.unwrap().json().unwrap();
    assert!(!rules["data"]["groups"].as_array().unwrap().is_empty(), "{rules}");
}
