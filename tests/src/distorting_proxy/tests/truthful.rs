//! With nothing distorted an app sees the hub as it is.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::callback_server::{CallbackServer, signature};
use crate::process::Signal;
use crate::socket::upgrade_status;

#[tokio::test]
async fn an_event_reaches_an_app_behind_the_proxy_as_it_reaches_one_at_the_hub() {
    let hub = hub(&[]).await;
    let setup = before(&hub, Distortion::None);
    let endpoint = setup.endpoint("*").await;
    let host = |url: &str| url.split('/').nth(2).unwrap().to_owned();
    assert_eq!(host(&endpoint), host(setup._proxy.url()), "FC-SUB-02: the socket runs through the proxy");
    let mut through = confirmed(&endpoint).await;
    let direct = hub.app().unwrap().subscribe_websocket(&setup.topic, "*", &[]).await.unwrap();
    let mut direct = confirmed(&direct).await;
    let event = setup.event("e", "Patient-open", PATIENT);
    let answer =
        setup.app.post("//", "application/fhir+json; charset=utf-8", event.as_bytes()).await.unwrap();
    assert_eq!((answer.status, answer.header("content-length")), (202, "0"), "FC-REQ-08, FC-TRN-06");
    let frame = through.next(PATIENCE).await.unwrap();
    assert_eq!(frame, direct.next(PATIENCE).await.unwrap(), "FC-NOT-01");
    assert!(matches!(frame, Incoming::Text(text) if text.contains("1.10")), "FC-TRN-05");
    let shown = setup.app.current_context(&setup.topic).await.unwrap();
    let is = hub.app().unwrap().current_context(&setup.topic).await.unwrap();
    assert_eq!((shown.status, &shown.body), (200, &is.body), "FC-CTX-01");
    assert_eq!(shown.header("content-type"), is.header("content-type"));
    let refused = setup.app.post("", "text/plain", b"x").await.unwrap();
    assert!(refused.status == 415 && !refused.body.is_empty(), "FC-TRN-02, FC-TRN-03: {refused:?}");
    let preflight = setup.app.request(Method::OPTIONS, "").header("Origin", ORIGIN);
    let preflight = setup.app.send(preflight.header("Access-Control-Request-Method", "POST")).await.unwrap();
    assert_eq!(preflight.header("access-control-allow-origin"), ORIGIN, "FC-TRN-07");
    assert_eq!(
        setup.app.unsubscribe_websocket(&setup.topic, &endpoint).await.unwrap().status,
        202,
        "FC-SUB-09"
    );
    assert_eq!(next(&mut through).await["hub.mode"], "denied", "FC-SUB-10");
    assert_eq!(end(&mut through).await, Some(1000), "FC-SUB-09");
    let refused = Socket::connect(&endpoint).await.err().unwrap();
    assert_eq!(upgrade_status(&refused), Some(404), "FC-WSC-02");
}

#[tokio::test]
async fn close_codes_answers_and_drops_pass_both_ways() {
    let mut hub = hub(&[("reconnect_grace_secs", "1")]).await;
    let setup = before(&hub, Distortion::None);
    let endpoint = setup.endpoint("Patient-open").await;
    let mut first = confirmed(&endpoint).await;
    let mut second = confirmed(&endpoint).await;
    assert_eq!(end(&mut first).await, Some(4000), "FC-WSC-04");
    let mut other = setup.socket("syncerror").await;
    setup.publish("e", "Patient-open", PATIENT).await;
    assert_eq!(next(&mut second).await["id"], "e");
    second.answer("e", 409).await.unwrap();
    assert_eq!(next(&mut other).await["event"]["hub.event"], "syncerror", "FC-NOT-02");
    second.send(Message::binary(b"{}".to_vec())).await.unwrap();
    assert_eq!(end(&mut second).await, Some(1003), "FC-WSC-05");
    let mut third = confirmed(&endpoint).await;
    third.close(1000).await.unwrap();
    // The hub hears that the app has left, and reports nobody; it hears of a drop, and does.
    drop(setup.socket("Patient-close").await);
    let sync_error = next(&mut other).await;
    let diagnostics = sync_error.to_string();
    assert!(diagnostics.contains("lost its connection"), "FC-NOT-04, FC-NOT-05: {diagnostics}");
    hub.process().signal(Signal::TERM).unwrap();
    assert_eq!(end(&mut other).await, Some(1001), "FC-SUB-11");
}

