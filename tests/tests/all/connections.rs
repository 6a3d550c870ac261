//! Connections: how many there may be, how long each part of one may take, and what is spoken on it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use harness::{
    attack::{ATTACKER, raw::Raw},
    certs::Certificates,
    examples::fresh_topic,
    system::borrowed,
    wait::PATIENCE,
};

use crate::{
    limits::{counted, hub},
    messages::patient_open,
    setups::confirmed,
};

#[tokio::test]
async fn idle_connections_give_way_when_all_places_are_taken_and_preflights_are_requests() {
    let hub = hub(&[
        ("limits.connections", "4"),
        ("limits.head_secs", "1"),
        ("cors.allowed_origins", "https://app.example"),
    ])
    .await;
    let preflight = "OPTIONS /api/hub HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n\
                     Access-Control-Request-Method: POST\r\n\r\n";
    let read = "GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut taken = Vec::new();
    for asked in [preflight, read, read, read] {
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(asked.as_bytes()).await.unwrap();
        assert_eq!(raw.answer(PATIENCE).await.unwrap().status, 200);
        taken.push(raw);
    }
    // Longer than a first head may take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    taken[0].send(preflight.as_bytes()).await.unwrap();
    assert_eq!(taken[0].answer(PATIENCE).await.unwrap().status, 200, "FC-TRN-07: its connection stays");
    let mut next = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    next.send(read.as_bytes()).await.unwrap();
    assert_eq!(next.answer(PATIENCE).await.unwrap().status, 200, "it has a place");
    assert!(taken[1].ends_within(Duration::from_secs(10)).await, "of who has been idle for the longest");
    taken[0].send(read.as_bytes()).await.unwrap();
    assert_eq!(taken[0].answer(PATIENCE).await.unwrap().status, 200);
    assert!(counted(&hub, "connections").await >= 1.0);
}

#[tokio::test]
async fn a_head_has_its_time_whether_it_is_the_first_of_its_connection_or_the_second() {
    // The pause between two requests may take longer, and is over when the second has begun.
    let hub = hub(&[("limits.head_secs", "1"), ("limits.keep_alive_secs", "60")]).await;
    let mut first = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    first.send(b"GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    assert_eq!(first.answer(PATIENCE).await.unwrap().status, 408);
    assert!(first.ends_within(PATIENCE).await);

    let mut second = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    second.send(b"GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api/h").await.unwrap();
    assert_eq!(second.answer(PATIENCE).await.unwrap().status, 200);
    let mut slow = tokio::time::interval(Duration::from_millis(300));
    let begun = Instant::now();
    while second.send(b"x").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "a second head may last for ever");
        slow.tick().await;
    }
    let mut silent = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    silent.send(b"GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(silent.answer(PATIENCE).await.unwrap().status, 200);
    silent.send(b"GET /api/h").await.unwrap();
    assert!(silent.ends_within(PATIENCE).await, "a second head that stands still");
}

#[tokio::test]
async fn a_handshake_has_a_time_of_its_own_and_who_has_asked_and_asks_no_more_another() {
    let certificates = Certificates::new().unwrap();
    let times = [("limits.handshake_secs", "5"), ("limits.head_secs", "1"), ("limits.keep_alive_secs", "1")];
    let hub = hub(&[&borrowed(&certificates.settings("tls"))[..], &times].concat()).await;
    let (mut idle, _) = Raw::connect_tls(hub.url(), ATTACKER, b"").await.unwrap();
    // What comes with it of the next head has not begun as long as nothing follows.
    idle.send(b"GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api/h").await.unwrap();
    assert_eq!(idle.answer(PATIENCE).await.unwrap().status, 200);
    assert!(idle.ends_within(PATIENCE).await, "limits.keep_alive_secs");
    let mut silent = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    assert!(!silent.ends_within(Duration::from_secs(3)).await, "a head has not even begun");
    assert!(silent.ends_within(PATIENCE).await, "limits.handshake_secs");
    assert_eq!(counted(&hub, "handshake_secs").await, 1.0);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_trusted_proxy_those_of_all_whom_it_stands_for() {
    let proxy = Ipv4Addr::new(127, 0, 0, 3);
    let hub =
        hub(&[("limits.connections_per_address", "2"), ("trusted_proxies", &format!("{proxy}/32"))]).await;
    let read = b"GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (from, most) in [(ATTACKER, 2), (proxy, 5)] {
        let mut open = Vec::new();
        for number in 0..5 {
            let mut raw = Raw::connect(hub.url(), from).await.unwrap();
            // Who has no place may find the connection gone already.
            let _ = raw.send(read).await;
            let status = raw.answer(PATIENCE).await.ok().map(|answer| answer.status);
            assert_eq!(status, (number < most).then_some(200), "{from}: {number}");
            open.push(raw);
        }
    }
    assert_eq!(counted(&hub, "connections_per_address").await, 3.0);
}

#[tokio::test]
async fn a_socket_gives_way_to_nobody_and_may_be_silent() {
    let hub =
        hub(&[("limits.connections", "3"), ("limits.head_secs", "1"), ("limits.keep_alive_secs", "1")]).await;
    let (app, topic) = (hub.app().unwrap(), fresh_topic());
    let listener = confirmed(&app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap()).await;
    // One after the other takes a place of those that are left, for longer than any connection may do nothing; the one
    // before it may be about to leave.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(b"GET /api/hub/metadata HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(raw.answer(PATIENCE).await.unwrap().status, 200);
    }
    app.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    listener.wait_for_event(PATIENCE, "1").await.unwrap();
    assert!(listener.seen(|seen| seen.closed.is_empty()), "FC-WSC-07");
}

#[tokio::test]
async fn http_2_is_not_spoken_with_tls_or_without() {
    let certificates = Certificates::new().unwrap();
    let files = certificates.settings("tls");
    let hub = hub(&borrowed(&files)).await;
    let (_, agreed) = Raw::connect_tls(hub.url(), ATTACKER, b"\x02h2\x08http/1.1").await.unwrap();
    assert_eq!(agreed.as_deref(), Some(b"http/1.1".as_slice()));
    let (mut raw, agreed) = Raw::connect_tls(hub.url(), ATTACKER, b"\x02h2").await.unwrap();
    assert_eq!(agreed, None);
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(raw.ends_within(PATIENCE).await);
}
