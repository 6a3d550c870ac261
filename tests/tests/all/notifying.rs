//! What subscribers are told, in which order, and when the others hear of it (FC-NOT-01, 02, 03, 05, 08, FC-SUB-06).

use futures_util::future::join_all;
use harness::{
    callback_server::{CallbackServer, Reply},
    examples::fresh_topic,
    socket::Listener,
    wait::PATIENCE,
};
use serde_json::{Value, json};

use crate::{
    messages::{event, patient_open},
    setups::{Kind, code_of, ids_at, ids_until, on_each_setup, sync_error_after, sync_errors_until},
};

on_each_setup![
    both_channels_carry_the_same_bytes,
    an_error_answer_is_told_to_the_others_and_not_to_who_gave_it,
    a_sync_error_has_the_form_of_the_specification,
    the_severity_of_a_sync_error_is_a_setting,
    a_refused_sync_error_is_not_reported,
    an_error_answer_is_reported_once_though_it_is_given_twice,
    everyone_sees_the_events_in_one_order,
];

async fn both_channels_carry_the_same_bytes(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "*-open", &[]).await;
    let listeners = [setup.listener(&topic, "*").await, setup.listener(&topic, "Patient-open").await];
    setup.publish(&patient_open(&topic, "1")).await;
    let posted = server.wait_for_event(PATIENCE, "/cb", "1").await.unwrap();
    for listener in &listeners {
        let frame = listener.wait_for_event(PATIENCE, "1").await.unwrap();
        assert_eq!(frame.text.as_bytes(), posted.body, "FC-NOT-01");
        for member in ["timestamp", "id", "event"] {
            assert!(!frame.json[member].is_null(), "FC-NOT-01: {member} in {}", frame.text);
        }
    }
}

/// A subscriber that answers every notification with this status.
async fn refusing(listener: Listener, status: u16) -> Listener {
    listener.answer_with(move |_| Some(status));
    listener
}

async fn an_error_answer_is_told_to_the_others_and_not_to_who_gave_it(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let name = [("subscriber.name", "Größe & Söhne")];
    let refuser = refusing(setup.named_listener(&topic, "Patient-open,syncerror", &name).await, 409).await;
    let watcher = setup.listener(&topic, "syncerror").await;
    let uninterested = setup.listener(&topic, "Patient-open").await;
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "syncerror", &[]).await;
    for (number, status) in [409, 400, 404, 500, 503].into_iter().enumerate() {
        refuser.answer_with(move |_| Some(status));
        let id = format!("refused-{status}");
        setup.publish(&patient_open(&topic, &id)).await;
        let sync_error = sync_error_after(&watcher, number).await;
        assert_eq!(code_of(&sync_error, "eventid"), id, "FC-NOT-02: {sync_error}");
        assert_eq!(code_of(&sync_error, "subscriber"), name[0].1, "FC-SUB-06, FC-NOT-03: {sync_error}");
        let id = sync_error["id"].as_str().unwrap();
        let posted = server.wait_for_event(PATIENCE, "/cb", id).await.unwrap();
        assert_eq!(posted.json(), sync_error, "FC-NOT-02: to webhooks as well");
    }
    refuser.answer_with(|_| Some(200));
    setup.publish(&patient_open(&topic, "last")).await;
    let expected = ["refused-409", "refused-400", "refused-404", "refused-500", "refused-503", "last"];
    assert_eq!(ids_until(&refuser, "last").await, expected, "FC-NOT-02: not to the one that refused");
    assert_eq!(ids_until(&uninterested, "last").await, expected, "FC-NOT-02: to those that asked for it");
}

async fn a_sync_error_has_the_form_of_the_specification(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let watcher = setup.listener(&topic, "syncerror").await;
    let name = [("subscriber.name", "Acme PACS")];
    let _refuser = refusing(setup.named_listener(&topic, "Patient-open", &name).await, 409).await;
    setup.publish(&patient_open(&topic, "the-event")).await;
    let sync_error = sync_error_after(&watcher, 0).await;
    for member in ["timestamp", "id"] {
        assert!(sync_error[member].as_str().is_some_and(|text| !text.is_empty()), "FC-NOT-03: {sync_error}");
    }
    assert_ne!(sync_error["id"], "the-event", "FC-NOT-03: an event of its own");
    assert_eq!(sync_error["event"]["hub.topic"], topic.as_str(), "FC-NOT-03");
    assert_eq!(sync_error["event"]["hub.event"], "syncerror", "FC-NOT-03");
    let context = sync_error["event"]["context"].as_array().unwrap();
    assert_eq!((context.len(), &context[0]["key"]), (1, &json!("operationoutcome")), "FC-NOT-03");
    let outcome = &context[0]["resource"];
    assert_eq!(outcome["resourceType"], "OperationOutcome", "FC-NOT-03");
    let issues = outcome["issue"].as_array().unwrap();
    assert_eq!(issues.len(), 1, "FC-NOT-03");
    assert_eq!(
        (&issues[0]["severity"], &issues[0]["code"]),
        (&json!("warning"), &json!("processing")),
        "FC-NOT-03"
    );
    let diagnostics = issues[0]["diagnostics"].as_str().unwrap();
    assert!(diagnostics.contains("Acme PACS") && diagnostics.contains("409"), "FC-NOT-03: {diagnostics}");
    for (system, code) in [
        ("eventid", "the-event"),
        ("eventname", "Patient-open"),
        ("subscriber", "Acme PACS"),
        ("subscribername", "Acme PACS"),
    ] {
        assert_eq!(code_of(&sync_error, system), code, "FC-NOT-03: {system} in {sync_error}");
    }
}

