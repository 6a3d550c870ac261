//! Whose a subscription is, and that it lasts no longer than the token that it was made with (FC-SEC-04, FC-SUB-05).

use std::time::{Duration, Instant};

use harness::{
    callback_server::{CallbackServer, Gate, Reply},
    client::{Answer, App},
    examples::{fresh_id, fresh_topic},
    socket::Listener,
    wait::PATIENCE,
};

use crate::{
    guarded::{Guarded, SLACK, bearing, confirmation, hook, listen, told},
    messages::patient_open,
    setups::{Kind, confirmed, on_both_setups},
};

on_both_setups![
    a_socket_is_renewed_and_ended_by_its_owner_alone,
    a_callback_is_its_owners_alone,
    what_waits_to_be_verified_is_taken_back_by_its_owner_alone,
    a_lease_is_cut_to_the_life_of_the_token,
    a_socket_is_closed_when_the_token_ends,
    a_webhook_that_is_verified_late_ends_with_its_token,
];

/// Apps of others who may do everything, but are not `user-1` with `app-1`.
fn others(hub: &Guarded) -> Vec<(&'static str, App)> {
    [
        ("another user", hub.token().subject("user-2")),
        ("another app", hub.token().client("app-2")),
        ("both", hub.token().subject("user-2").client("app-2")),
        ("the other way round", hub.token().subject("app-1").client("user-1")),
        ("no app", hub.token().without("client_id")),
        ("no user", hub.token().without("sub")),
    ]
    .map(|(who, token)| (who, bearing(hub.setup.b(), &token)))
    .into()
}

fn assert_foreign(answer: &Answer, who: &str) {
    assert_eq!(answer.status, 403, "FC-SEC-01: {who}: {answer:?}");
    assert!(answer.body.contains("belongs to another client"), "FC-TRN-03: {who}: {answer:?}");
}

async fn a_socket_is_renewed_and_ended_by_its_owner_alone(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let listener = listen(&hub.app("fhircast/*.read"), &topic, "Patient-open").await;
    let endpoint = listener.endpoint().to_owned();
    let again = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic.as_str()),
        ("hub.events", "Encounter-open"),
        ("hub.channel.endpoint", endpoint.as_str()),
    ];
    for (who, other) in others(&hub) {
        assert_foreign(&other.post_form(&again).await.unwrap(), who);
        assert_foreign(&other.unsubscribe_websocket(&topic, &endpoint).await.unwrap(), who);
    }
    hub.publish(&patient_open(&topic, "1")).await;
    listener.wait_for_event(PATIENCE, "1").await.expect("FC-SUB-04: it is as it was");

    // The owner with another token, which need not have been allowed to read: to end it takes no scope.
    let owner = bearing(hub.setup.b(), &hub.token().scope("fhircast/Encounter-open.read"));
    owner.post_form(&again).await.unwrap().expect_status(202).expect("FC-SUB-04");
    let owner = bearing(hub.setup.b(), &hub.token().without("scope"));
    owner.unsubscribe_websocket(&topic, &endpoint).await.unwrap().expect_status(202).expect("FC-SUB-09");
    assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1000), "FC-SUB-09");
}

