//! FC-WHK-04, FC-NOT-02, FC-NOT-03, FC-NOT-05: what the others are told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use worker::{Served, Tally};

use crate::{
    callback::{Callback, Reply},
    system::{System, until},
};

#[actix_rt::test]
async fn a_refused_event_is_not_tried_again_and_the_others_are_told() {
    let (refusing, other) = (Callback::start(|_| Reply::status(409)), Callback::accepting());
    let system = System::new();
    let mut subscription = system.subscription(&refusing.url("/"), "Patient-open,syncerror");
    subscription.terms.subscriber_name = Some("Acme".into());
    system.subscribe(&subscription).await;
    system.subscribe_to(&other.url("/"), "syncerror").await;
    let running = system.start();
    system.publish("Patient-open", "e1").await;
    until("the other is told", || async { other.ids().len() == 1 }).await;
    system.publish("Patient-open", "e2").await;
    until("the other is told again", || async { other.ids().len() == 2 }).await;
    running.stop().await;

    assert_eq!(refusing.ids(), ["e1", "e2"], "FC-WHK-04: no retry; FC-NOT-02: no SyncError about itself");
    let told = other.notifications()[0].json();
    assert_eq!(told["event"]["hub.event"], "syncerror", "FC-NOT-02");
    let issue = &told["event"]["context"][0]["resource"]["issue"][0];
    assert_eq!(issue["diagnostics"], "Acme refused Patient-open with status 409", "FC-NOT-03");
    assert_eq!(system.reported().await, ["e1", "e2"], "FC-NOT-02: once each");
}

#[actix_rt::test]
async fn an_event_that_keeps_failing_is_reported_once_in_time_while_the_retries_go_on() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let callback =
        Callback::start(move |_| Reply::status(if well.load(Ordering::SeqCst) { 200 } else { 503 }));
    let system = System::new();
    system.subscribe_to(&callback.url("/"), "*").await;
    let running = system.start();
    let published = Instant::now();
    system.publish("Patient-open", "e1").await;
    until("it is reported", || async { !system.reported().await.is_empty() }).await;
    let after = published.elapsed();
    assert!(after >= Duration::from_millis(950) && after < Duration::from_secs(5), "FC-WHK-04: {after:?}");
    let tries = callback.ids().len();
    assert!(tries > 2, "FC-WHK-04: {tries} tries before");
    until("retries go on", || async { callback.ids().len() > tries + 2 }).await;
    is_well.store(true, Ordering::SeqCst);
    system.publish("Patient-open", "e2").await;
    until("the next comes", || async { callback.ids().last().unwrap() == "e2" }).await;
    running.stop().await;
    assert_eq!(system.reported().await, ["e1"], "FC-WHK-04: once");
}

#[actix_rt::test]
async fn events_are_reported_in_time_while_a_request_hangs() {
    reports_both_in_time(Reply::never).await;
}

#[actix_rt::test]
async fn events_are_reported_in_time_behind_one_that_waits_long() {
    reports_both_in_time(|| Reply::status(503).header("retry-after", "60")).await;
}

async fn reports_both_in_time(reply: impl Fn() -> Reply + Send + Sync + 'static) {
    let callback = Callback::start(move |_| reply());
    // The second event becomes overdue early in the second request: a report that waits for the
    // end of that request comes after nearly twice the time.
    let system = System::with(|settings| settings.ack_timeout_secs = 2);
    let in_time = Duration::from_millis(1950)..Duration::from_millis(3500);
    system.subscribe_to(&callback.url("/"), "Patient-open").await;
    let running = system.start();
    let published = Instant::now();
    system.publish("Patient-open", "e1").await;
    until("it is tried", || async { !callback.ids().is_empty() }).await;
    actix_rt::time::sleep(Duration::from_millis(100)).await;
    let published_behind = Instant::now();
    system.publish("Patient-open", "e2").await;
    until("the first is reported", || async { system.reported().await == ["e1"] }).await;
    assert!(in_time.contains(&published.elapsed()), "FC-WHK-04: {:?}", published.elapsed());
    until("the second is reported", || async { system.reported().await == ["e1", "e2"] }).await;
    assert!(in_time.contains(&published_behind.elapsed()), "FC-WHK-04: {:?}", published_behind.elapsed());
    assert!(!callback.ids().contains(&"e2".to_owned()), "FC-WHK-06");
    running.stop().await;
}

