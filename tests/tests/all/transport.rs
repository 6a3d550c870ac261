//! Forms, JSON, content types, paths and origins (FC-TRN-02…07).

use harness::{
    callback_server::CallbackServer,
    examples::{fresh_id, fresh_topic},
    wait::PATIENCE,
};
use reqwest::Method;

use crate::{
    messages::{event, patient_open},
    setups::{Kind, ORIGIN, ids_until, on_both_setups},
};

on_both_setups![
    both_json_types_are_events_with_and_without_a_charset,
    any_other_content_type_is_415_with_a_reason,
    an_error_is_plain_text_and_repeats_no_value,
    a_parameter_given_twice_is_refused_and_an_unknown_one_ignored,
    fhir_json_passes_untouched_wherever_it_comes_out,
    the_hub_answers_at_every_base_path_with_any_slashes,
    a_preflight_from_an_allowed_origin_is_answered_and_from_another_is_not,
    errors_can_be_read_by_allowed_origins_and_by_no_other,
    a_host_that_is_none_is_refused,
    what_is_forwarded_is_believed_from_trusted_proxies_alone,
];

async fn both_json_types_are_events_with_and_without_a_charset(kind: Kind) {
    let setup = kind.shared().await;
    let topic = fresh_topic();
    let listener = setup.listener(&topic, "Patient-open").await;
    for content_type in [
        "application/json",
        "application/fhir+json",
        "application/json; charset=utf-8",
        "application/fhir+json;charset=UTF-8",
        "Application/FHIR+JSON",
    ] {
        let id = fresh_id();
        let message = patient_open(&topic, &id);
        let answer = setup.publisher().post("", content_type, message.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 202, "FC-TRN-02: {content_type}: {answer:?}");
        listener.wait_for_event(PATIENCE, &id).await.unwrap();
    }
}

async fn any_other_content_type_is_415_with_a_reason(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    let message = patient_open(&fresh_topic(), "e");
    for content_type in
        ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "json"]
    {
        let answer = app.post("", content_type, message.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 415, "FC-TRN-02: {content_type}");
        assert!(answer.header("content-type").starts_with("text/plain"), "FC-TRN-03: {answer:?}");
        assert!(answer.body.contains("Content-Type"), "FC-TRN-03: {answer:?}");
    }
    let untyped = app.send(app.request(Method::POST, "").body(message)).await.unwrap();
    assert_eq!(untyped.status, 415, "FC-TRN-02: no Content-Type");
}

async fn an_error_is_plain_text_and_repeats_no_value(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    let secret = format!("{}{}", "hush", "x".repeat(200));
    let answers = [
        app.subscribe_webhook(&fresh_topic(), "*", "https://app.example/", &[("hub.secret", &secret)]).await,
        app.subscribe_webhook("hush\n", "*", "https://app.example/", &[]).await,
        app.subscribe_webhook(&fresh_topic(), "hush hush", "https://app.example/", &[]).await,
        app.subscribe_webhook(&fresh_topic(), "*", "ftp://u:hush@app.example/", &[]).await,
        app.publish(r#"{"timestamp":"T","id":"hush","event":"hush"}"#).await,
        app.unsubscribe_websocket(&fresh_topic(), "wss://app.example/hush").await,
    ];
    for answer in answers.map(Result::unwrap) {
        assert!((400..500).contains(&answer.status), "FC-TRN-03: {answer:?}");
        assert!(answer.header("content-type").starts_with("text/plain"), "FC-TRN-03: {answer:?}");
        assert!(!answer.body.trim().is_empty() && !answer.body.contains("hush"), "FC-TRN-03: {answer:?}");
    }
}

async fn a_parameter_given_twice_is_refused_and_an_unknown_one_ignored(kind: Kind) {
    let setup = kind.shared().await;
    let (app, topic) = (setup.subscriber(), fresh_topic());
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic.as_str()),
        ("hub.events", "Patient-open"),
        ("org.example.unknown", "1"),
    ];
    let answer = app.post_form(&form).await.unwrap();
    assert_eq!(answer.status, 202, "FC-TRN-04: an unknown parameter is ignored: {answer:?}");
    for repeated in form {
        let answer = app.post_form(&[&form[..], &[repeated]].concat()).await.unwrap();
        assert_eq!(answer.status, 400, "FC-TRN-04: {repeated:?} twice");
        assert!(answer.body.contains(repeated.0), "FC-TRN-04: {answer:?}");
    }
}

