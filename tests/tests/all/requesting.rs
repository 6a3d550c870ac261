//! Requesting a context change (FC-REQ-01…05, 07, 08).

use std::time::Instant;

use harness::{
    examples::{fresh_id, fresh_topic},
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::{event, patient_open, resource, versioned},
    setups::{Kind, ids_until, on_each_setup},
};

on_each_setup![
    an_accepted_event_is_in_the_session_on_every_node_at_once,
    an_event_may_be_posted_to_its_topic_and_to_no_other,
    everyone_that_asked_for_it_is_told_the_requester_included,
    a_sync_error_of_a_subscriber_is_broadcast_and_a_heartbeat_is_refused,
    a_topic_without_subscribers_keeps_its_context,
    the_same_request_again_at_once_is_accepted_and_not_broadcast,
    a_resend_after_a_while_or_with_other_bytes_is_broadcast_again,
    an_update_sent_again_at_once_does_not_conflict_with_itself,
    an_acceptance_has_an_explicit_length_of_nothing,
];

async fn an_accepted_event_is_in_the_session_on_every_node_at_once(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    for _ in 0..10 {
        let id = fresh_id();
        setup.publish(&patient_open(&topic, &id)).await;
        for node in setup.nodes() {
            let current = node.app().unwrap().current_context(&topic).await.unwrap();
            assert!(current.body.contains(&format!("p-{id}")), "FC-REQ-01: {current:?}");
        }
    }
}

async fn an_event_may_be_posted_to_its_topic_and_to_no_other(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.publisher();
    for topic in [fresh_topic(), format!("a topic/ü{}", fresh_topic())] {
        let path = format!("/{}", topic.replace(' ', "%20").replace('/', "%2F").replace('ü', "%C3%BC"));
        let listener = setup.listener(&topic, "Patient-open").await;
        let refused = patient_open(&topic, "refused");
        let answer =
            app.post(&format!("/{}", fresh_topic()), "application/json", refused.as_bytes()).await.unwrap();
        assert!(answer.status == 400 && answer.body.contains("hub.topic"), "FC-REQ-01: {answer:?}");
        let message = patient_open(&topic, "1");
        let answer = app.post(&path, "application/json", message.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 202, "FC-REQ-01: {path}: {answer:?}");
        assert_eq!(ids_until(&listener, "1").await, ["1"], "FC-REQ-01: the refused one is not broadcast");
    }
    let upper = fresh_topic().to_uppercase();
    let (path, message) = (format!("/{}", upper.to_lowercase()), patient_open(&upper, "1"));
    let answer = app.post(&path, "application/json", message.as_bytes()).await.unwrap();
    assert_eq!(answer.status, 400, "FC-REQ-01, FC-SES-01: topics are case sensitive");
}

async fn everyone_that_asked_for_it_is_told_the_requester_included(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listeners = [setup.listener(&topic, "Patient-open").await, setup.listener(&topic, "*-open").await];
    let other_event = setup.listener(&topic, "Patient-close,syncerror").await;
    let other_topic = setup.listener(&fresh_topic(), "*").await;
    let id = fresh_id();
    setup.publish(&patient_open(&topic, &id)).await;
    for listener in &listeners {
        assert_eq!(ids_until(listener, &id).await, [id.as_str()], "FC-REQ-02: with the request's id");
    }
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    assert_eq!(ids_until(&other_event, "last").await, ["last"], "FC-REQ-02: to those that asked for it");
    assert_eq!(
        other_topic.seen(|seen| seen.received.len()),
        1,
        "FC-REQ-02: in their topic: the confirmation alone"
    );
}

async fn a_sync_error_of_a_subscriber_is_broadcast_and_a_heartbeat_is_refused(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "syncerror,heartbeat").await;
    for name in ["heartbeat", "HeartBeat"] {
        let message = event(&topic, &fresh_id(), name, r#"{"key":"period","decimal":10}"#);
        let answer = setup.publisher().publish(&message).await.unwrap();
        assert!(answer.status == 400 && answer.body.contains("hub.event"), "FC-REQ-03: {answer:?}");
    }
    setup.publish(&event(&topic, "mine", "SyncError", &resource("OperationOutcome", "1"))).await;
    assert_eq!(ids_until(&listener, "mine").await, ["mine"], "FC-REQ-03");
}

