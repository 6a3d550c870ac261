//! FC-WHK-03, FC-WHK-04, FC-WHK-06, FC-WHK-07, FC-NOT-01.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use shared::{
    protocol::{subscription_request::Secret, webhook::signature},
    store::Channel,
    telemetry::metrics::METRICS,
};
use worker::{Served, Tally};

use crate::{
    callback::{Callback, Reply},
    system::{System, until},
};

/// Answers with these, one after the other, and then with 200.
fn first(replies: &'static [u16]) -> impl Fn(&crate::callback::Received) -> Reply {
    let next = AtomicUsize::new(0);
    move |_| Reply::status(*replies.get(next.fetch_add(1, Ordering::SeqCst)).unwrap_or(&200))
}

#[actix_rt::test]
async fn notifications_come_in_order_signed_and_as_they_were_sent() {
    let (system, callback) = (System::new(), Callback::accepting());
    let mut subscription = system.subscription(&callback.url("/cb?session=7"), "Patient-open");
    let secret: Secret = serde_json::from_value("hush".into()).unwrap();
    if let Channel::Webhook { secret: slot, .. } = &mut subscription.channel {
        *slot = Some(secret.clone());
    }
    system.subscribe(&subscription).await;
    let ids: Vec<String> = (0..100).map(|number| format!("e{number}")).collect();
    for id in &ids {
        system.publish("Patient-open", id).await;
    }
    let running = system.start();
    until("all come", || async { callback.ids().len() >= 100 }).await;
    running.stop().await;
    assert_eq!(callback.ids(), ids, "FC-WHK-06: in order, and over more than one claim");
    for notification in callback.notifications() {
        assert_eq!(notification.content_type.as_deref(), Some("application/json"), "FC-WHK-03");
        assert_eq!(notification.parameter("session"), Some("7"), "FC-WHK-03");
        assert_eq!(notification.signature, Some(signature(&secret, &notification.body)), "FC-WHK-03");
        assert!(notification.json()["event"]["context.versionId"].is_string(), "FC-NOT-01");
    }
    assert!(system.reported().await.is_empty());
}

#[actix_rt::test]
async fn without_a_secret_there_is_no_signature() {
    let (system, callback) = (System::new(), Callback::accepting());
    system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("Patient-open", "e").await;
    assert_eq!(system.step().await, [Served::Delivered(Tally { delivered: 1, ..Tally::default() })]);
    assert_eq!(callback.notifications()[0].signature, None, "FC-WHK-03");
}

#[actix_rt::test]
async fn what_a_subscriber_did_not_ask_for_is_passed_over() {
    let (system, callback) = (System::new(), Callback::accepting());
    let address = system.subscribe_to(&callback.url("/"), "Patient-open").await;
    for (event, id) in [("ImagingStudy-open", "i1"), ("Patient-open", "p"), ("ImagingStudy-open", "i2")] {
        system.publish(event, id).await;
    }
    system.step().await;
    assert_eq!(callback.ids(), ["p"]);
    let partition = address.topic.partition(system.store.partitions());
    assert!(
        system.store.due(&[partition], 1).await.unwrap().is_empty(),
        "the cursor is at the end of the log"
    );
}

#[actix_rt::test]
async fn a_failed_delivery_is_tried_again_with_the_same_id_before_the_next_event() {
    for status in [500, 503, 408, 425, 429] {
        let replies: &'static [u16] = vec![status, status].leak();
        let (system, callback) = (System::new(), Callback::start(first(replies)));
        system.subscribe_to(&callback.url("/"), "*").await;
        system.publish("Patient-open", "e1").await;
        system.publish("Patient-open", "e2").await;
        let running = system.start();
        until("both come", || async { callback.ids().len() >= 4 }).await;
        running.stop().await;
        assert_eq!(callback.ids(), ["e1", "e1", "e1", "e2"], "FC-WHK-04, FC-WHK-06, FC-WHK-07: {status}");
    }
}

#[actix_rt::test]
async fn a_callback_that_cannot_be_reached_is_tried_again() {
    let (system, callback) = (System::new(), Callback::accepting());
    let (url, port) = (callback.url("/"), callback.port());
    system.subscribe_to(&url, "*").await;
    drop(callback);
    until("its port is closed", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err()
    })
    .await;
    system.publish("Patient-open", "e1").await;
    let outcomes = system.step().await;
    assert!(
        matches!(outcomes[..], [Served::Waiting { tally: Tally { delivered: 0, .. }, .. }]),
        "FC-WHK-04: {outcomes:?}"
    );
}

