//! Subscriptions that are subscribed again with less while their subscriber cannot be told: what it is sent afterwards goes
//! by what it may read now, also of what happened before (FC-SCO-03, FC-SUB-04).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use harness::{
    callback_server::{CallbackServer, Reply},
    examples::fresh_topic,
    process::Signal,
    socket::Listener,
    wait::PATIENCE,
};

use crate::{
    guarded::{Guarded, bearing, everything, hook, listen},
    messages::{event, patient_open, resource},
    setups::{Kind, Setup, code_of, ids_until, on_both_setups, sync_error_after},
};

on_both_setups![
    a_socket_that_was_away_is_replayed_what_it_may_still_read,
    a_socket_that_comes_back_to_a_gap_is_sent_what_it_may_still_read,
    a_callback_that_could_not_be_reached_is_sent_what_it_may_still_read,
];

/// What may still be read.
const NARROW: &str = "fhircast/Patient-open.read fhircast/syncerror.read fhircast/org.example.last.read";
/// What is granted of `*` then.
const GRANTED: &str = "Patient-open,syncerror,org.example.last";

/// A log that keeps few entries, and events after which it has lost what came before them. Redis trims by whole nodes, of
/// which each of these takes one.
const FEW_ENTRIES: [(&str, &str); 1] = [("limits.log_entries", "5")];
const MORE_THAN_IS_KEPT: usize = 20;

fn encounter_open(topic: &str, id: &str) -> String {
    event(topic, id, "Encounter-open", &resource("Encounter", "the-encounter"))
}

