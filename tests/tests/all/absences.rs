//! Subscribers whose socket has gone, and leases that are over (FC-NOT-04…06, FC-SUB-07, FC-WSC-08).

use std::time::{Duration, Instant};

use harness::{
    callback_server::CallbackServer,
    examples::fresh_topic,
    process::Signal,
    redis_server::Durability,
    socket::Listener,
    system::System,
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::{event, patient_open},
    setups::{
        Kind, Setup, code_of, confirmed, ids_until, on_each_setup, sync_error_after, sync_errors_until,
    },
};

on_each_setup![
    who_vanishes_is_reported_for_what_it_misses_and_then_for_good,
    who_says_goodbye_is_not_reported,
    who_comes_back_in_time_misses_nothing_and_is_not_reported,
    a_lease_that_ends_is_denied_and_its_socket_closed,
    a_webhooks_lease_that_ends_is_denied_at_its_callback,
    a_subscriber_that_is_away_may_subscribe_again,
];

const ACK: Duration = Duration::from_secs(1);
const SETTINGS: [(&str, &str); 2] = [("ack_timeout_secs", "1"), ("reconnect_grace_secs", "3")];
/// How late a report may be beside the ack time-out.
const SLACK: Duration = Duration::from_secs(1);

async fn named(setup: &Setup, topic: &str) -> Listener {
    setup.named_listener(topic, "*", &[("subscriber.name", "Viewer")]).await
}

/// Waits until the endpoint has ended. Asked without an upgrade, it says so and nothing changes.
async fn is_gone(endpoint: &str) {
    let url = endpoint.replacen("ws", "http", 1);
    eventually(PATIENCE, "the endpoint ends", || async {
        let answer = reqwest::get(&url).await.unwrap();
        (answer.status() == 404).then_some(())
    })
    .await
    .unwrap();
}

async fn who_vanishes_is_reported_for_what_it_misses_and_then_for_good(kind: Kind) {
    let (setup, topic) = (kind.own(&SETTINGS).await, fresh_topic());
    let (mut viewer, reporter) = (named(&setup, &topic).await, setup.listener(&topic, "*").await);
    viewer.drop_connection().await;
    for (number, id) in ["2", "3"].into_iter().enumerate() {
        let since = Instant::now();
        setup.publish(&patient_open(&topic, id)).await;
        let sync_error = sync_error_after(&reporter, number).await;
        assert_eq!(code_of(&sync_error, "eventid"), id, "FC-NOT-04");
        assert_eq!(code_of(&sync_error, "subscriber"), "Viewer", "FC-NOT-03");
        let taken = since.elapsed();
        assert!(taken >= ACK && taken < ACK + SLACK, "FC-NOT-04: within the ack time-out: {taken:?}");
    }
    let gone = sync_error_after(&reporter, 2).await;
    assert_eq!((code_of(&gone, "subscriber"), code_of(&gone, "eventid")), ("Viewer".into(), String::new()));
    is_gone(viewer.endpoint()).await;
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert_eq!(sync_errors_until(&reporter, "last").await.len(), 3, "FC-NOT-04: one for each cause");
}

async fn who_says_goodbye_is_not_reported(kind: Kind) {
    let (setup, topic) = (kind.own(&SETTINGS).await, fresh_topic());
    let reporter = setup.listener(&topic, "*").await;
    for code in [1000, 1001] {
        let endpoint = setup.subscriber().subscribe_websocket(&topic, "*", &[]).await.unwrap();
        let mut socket = harness::socket::Socket::connect(&endpoint).await.unwrap();
        socket.next_json(PATIENCE).await.unwrap();
        socket.close(code).await.unwrap();
        setup.publish(&patient_open(&topic, &code.to_string())).await;
        is_gone(&endpoint).await;
    }
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert!(sync_errors_until(&reporter, "last").await.is_empty(), "FC-NOT-05");
}