#[tokio::test]
async fn pings_and_pongs_pass_and_so_does_a_death() {
    let mut hub = hub(&[("ping_secs", "1")]).await;
    let setup = before(&hub, Distortion::None);
    let (mut socket, _) = tokio_tungstenite::connect_async(setup.endpoint("*").await).await.unwrap();
    let mut frames = Vec::new();
    while frames.len() < 3 {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        frames.push(frame);
    }
    // The hub drops who misses two in a row, so the pong reached it.
    assert!(frames[0].is_text() && frames[1].is_ping() && frames[2].is_ping(), "FC-WSC-07: {frames:?}");
    socket.send(Message::Ping("anybody".into())).await.unwrap();
    let pong = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Pong(payload) => return payload,
                other => assert!(other.is_ping(), "{other:?}"),
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, pong).await.unwrap(), "anybody");
    hub.process().kill().unwrap();
    let mut last = Some(Ok(Message::Ping("".into())));
    while matches!(last, Some(Ok(Message::Ping(_)))) {
        last = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    }
    assert!(!matches!(last, Some(Ok(_))), "the end has no code: {last:?}");
}

#[tokio::test]
async fn the_hub_requests_a_callback_itself_and_through_the_proxy_it_looks_the_same() {
    let hub = hub(&[]).await;
    // Of the second nothing shows unless a subscription is denied.
    for distortion in [Distortion::None, Distortion::NoDenialToCallback] {
        let (setup, server) = (before(&hub, distortion), CallbackServer::start().unwrap());
        let url = server.url("/here?own=1");
        let extra = [("hub.secret", "s3cret")];
        for name in ["syncerror", "Patient-open"] {
            let answer = setup.app.subscribe_webhook(&setup.topic, name, &url, &extra).await.unwrap();
            answer.expect_status(202).unwrap();
        }
        let verified = |requests: &[crate::callback_server::Request]| {
            let mut events = requests.iter().filter_map(|request| request.parameter("hub.events"));
            events.any(|events| events == "Patient-open").then_some(())
        };
        server.wait_for(PATIENCE, "the verification", verified).await.unwrap();
        let delivered = crate::wait::eventually(PATIENCE, "a delivery", async || {
            setup.publish("e", "Patient-open", PATIENT).await;
            server.wait_for_event(Duration::from_millis(100), "/here", "e").await.ok()
        });
        let delivery = delivered.await.unwrap();
        let signed = signature("s3cret", &delivery.body).unwrap();
        assert_eq!(delivery.header("x-hub-signature"), Some(signed.as_str()), "FC-WHK-03");
        assert_eq!(
            (delivery.query.as_str(), delivery.header("content-type")),
            ("own=1", Some("application/json"))
        );
        assert_eq!(delivery.header("host"), server.url("").strip_prefix("http://"));
        let intent = &server.requests()[0];
        assert!(intent.query.starts_with("own=1&hub.mode=subscribe&"), "FC-WHK-02: {intent:?}");
        let answer = setup.app.unsubscribe_webhook(&setup.topic, &url).await.unwrap();
        answer.expect_status(202).unwrap();
        let is_leave =
            |request: &crate::callback_server::Request| request.query.contains("hub.mode=unsubscribe");
        let left = |requests: &[_]| requests.iter().any(is_leave).then_some(());
        server.wait_for(PATIENCE, "FC-WHK-02: before the unsubscribe", left).await.unwrap();
    }
}
