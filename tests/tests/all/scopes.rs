//! What a token lets its bearer read and write, and in which topic (FC-SCO-01…03, FC-SES-02).

use harness::{
    callback_server::{CallbackServer, Request},
    client::Answer,
    examples::fresh_topic,
    wait::PATIENCE,
};

use crate::{
    guarded::{Guarded, bearing, confirmation, everything, hook, listen, told},
    messages::{NO_CONTENT, event, patient_open, resource, versioned},
    setups::{Kind, ids_at, ids_until, on_both_setups},
};

on_both_setups![
    a_subscription_is_granted_what_may_be_read,
    a_narrow_subscriber_gets_its_events_alone,
    what_is_open_is_sent_as_far_as_it_may_be_read,
    the_current_context_is_shown_as_far_as_it_may_be_read,
    what_no_scope_allows_is_refused_and_the_scope_is_named,
    a_token_for_a_topic_is_for_no_other,
];

async fn a_subscription_is_granted_what_may_be_read(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("openid fhircast/Patient-open.read fhircast/*-CLOSE.* fhircast/heartbeat.read");
    for (number, (asked, granted)) in [
        ("*", "Patient-open,*-CLOSE"),
        ("patient-OPEN,Encounter-open", "patient-OPEN"),
        ("Encounter-*,syncerror", "Encounter-CLOSE"),
        ("heartbeat,Encounter-close", "heartbeat,Encounter-close"),
    ]
    .into_iter()
    .enumerate()
    {
        let listener = listen(&app, &topic, asked).await;
        assert_eq!(confirmation(&listener)["hub.events"], granted, "FC-SCO-01, FC-SCO-02: {asked}");
        let path = format!("/{number}");
        hook(&app, &server, &path, &topic, asked).await.expect_status(202).unwrap();
        let intent = told(&server, &path, "subscribe").await;
        assert_eq!(intent.parameter("hub.events").as_deref(), Some(granted), "FC-SCO-02: {asked}");
    }
    // Another token for the same subscription: what it may read counts from now on.
    let listener = listen(&app, &topic, "*").await;
    let endpoint = listener.endpoint().to_owned();
    let again = [("hub.channel.endpoint", endpoint.as_str())];
    hub.app("fhircast/Encounter-open.read").subscribe_websocket(&topic, "*", &again).await.unwrap();
    let second = listener.wait_for(PATIENCE, "the confirmation", |seen| seen.received.get(1).cloned()).await;
    assert_eq!(second.unwrap().json["hub.events"], "Encounter-open", "FC-SCO-02, FC-SUB-04");
}

async fn a_narrow_subscriber_gets_its_events_alone(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("fhircast/PATIENT-open.read fhircast/org.example.last.read fhircast/*.write");
    hub.publish(&patient_open(&topic, "0")).await;
    let listener = listen(&app, &topic, "*").await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    server.wait_for_event(PATIENCE, "/cb", "0").await.expect("FC-SUB-08");
    for (id, name, of) in [
        ("1", "Encounter-open", "Encounter"),
        ("2", "patient-OPEN", "Patient"),
        ("3", "Patient-select", "Patient"),
        ("4", "Patient-close", "Patient"),
        ("5", "Patient-open", "Patient"),
    ] {
        hub.publish(&event(&topic, id, name, &resource(of, "x"))).await;
    }
    hub.publish(&event(&topic, "6", "syncerror", "")).await;
    hub.finish(&topic, "7").await;
    assert_eq!(ids_until(&listener, "7").await, ["0", "2", "5", "7"], "FC-SCO-03");
    server.wait_for_event(PATIENCE, "/cb", "7").await.unwrap();
    assert_eq!(ids_at(&server, "/cb"), ["0", "2", "5", "7"], "FC-SCO-03");
}