fn large_patient_open(topic: &str, id: &str) -> String {
    let patient =
        resource("Patient", id).replacen("\"id\"", &format!(r#""x":"{}","id""#, "x".repeat(5000)), 1);
    event(topic, id, "Patient-open", &patient)
}

/// Subscribes again on node b, for as much as a narrower token lets the owner read.
async fn narrow(hub: &Guarded, topic: &str, endpoint: &str) {
    let app = bearing(hub.setup.b(), &hub.token().scope(NARROW));
    app.subscribe_websocket(topic, "*", &[("hub.channel.endpoint", endpoint)]).await.unwrap();
}

/// What a listener's last confirmation grants, and that nothing has come which may not be read any more.
fn assert_narrow(listener: &Listener) {
    let granted = listener.seen(|seen| {
        let confirmed = seen.received.iter().rev().find(|received| received.json["hub.mode"] == "subscribe");
        confirmed.unwrap().json["hub.events"].clone()
    });
    assert_eq!(granted, GRANTED, "FC-SCO-02, FC-SUB-04");
    let seen = everything(listener);
    assert!(!seen.contains("the-encounter"), "FC-SCO-03: {seen}");
}

async fn a_socket_that_was_away_is_replayed_what_it_may_still_read(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let mut viewer = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    viewer.drop_connection().await;
    hub.publish(&patient_open(&topic, "1")).await;
    hub.publish(&encounter_open(&topic, "2")).await;
    narrow(&hub, &topic, viewer.endpoint()).await;
    hub.publish(&patient_open(&topic, "3")).await;
    hub.publish(&encounter_open(&topic, "4")).await;
    viewer.reconnect().await.unwrap();
    hub.finish(&topic, "5").await;
    assert_eq!(ids_until(&viewer, "5").await, ["1", "3", "5"], "FC-SCO-03, FC-WSC-08");
    assert_narrow(&viewer);
}

/// More happens than the log keeps, and before it the subscription is narrowed: of that the log knows nothing any more.
async fn narrowed_before_a_gap(hub: &Guarded, topic: &str, viewer: &Listener) {
    hub.publish(&encounter_open(topic, "before")).await;
    narrow(hub, topic, viewer.endpoint()).await;
    for number in 1..=MORE_THAN_IS_KEPT {
        hub.publish(&large_patient_open(topic, &number.to_string())).await;
    }
}

/// It is told that it has missed something, and sent what is open and may be read.
async fn begins_anew(hub: &Guarded, topic: &str, viewer: &Listener) {
    let told = sync_error_after(viewer, 0).await;
    assert_eq!(code_of(&told, "eventid"), "", "FC-NOT-03: {told}");
    hub.finish(topic, "last").await;
    let expected = [told["id"].as_str().unwrap(), &MORE_THAN_IS_KEPT.to_string(), "last"];
    assert_eq!(ids_until(viewer, "last").await, expected, "FC-SCO-03, FC-WSC-08");
    assert_narrow(viewer);
}

async fn a_socket_that_comes_back_to_a_gap_is_sent_what_it_may_still_read(kind: Kind) {
    let (hub, topic) = (Guarded::own(kind, &FEW_ENTRIES).await, fresh_topic());
    let mut viewer = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    viewer.drop_connection().await;
    narrowed_before_a_gap(&hub, &topic, &viewer).await;
    viewer.reconnect().await.unwrap();
    begins_anew(&hub, &topic, &viewer).await;
}

#[tokio::test]
async fn a_socket_whose_hub_finds_a_gap_is_sent_what_it_may_still_read() {
    let (mut hub, topic) = (Guarded::own(Kind::Cluster, &FEW_ENTRIES).await, fresh_topic());
    let viewer = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    let Setup::Cluster(system) = &mut hub.setup else { unreachable!() };
    system.hubs[0].process().signal(Signal::STOP).unwrap();
    // What it has not heard by now it does not hear any more.
    let killed: usize = system.redis.servers()[0].ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    assert!(killed > 0, "nobody was listening");
    narrowed_before_a_gap(&hub, &topic, &viewer).await;
    let Setup::Cluster(system) = &mut hub.setup else { unreachable!() };
    system.hubs[0].process().signal(Signal::CONT).unwrap();
    begins_anew(&hub, &topic, &viewer).await;
    assert_eq!(viewer.seen(|seen| (seen.connections, seen.closed.len())), (1, 0), "it stays open");
    assert_eq!(hub.setup.a().metrics().await.unwrap().value("fhircast_gaps_total"), Some(1.0));
}

async fn a_callback_that_could_not_be_reached_is_sent_what_it_may_still_read(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let is_down = Arc::new(AtomicBool::new(false));
    let refuses = is_down.clone();
    server.on("/cb", move |request| {
        // Who asks whether it is wanted finds it up again.
        let is_asked = !request.is_notification();
        let is_down = refuses.load(Ordering::SeqCst) && !is_asked;
        refuses.fetch_and(!is_asked, Ordering::SeqCst);
        is_down.then(|| Reply::status(503))
    });
    hub.publish(&patient_open(&topic, "1")).await;
    hook(&hub.app("fhircast/*.read"), &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    server.wait_for_event(PATIENCE, "/cb", "1").await.unwrap();
    is_down.store(true, Ordering::SeqCst);
    hub.publish(&encounter_open(&topic, "2")).await;
    server.wait_for_event(PATIENCE, "/cb", "2").await.unwrap();
    hub.publish(&patient_open(&topic, "3")).await;
    let narrower = bearing(hub.setup.b(), &hub.token().scope(NARROW));
    hook(&narrower, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    hub.finish(&topic, "4").await;
    server.wait_for_event(PATIENCE, "/cb", "4").await.unwrap();
    let requests = server.requests();
    let narrowed = requests.iter().rposition(|request| !request.is_notification()).unwrap();
    assert_eq!(requests[narrowed].parameter("hub.events").as_deref(), Some(GRANTED), "FC-SCO-02, FC-WHK-02");
    let after: Vec<_> = requests[narrowed + 1..].iter().map(|request| request.json()["id"].clone()).collect();
    assert_eq!(after, ["3", "4"], "FC-SCO-03, FC-SUB-04");
}
