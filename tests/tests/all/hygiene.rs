//! Nothing that is confidential is printed, and nobody forges a line (FC-SEC-03, FC-TRN-03).
//!
//! The harness looks through all that every program prints in every test, at the level `trace`; here is what the other
//! tests leave out.

use std::{net::Ipv4Addr, process::Command};

use harness::{
    attack::raw::Raw,
    callback_server::{CallbackServer, Nobody, Reply},
    client::App,
    examples::{self, Message, fresh_topic},
    hygiene,
    process::{Process, program},
    wait::{PATIENCE, eventually},
};
use reqwest::Method;

use crate::setups::{Kind, on_each_setup};

on_each_setup![nothing_of_what_passes_through_is_printed];

async fn nothing_of_what_passes_through_is_printed(kind: Kind) {
    let setup = kind.own(&[("retry.max_attempts", "2")]).await;
    let (topic, app) = (fresh_topic(), setup.publisher());
    let server = CallbackServer::start().unwrap();
    let listener = setup.listener(&topic, "*,heartbeat").await;
    let secret = [("hub.secret", "a-secret-of-the-subscriber")];
    setup.webhook(&server, "/cb?token=of-the-callback", &topic, "*", &secret).await;
    server.queue("/cb", [409, 500, 500, 302].map(Reply::status));
    let nobody = Nobody::here().unwrap();
    let unreachable = nobody.url("/?query=unreachable").unwrap();
    let asked = app.subscribe_webhook(&topic, "*", &unreachable, &secret).await.unwrap();
    asked.expect_status(202).unwrap();
    let forbidden = "http://192.0.2.1/?query=forbidden-net";
    let asked = app.subscribe_webhook(&topic, "*", forbidden, &secret).await.unwrap();
    asked.expect_status(400).unwrap();
    for (name, _) in examples::ALL {
        let message = Message::example(name).unwrap().topic(&topic).unwrap();
        app.publish(message.text()).await.unwrap();
        // And in every way broken: what is wrong is told, and nothing that stands there.
        let text = message.text();
        for broken in [&text[..text.len() / 2], &text.replace(':', ";"), &text.replace('}', "]")] {
            let refused = app.publish(broken).await.unwrap();
            assert!((400..500).contains(&refused.status), "{name}: {refused:?}");
        }
        app.post("", "application/x-www-form-urlencoded", text.as_bytes()).await.unwrap();
        let twice = format!("{text}=1&{text}=2");
        app.post("", "application/x-www-form-urlencoded", twice.as_bytes()).await.unwrap();
        app.post(&format!("/{topic}"), "text/plain", text.as_bytes()).await.unwrap();
    }
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJKb2huIFNtaXRoIn0.";
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
        for path in ["/", "/ws/", "/metadata/", "/.well-known/"] {
            let request = app.request(method.clone(), &format!("{path}{topic}?access_token={token}"));
            let request = request.bearer_auth(token).header("Cookie", token).header("X-Request-Id", &topic);
            app.send(request).await.unwrap();
        }
    }
    for node in setup.nodes() {
        for (name, value) in [("Content-Length", "~"), ("Transfer-Encoding", ""), ("Expect", "")] {
            let head = format!("GET /api/hub/{topic} HTTP/1.1\r\nHost: a\r\n{name}: {value}{topic}\r\n\r\n");
            let mut raw = Raw::connect(node.url(), Ipv4Addr::LOCALHOST).await.unwrap();
            raw.send(head.as_bytes()).await.unwrap();
            raw.answer(PATIENCE).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    app.current_context(&topic).await.unwrap().expect_status(200).unwrap();
    server.wait_for(PATIENCE, "the retries", |all| (all.len() > 8).then_some(())).await.unwrap();
    drop(listener);
    for node in setup.nodes() {
        node.metrics().await.unwrap();
    }
    setup.worker_metrics().await;
    // The rest is looked at when the programs are dropped.
}

#[tokio::test]
async fn nobody_forges_a_line_of_the_log() {
    let mut hub = Command::new(program("fhircast-hub").unwrap());
    hub.args(["--embedded", "--set", "log.level=trace", "--set", "callbacks.allow_http=true"]);
    hub.env("FHIRCAST_LISTEN", "127.0.0.1:0").env("FHIRCAST_ADMIN_LISTEN", "127.0.0.1:0");
    hub.env("FHIRCAST_AUDIT__TO", "stdout").env("FHIRCAST_RETRY__INITIAL_SECS", "0.05");
    let mut hub = Process::start("embedded", hub).unwrap();
    let url = |line: &str| Some(line.split_once("listening url=\"")?.1.split_once('"')?.0.to_owned());
    let url = hub.wait_for_log(PATIENCE, "its URL", url).await.unwrap();
    let app = App::new(&url).unwrap();
    let (topic, server) = (fresh_topic(), CallbackServer::start().unwrap());
    let forged = "x\r\n2026-01-01T00:00:00.000000Z ERROR hub: forged\n{\"kind\":\"forged\"}\u{1b}[31m";

    let named = [("subscriber.name", forged)];
    app.subscribe_webhook(&topic, "*", &server.url("/a"), &named).await.unwrap().expect_status(400).unwrap();
    let unprintable = app.subscribe_webhook(forged, "*", &server.url("/a"), &[]).await.unwrap();
    unprintable.expect_status(400).unwrap();
    server.on("/cb", |request| request.is_notification().then(|| Reply::status(409)));
    let named = [("subscriber.name", "x%0Aforged \u{9b}31m")];
    app.subscribe_webhook(&topic, "*", &server.url("/b\nforged"), &named).await.unwrap();
    app.subscribe_webhook(&topic, "*", &server.url("/cb"), &[]).await.unwrap().expect_status(202).unwrap();
    let id = serde_json::Value::from(forged);
    let event = format!(
        r#"{{"timestamp":{id},"id":{id},"event":{{"hub.topic":"{topic}","hub.event":"userLogout","context":[]}}}}"#
    );
    app.publish(&event).await.unwrap().expect_status(202).unwrap();
    // The first ones may have come before the subscription.
    eventually(PATIENCE, "a refusal", || async {
        app.publish(&event.replace("x\\r", &harness::examples::fresh_id())).await.unwrap();
        hub.log_lines().iter().any(|line| line.contains("delivery-refusal")).then_some(())
    })
    .await
    .unwrap();
    let request = app.request(Method::GET, "/%0Aforged%1b[31m").header("X-Request-Id", "a%0Aforged");
    app.send(request).await.unwrap();
    hub.kill().unwrap();

    for line in hub.log_lines() {
        let is_record = line.starts_with("{\"time\":\"");
        let is_event = line.starts_with("20")
            && line
                .split_whitespace()
                .nth(1)
                .is_some_and(|level| ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"].contains(&level));
        let is_shown = line.starts_with("   ")
            || line.is_empty()
            || line.starts_with("The hub is at")
            || line.as_bytes()[1] == b'.';
        assert!(is_record || is_event || is_shown, "a line of nobody: {line:?}");
        assert!(!line.starts_with("2026-01-01T00:00:00") && !line.contains('\u{1b}'), "{line:?}");
        assert_eq!(hygiene::leak(&line), None, "{line}");
    }
}