async fn the_severity_of_a_sync_error_is_a_setting(kind: Kind) {
    let setup = kind.own(&[("syncerror.severity", "error")]).await;
    let topic = fresh_topic();
    let watcher = setup.listener(&topic, "syncerror").await;
    let _refuser = refusing(setup.listener(&topic, "Patient-open").await, 500).await;
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    server.queue("/cb", [Reply::status(409)]);
    setup.publish(&patient_open(&topic, "1")).await;
    for number in 0..2 {
        let sync_error = sync_error_after(&watcher, number).await;
        let severity = &sync_error["event"]["context"][0]["resource"]["issue"][0]["severity"];
        assert_eq!(severity, "error", "FC-NOT-03: of both channels");
    }
}

async fn a_refused_sync_error_is_not_reported(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let watcher = setup.listener(&topic, "*").await;
    let refuser = refusing(setup.listener(&topic, "syncerror").await, 409).await;
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "syncerror", &[]).await;
    server.on("/cb", |request| request.is_notification().then(|| Reply::status(409)));
    for id in ["s1", "s2"] {
        setup.publish(&event(&topic, id, "SyncError", "")).await;
        refuser.wait_for_event(PATIENCE, id).await.unwrap();
        server.wait_for_event(PATIENCE, "/cb", id).await.unwrap();
    }
    // What the refusals of the first led to is in the log before the second is answered by both.
    setup.publish(&patient_open(&topic, "last")).await;
    let hubs_own = |error: &Value| !error["id"].as_str().unwrap().starts_with('s');
    let errors = sync_errors_until(&watcher, "last").await;
    assert!(!errors.iter().any(hubs_own), "FC-NOT-05: no echo: {errors:?}");
}

async fn an_error_answer_is_reported_once_though_it_is_given_twice(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let watcher = setup.listener(&topic, "syncerror").await;
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = harness::socket::Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    for id in ["1", "2"] {
        setup.publish(&patient_open(&topic, id)).await;
        assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], id);
        for _ in 0..3 {
            socket.answer(id, 409).await.unwrap();
        }
        sync_error_after(&watcher, if id == "1" { 0 } else { 1 }).await;
    }
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    let errors = sync_errors_until(&watcher, "last").await;
    let of = |id: &str| errors.iter().filter(|error| code_of(error, "eventid") == id).count();
    assert_eq!((of("1"), of("2")), (1, 1), "FC-NOT-02: {errors:?}");
}

async fn everyone_sees_the_events_in_one_order(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let mut listeners = Vec::new();
    for node in setup.nodes() {
        for _ in 0..2 {
            let endpoint = node.app().unwrap().subscribe_websocket(&topic, "Patient-*", &[]).await.unwrap();
            listeners.push(crate::setups::confirmed(&endpoint).await);
        }
    }
    // From every node at once, each publisher one after the other.
    let publishers = (0..6).map(|publisher| {
        let (setup, topic) = (&setup, &topic);
        async move {
            let nodes = setup.nodes();
            let app = nodes[publisher % nodes.len()].app().unwrap();
            for number in 0..10 {
                let event = patient_open(topic, &format!("{publisher}-{number}"));
                app.publish(&event).await.unwrap().expect_status(202).unwrap();
            }
        }
    });
    join_all(publishers).await;
    setup.publish(&patient_open(&topic, "last")).await;
    let order = ids_until(&listeners[0], "last").await;
    assert_eq!(order.len(), 61, "FC-NOT-08: each once");
    for publisher in 0..6 {
        let own: Vec<_> = order.iter().filter(|id| id.starts_with(&format!("{publisher}-"))).collect();
        let sent: Vec<String> = (0..10).map(|number| format!("{publisher}-{number}")).collect();
        assert_eq!(own, sent.iter().collect::<Vec<_>>(), "FC-NOT-08: as accepted");
    }
    for listener in &listeners[1..] {
        assert_eq!(ids_until(listener, "last").await, order, "FC-NOT-08: on any node");
    }
    server.wait_for_event(PATIENCE, "/cb", "last").await.unwrap();
    assert_eq!(ids_at(&server, "/cb"), order, "FC-NOT-08: on any channel");
}
