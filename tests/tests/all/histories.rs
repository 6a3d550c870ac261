//! Histories: writers and readers on several topics, over two hubs and both channels, while sockets drop and callbacks fail
//! (FC-NOT-08, FC-WSC-08, FC-WHK-06, FC-WHK-07, FC-REQ-07).
//!
//! What each reader saw is the topic's log restricted to what it asked for, without gap or disorder; it may see something
//! again, with the same id, right after it came back or as a retry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use harness::callback_server::{CallbackServer, Reply};
use harness::chance::Chance;
use harness::client::App;
use harness::examples::fresh_topic;
use harness::history::{History, Repeats};
use harness::redis_server::Durability;
use harness::socket::{Listener, Seen};
use harness::system::System;
use harness::wait::PATIENCE;
use shared::protocol::EventFilter;

use crate::messages::{event, resource};
use crate::setups::confirmed;

const TOPICS: usize = 3;
const WRITERS: usize = 4;
const EVENTS_EACH: usize = 60;
/// The last event of a topic, which everybody asks for.
const LAST: &str = "org.example.last";
/// What the readers ask for; the last three by webhook.
const READERS: [&str; 8] = [
    "*",
    "patient-*",
    "*-CLOSE,home-open",
    "Patient-open,ImagingStudy-close,org.example.thing",
    "*-*",
    "*",
    "Patient-open,patient-close",
    "*-open",
];
const SOCKETS: usize = 5;

/// Posts events of all kinds, at either hub; some twice, as a client whose connection broke.
async fn write(writer: usize, seed: u64, apps: &[App], topics: &[String]) {
    let mut chance = Chance::new(seed);
    for number in 0..EVENTS_EACH {
        let topic = &topics[chance.below(TOPICS as u64) as usize];
        let kind = ["Patient", "ImagingStudy"][chance.below(2) as usize];
        let anchor = resource(kind, &chance.below(3).to_string());
        let (name, context) = match chance.below(8) {
            0..=3 => (format!("{kind}-open"), anchor),
            4 | 5 => (format!("{kind}-close"), anchor),
            6 => (["home-open", "org.example.thing"][chance.below(2) as usize].to_owned(), String::new()),
            _ => (format!("{kind}-select"), anchor),
        };
        let text = event(topic, &format!("{writer}/{number}"), &name, &context);
        let app = &apps[chance.below(apps.len() as u64) as usize];
        let answer = app.publish(&text).await.unwrap();
        // A select of what is not open is refused, and so it is no event.
        assert!(answer.status == 202 || name.ends_with("-select") && answer.status == 409, "{answer:?}");
        if answer.status == 202 && chance.below(6) == 0 {
            let again = apps[chance.below(apps.len() as u64) as usize].publish(&text).await.unwrap();
            assert_eq!(again.status, 202, "FC-REQ-07");
        }
    }
}

/// Drops a socket again and again, and has it come back at either hub, until the writers are done.
async fn disturb(listener: &mut Listener, seed: u64, endpoints: &[String], is_over: &AtomicBool) {
    let mut chance = Chance::new(seed);
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(chance.below(60))).await;
        listener.drop_connection().await;
        tokio::time::sleep(Duration::from_millis(chance.below(40))).await;
        listener.reconnect_to(&endpoints[chance.below(endpoints.len() as u64) as usize]).await.unwrap();
    }
}

/// The events that came over each connection: ids and names. SyncErrors are the hub's own.
fn events(seen: &Seen) -> Vec<Vec<(String, String)>> {
    let mut connections = vec![Vec::new(); seen.connections];
    for received in &seen.received {
        if let Some((id, name)) = received.event().filter(|(_, name)| *name != "syncerror") {
            connections[received.connection].push((id.to_owned(), name.to_owned()));
        }
    }
    connections
}

