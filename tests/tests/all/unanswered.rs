//! Notifications that a socket's subscriber leaves unanswered (FC-NOT-04…06).

use std::time::{Duration, Instant};

use harness::{examples::fresh_topic, socket::Listener, wait::PATIENCE};

use crate::{
    messages::{event, patient_open},
    setups::{Kind, Setup, code_of, confirmed, on_each_setup, sync_error_after, sync_errors_until},
};

on_each_setup![
    who_has_answered_and_then_does_not_is_reported_once_an_event,
    who_never_answers_is_not_reported_unless_the_hub_is_strict,
    who_leaves_three_in_a_row_unanswered_is_unsubscribed,
    an_answer_without_a_status_is_an_answer,
    nobody_is_told_that_a_sync_error_or_a_refusal_is_unanswered,
];

const ACK: Duration = Duration::from_secs(1);
/// How late a report may be beside the ack time-out, on a busy machine.
const SLACK: Duration = Duration::from_secs(1);
const QUICK: (&str, &str) = ("ack_timeout_secs", "1");

/// Answers what comes until an event of this id has come, and nothing from it on.
fn falls_silent_at(listener: &Listener, id: &'static str) {
    let silent = std::sync::atomic::AtomicBool::new(false);
    listener.answer_with(move |received| {
        let is_it = received.event().is_some_and(|(event, _)| event == id);
        let was = silent.fetch_or(is_it, std::sync::atomic::Ordering::Relaxed);
        (!was && !is_it).then_some(200)
    });
}

async fn named(setup: &Setup, topic: &str, name: &str) -> Listener {
    setup.named_listener(topic, "*", &[("subscriber.name", name)]).await
}