#[actix_rt::test]
async fn retry_after_is_waited_for() {
    let is_first = AtomicBool::new(true);
    let callback = Callback::start(move |_| {
        let wait = is_first.swap(false, Ordering::SeqCst);
        if wait { Reply::status(429).header("retry-after", "1") } else { Reply::status(202) }
    });
    let system = System::new();
    system.subscribe_to(&callback.url("/"), "*").await;
    system.publish("Patient-open", "e").await;
    let running = system.start();
    until("it comes", || async { callback.ids().len() == 2 }).await;
    running.stop().await;
    let tries = callback.notifications();
    assert!(
        tries[1].at - tries[0].at >= Duration::from_millis(950),
        "FC-WHK-04: {:?}",
        tries[1].at - tries[0].at
    );
}

#[actix_rt::test]
async fn a_subscriber_that_hangs_delays_no_other() {
    let (hanging, good) = (Callback::start(|_| Reply::never()), Callback::accepting());
    let system = System::with(|settings| {
        settings.ack_timeout_secs = 3600;
    });
    system.subscribe_to(&hanging.url("/"), "Patient-open").await;
    system.subscribe_to(&good.url("/"), "Patient-open").await;
    let running = system.start();
    system.publish("Patient-open", "e1").await;
    until("the first hangs", || async { !hanging.ids().is_empty() }).await;
    system.publish("Patient-open", "e2").await;
    until("the other has both", || async { good.ids() == ["e1", "e2"] }).await;
    assert_eq!(hanging.ids(), ["e1"], "FC-WHK-06: one request in flight");
    running.stop().await;
}

#[actix_rt::test]
async fn a_long_answer_counts_by_its_status_and_is_not_read_to_its_end() {
    let system = System::with(|settings| settings.limits.callback_body_bytes = 100);
    let callback = Callback::start(|_| Reply::status(200).body(vec![b'x'; 5_000_000]));
    system.subscribe_to(&callback.url("/"), "*").await;
    for id in ["e1", "e2"] {
        system.publish("Patient-open", id).await;
    }
    assert_eq!(system.step().await, [Served::Delivered(Tally { delivered: 2, ..Tally::default() })]);
    assert_eq!(callback.ids(), ["e1", "e2"]);
}

#[actix_rt::test]
async fn who_has_missed_what_the_log_no_longer_holds_is_told_and_begins_anew() {
    let callback = Callback::accepting();
    let system = System::with(|settings| settings.limits.log_entries = 3);
    system.subscribe_to(&callback.url("/"), "*").await;
    let gaps = METRICS.gaps.get();
    for id in ["e1", "e2", "e3", "e4", "e5"] {
        system.publish("Patient-open", id).await;
    }
    assert_eq!(system.step().await, [Served::Delivered(Tally::default())]);
    assert!(METRICS.gaps.get() > gaps, "FC-WHK-06: nothing is skipped silently");
    let told = Tally { delivered: 2, ..Tally::default() };
    assert_eq!(system.step().await, [Served::Delivered(told)]);
    let ids = callback.ids();
    assert_eq!(ids[1..], ["e5"], "what is open now");
    let sync_error = system.sync_errors().await.pop().unwrap();
    assert!(sync_error.1.contains("has missed events"), "FC-NOT-03: {sync_error:?}");
    assert!(system.step().await.is_empty(), "the cursor is at the head, and nobody looks again");
    system.publish("Patient-open", "e6").await;
    assert_eq!(system.step().await, [Served::Delivered(Tally { delivered: 1, ..Tally::default() })]);
    assert_eq!(callback.ids()[2..], ["e6"]);
}

#[actix_rt::test]
async fn nothing_is_sent_to_a_slow_callback_after_the_end_of_its_lease() {
    const LEASE: Duration = Duration::from_secs(2);
    let callback = Callback::start(|_| Reply::status(200).after(LEASE / 4));
    let system = System::with(|settings| settings.ack_timeout_secs = 5);
    let mut subscription = system.subscription(&callback.url("/"), "Patient-open");
    subscription.terms.lease_secs = LEASE.as_secs();
    let address = system.subscribe(&subscription).await;
    let end = Instant::now() + LEASE;
    for number in 0..20 {
        system.publish("Patient-open", &format!("e{number}")).await;
    }
    let running = system.start();
    until("it is over", || async { !system.exists(address).await && is_denied(&callback) }).await;
    running.stop().await;
    let last = callback.notifications().pop().unwrap();
    assert!(last.at < end, "FC-SEC-04: sent {:?} after the end", last.at - end);
    assert!(callback.ids().len() < 10, "FC-SEC-04: {:?}", callback.ids());
}

fn is_denied(callback: &Callback) -> bool {
    callback.received().iter().any(|request| request.parameter("hub.reason") == Some("lease expired"))
}