fn ids(connections: Vec<Vec<(String, String)>>) -> Vec<Vec<String>> {
    connections.into_iter().map(|events| events.into_iter().map(|(id, _)| id).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reader_sees_the_log_restricted_to_what_it_asked_for() {
    let seed: u64 = std::env::var("FHIRCAST_TEST_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
        |seed| seed.parse().unwrap(),
    );
    let builder = System::builder().hubs(2).workers(2).durability(Durability::None);
    let system = builder.set("retry.initial_secs", "0.1").start().await.unwrap();
    let apps: Vec<App> = system.hubs.iter().map(|hub| hub.app().unwrap()).collect();
    let topics: Vec<String> = (0..TOPICS).map(|_| fresh_topic()).collect();
    let server = Arc::new(CallbackServer::start().unwrap());

    // Two that are never disturbed, one at each hub: they tell what the log is.
    let mut witnesses: HashMap<&str, Vec<Listener>> = HashMap::new();
    for topic in &topics {
        for app in &apps {
            let endpoint = app.subscribe_websocket(topic, "*", &[]).await.unwrap();
            witnesses.entry(topic).or_default().push(confirmed(&endpoint).await);
        }
    }
    let mut sockets = Vec::new();
    for (number, events) in READERS.iter().enumerate() {
        let (topic, app) = (&topics[number % TOPICS], &apps[number % apps.len()]);
        let asked = format!("{events},{LAST}");
        if number < SOCKETS {
            let endpoint = app.subscribe_websocket(topic, &asked, &[]).await.unwrap();
            let id = endpoint.rsplit('/').next().unwrap().to_owned();
            let at = |url: &str| format!("{}/ws/{id}", url.replacen("http", "ws", 1));
            let endpoints: Vec<String> = system.hubs.iter().map(|hub| at(hub.url())).collect();
            sockets.push((number, confirmed(&endpoint).await, endpoints));
        } else {
            let (path, calls) = (format!("/{number}"), AtomicUsize::new(1));
            app.subscribe_webhook(topic, &asked, &server.url(&path), &[]).await.unwrap();
            server
                .wait_for(PATIENCE, "the verification", |requests| {
                    requests.iter().any(|request| request.path == path).then_some(())
                })
                .await
                .unwrap();
            // It is in force before the first event: nothing is open, so nothing would be sent for what came before.
            let is_known = Arc::new(Mutex::new(false));
            while !*is_known.lock().unwrap() {
                let probe = event(topic, &harness::examples::fresh_id(), LAST, "");
                app.publish(&probe).await.unwrap().expect_status(202).unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
                *is_known.lock().unwrap() = !server.notifications(&path).is_empty();
            }
            server.on(&path, move |request| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                let is_refused = request.is_notification() && call.is_multiple_of(7);
                is_refused.then(|| Reply::status(503))
            });
        }
    }

    let is_over = AtomicBool::new(false);
    let writing = async {
        let seeded = |writer: usize| seed.wrapping_mul(writer as u64 * 2 + 3) | 1;
        join_all((0..WRITERS).map(|writer| write(writer, seeded(writer), &apps, &topics))).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let disturbing = sockets.iter_mut().map(|(number, listener, endpoints)| {
        disturb(listener, seed.wrapping_mul(*number as u64 * 2 + 17) | 1, endpoints, &is_over)
    });
    tokio::join!(writing, join_all(disturbing));

    let mut logs: HashMap<&str, Vec<(String, String)>> = HashMap::new();
    for topic in &topics {
        apps[0].publish(&event(topic, "last", LAST, "")).await.unwrap().expect_status(202).unwrap();
        let mut both = Vec::new();
        for witness in &witnesses[topic.as_str()] {
            witness.wait_for_event(PATIENCE, "last").await.unwrap();
            both.push(witness.seen(|seen| events(seen).concat()));
        }
        assert_eq!(both[0], both[1], "FC-NOT-08: the two hubs, seed {seed}");
        logs.insert(topic, both.remove(0));
    }
    let told: usize = logs.values().map(Vec::len).sum();
    assert!(told > WRITERS * EVENTS_EACH / 2, "{told} events");

    let judge = |number: usize, repeats, connections: Vec<Vec<String>>| {
        let filter = EventFilter::parse(&format!("{},{LAST}", READERS[number]), 9).unwrap();
        let log = &logs[topics[number % TOPICS].as_str()];
        let owed = log.iter().filter(|(_, name)| filter.matches(&name.parse().unwrap()));
        let owed: Vec<String> = owed.map(|(id, _)| id.clone()).collect();
        // Probes before its subscription was in force were not for it.
        let first = connections.iter().flatten().next().cloned();
        let from =
            if number < SOCKETS { 0 } else { owed.iter().position(|id| Some(id) == first.as_ref()).unwrap() };
        let mut history = History::default();
        history.accepted(owed[from..].iter().cloned());
        history.total_order(owed[from..].iter().cloned());
        history.seen(READERS[number], repeats, connections);
        let findings = history.check();
        assert!(findings.is_clean(), "seed {seed}, reader {number} of {}:\n{findings}", READERS[number]);
    };
    for (number, listener, _) in &sockets {
        listener.wait_for_event(PATIENCE, "last").await.unwrap();
        judge(*number, Repeats::OnResume, listener.seen(|seen| ids(events(seen))));
    }
    for number in SOCKETS..READERS.len() {
        let path = format!("/{number}");
        server.wait_for_event(PATIENCE, &path, "last").await.unwrap();
        let notifications = server.notifications(&path).into_iter().map(|request| request.json());
        let told = notifications.filter(|message| message["event"]["hub.event"] != "syncerror");
        let ids = told.map(|message| message["id"].as_str().unwrap().to_owned()).collect();
        judge(number, Repeats::OnRetry, vec![ids]);
    }
}