async fn a_topic_without_subscribers_keeps_its_context(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    setup.publish(&patient_open(&topic, "1")).await;
    let current = setup.subscriber().current_context(&topic).await.unwrap().json().unwrap();
    assert_eq!(current["context"][0]["resource"]["id"], "p-1", "FC-REQ-04");
    let late = setup.listener(&topic, "*").await;
    assert_eq!(ids_until(&late, "1").await, ["1"], "FC-REQ-04, FC-SUB-08");
}

async fn the_same_request_again_at_once_is_accepted_and_not_broadcast(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "Patient-open").await;
    let started = Instant::now();
    for _ in 0..3 {
        for node in setup.nodes() {
            let answer = node.app().unwrap().publish(&patient_open(&topic, "1")).await.unwrap();
            assert_eq!(answer.status, 202, "FC-REQ-07: {answer:?}");
        }
    }
    assert!(started.elapsed().as_secs() < 5, "this machine is too slow to retry within five seconds");
    setup.publish(&patient_open(&topic, "2")).await;
    assert_eq!(ids_until(&listener, "2").await, ["1", "2"], "FC-REQ-07: once");
}

async fn a_resend_after_a_while_or_with_other_bytes_is_broadcast_again(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "Patient-open").await;
    let message = patient_open(&topic, "1");
    setup.publish(&message).await;
    setup.publish(&message.replacen("{", "{ ", 1)).await;
    let times = |count| {
        move |seen: &harness::socket::Seen| (seen.ids("Patient-open").concat().len() == count).then_some(())
    };
    listener.wait_for(PATIENCE, "it comes twice", times(2)).await.expect("FC-REQ-05: other bytes");
    let third = eventually(PATIENCE, "it comes a third time", || async {
        setup.publish(&message).await;
        listener.seen(times(3))
    });
    third.await.expect("FC-REQ-05: the same id, timestamp and bytes after five seconds");
}

async fn an_update_sent_again_at_once_does_not_conflict_with_itself(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "DiagnosticReport-*").await;
    let report = resource("DiagnosticReport", "1");
    setup.publish(&event(&topic, "open", "DiagnosticReport-open", &report)).await;
    let opened = listener.wait_for_event(PATIENCE, "open").await.unwrap();
    let version = opened.json["event"]["context.versionId"].as_str().unwrap().to_owned();
    let elements = format!(
        r#"{report},{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction"}}}}"#
    );
    let update = versioned(&event(&topic, "update", "DiagnosticReport-update", &elements), &version);
    for node in setup.nodes().into_iter().chain(setup.nodes()) {
        let answer = node.app().unwrap().publish(&update).await.unwrap();
        assert_eq!(answer.status, 202, "FC-REQ-07: not 409 for its own version: {answer:?}");
    }
    let another = update.replace(r#""id":"update""#, r#""id":"another""#);
    let answer = setup.publisher().publish(&another).await.unwrap();
    assert_eq!(answer.status, 409, "FC-CNT-02: another request is: {answer:?}");
    setup.publish(&event(&topic, "last", "DiagnosticReport-select", &report)).await;
    assert_eq!(ids_until(&listener, "last").await, ["open", "update", "last"], "FC-REQ-07: once");
}

async fn an_acceptance_has_an_explicit_length_of_nothing(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    for _ in 0..2 {
        let answer = setup.publisher().publish(&patient_open(&topic, "1")).await.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (202, ""), "FC-REQ-08: {answer:?}");
        assert_eq!(answer.header("content-length"), "0", "FC-REQ-08: {answer:?}");
        assert_eq!(answer.header("transfer-encoding"), "", "FC-REQ-08: {answer:?}");
        assert!(!answer.header("content-type").contains("json"), "FC-REQ-08: {answer:?}");
    }
}
