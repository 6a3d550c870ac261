//! Subscribing, joining late, and unsubscribing (FC-SUB-01…04, FC-SUB-08…10).

use harness::{
    examples::{fresh_id, fresh_topic},
    socket::{Socket, upgrade_status},
    wait::PATIENCE,
};

use crate::{
    messages::{event, patient_open, resource},
    setups::{Kind, confirmed, ids_until, on_each_setup},
};

on_each_setup![
    a_missing_or_unknown_parameter_is_refused_by_its_name,
    an_accepted_request_is_answered_with_an_endpoint_of_its_own,
    events_are_a_set,
    subscribing_again_replaces_the_terms_and_keeps_the_socket_open,
    a_socket_that_is_away_is_confirmed_on_the_new_terms_when_it_comes_back,
    a_late_joiner_is_sent_what_is_open_of_each_type_oldest_first,
    unsubscribing_ends_the_subscription_with_a_denial,
    an_unknown_endpoint_cannot_be_unsubscribed_or_renewed,
];

async fn a_missing_or_unknown_parameter_is_refused_by_its_name(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", "a-topic"),
        ("hub.events", "Patient-open"),
    ];
    for missing in 0..form.len() {
        let name = form[missing].0;
        let mut without = form.to_vec();
        without.remove(missing);
        let mut empty = form.to_vec();
        empty[missing].1 = "";
        for wrong in [without, empty] {
            let answer = app.post_form(&wrong).await.unwrap();
            assert!(answer.status == 400 && answer.body.contains(name), "FC-SUB-01: {wrong:?}: {answer:?}");
        }
    }
    for (at, value) in [
        (0, "carrier-pigeon"),
        (0, "WebSocket"),
        (1, "denied"),
        (3, "Patient open"),
        (3, "Patient-open,,"),
        (3, "Pat*-open"),
    ] {
        let mut wrong = form.to_vec();
        wrong[at].1 = value;
        let answer = app.post_form(&wrong).await.unwrap();
        assert!(
            answer.status == 400 && answer.body.contains(wrong[at].0),
            "FC-SUB-01: {wrong:?}: {answer:?}"
        );
    }
}

async fn an_accepted_request_is_answered_with_an_endpoint_of_its_own(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let mut tickets = Vec::new();
    for _ in 0..5 {
        let form = [
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic.as_str()),
            ("hub.events", "Patient-open"),
        ];
        let answer = setup.subscriber().post_form(&form).await.unwrap();
        assert_eq!(answer.status, 202, "FC-SUB-02: {answer:?}");
        assert!(answer.header("content-type").starts_with("application/json"), "FC-SUB-02: {answer:?}");
        let endpoint = answer.json().unwrap()["hub.channel.endpoint"].as_str().unwrap().to_owned();
        let base = setup.a().url().replacen("http", "ws", 1);
        assert!(endpoint.starts_with(&base), "FC-SUB-02: {endpoint} is below {base}");
        let ticket = endpoint.rsplit('/').next().unwrap().to_owned();
        assert!(
            !ticket.contains(&topic) && ticket.chars().all(|c| c.is_ascii_hexdigit()),
            "FC-SUB-02: {ticket}"
        );
        tickets.push(ticket);
    }
    // Of hexadecimal digits, 32 hold 128 bits: in so many places two tickets may differ, and a few are equal by chance.
    for (first, second) in tickets.iter().zip(&tickets[1..]) {
        assert!(first.len() >= 36, "FC-SUB-02: {first}");
        let differing = first.chars().zip(second.chars()).filter(|(one, other)| one != other).count();
        assert!(differing >= 20, "FC-SUB-02: {first} and {second} differ in {differing} places");
    }
}

async fn events_are_a_set(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener =
        setup.listener(&topic, "ImagingStudy-open,Patient-open, patient-OPEN,ImagingStudy-open").await;
    let events = listener.seen(|seen| seen.received[0].json["hub.events"].as_str().unwrap().to_owned());
    assert_eq!(events.to_lowercase(), "imagingstudy-open,patient-open", "FC-SUB-03, FC-WSC-01");
    setup.publish(&patient_open(&topic, "1")).await;
    setup.publish(&event(&topic, "2", "ImagingStudy-open", &resource("ImagingStudy", "1"))).await;
    assert_eq!(ids_until(&listener, "2").await, ["1", "2"], "FC-SUB-03: each once");
}

