//! A worker that dies or stands still while it delivers: another one takes over (FC-WHK-06, FC-WHK-07).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use harness::callback_server::{CallbackServer, Gate, Reply};
use harness::process::Signal;
use harness::system::System;
use harness::wait::{self, PATIENCE};

use super::load::{Publisher, Record, Topic};

const CALLBACKS: usize = 20;
const EVENTS: usize = 50;
/// What a callback takes for each event.
const WORK: Duration = Duration::from_millis(10);

/// 1,000 events on their way to 20 callbacks, each of which stands at one of its first events, until the gate opens.
struct Underway {
    system: System,
    server: CallbackServer,
    topics: Vec<Topic>,
    sent: Vec<Record>,
    gate: Gate,
}

async fn underway() -> Underway {
    let system = System::builder()
        .workers(2)
        .set("retry.claim_secs", 3)
        .set("ack_timeout_secs", 60)
        .start()
        .await
        .unwrap();
    let server = CallbackServer::start().unwrap();
    let app = system.hubs[0].app().unwrap();
    let topics = join_all((0..CALLBACKS).map(|_| async {
        let mut topic = Topic::new();
        topic.call_back(&app, &server).await;
        topic
    }))
    .await;

    let gate = Gate::closed();
    for (number, topic) in topics.iter().enumerate() {
        let (gate, seen) = (gate.clone(), AtomicUsize::new(0));
        server.on(&topic.path(), move |request| {
            let is_load = request.json()["event"]["hub.event"] == "Patient-open";
            let is_held = is_load && seen.fetch_add(1, Ordering::Relaxed) == number;
            let reply = Reply::status(200).after(WORK);
            Some(if is_held { reply.held_by(&gate) } else { reply })
        });
    }
    let publishers = topics.iter().map(|topic| Publisher::start(&[&app], topic, WORK, EVENTS));
    let sent = join_all(publishers.collect::<Vec<_>>().into_iter().map(Publisher::finished)).await;
    for (number, (topic, record)) in topics.iter().zip(&sent).enumerate() {
        server.wait_for_event(PATIENCE, &topic.path(), &record.accepted[number]).await.unwrap();
    }
    Underway { system, server, topics, sent, gate }
}

impl Underway {
    /// How many callbacks have been sent their held event again.
    fn repeated(&self) -> usize {
        let is_repeated = |(topic, record): (&Topic, &Record), number: usize| {
            let requests = self.server.notifications(&topic.path());
            requests.iter().filter(|request| request.json()["id"] == record.accepted[number]).count() > 1
        };
        let callbacks = self.topics.iter().zip(&self.sent).enumerate();
        callbacks.filter(|(number, callback)| is_repeated(*callback, *number)).count()
    }

    /// None lost, each in order, and no more repeated than was in flight: one event of a callback.
    async fn judge(&self) {
        let mut repeated = 0;
        for (topic, record) in self.topics.iter().zip(&self.sent) {
            let findings = topic.judge(std::slice::from_ref(record), Some(&self.server)).await;
            assert!(findings.repeated <= 1, "topic {}: {findings}", topic.name);
            repeated += findings.repeated;
        }
        assert!(repeated > 0, "the worker that failed was delivering nothing");
        assert_eq!(repeated, self.repeated(), "only what was in flight is sent again");
    }
}

#[tokio::test]
async fn a_killed_workers_callbacks_are_finished_by_another() {
    let mut underway = underway().await;
    underway.system.workers[0].process().kill().unwrap();
    underway.gate.open();
    underway.judge().await;
}

#[tokio::test]
async fn a_worker_that_stood_still_finds_its_claims_void_when_it_wakes() {
    let mut underway = underway().await;
    underway.system.workers[0].process().signal(Signal::STOP).unwrap();
    underway.gate.open();
    let taken_over = wait::eventually(PATIENCE, "another worker takes over", || async {
        Some(underway.repeated()).filter(|repeated| *repeated > 0)
    })
    .await;
    taken_over.unwrap();

    // It wakes while the other one delivers, with answers in its hands to requests that are not its own any more.
    underway.system.workers[0].process().signal(Signal::CONT).unwrap();
    let awake = &underway.system.workers[0];
    wait::eventually(PATIENCE, "it notices that its claims are void", || async {
        let lost = awake.metrics().await.unwrap().value("fhircast_lost_leases_total");
        (lost > Some(0.0)).then_some(())
    })
    .await
    .unwrap();

    // What it might still do wrong would come before these.
    let app = underway.system.hubs[0].app().unwrap();
    for (topic, record) in underway.topics.iter().zip(&mut underway.sent) {
        let more = Publisher::start(&[&app], topic, WORK, 1).finished().await;
        record.accepted.extend(more.accepted);
    }
    underway.judge().await;
}