async fn what_is_open_is_sent_as_far_as_it_may_be_read(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("fhircast/Patient-open.read fhircast/org.example.last.read");
    let early = listen(&app, &topic, "*").await;
    let study = format!("{},{}", resource("ImagingStudy", "the-study"), resource("Patient", "the-patient"));
    hub.publish(&event(&topic, "1", "ImagingStudy-open", &study)).await;
    hub.publish(&event(&topic, "2", "Encounter-open", &resource("Encounter", "the-encounter"))).await;
    let late = listen(&app, &topic, "*").await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let of_patient =
        |requests: &[Request]| requests.iter().find(|request| request.is_notification()).cloned();
    server.wait_for(PATIENCE, "what is open", of_patient).await.unwrap();
    hub.finish(&topic, "3").await;
    server.wait_for_event(PATIENCE, "/cb", "3").await.unwrap();
    let body = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    let posted: String = server.notifications("/cb").iter().map(body).collect();
    for (who, listener) in [("early", early), ("late", late)] {
        assert_eq!(ids_until(&listener, "3").await.len(), 2, "FC-NOT-07, FC-SUB-08: {who}");
        let seen = everything(&listener);
        assert!(seen.contains("the-patient"), "FC-NOT-07: {who}: {seen}");
        assert!(!seen.contains("the-study") && !seen.contains("the-encounter"), "FC-SCO-03: {who}: {seen}");
    }
    assert!(posted.contains("the-patient"), "FC-NOT-07: {posted}");
    assert!(!posted.contains("the-study") && !posted.contains("the-encounter"), "FC-SCO-03: {posted}");
}

async fn the_current_context_is_shown_as_far_as_it_may_be_read(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let report = format!("{},{}", resource("DiagnosticReport", "r"), resource("Patient", "p"));
    hub.publish(&event(&topic, "1", "DiagnosticReport-open", &report)).await;
    let show = |scopes: &'static str| {
        let (app, topic) = (hub.app(scopes), topic.clone());
        async move { app.current_context(&topic).await.unwrap() }
    };
    let opened = show("fhircast/*.read").await.json().unwrap();
    let version = opened["context.versionId"].as_str().unwrap().to_owned();
    let observation = r#"{"key":"updates","resource":{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"PUT"},"resource":{"resourceType":"Observation","id":"o"}}]}}"#;
    let update = format!("{},{observation}", resource("DiagnosticReport", "r"));
    hub.publish(&versioned(&event(&topic, "2", "DiagnosticReport-update", &update), &version)).await;

    let whole = show("fhircast/DiagnosticReport-open.read fhircast/DiagnosticReport-update.read").await;
    let whole = whole.expect_status(200).unwrap();
    assert!(whole.body.contains("Observation") && whole.body.contains(&report), "FC-CTX-04: {whole:?}");
    let present = whole.json().unwrap()["context.versionId"].clone();
    assert_ne!(present, version.as_str());

    for scopes in [
        "fhircast/DiagnosticReport-open.read",
        "fhircast/DiagnosticReport-open.read fhircast/Patient-update.read fhircast/*.write",
    ] {
        let shown = show(scopes).await.expect_status(200).unwrap();
        assert!(shown.body.contains(&format!("[{report},{NO_CONTENT}]")), "FC-SCO-03: {scopes}: {shown:?}");
        assert_eq!(shown.json().unwrap()["context.versionId"], present, "FC-CTX-01");
    }

    let derived = show("fhircast/Patient-open.read fhircast/DiagnosticReport-update.read").await;
    let derived = derived.expect_status(200).unwrap();
    let patient = format!("[{},{NO_CONTENT}]", resource("Patient", "p"));
    assert!(derived.body.contains(&patient), "FC-CTX-01, FC-NOT-07, FC-SCO-03: {derived:?}");
    assert_eq!(derived.json().unwrap()["context.type"], "Patient", "FC-CTX-01");
    assert_eq!(derived.json().unwrap()["context.versionId"], present, "FC-CTX-01");

    for scopes in
        ["fhircast/Encounter-*.read", "fhircast/DiagnosticReport-update.read", "fhircast/*-close.read"]
    {
        let empty = show(scopes).await.expect_status(200).unwrap().json().unwrap();
        assert_eq!(empty["context.type"], "", "FC-CTX-01, FC-SCO-03: {scopes}");
        assert_eq!(empty["context"], serde_json::json!([]), "FC-CTX-01, FC-SCO-03: {scopes}");
    }
    for scopes in ["fhircast/*.write", "openid patient/*.read", "fhircast/*.READ", "FHIRcast/*.read"] {
        let refused = show(scopes).await;
        assert_eq!(refused.status, 403, "FC-SCO-02: {scopes}: {refused:?}");
        assert!(!refused.body.contains("Patient"), "FC-SCO-03: {refused:?}");
    }
}