async fn subscribing_again_replaces_the_terms_and_keeps_the_socket_open(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let listener = confirmed(&endpoint).await;
    let renewal =
        [("hub.channel.endpoint", endpoint.as_str()), ("hub.lease_seconds", "600"), ("subscriber.name", "n")];
    // By the other node.
    let again = setup.publisher().subscribe_websocket(&topic, "Encounter-open", &renewal).await.unwrap();
    assert_eq!(again.rsplit('/').next(), endpoint.rsplit('/').next(), "FC-SUB-04: no second subscription");
    let confirmation = listener.wait_for(PATIENCE, "a second confirmation", |seen| {
        let confirmation = &seen.received.get(1)?.json;
        (confirmation["hub.mode"] == "subscribe").then(|| confirmation.clone())
    });
    let confirmation = confirmation.await.unwrap();
    assert_eq!(confirmation["hub.events"], "Encounter-open", "FC-SUB-04");
    let lease = confirmation["hub.lease_seconds"].as_u64().unwrap();
    assert!((590..=600).contains(&lease), "FC-SUB-04: {lease}");
    setup.publish(&patient_open(&topic, "old")).await;
    setup.publish(&event(&topic, "new", "Encounter-open", &resource("Encounter", "1"))).await;
    assert_eq!(ids_until(&listener, "new").await, ["new"], "FC-SUB-04: the old events are replaced");
    assert_eq!(listener.seen(|seen| (seen.connections, seen.closed.len())), (1, 0), "FC-SUB-04: still open");
}

async fn a_socket_that_is_away_is_confirmed_on_the_new_terms_when_it_comes_back(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let renewal = [("hub.channel.endpoint", endpoint.as_str())];
    setup.publisher().subscribe_websocket(&topic, "Encounter-open", &renewal).await.unwrap();
    let listener = confirmed(&endpoint).await;
    let events = listener.seen(|seen| seen.received[0].json["hub.events"].clone());
    assert_eq!(events, "Encounter-open", "FC-SUB-04");
}

async fn a_late_joiner_is_sent_what_is_open_of_each_type_oldest_first(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let early = setup.listener(&topic, "*").await;
    for (id, name, resource_type, resource_id) in [
        ("p1", "Patient-open", "Patient", "1"),
        ("p2", "Patient-open", "Patient", "2"),
        ("s1", "ImagingStudy-open", "ImagingStudy", "1"),
        ("r1", "DiagnosticReport-open", "DiagnosticReport", "1"),
        ("e1", "Encounter-open", "Encounter", "1"),
        ("p3", "Patient-open", "Patient", "3"),
        ("c3", "Patient-close", "Patient", "3"),
        ("c1", "Encounter-close", "Encounter", "1"),
    ] {
        setup.publish(&event(&topic, id, name, &resource(resource_type, resource_id))).await;
    }
    early.wait_for_event(PATIENCE, "c1").await.unwrap();
    let late = setup.listener(&topic, "Patient-open,ImagingStudy-open,Encounter-open,syncerror").await;
    let closes = setup.listener(&topic, "*-close,syncerror").await;
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    assert_eq!(
        ids_until(&late, "last").await,
        ["p2", "s1", "last"],
        "FC-SUB-08: the last open of each type, oldest first, not what was closed or not asked for"
    );
    assert_eq!(ids_until(&closes, "last").await, ["last"], "FC-SUB-08: nothing it did not subscribe to");
    for id in ["p2", "s1"] {
        let (first, replayed) = (early.wait_for_event(PATIENCE, id), late.wait_for_event(PATIENCE, id));
        assert_eq!(
            first.await.unwrap().text,
            replayed.await.unwrap().text,
            "FC-SUB-08: as it was, version too"
        );
    }
    assert!(
        !ids_until(&early, "last").await[8..].contains(&"p2".to_owned()),
        "FC-SUB-08: to the joiner alone"
    );
}

