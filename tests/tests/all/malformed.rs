//! Whatever is sent, the hub answers, names what is wrong, and lives on.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use harness::{
    client::{Answer, App, FORM, JSON},
    examples::{fresh_id, fresh_topic},
    socket::{Socket, upgrade_status},
    wait::PATIENCE,
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use reqwest::Method;

use crate::{
    messages::{event, patient_open},
    setups::{Kind, Setup, on_both_setups},
};

on_both_setups![
    what_is_malformed_is_refused_with_a_reason_and_the_hub_lives_on,
    a_body_that_is_too_large_is_413_for_a_client_that_reads_while_it_sends,
    a_body_that_is_too_large_is_413_for_a_client_that_reads_afterwards,
    arbitrary_bytes_and_forms_are_never_the_hubs_fault,
];

async fn lives(setup: &Setup) {
    let (topic, id) = (fresh_topic(), fresh_id());
    setup.publish(&patient_open(&topic, &id)).await;
    let current = setup.publisher().current_context(&topic).await.unwrap();
    assert!(current.body.contains(&id), "the hub lives on: {current:?}");
}

fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "FC-TRN-03: {answer:?}");
    assert!(answer.header("content-type").starts_with("text/plain"), "FC-TRN-03: {answer:?}");
    assert!(answer.body.contains(reason), "FC-TRN-03: {reason:?} in {answer:?}");
}

async fn what_is_malformed_is_refused_with_a_reason_and_the_hub_lives_on(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.publisher();
    let subscribe = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*&hub.topic=";
    let long_topic = "t".repeat(10_000);
    let nested = "[".repeat(100_000);
    let objects = r#"{"a":"#.repeat(100_000);
    let deep_context =
        event("t", "i", "org.example.deep", &format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)));
    let no_text = [b"{\"timestamp\":\"".as_slice(), b"\xff\xfe\"}"].concat();
    let good = patient_open("t", "twice");
    let surrogate = r#"{"timestamp":"\ud800","id":"i","event":{}}"#;
    for (content_type, body, reason) in [
        (JSON, nested.as_bytes(), "nested"),
        (JSON, objects.as_bytes(), "nested"),
        (JSON, deep_context.as_bytes(), "nested"),
        (JSON, no_text.as_slice(), "UTF-8"),
        (JSON, surrogate.as_bytes(), "surrogate"),
        (JSON, good.replacen("{", "{\"id\":\"other\",", 1).as_bytes(), "the member id appears"),
        (
            JSON,
            good.replace("\"hub.topic\"", "\"hub.event\":\"Patient-close\",\"hub.topic\"").as_bytes(),
            "hub.event appears",
        ),
        (
            JSON,
            good.replace("\"hub.topic\"", "\"hub.t\\u006fpic\":\"other\",\"hub.topic\"").as_bytes(),
            "hub.topic appears",
        ),
        (
            JSON,
            good.replace("\"resourceType\"", "\"id\":\"other\",\"resourceType\"").as_bytes(),
            "the member id appears",
        ),
        (JSON, format!("\u{feff}{good}").as_bytes(), "JSON"),
        (JSON, format!("{good}\0").as_bytes(), "JSON"),
        (JSON, b"", "JSON"),
        (JSON, b"\0", "JSON"),
        (JSON, patient_open(&long_topic, "1").as_bytes(), "hub.topic"),
        (JSON, patient_open("t", &"i".repeat(10_000)).as_bytes(), "id"),
        (FORM, format!("{subscribe}{long_topic}").as_bytes(), "hub.topic"),
        (FORM, format!("{subscribe}t&hub.topic=t").as_bytes(), "hub.topic"),
        (FORM, format!("{subscribe}%ff%fe").as_bytes(), "UTF-8"),
        (FORM, b"", "hub.channel.type"),
        (FORM, b"&&==&%&%zz", "hub.channel.type"),
        (FORM, "a=1&".repeat(100_000).as_bytes(), "more than once"),
        (FORM, format!("{subscribe}t&hub.lease_seconds=-1").as_bytes(), "hub.lease_seconds"),
        (FORM, format!("{subscribe}t&hub.events={}", "x".repeat(10_000)).as_bytes(), "hub.events"),
    ] {
        let answer = app.post("", content_type, body).await.unwrap();
        assert_refused(&answer, 400, reason);
        lives(&setup).await;
    }
    assert_refused(&app.post("", "text/xml", b"<a/>").await.unwrap(), 415, "Content-Type");
    assert_refused(&app.post("/a-topic", FORM, b"").await.unwrap(), 415, "json");
    assert_refused(&app.get(&format!("/{long_topic}")).await.unwrap(), 400, "hub.topic");
    assert_refused(&app.get("/%ff").await.unwrap(), 400, "hub.topic");
    let root = App::new(setup.b().url().trim_end_matches("/api/hub")).unwrap();
    for path in ["/", "/api", "/api/hubs", "/API/hub", "/metrics", "/../etc/passwd", "/%2e%2e/"] {
        assert_refused(&root.get(path).await.unwrap(), 404, "path");
    }
    for (method, path) in [
        (Method::GET, ""),
        (Method::PUT, ""),
        (Method::DELETE, "/a-topic"),
        (Method::PATCH, "/a-topic"),
        (Method::POST, "/.well-known/fhircast-configuration"),
        (Method::POST, "/ws/0123"),
    ] {
        let answer = app.send(app.request(method.clone(), path)).await.unwrap();
        assert_refused(&answer, 405, "method");
        assert!(!answer.header("allow").is_empty(), "{method} {path}: {answer:?}");
    }
    let never = format!("{}/ws/{}", setup.b().url().replacen("http", "ws", 1), "0".repeat(40));
    assert_eq!(upgrade_status(&Socket::connect(&never).await.err().unwrap()), Some(404), "FC-WSC-02");
    lives(&setup).await;
}

