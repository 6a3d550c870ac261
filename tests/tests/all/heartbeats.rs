//! Heartbeats (FC-WSC-06).

use std::time::{Duration, Instant};

use harness::{examples::fresh_topic, socket::Listener, wait::PATIENCE};
use serde_json::{Value, json};

use crate::{
    messages::{event, patient_open},
    setups::{Kind, Setup, ids_until, on_each_setup, sync_errors_until},
};

on_each_setup![
    who_asks_by_name_gets_a_heartbeat_within_each_period,
    nobody_is_reported_for_an_unanswered_heartbeat,
];

const QUICK: [(&str, &str); 2] = [("heartbeat_secs", "1"), ("ack_timeout_secs", "1")];

fn is_heartbeat(message: &Value) -> bool {
    message["event"]["hub.event"] == "heartbeat"
}

async fn heartbeats(listener: &Listener, count: usize) -> Vec<Value> {
    let all = listener.wait_for(PATIENCE, "heartbeats", |seen| {
        let heartbeats =
            seen.received.iter().map(|received| &received.json).filter(|json| is_heartbeat(json));
        let heartbeats: Vec<Value> = heartbeats.cloned().collect();
        (heartbeats.len() >= count).then_some(heartbeats)
    });
    all.await.unwrap()
}

async fn own(kind: Kind) -> (Setup, String) {
    (kind.own(&QUICK).await, fresh_topic())
}

async fn who_asks_by_name_gets_a_heartbeat_within_each_period(kind: Kind) {
    let (setup, topic) = own(kind).await;
    let all = setup.listener(&topic, "*,*-*").await;
    let named = setup.listener(&topic, "Patient-open,HeartBeat").await;
    let since = Instant::now();
    let came = heartbeats(&named, 4).await;
    let taken = since.elapsed();
    assert!(taken < Duration::from_secs(4), "FC-WSC-06: one within each second: {taken:?}");
    assert!(taken > Duration::from_secs(2), "FC-WSC-06: and not many more: {taken:?}");
    assert_eq!(came[0]["event"]["context"], json!([{"key": "period", "decimal": "1"}]), "FC-WSC-06");
    assert_eq!(came[0]["event"]["hub.topic"], topic.as_str(), "FC-WSC-06");
    assert_ne!(came[0]["id"], came[1]["id"]);
    setup.publish(&patient_open(&topic, "last")).await;
    assert_eq!(ids_until(&all, "last").await, ["last"], "FC-WSC-06: a wildcard does not ask for it");
    setup.subscriber().unsubscribe_websocket(&topic, named.endpoint()).await.unwrap();
    named.wait_closed(PATIENCE).await.unwrap();
}

async fn nobody_is_reported_for_an_unanswered_heartbeat(kind: Kind) {
    let (setup, topic) = own(kind).await;
    let reporter = setup.listener(&topic, "*").await;
    let named = setup.listener(&topic, "Patient-open,heartbeat").await;
    named.answer_with(|received| (!is_heartbeat(&received.json)).then_some(200));
    setup.publish(&patient_open(&topic, "1")).await;
    heartbeats(&named, 5).await;
    // And an answer to one, even a refusal, does no harm.
    named.answer_with(|received| Some(if is_heartbeat(&received.json) { 500 } else { 200 }));
    heartbeats(&named, 7).await;
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert!(sync_errors_until(&reporter, "last").await.is_empty(), "FC-NOT-05");
}
