//! Being asked to stop (FC-SUB-11): sockets are let go, nothing is lost, and the exit is clean.

use std::time::Duration;

use harness::{
    callback_server::{CallbackServer, Gate, Reply},
    examples::fresh_topic,
    history::History,
    process::Signal,
    wait::PATIENCE,
};

use crate::{
    messages::patient_open,
    setups::{Kind, Setup, confirmed, ids_at, ids_until, on_each_setup},
};

on_each_setup![
    a_hub_that_is_stopped_closes_its_sockets_with_1001_and_exits_0,
    a_request_in_flight_is_finished_before_the_exit,
];

const DRAIN_SECS: u64 = 5;

async fn draining(kind: Kind) -> Setup {
    kind.own(&[("drain_secs", &DRAIN_SECS.to_string())]).await
}

fn first_hub(setup: &mut Setup) -> &mut harness::system::Hub {
    match setup {
        Setup::Embedded(hub) => hub,
        Setup::Cluster(system) => &mut system.hubs[0],
    }
}

async fn a_hub_that_is_stopped_closes_its_sockets_with_1001_and_exits_0(kind: Kind) {
    let mut setup = draining(kind).await;
    let mut listeners = Vec::new();
    for _ in 0..20 {
        listeners.push(setup.listener(&fresh_topic(), "*").await);
    }
    let exited = first_hub(&mut setup).stop(Duration::from_secs(DRAIN_SECS)).await;
    assert_eq!(exited.expect("FC-SUB-11: within the drain time").code(), Some(0), "FC-SUB-11");
    for listener in &listeners {
        assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1001), "FC-SUB-11");
    }
}

/// It has answered before, so an answer is waited for, and not for longer than there is time.
#[tokio::test]
async fn a_subscriber_that_does_not_confirm_what_it_was_sent_keeps_no_hub_from_its_end() {
    for drain_secs in ["0", "1"] {
        let mut setup = Kind::Cluster.own(&[("drain_secs", drain_secs)]).await;
        let topic = fresh_topic();
        let listener = setup.listener(&topic, "*").await;
        setup.publish(&patient_open(&topic, "1")).await;
        listener.wait_for_event(PATIENCE, "1").await.unwrap();
        listener.answer_with(|_| None);
        setup.publish(&patient_open(&topic, "2")).await;
        listener.wait_for_event(PATIENCE, "2").await.unwrap();
        let exited = first_hub(&mut setup).stop(PATIENCE).await.unwrap();
        assert_eq!(exited.code(), Some(0), "FC-SUB-11: {drain_secs}");
        assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1001), "FC-SUB-11: {drain_secs}");
        let tail = first_hub(&mut setup).log_tail();
        let is_late = tail.contains("the drain time is over and sockets are still open");
        assert!(!is_late || drain_secs == "0", "{tail}");
    }
}

#[tokio::test]
async fn a_subscriber_of_a_stopped_hub_resumes_on_another_at_the_same_endpoint() {
    let mut setup = draining(Kind::Cluster).await;
    let mut history = History::default();
    let topic = fresh_topic();
    let mut subscribers = Vec::new();
    for _ in 0..5 {
        let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
        subscribers.push((confirmed(&endpoint).await, endpoint));
    }
    let mut publish = async |setup: &Setup, ids: std::ops::Range<u32>| {
        for id in ids {
            setup.publish(&patient_open(&topic, &id.to_string())).await;
            history.accepted([id.to_string()]);
        }
    };
    publish(&setup, 0..5).await;
    subscribers[0].0.wait_for_event(PATIENCE, "4").await.unwrap();
    first_hub(&mut setup).process().signal(Signal::TERM).unwrap();
    publish(&setup, 5..10).await;
    for (listener, _) in &subscribers {
        assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1001), "FC-SUB-11");
    }
    let exited = first_hub(&mut setup).process().wait_exit(PATIENCE).await.unwrap();
    assert_eq!(exited.code(), Some(0), "FC-SUB-11");
    publish(&setup, 10..15).await;
    for (listener, endpoint) in &mut subscribers {
        listener
            .reconnect_to(&setup.b().endpoint_here(endpoint).unwrap())
            .await
            .expect("FC-SUB-11: any node");
    }
    publish(&setup, 15..20).await;
    for (number, (listener, _)) in subscribers.iter().enumerate() {
        assert!(ids_until(listener, "19").await.len() >= 20, "FC-SUB-11");
        listener.tell(&mut history, &format!("subscriber {number}"), "Patient-open");
    }
    let findings = history.check();
    assert!(findings.is_clean(), "FC-SUB-11: in order, what it missed: {findings}");
}

/// A callback that is being asked when the process that asks is told to stop.
async fn a_request_in_flight_is_finished_before_the_exit(kind: Kind) {
    let mut setup = draining(kind).await;
    let topic = fresh_topic();
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let gate = Gate::closed();
    let held = gate.clone();
    server.on("/cb", move |_| Some(Reply::status(200).held_by(&held)));
    for id in ["1", "2"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    server.wait_for_event(PATIENCE, "/cb", "1").await.unwrap();
    let process = match &mut setup {
        Setup::Embedded(hub) => hub.process(),
        Setup::Cluster(system) => system.workers[0].process(),
    };
    process.signal(Signal::TERM).unwrap();
    let told = |line: &str| (line.contains("drain") || line.contains("stopping")).then_some(());
    process.wait_for_log(PATIENCE, "that it stops", told).await.unwrap();
    gate.open();
    let exited = process.wait_exit(Duration::from_secs(2 * DRAIN_SECS)).await.unwrap();
    assert_eq!(exited.code(), Some(0), "FC-WHK-07: the worker's exit is clean");
    assert_eq!(ids_at(&server, "/cb")[0], "1", "FC-WHK-07");
    if let Setup::Cluster(system) = &mut setup {
        system.add_worker().await.unwrap();
        server.wait_for_event(PATIENCE, "/cb", "2").await.expect("FC-WHK-07: another worker goes on");
        assert_eq!(ids_at(&server, "/cb"), ["1", "2"], "FC-WHK-07: what was finished is not repeated");
    }
}