async fn fhir_json_passes_untouched_wherever_it_comes_out(kind: Kind) {
    const ELEMENTS: &str = r#" { "z-own" : 1.10, "resource":{ "weight":1.10,"big":12345678901234567890123,"e":1E+2,"resourceType":"Patient","id":"1","a":"\u00fc\/","n":null } , "key":"patient" }"#;
    let (setup, topic, id) = (kind.shared().await, fresh_topic(), fresh_id());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let early = setup.listener(&topic, "*").await;
    let sent = event(&topic, &id, "Patient-open", ELEMENTS)
        .replacen(r#"{"timestamp""#, r#"{"x-first":-0.0,"timestamp""#, 1)
        .replacen(r#""context":"#, r#""x-own":[1.0e1],"context":"#, 1);
    setup.publish(&sent).await;
    let context = format!(r#""context":[{ELEMENTS}]"#);

    let frame = early.wait_for_event(PATIENCE, &id).await.unwrap().text;
    assert!(frame.contains(&context), "FC-TRN-05: notification: {frame}");
    assert!(frame.starts_with(r#"{"x-first":-0.0,"timestamp""#), "FC-TRN-05: envelope: {frame}");
    assert!(frame.contains(r#""x-own":[1.0e1],"context""#), "FC-TRN-05: event: {frame}");
    let posted = server.wait_for_event(PATIENCE, "/cb", &id).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&posted.body), frame, "FC-TRN-05, FC-NOT-01: webhook");
    let late = setup.listener(&topic, "Patient-open").await;
    let replayed = late.wait_for_event(PATIENCE, &id).await.unwrap().text;
    assert_eq!(replayed, frame, "FC-TRN-05: replay");
    let current = setup.subscriber().current_context(&topic).await.unwrap().body;
    let context = format!(r#""context":[{}"#, ELEMENTS.trim_end());
    assert!(current.contains(&context), "FC-TRN-05: Get Current Context: {current}");
}

async fn the_hub_answers_at_every_base_path_with_any_slashes(kind: Kind) {
    let setup = kind.shared().await;
    let topic = fresh_topic();
    let listener = setup.listener(&topic, "Patient-open").await;
    let origin = setup.b().url().trim_end_matches("/api/hub").to_owned();
    let app = harness::client::App::new(&origin).unwrap();
    for base in ["/api/hub", "/fhircast/STU3", "/fhircast/STU2"] {
        for path in [base.to_owned(), format!("{base}/"), format!("/{base}//"), base.replacen("/", "//", 2)] {
            let id = fresh_id();
            let message = patient_open(&topic, &id);
            let answer = app.post(&path, "application/json", message.as_bytes()).await.unwrap();
            assert_eq!(answer.status, 202, "FC-TRN-06: {path}: {answer:?}");
            listener.wait_for_event(PATIENCE, &id).await.unwrap();
            let current = app.get(&format!("{path}/{topic}")).await.unwrap();
            assert!(current.body.contains(&format!("p-{id}")), "FC-TRN-06: {path}/topic: {current:?}");
        }
        let document = app.get(&format!("{base}/.well-known/fhircast-configuration")).await.unwrap();
        assert_eq!(document.status, 200, "FC-TRN-06, FC-CNF-01: {base}");
    }
}

async fn a_preflight_from_an_allowed_origin_is_answered_and_from_another_is_not(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let app = setup.subscriber();
    let preflight = |origin: &'static str| {
        let request = app.request(Method::OPTIONS, "").header("Origin", origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        app.send(request.header("Access-Control-Request-Headers", "authorization,content-type,x-own"))
    };
    let answer = preflight(ORIGIN).await.unwrap();
    assert!((200..300).contains(&answer.status), "FC-TRN-07: {answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "FC-TRN-07");
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    for header in ["authorization", "content-type", "x-own"] {
        assert!(allowed.contains(header), "FC-TRN-07: {header} in {allowed:?}");
    }
    assert_eq!(answer.header("access-control-allow-credentials"), "", "FC-TRN-07: a token is no cookie");
    for origin in
        ["https://evil.example", "https://viewer.example.evil.example", "http://viewer.example", "null", "*"]
    {
        let answer = preflight(origin).await.unwrap();
        assert_eq!(answer.header("access-control-allow-origin"), "", "FC-TRN-07: {origin}");
    }
    let listener = setup.listener(&topic, "Patient-open").await;
    let message = patient_open(&topic, "e");
    let request =
        app.request(Method::POST, "").header("Origin", ORIGIN).header("Content-Type", "application/json");
    let answer = app.send(request.body(message)).await.unwrap();
    assert_eq!(answer.status, 202, "FC-TRN-07: {answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "FC-TRN-07: never *");
    assert_eq!(ids_until(&listener, "e").await, ["e"], "FC-TRN-07");
}

async fn errors_can_be_read_by_allowed_origins_and_by_no_other(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    for (origin, readable) in [(ORIGIN, ORIGIN), ("https://evil.example", ""), ("null", "")] {
        // While authentication is off, a page that is not allowed is not even served.
        let or_403 = |status: u16| if readable.is_empty() { 403 } else { status };
        let requests = [
            (or_403(400), app.request(Method::POST, "").header("Content-Type", "application/json").body("{")),
            (or_403(415), app.request(Method::POST, "").header("Content-Type", "text/xml").body("<a/>")),
            (or_403(405), app.request(Method::DELETE, "")),
            (404, app.request(Method::GET, "/.well-known/other")),
        ];
        for (status, request) in requests {
            let answer = app.send(request.header("Origin", origin)).await.unwrap();
            assert_eq!(answer.status, status, "FC-TRN-07: {answer:?}");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                readable,
                "FC-TRN-07: {origin}: {status}"
            );
            assert!(answer.header("vary").to_lowercase().contains("origin"), "FC-TRN-07: {answer:?}");
            let exposed = answer.header("access-control-expose-headers").to_lowercase();
            for header in ["www-authenticate", "retry-after"] {
                assert!(exposed.contains(header), "FC-TRN-07: {header} in {exposed:?}");
            }
        }
    }
}

async fn a_host_that_is_none_is_refused(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.subscriber();
    for host in ["evil.example/path?", "user@evil.example", "a b", "h:99999", "<script>"] {
        let answer = app.send(app.request(Method::GET, "/metadata").header("Host", host)).await.unwrap();
        assert_eq!(answer.status, 400, "FC-CNF-02: {host}: {answer:?}");
        assert!(!answer.body.contains(host), "FC-TRN-03: {answer:?}");
    }
}

async fn what_is_forwarded_is_believed_from_trusted_proxies_alone(kind: Kind) {
    let subscribed = async |setup: &crate::setups::Setup, topic: &str| {
        let app = setup.subscriber();
        let form = format!(
            "hub.channel.type=websocket&hub.mode=subscribe&hub.topic={topic}&hub.events=Patient-open"
        );
        let request = app
            .request(Method::POST, "")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-Forwarded-Proto", "https")
            .header("X-Forwarded-Host", "hub.example.org:8443");
        let answer = app.send(request.body(form)).await.unwrap().expect_status(202).unwrap();
        answer.json().unwrap()["hub.channel.endpoint"].as_str().unwrap().to_owned()
    };
    let behind_a_proxy = kind.own(&[("trusted_proxies", "10.0.0.0/8,127.0.0.0/8")]).await;
    let endpoint = subscribed(&behind_a_proxy, &fresh_topic()).await;
    assert!(endpoint.starts_with("wss://hub.example.org:8443/api/hub/ws/"), "FC-SUB-02: {endpoint}");
    let straight = kind.shared().await;
    let endpoint = subscribed(&straight, &fresh_topic()).await;
    let own = straight.a().url().replacen("http", "ws", 1);
    assert!(endpoint.starts_with(&format!("{own}/ws/")), "FC-SUB-02: {endpoint}");
}