#[actix_rt::test]
async fn events_are_reported_in_time_while_their_host_is_busy_with_others() {
    let callback = Callback::start(|_| Reply::never());
    let system = System::with(|settings| {
        settings.ack_timeout_secs = 2;
        settings.limits.deliveries_per_host = 1;
    });
    for path in ["/hangs", "/waits"] {
        let event = if path == "/hangs" { "Patient-open" } else { "Encounter-open" };
        system.subscribe_to(&callback.url(path), event).await;
    }
    let running = system.start();
    system.publish("Patient-open", "e1").await;
    until("the host is busy", || async { !callback.ids().is_empty() }).await;
    let published = Instant::now();
    system.publish("Encounter-open", "e2").await;
    until("it is reported", || async { system.reported().await.contains(&"e2".to_owned()) }).await;
    let after = published.elapsed();
    assert!(
        after >= Duration::from_millis(1950) && after < Duration::from_millis(3500),
        "FC-WHK-04: {after:?}"
    );
    running.stop().await;
}

#[actix_rt::test]
async fn events_beyond_what_one_claim_reads_are_reported_as_well() {
    let callback = Callback::start(|_| Reply::status(503).header("retry-after", "60"));
    let system = System::new();
    system.subscribe_to(&callback.url("/"), "Patient-open").await;
    let ids: Vec<String> = (0..150).map(|number| format!("e{number}")).collect();
    for id in &ids {
        system.publish("Patient-open", id).await;
    }
    let running = system.start();
    until("all are reported", || async { system.reported().await.len() >= 150 }).await;
    running.stop().await;
    assert_eq!(system.reported().await, ids, "FC-WHK-04: each once");
}

#[actix_rt::test]
async fn gone_ends_the_subscription_and_the_others_are_told() {
    let callback = Callback::start(|_| Reply::status(410));
    let system = System::new();
    let address = system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("Patient-open", "e1").await;
    system.publish("Patient-open", "e2").await;
    assert_eq!(system.step().await, [Served::Ended], "FC-WHK-04");
    assert!(!system.exists(address).await, "FC-WHK-04");
    assert_eq!(callback.ids(), ["e1"], "FC-WHK-04");
    assert_eq!(system.reported().await, ["e1"]);
}

#[actix_rt::test]
async fn an_event_that_is_given_up_is_reported_and_the_next_one_is_tried() {
    let callback = Callback::start(|request| Reply::status(if request.id() == "e1" { 500 } else { 200 }));
    let system = System::with(|settings| settings.retry.max_attempts = 3);
    system.subscribe_to(&callback.url("/"), "Patient-open").await;
    system.publish("Patient-open", "e1").await;
    system.publish("Patient-open", "e2").await;
    let running = system.start();
    until("the next comes", || async { callback.ids().last().is_some_and(|id| id == "e2") }).await;
    running.stop().await;
    assert_eq!(callback.ids(), ["e1", "e1", "e1", "e2"], "FC-WHK-04");
    assert_eq!(system.reported().await, ["e1"], "FC-WHK-04: though it is younger than the ack time-out");
}

#[actix_rt::test]
async fn nobody_is_told_that_a_sync_error_did_not_arrive() {
    let callback = Callback::start(|_| Reply::status(400));
    let system = System::new();
    system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("syncerror", "e1").await;
    let refused = Tally { refused: 1, ..Tally::default() };
    assert_eq!(system.step().await, [Served::Delivered(refused)], "FC-NOT-05");
    assert!(system.reported().await.is_empty(), "FC-NOT-05");
}