async fn a_callback_is_its_owners_alone(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let owner = hub.app("fhircast/*.read");
    hub.publish(&patient_open(&topic, "0")).await;
    hook(&owner, &server, "/cb", &topic, "Patient-open").await.expect_status(202).unwrap();
    server.wait_for_event(PATIENCE, "/cb", "0").await.unwrap();
    let asked = server.requests().len();
    for (who, other) in others(&hub) {
        assert_foreign(&hook(&other, &server, "/cb", &topic, "Encounter-open").await, who);
        assert_foreign(&other.unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap(), who);
    }
    hub.publish(&patient_open(&topic, "1")).await;
    server.wait_for_event(PATIENCE, "/cb", "1").await.expect("it is as it was");
    assert_eq!(server.requests().len(), asked + 1, "FC-WHK-02: nobody was asked");

    let goodbye = bearing(hub.setup.b(), &hub.token().without("scope"));
    let answer = goodbye.unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap();
    answer.expect_status(202).expect("FC-SUB-09");
    told(&server, "/cb", "unsubscribe").await;
    // Once it has ended the callback is free.
    let (_, other) = others(&hub).remove(0);
    let deadline = Instant::now() + PATIENCE;
    while hook(&other, &server, "/cb", &topic, "Encounter-open").await.status != 202 {
        assert!(Instant::now() < deadline, "what has ended is nobody's");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn what_waits_to_be_verified_is_taken_back_by_its_owner_alone(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let (owner, gate) = (hub.app("fhircast/*.read"), Gate::closed());
    let held = gate.clone();
    server.on("/held", move |request| {
        Some(Reply::status(200).body(request.parameter("hub.challenge")?).held_by(&held))
    });
    hook(&owner, &server, "/held", &topic, "Patient-open").await.expect_status(202).unwrap();
    told(&server, "/held", "subscribe").await;
    for (who, other) in others(&hub) {
        let unsubscribed = async |path: &str| {
            let answer = other.unsubscribe_webhook(&topic, &server.url(path)).await.unwrap();
            (answer.status, answer.body)
        };
        let (waiting, none) = (unsubscribed("/held").await, unsubscribed("/none").await);
        assert_eq!(waiting.0, 404, "FC-SUB-09: {who}");
        assert_eq!(waiting, none, "FC-SUB-09: {who} is told of it as of one that is not there");
    }
    gate.open();
    hub.publish(&patient_open(&topic, "1")).await;
    server.wait_for_event(PATIENCE, "/held", "1").await.expect("it is as it was");
}

async fn a_lease_is_cut_to_the_life_of_the_token(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let long = [("hub.lease_seconds", "600")];
    let app = bearing(hub.setup.a(), &hub.token().expires_in(100));
    let endpoint = app.subscribe_websocket(&topic, "*", &long).await.unwrap();
    let lease = confirmation(&confirmed(&endpoint).await)["hub.lease_seconds"].as_u64().unwrap();
    assert!((1..=100).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let intent = told(&server, "/cb", "subscribe").await;
    let lease: u64 = intent.parameter("hub.lease_seconds").unwrap().parse().unwrap();
    assert!((1..=100).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");

    // A newer token of the same owner lasts longer, and so does what is subscribed again with it.
    let listener = confirmed(&endpoint).await;
    let again = [long[0], ("hub.channel.endpoint", endpoint.as_str())];
    let app = bearing(hub.setup.b(), &hub.token().expires_in(400));
    app.subscribe_websocket(&topic, "*", &again).await.unwrap();
    let second = listener.wait_for(PATIENCE, "the confirmation", |seen| seen.received.get(1).cloned()).await;
    let lease = second.unwrap().json["hub.lease_seconds"].as_u64().unwrap();
    assert!((101..=400).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");

    // The hub lets the clocks differ; a lease of nothing it does not give.
    let ended = bearing(hub.setup.a(), &hub.token().expires_in(-2));
    let answer = hook(&ended, &server, "/ended", &topic, "*").await;
    assert!(answer.status == 401 && answer.body.contains("expired"), "FC-SEC-04: {answer:?}");
}

async fn a_socket_is_closed_when_the_token_ends(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let app = bearing(hub.setup.a(), &hub.token().expires_in(5));
    let endpoint = app.subscribe_websocket(&topic, "*", &[("hub.lease_seconds", "600")]).await.unwrap();
    let listener = confirmed(&endpoint).await;
    let code = listener.wait_closed(PATIENCE + SLACK).await.unwrap();
    let last = listener.seen(|seen| seen.received.last().unwrap().json.clone());
    assert_eq!(last["hub.mode"], "denied", "FC-SEC-04, FC-SUB-07: {last}");
    assert_eq!((&last["hub.reason"], code), (&"lease expired".into(), Some(1000)), "FC-SUB-07");
    assert!(Listener::connect(&endpoint).await.is_err(), "FC-WSC-02: the endpoint has ended");
}

async fn a_webhook_that_is_verified_late_ends_with_its_token(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    server.on("/cb", |request| {
        let challenge = request.parameter("hub.challenge")?;
        Some(Reply::status(200).body(challenge).after(Duration::from_secs(2)))
    });
    let app = bearing(hub.setup.a(), &hub.token().expires_in(6));
    hub.publish(&patient_open(&topic, "0")).await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let lease: u64 =
        told(&server, "/cb", "subscribe").await.parameter("hub.lease_seconds").unwrap().parse().unwrap();
    assert!(lease <= 6, "FC-SUB-05, FC-SEC-04: {lease}");
    server.wait_for_event(PATIENCE, "/cb", "0").await.unwrap();
    let denial = told(&server, "/cb", "denied").await;
    assert_eq!(denial.parameter("hub.reason").as_deref(), Some("lease expired"), "FC-SEC-04, FC-WHK-05");
    let (before, id) = (server.requests().len(), fresh_id());
    hub.publish(&patient_open(&topic, &id)).await;
    let witness = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    witness.wait_for_event(PATIENCE, &id).await.unwrap();
    assert_eq!(server.requests().len(), before, "FC-SEC-04: nothing after the token");
}