async fn unsubscribing_ends_the_subscription_with_a_denial(kind: Kind) {
    let setup = kind.shared().await;
    for parameter in ["hub.channel.endpoint", "endpoint"] {
        let topic = fresh_topic();
        let endpoint = setup.subscriber().subscribe_websocket(&topic, "Patient-*", &[]).await.unwrap();
        let mut socket = Socket::connect(&endpoint).await.unwrap();
        assert_eq!(socket.next_json(PATIENCE).await.unwrap()["hub.mode"], "subscribe");
        // Partial unsubscribes do not exist: what asks for one ends it all.
        let form = [
            ("hub.channel.type", "websocket"),
            ("hub.mode", "unsubscribe"),
            ("hub.topic", &topic),
            ("hub.events", "Patient-open"),
            ("hub.lease_seconds", "nonsense"),
            (parameter, &endpoint),
        ];
        let answer = setup.publisher().post_form(&form).await.unwrap();
        assert_eq!(answer.status, 202, "FC-SUB-09: {answer:?}");
        let answered = answer.json().unwrap()["hub.channel.endpoint"].as_str().unwrap().to_owned();
        assert_eq!(answered.rsplit('/').next(), endpoint.rsplit('/').next(), "FC-SUB-09");
        let denial = socket.next_json(PATIENCE).await.unwrap();
        assert_eq!(denial["hub.mode"], "denied", "FC-SUB-10: {denial}");
        assert_eq!(denial["hub.topic"], topic.as_str(), "FC-SUB-10: {denial}");
        assert_eq!(denial["hub.events"], "Patient-*", "FC-SUB-10: {denial}");
        assert!(denial["hub.reason"].is_string(), "FC-SUB-10: {denial}");
        let closed = socket.next(PATIENCE).await.unwrap();
        assert_eq!(closed, harness::socket::Incoming::Closed(Some(1000)), "FC-SUB-09");
        for node in setup.nodes() {
            let refused = Socket::connect(&node.endpoint_here(&endpoint).unwrap()).await.err().unwrap();
            assert_eq!(upgrade_status(&refused), Some(404), "FC-SUB-09, FC-WSC-02: {refused}");
        }
        let again = setup.subscriber().post_form(&form).await.unwrap();
        assert_eq!(again.status, 404, "FC-SUB-09: {again:?}");
    }
}

async fn an_unknown_endpoint_cannot_be_unsubscribed_or_renewed(kind: Kind) {
    let setup = kind.shared().await;
    let (app, topic) = (setup.subscriber(), fresh_topic());
    let endpoint = app.subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let flipped = if endpoint.ends_with('0') { "1" } else { "0" };
    let never = format!("{}{flipped}", &endpoint[..endpoint.len() - 1]);
    for unknown in [never.as_str(), "wss://hub.example/never", "%", &"x".repeat(5000)] {
        let answer = app.unsubscribe_websocket(&topic, unknown).await.unwrap();
        assert_eq!(answer.status, 404, "FC-SUB-09: {answer:?}");
    }
    let other_topic = app.unsubscribe_websocket(&fresh_topic(), &endpoint).await.unwrap();
    assert_eq!(other_topic.status, 404, "FC-SUB-09: an endpoint belongs to its topic");
    let renewed = app.subscribe_websocket(&topic, "*", &[("hub.channel.endpoint", &never)]).await;
    assert!(renewed.unwrap_err().to_string().contains("404"), "FC-SUB-04: nothing to renew");
    let callback =
        app.unsubscribe_webhook(&topic, &format!("https://app.example/{}", fresh_id())).await.unwrap();
    assert_eq!(callback.status, 404, "FC-SUB-09: {callback:?}");
    let form = [("hub.channel.type", "websocket"), ("hub.mode", "unsubscribe"), ("hub.topic", &topic)];
    let missing = app.post_form(&form).await.unwrap();
    assert!(missing.status == 400 && missing.body.contains("hub.channel.endpoint"), "FC-SUB-01: {missing:?}");
    confirmed(&endpoint).await;
}