async fn who_comes_back_in_time_misses_nothing_and_is_not_reported(kind: Kind) {
    let settings = [("ack_timeout_secs", "3"), ("reconnect_grace_secs", "3")];
    let (setup, topic) = (kind.own(&settings).await, fresh_topic());
    let (mut viewer, reporter) = (named(&setup, &topic).await, setup.listener(&topic, "*").await);
    for round in 0..3 {
        viewer.drop_connection().await;
        let ids = [format!("{round} a"), format!("{round} b")];
        for id in &ids {
            setup.publish(&patient_open(&topic, id)).await;
        }
        viewer.reconnect().await.unwrap();
        ids_until(&viewer, &ids[1]).await;
    }
    // Another one is lost after it: its absence is told when this one's would have been.
    let mut lost = setup.named_listener(&topic, "*", &[("subscriber.name", "Lost")]).await;
    lost.drop_connection().await;
    let told = sync_error_after(&reporter, 0).await;
    assert_eq!(code_of(&told, "subscriber"), "Lost", "FC-NOT-04, FC-WSC-08");
    is_gone(lost.endpoint()).await;
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    let mut came = ids_until(&viewer, "last").await;
    came.retain(|id| id.len() == 3);
    // What it had not confirmed when it came back may come again.
    let mut seen = std::collections::HashSet::new();
    came.retain(|id| seen.insert(id.clone()));
    let expected = ["0 a", "0 b", "1 a", "1 b", "2 a", "2 b"];
    assert_eq!(came, expected, "FC-WSC-08: what it missed, in order");
    for sync_error in sync_errors_until(&reporter, "last").await {
        assert_eq!(code_of(&sync_error, "subscriber"), "Lost", "FC-NOT-04: {sync_error}");
    }
}

async fn a_lease_that_ends_is_denied_and_its_socket_closed(kind: Kind) {
    let (setup, topic) = (kind.own(&SETTINGS).await, fresh_topic());
    let reporter = setup.listener(&topic, "*").await;
    let short = setup.named_listener(&topic, "Patient-open", &[("hub.lease_seconds", "2")]).await;
    let since = Instant::now();
    assert_eq!(short.wait_closed(PATIENCE).await.unwrap(), Some(1000), "FC-SUB-07");
    assert!(since.elapsed() < Duration::from_secs(2) + 2 * SLACK, "FC-SUB-07: {:?}", since.elapsed());
    let denial = short.seen(|seen| seen.received.last().unwrap().json.clone());
    assert_eq!(denial["hub.mode"], "denied", "FC-SUB-07, FC-SUB-10");
    assert_eq!(denial["hub.reason"], "lease expired", "FC-SUB-07, FC-SUB-10");
    assert_eq!(
        (&denial["hub.topic"], &denial["hub.events"]),
        (&topic.as_str().into(), &"Patient-open".into())
    );
    is_gone(short.endpoint()).await;
    setup.publish(&event(&topic, "last", "org.example.last", "")).await;
    assert!(sync_errors_until(&reporter, "last").await.is_empty(), "FC-NOT-05");
}

async fn a_webhooks_lease_that_ends_is_denied_at_its_callback(kind: Kind) {
    let (setup, topic) = (kind.own(&SETTINGS).await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[("hub.lease_seconds", "2")]).await;
    let denial = server.wait_for(PATIENCE, "the denial", |requests| {
        requests.iter().find(|request| request.parameter("hub.mode").as_deref() == Some("denied")).cloned()
    });
    let denial = denial.await.unwrap();
    assert_eq!(denial.parameter("hub.reason").as_deref(), Some("lease expired"), "FC-WHK-05, FC-SUB-07");
    assert_eq!(denial.parameter("hub.topic").as_deref(), Some(topic.as_str()), "FC-WHK-05");
}

async fn a_subscriber_that_is_away_may_subscribe_again(kind: Kind) {
    let (setup, topic) = (kind.own(&SETTINGS).await, fresh_topic());
    let mut viewer = named(&setup, &topic).await;
    viewer.drop_connection().await;
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", &topic),
        ("hub.events", "Patient-open"),
        ("hub.channel.endpoint", viewer.endpoint()),
    ];
    setup.subscriber().post_form(&form).await.unwrap().expect_status(202).unwrap();
    setup.publish(&patient_open(&topic, "1")).await;
    viewer.reconnect().await.unwrap();
    assert_eq!(ids_until(&viewer, "1").await, ["1"], "FC-SUB-04, FC-WSC-08");
}