/// Sends a POST whose body has this many bytes; `reads_first` looks for the answer before each part that it sends.
/// Answers with the first line of what came.
fn send_large(hub_url: &str, bytes: usize, is_chunked: bool, reads_first: bool) -> String {
    let address = hub_url.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length =
        if is_chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {bytes}") };
    let head =
        format!("POST /api/hub HTTP/1.1\r\nHost: {address}\r\nContent-Type: {JSON}\r\n{length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let part = vec![b' '; 1 << 16];
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..bytes / part.len() {
        if reads_first {
            stream.set_nonblocking(true).unwrap();
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => break,
            }
            stream.set_nonblocking(false).unwrap();
        }
        let sent = if is_chunked {
            stream
                .write_all(b"10000\r\n")
                .and_then(|()| stream.write_all(&part))
                .and_then(|()| stream.write_all(b"\r\n"))
        } else {
            stream.write_all(&part)
        };
        if sent.is_err() || !answer.is_empty() {
            break;
        }
    }
    stream.set_nonblocking(false).unwrap();
    while !answer.contains(&b'\n') {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => answer.extend_from_slice(&buffer[..count]),
            Ok(_) => return format!("the end, after {answer:?}"),
            Err(error) => return format!("{error}"),
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

async fn too_large(kind: Kind, reads_first: bool) {
    let setup = kind.shared().await;
    for is_chunked in [false, true] {
        for _ in 0..3 {
            let url = setup.b().url().to_owned();
            let sent =
                tokio::task::spawn_blocking(move || send_large(&url, 20 << 20, is_chunked, reads_first));
            let line = sent.await.unwrap();
            assert!(line.starts_with("HTTP/1.1 413"), "FC-CNT-08: chunked {is_chunked}: {line}");
        }
        lives(&setup).await;
    }
}

async fn a_body_that_is_too_large_is_413_for_a_client_that_reads_while_it_sends(kind: Kind) {
    too_large(kind, true).await;
    let setup = kind.shared().await;
    let answer = setup.publisher().post("", JSON, &vec![b' '; 20 << 20]).await.unwrap();
    assert_refused(&answer, 413, "larger");
}

async fn a_body_that_is_too_large_is_413_for_a_client_that_reads_afterwards(kind: Kind) {
    too_large(kind, false).await;
}

/// Forms whose names are known and whose values are anything.
fn any_form() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = [
        "hub.channel.type",
        "hub.mode",
        "hub.topic",
        "hub.events",
        "hub.lease_seconds",
        "hub.callback",
        "hub.secret",
        "hub.channel.endpoint",
        "endpoint",
        "subscriber.name",
    ];
    let usual = [
        "websocket",
        "webhook",
        "subscribe",
        "unsubscribe",
        "t",
        "*",
        "Patient-open",
        "1",
        "https://127.0.0.1:9/",
    ];
    let value = prop_oneof![prop::sample::select(usual.to_vec()).prop_map(str::to_owned), ".{0,40}"];
    prop::collection::vec((prop::sample::select(names.to_vec()).prop_map(str::to_owned), value), 0..8)
}

/// Events with anything in some of their places.
fn any_event() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        Just("null".to_owned()),
        "-?[0-9]{1,30}(\\.[0-9]{1,9})?",
        "\\[[1,\\[\\]{}\"]{0,9}",
        "\"[ -~]{0,20}\""
    ];
    let members = [
        "\"timestamp\"",
        "\"id\"",
        "\"hub.topic\"",
        "\"hub.event\"",
        "\"context\"",
        "resource",
        "2026",
        "Patient",
    ];
    (prop::sample::select(members.to_vec()), json)
        .prop_map(|(place, value)| patient_open("arbitrary", "i").replacen(place, &value, 1).into_bytes())
}

async fn arbitrary_bytes_and_forms_are_never_the_hubs_fault(kind: Kind) {
    let setup = kind.shared().await;
    let app = setup.publisher();
    let mut runner = TestRunner::new(Config::default());
    let check = |answer: Answer, sent: String| {
        assert!(
            (200..300).contains(&answer.status) || (400..500).contains(&answer.status),
            "{answer:?} to {sent}"
        );
        let is_explained = answer.status < 400 || !answer.body.trim().is_empty();
        assert!(is_explained, "FC-TRN-03: {answer:?} to {sent}");
    };
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let path = "[/a-zA-Z0-9%.~_-]{0,60}";
    for _ in 0..150 {
        let body = bytes.new_tree(&mut runner).unwrap().current();
        for content_type in [JSON, FORM] {
            check(app.post("", content_type, &body).await.unwrap(), format!("{content_type} {body:?}"));
        }
        let event = any_event().new_tree(&mut runner).unwrap().current();
        check(app.post("", JSON, &event).await.unwrap(), String::from_utf8_lossy(&event).into_owned());
        let form = any_form().new_tree(&mut runner).unwrap().current();
        let borrowed: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        check(app.post_form(&borrowed).await.unwrap(), format!("{form:?}"));
        let path = path.new_tree(&mut runner).unwrap().current();
        check(app.get(&format!("/{path}")).await.unwrap(), path);
    }
    lives(&setup).await;
}
