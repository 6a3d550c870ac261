//! FC-WHK-06, FC-WHK-07: how claims are taken, kept, lost and given back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    protocol::{Topic, webhook::Mode},
    store::Release,
};
use worker::{Served, Worker};

use crate::{
    callback::{Callback, Reply},
    system::{System, until},
};

#[actix_rt::test]
async fn a_request_that_takes_longer_than_a_claim_is_not_made_by_another_worker() {
    let slow = Duration::from_millis(1500);
    let callback = Callback::start(move |_| Reply::status(200).after(slow));
    let system = System::with(|settings| {
        settings.ack_timeout_secs = 10;
        settings.retry.claim_secs = 1;
    });
    system.subscribe_to(&callback.url("/"), "*").await;
    let workers = [system.start(), system.start()];
    system.publish("Patient-open", "e1").await;
    until("it is sent", || async { !callback.ids().is_empty() }).await;
    system.publish("Patient-open", "e2").await;
    until("the next is sent", || async { callback.ids().last().unwrap() == "e2" }).await;
    assert_eq!(callback.ids(), ["e1", "e2"], "FC-WHK-06");
    for worker in workers {
        worker.stop().await;
    }
}

#[actix_rt::test]
async fn a_worker_that_has_lost_its_claim_sends_nothing_more_and_moves_nothing() {
    let callback = Callback::start(|_| Reply::status(200).after(Duration::from_millis(300)));
    let system = System::with(|settings| settings.retry.claim_secs = 1);
    let address = system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("Patient-open", "e1").await;
    system.publish("Patient-open", "e2").await;
    let worker: Worker = system.worker();
    let working = actix_rt::spawn(async move { worker.step().await.unwrap() });
    until("a request is in flight", || async { !callback.ids().is_empty() }).await;
    // Its thread, which is this one, stands still for longer than its claim holds.
    let taken = loop {
        match system.store.claim(address, Duration::from_secs(9), 9).await.unwrap() {
            Some(claim) => break claim,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(working.await.unwrap(), [Served::Lost], "FC-WHK-07");
    assert_eq!(callback.ids(), ["e1"]);
    assert_eq!(taken.entries.len(), 2, "FC-WHK-07: it is for the new holder to deliver");
    let settled = system.store.settle(&taken, &taken.progress, None, Release::Idle).await.unwrap();
    assert!(settled, "the new holder is not disturbed");
}

#[actix_rt::test]
async fn a_worker_that_stops_finishes_what_is_in_flight_and_begins_nothing() {
    let callback = Callback::start(|_| Reply::status(200).after(Duration::from_millis(300)));
    let system = System::new();
    system.subscribe_to(&callback.url("/"), "*").await;
    let running = system.start();
    system.publish("Patient-open", "e1").await;
    system.publish("Patient-open", "e2").await;
    until("a request is in flight", || async { !callback.ids().is_empty() }).await;
    running.stop().await;
    assert_eq!(callback.ids(), ["e1"]);
    let outcomes = system.step().await;
    assert!(matches!(outcomes[..], [Served::Delivered(tally)] if tally.delivered == 1), "{outcomes:?}");
    assert_eq!(callback.ids(), ["e1", "e2"], "FC-WHK-07: given back at once, e1 is not sent again");
}

#[actix_rt::test]
async fn a_worker_that_stops_gives_back_what_hangs_within_its_drain_time() {
    let callback = Callback::start(|_| Reply::never());
    let system = System::with(|settings| {
        settings.ack_timeout_secs = 3600;
    });
    let address = system.subscribe_to(&callback.url("/"), "*").await;
    let running = system.start();
    system.publish("Patient-open", "e1").await;
    until("a request is in flight", || async { !callback.ids().is_empty() }).await;
    let stopped = Instant::now();
    running.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    let claim = system.store.claim(address, Duration::from_secs(9), 9).await.unwrap();
    assert_eq!(claim.expect("it is due").entries.len(), 1, "FC-WHK-07: the cursor stays");
}

#[actix_rt::test]
async fn what_another_worker_left_behind_is_found_without_a_bell() {
    let (system, callback) = (System::new(), Callback::accepting());
    let address = system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("Patient-open", "e1").await;
    let dead = system.store.claim(address, Duration::from_millis(1500), 9).await.unwrap().unwrap();
    let running = system.start();
    until("it comes", || async { callback.ids() == ["e1"] }).await;
    running.stop().await;
    let settled = system.store.settle(&dead, &dead.progress, None, Release::Idle).await.unwrap();
    assert!(!settled, "FC-WHK-07: the dead one comes too late");
}

/// A callback whose answers take a while, and the most requests that it had at once.
fn counting() -> (Callback, Arc<AtomicUsize>) {
    let (present, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let callback = Callback::start(move |_| {
        seen.fetch_max(present.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let present = present.clone();
        // It counts as gone before its answer can have come.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(40));
            present.fetch_sub(1, Ordering::SeqCst);
        });
        Reply::status(200).after(Duration::from_millis(50))
    });
    (callback, most)
}

#[actix_rt::test]
async fn a_host_is_asked_no_more_at_once_than_it_may_and_everything_comes() {
    let (callback, most) = counting();
    let system = System::with(|settings| settings.limits.deliveries_per_host = 2);
    for number in 0..6 {
        let callback = callback.url(&format!("/{number}"));
        system.request(Mode::Subscribe, &system.subscription(&callback, "*")).await;
    }
    let running = system.start();
    until("all are subscribed", || async { callback.received().len() == 6 }).await;
    system.publish("Patient-open", "e").await;
    until("all are told", || async { callback.ids().len() == 6 }).await;
    running.stop().await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

/// One subscription in each of 20 topics, to each of which an event has been published.
async fn publish_to_many(system: &mut System, callback: &Callback) {
    let topics: Vec<Topic> = (0..20).map(|number| format!("topic-{number}").parse().unwrap()).collect();
    for topic in &topics {
        system.topic = topic.clone();
        system.subscribe_to(&callback.url("/"), "*").await;
    }
    for topic in topics {
        system.topic = topic;
        system.publish("Patient-open", "e").await;
    }
}

#[actix_rt::test]
async fn no_more_is_claimed_than_there_is_room_for() {
    let callback = Callback::start(|_| Reply::never());
    let mut system = System::with(|settings| {
        settings.limits.deliveries = 3;
        settings.ack_timeout_secs = 3600;
    });
    publish_to_many(&mut system, &callback).await;
    let running = system.start();
    until("there is no room left", || async { callback.ids().len() == 3 }).await;
    let partitions: Vec<u16> = (0..system.store.partitions()).collect();
    assert_eq!(system.store.due(&partitions, 100).await.unwrap().len(), 17, "free for other workers");
    running.stop().await;
}

#[actix_rt::test]
async fn with_little_room_everything_comes() {
    let callback = Callback::accepting();
    let mut system = System::with(|settings| settings.limits.deliveries = 3);
    publish_to_many(&mut system, &callback).await;
    let running = system.start();
    until("all come", || async { callback.ids().len() == 20 }).await;
    running.stop().await;
    assert_eq!(callback.ids().len(), 20, "FC-WHK-07: once each");
}

#[actix_rt::test]
async fn partitions_that_are_always_due_starve_no_other() {
    let busy = Callback::start(|_| Reply::status(503));
    let good = Callback::accepting();
    let mut system = System::with(|settings| {
        settings.limits.deliveries = 1;
        settings.retry.initial_secs = 0.001;
        settings.retry.max_secs = 0.001;
        settings.retry.max_attempts = u32::MAX;
        settings.ack_timeout_secs = 3600;
    });
    let mut topics: Vec<Topic> = (0..9).map(|number| format!("topic-{number}").parse().unwrap()).collect();
    topics.sort_by_key(|topic| topic.key().partition(system.store.partitions()));
    system.topic = topics[0].clone();
    for number in 0..20 {
        system.subscribe_to(&busy.url(&format!("/{number}")), "*").await;
    }
    system.publish("Patient-open", "e").await;
    let partitions = system.store.partitions();
    let others: Vec<&Topic> = topics
        .iter()
        .filter(|topic| topic.key().partition(partitions) != topics[0].key().partition(partitions))
        .collect();
    assert!(others.len() >= 4);
    let running = system.start();
    until("there is no rest", || async { busy.ids().len() > 40 }).await;
    for topic in &others {
        system.topic = (*topic).clone();
        system.request(Mode::Subscribe, &system.subscription(&good.url("/"), "*")).await;
    }
    until("the others have their turn", || async { good.received().len() == others.len() }).await;
    running.stop().await;
}

#[actix_rt::test]
async fn what_nobody_has_confirmed_leaves_room_for_what_is_in_force() {
    let hanging = Callback::answering(|_| Reply::never());
    let good = Callback::accepting();
    let system = System::with(|settings| {
        settings.limits.deliveries = 8;
        settings.ack_timeout_secs = 3600;
    });
    system.subscribe_to(&good.url("/"), "*").await;
    for number in 0..20 {
        let url = hanging.url(&format!("/{number}"));
        system.request(Mode::Subscribe, &system.subscription(&url, "*")).await;
    }
    let running = system.start();
    until("some are asked", || async { hanging.received().len() == 2 }).await;
    system.publish("Patient-open", "e").await;
    until("FC-WHK-06: the other has its event", || async { good.ids() == ["e"] }).await;
    assert_eq!(hanging.received().len(), 2, "a quarter of the room");
    running.stop().await;
}