/// Two hubs and two workers, a subscriber on the first hub, and one who is told on the second.
async fn pair(topic: &str) -> (System, Listener, Listener) {
    let builder = System::builder().hubs(2).workers(2).durability(Durability::None);
    let builder = SETTINGS.iter().fold(builder, |builder, (name, value)| builder.set(name, value));
    let system = builder.start().await.unwrap();
    let mut listeners = Vec::new();
    for (hub, name) in [(0, "Viewer"), (1, "Reporter")] {
        let app = system.hubs[hub].app().unwrap();
        let endpoint = app.subscribe_websocket(topic, "*", &[("subscriber.name", name)]).await.unwrap();
        listeners.push(confirmed(&endpoint).await);
    }
    let reporter = listeners.remove(1);
    (system, listeners.remove(0), reporter)
}

#[tokio::test]
async fn the_subscribers_of_a_hub_that_died_are_reported_once() {
    let topic = fresh_topic();
    let (mut system, viewer, reporter) = pair(&topic).await;
    let app = system.hubs[1].app().unwrap();
    app.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    viewer.wait_for_event(PATIENCE, "1").await.unwrap();
    system.hubs[0].process().kill().unwrap();
    app.publish(&patient_open(&topic, "2")).await.unwrap().expect_status(202).unwrap();
    let told = sync_error_after(&reporter, 0).await;
    assert_eq!(code_of(&told, "subscriber"), "Viewer", "FC-NOT-04");
    // One of the two that may know of it dies as well.
    system.workers[0].process().kill().unwrap();
    eventually(PATIENCE, "its absence is told", || async {
        reporter.seen(|seen| {
            let is_gone = |json: &serde_json::Value| {
                json["event"]["hub.event"] == "syncerror" && code_of(json, "eventid").is_empty()
            };
            seen.received.iter().any(|received| is_gone(&received.json)).then_some(())
        })
    })
    .await
    .unwrap();
    let refused = eventually(PATIENCE, "the endpoint ends", || async {
        let app = system.hubs[1].app().unwrap();
        let answer = app.unsubscribe_websocket(&topic, viewer.endpoint()).await.unwrap();
        (answer.status == 404).then_some(())
    });
    refused.await.unwrap();
    app.publish(&event(&topic, "last", "org.example.last", "")).await.unwrap().expect_status(202).unwrap();
    let told = sync_errors_until(&reporter, "last").await;
    let mut causes: Vec<String> = told.iter().map(|sync_error| code_of(sync_error, "eventid")).collect();
    causes.sort();
    causes.dedup();
    assert_eq!(causes.len(), told.len(), "FC-NOT-04: one for each cause: {told:?}");
    assert!(causes.contains(&"2".to_owned()), "FC-NOT-04: {causes:?}");
}

#[tokio::test]
async fn a_hub_that_was_stopped_for_a_while_gives_up_the_sockets_that_were_taken_from_it() {
    let topic = fresh_topic();
    let (mut system, mut viewer, _reporter) = pair(&topic).await;
    let app = system.hubs[1].app().unwrap();
    let workers = std::sync::Mutex::new(std::mem::take(&mut system.workers));
    system.hubs[0].process().signal(Signal::STOP).unwrap();
    app.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    // Longer than its lease: one of the workers takes its sockets from it.
    eventually(PATIENCE, "the node counts as dead", || async {
        let has_told = |worker: &mut harness::system::Worker| {
            worker.process().log_lines().iter().any(|line| line.contains("a node is dead"))
        };
        workers.lock().unwrap().iter_mut().any(has_told).then_some(())
    })
    .await
    .unwrap();
    system.hubs[0].process().signal(Signal::CONT).unwrap();
    assert_eq!(viewer.wait_closed(PATIENCE).await.unwrap(), Some(1001), "FC-SUB-11");
    viewer.reconnect().await.unwrap();
    assert!(ids_until(&viewer, "1").await.contains(&"1".to_owned()), "FC-WSC-08");
}