fn assert_missing(answer: &Answer, scope: &str) {
    assert_eq!(answer.status, 403, "FC-SEC-01, FC-SCO-02: {answer:?}");
    assert!(answer.body.contains(scope), "FC-TRN-03: {answer:?}");
    let asked = answer.header("www-authenticate");
    assert!(asked.contains("insufficient_scope") && asked.contains(scope), "FC-SEC-01: {answer:?}");
}

async fn what_no_scope_allows_is_refused_and_the_scope_is_named(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let witness = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    let app = hub.app("fhircast/Encounter-*.write fhircast/Patient-open.read fhircast/Patient-close.write");
    let refused = app.publish(&patient_open(&topic, "1")).await.unwrap();
    assert_missing(&refused, "fhircast/Patient-open.write");
    let sync_error = app.publish(&event(&topic, "2", "syncerror", "")).await.unwrap();
    assert_missing(&sync_error, "fhircast/syncerror.write");
    let allowed = event(&topic, "3", "ENCOUNTER-open", &resource("Encounter", "e"));
    app.publish(&allowed).await.unwrap().expect_status(202).expect("FC-SCO-01");
    assert_eq!(ids_until(&witness, "3").await, ["3"], "FC-SCO-02: what was refused did not happen");

    let form = |events| {
        let websocket = [("hub.channel.type", "websocket"), ("hub.mode", "subscribe")];
        [websocket.as_slice(), &[("hub.topic", topic.as_str()), ("hub.events", events)]].concat()
    };
    let refused = app.post_form(&form("Patient-close")).await.unwrap();
    assert_missing(&refused, "fhircast/Patient-close.read");
    let refused = app.post_form(&form("heartbeat,Encounter-*")).await.unwrap();
    assert_missing(&refused, "fhircast/Encounter-*.read");
    let heartbeat = hub.app("fhircast/heartbeat.read");
    assert_missing(&heartbeat.post_form(&form("*")).await.unwrap(), "fhircast/*.read");
    assert_missing(&hook(&app, &server, "/cb", &topic, "syncerror").await, "fhircast/syncerror.read");
    assert!(server.requests().is_empty(), "FC-SCO-02: nobody is asked");
}

async fn a_token_for_a_topic_is_for_no_other(kind: Kind) {
    let (hub, own, other) = (Guarded::of(kind).await, fresh_topic(), fresh_topic());
    let app = bearing(hub.setup.a(), &hub.token().topic(&own));
    let server = CallbackServer::start().unwrap();
    let subscribe = |topic: String| {
        let app = app.clone();
        let form = [
            ("hub.channel.type", "websocket".to_owned()),
            ("hub.mode", "subscribe".to_owned()),
            ("hub.topic", topic),
            ("hub.events", "*".to_owned()),
        ];
        async move { app.post_form(&form.each_ref().map(|(name, value)| (*name, value.as_str()))).await.unwrap() }
    };
    assert_eq!(subscribe(own.clone()).await.status, 202, "FC-SES-02");
    assert_eq!(subscribe(other.clone()).await.status, 403, "FC-SES-02");
    assert_eq!(subscribe(own.to_uppercase()).await.status, 403, "FC-SES-01, FC-SES-02");
    assert_eq!(hook(&app, &server, "/cb", &other, "*").await.status, 403, "FC-SES-02");
    app.publish(&patient_open(&own, "1")).await.unwrap().expect_status(202).expect("FC-SES-02");
    assert_eq!(app.publish(&patient_open(&other, "1")).await.unwrap().status, 403, "FC-SES-02");
    app.current_context(&own).await.unwrap().expect_status(200).expect("FC-SES-02");
    assert_eq!(app.current_context(&other).await.unwrap().status, 403, "FC-SES-02");
    let theirs = hub.app("fhircast/*.*").subscribe_websocket(&other, "*", &[]).await.unwrap();
    assert_eq!(app.unsubscribe_websocket(&other, &theirs).await.unwrap().status, 403, "FC-SES-02");
    assert_eq!(app.unsubscribe_websocket(&own, &theirs).await.unwrap().status, 404, "FC-SUB-09");
}