async fn who_has_answered_and_then_does_not_is_reported_once_an_event(kind: Kind) {
    let (setup, topic) = (kind.own(&[QUICK]).await, fresh_topic());
    let (silent, reporter) = (named(&setup, &topic, "Silent").await, setup.listener(&topic, "*").await);
    let elsewhere = setup.publisher().subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let elsewhere = confirmed(&elsewhere).await;
    falls_silent_at(&silent, "2");
    for id in ["1", "2", "3"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    let since = Instant::now();
    for (number, id) in ["2", "3"].iter().enumerate() {
        let sync_error = sync_error_after(&reporter, number).await;
        assert_eq!(code_of(&sync_error, "eventid"), *id, "FC-NOT-04");
        assert_eq!(code_of(&sync_error, "subscriber"), "Silent", "FC-NOT-03");
        assert_eq!(code_of(&sync_error, "eventname"), "Patient-open", "FC-NOT-03");
    }
    assert!(since.elapsed() < ACK + SLACK, "FC-NOT-04: within the ack time-out: {:?}", since.elapsed());
    silent.answer_with(|_| Some(200));
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    for reporter in [&reporter, &elsewhere] {
        assert_eq!(sync_errors_until(reporter, "last").await.len(), 2, "FC-NOT-04: each once, on every node");
    }
    assert!(sync_errors_until(&silent, "last").await.is_empty(), "FC-NOT-02: told to the others");
}

async fn who_never_answers_is_not_reported_unless_the_hub_is_strict(kind: Kind) {
    for is_strict in [false, true] {
        let strict = ("syncerror.strict", if is_strict { "true" } else { "false" });
        let (setup, topic) = (kind.own(&[QUICK, strict]).await, fresh_topic());
        let (silent, reporter) = (named(&setup, &topic, "Silent").await, setup.listener(&topic, "*").await);
        silent.answer_with(|_| None);
        // Its unanswered event is overdue after the one of the other subscriber.
        let other = named(&setup, &topic, "Other").await;
        falls_silent_at(&other, "2");
        setup.publish(&patient_open(&topic, "1")).await;
        other.wait_for_event(PATIENCE, "1").await.unwrap();
        setup.publish(&patient_open(&topic, "2")).await;
        let names: Vec<String> = if is_strict {
            let mut names = Vec::new();
            for number in 0..3 {
                names.push(code_of(&sync_error_after(&reporter, number).await, "subscriber"));
            }
            names.sort();
            names
        } else {
            vec![code_of(&sync_error_after(&reporter, 0).await, "subscriber")]
        };
        let expected: &[&str] = if is_strict { &["Other", "Silent", "Silent"] } else { &["Other"] };
        assert_eq!(names, expected, "FC-NOT-04: strict: {is_strict}");
    }
}

async fn who_leaves_three_in_a_row_unanswered_is_unsubscribed(kind: Kind) {
    let (setup, topic) = (kind.own(&[QUICK]).await, fresh_topic());
    let (silent, reporter) = (named(&setup, &topic, "Silent").await, setup.listener(&topic, "*").await);
    falls_silent_at(&silent, "2");
    for id in ["1", "2", "3", "4"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    assert_eq!(silent.wait_closed(PATIENCE).await.unwrap(), Some(1000), "FC-NOT-06");
    let denial = silent.seen(|seen| seen.received.last().unwrap().json.clone());
    assert_eq!(denial["hub.mode"], "denied", "FC-SUB-10: {denial}");
    assert!(denial["hub.reason"].as_str().unwrap().contains("not answered"), "FC-SUB-10: {denial}");
    let gone = Listener::connect(silent.endpoint()).await.err().unwrap();
    assert_eq!(harness::socket::upgrade_status(&gone), Some(404), "FC-NOT-06");
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert_eq!(sync_errors_until(&reporter, "last").await.len(), 3, "FC-NOT-04, FC-NOT-06");
}

async fn an_answer_without_a_status_is_an_answer(kind: Kind) {
    let (setup, topic) = (kind.own(&[QUICK]).await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let mut socket = harness::socket::Socket::connect(&endpoint).await.unwrap();
    let reporter = setup.listener(&topic, "syncerror,org.example.last").await;
    let silent = named(&setup, &topic, "Silent").await;
    falls_silent_at(&silent, "2");
    socket.next_json(PATIENCE).await.unwrap();
    for id in ["1", "2"] {
        setup.publish(&patient_open(&topic, id)).await;
        let came = socket.next_json(PATIENCE).await.unwrap();
        assert_eq!(came["id"], id);
        socket.send(format!(r#"{{"id":"{id}"}}"#).into()).await.unwrap();
    }
    // The other one's is overdue not before this one's would be.
    assert_eq!(code_of(&sync_error_after(&reporter, 0).await, "subscriber"), "Silent", "FC-WSC-03");
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert_eq!(sync_errors_until(&reporter, "last").await.len(), 1, "FC-WSC-03, FC-NOT-04");
}

async fn nobody_is_told_that_a_sync_error_or_a_refusal_is_unanswered(kind: Kind) {
    let (setup, topic) = (kind.own(&[QUICK]).await, fresh_topic());
    let (silent, reporter) = (named(&setup, &topic, "Silent").await, setup.listener(&topic, "*").await);
    silent.answer_with(|received| match received.event() {
        Some((_, "syncerror")) => None,
        Some(("refused", _)) => Some(409),
        _ => Some(200),
    });
    setup.publish(&patient_open(&topic, "1")).await;
    setup.publish(&patient_open(&topic, "refused")).await;
    assert_eq!(code_of(&sync_error_after(&reporter, 0).await, "eventid"), "refused", "FC-NOT-02");
    setup.publish(&event(&topic, "e", "syncerror", "")).await;
    // Longer than the time-out of all that came before.
    falls_silent_at(&silent, "late");
    setup.publish(&patient_open(&topic, "late")).await;
    assert_eq!(code_of(&sync_error_after(&reporter, 2).await, "eventid"), "late", "FC-NOT-04");
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    let told = sync_errors_until(&reporter, "last").await.len();
    assert_eq!(told, 3, "FC-NOT-05: its own and two of the hub");
}
