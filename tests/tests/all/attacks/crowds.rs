//! While the hub is attacked it stays small, and answers who means it.
//!
//! An attacker has addresses of its own; the legitimate client is at another. `harness::attack` has the parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use harness::{
    attack::{
        ATTACKER, attacker,
        frames::{CONTINUATION, PING, Shape, TEXT},
        legitimate::Legitimate,
        raw::{Raw, post, post_head},
        toll::Toll,
    },
    certs::Certificates,
    client::{FORM, JSON},
    examples::{fresh_id, fresh_topic},
    system::Hub,
};

use tokio::sync::Mutex;

use crate::messages::patient_open;

/// Everyone who means it is answered within this.
const WITHIN: Duration = Duration::from_secs(1);
/// One attack at a time: they are about the hub, not about the machine.
pub static ATTACK: Mutex<()> = Mutex::const_new(());
const MIB: u64 = 1 << 20;
/// For how long an attack holds what it has.
const HELD: Duration = Duration::from_secs(2);

/// A hub whose memory is measured in what it uses: a huge page counts 2 MiB for the first byte that is written to it, which
/// is more than a flooding socket takes.
async fn hub(settings: &[(&str, &str)]) -> Hub {
    let environment = vec![("MIMALLOC_ALLOW_THP".to_owned(), "0".to_owned())];
    Hub::start_embedded_in(settings, environment).await.unwrap()
}

/// Connections made by `make`, a few at a time.
async fn crowd<T, F: Future<Output = T>>(count: usize, make: impl Fn(usize) -> F) -> Vec<T> {
    stream::iter((0..count).map(make)).buffer_unordered(32).collect().await
}

/// A connection that has sent this and leaves it at that.
async fn begun(url: &str, number: usize, bytes: &[u8]) -> Option<Raw> {
    let mut raw = Raw::connect(url, attacker(number % 8)).await.ok()?;
    raw.send(bytes).await.ok()?;
    Some(raw)
}

#[tokio::test]
async fn heads_and_bodies_that_never_end() {
    let _alone = ATTACK.lock().await;
    let mut hub = hub(&[]).await;
    let toll = Toll::begin(&mut hub, None).unwrap();
    let url = hub.url().to_owned();
    let head = format!("GET /api/hub/t HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(1000));
    let body = post_head(JSON, "Content-Length: 1000000\r\n");
    let mut held = crowd(1000, |number| {
        let bytes = if number % 2 == 0 { &head } else { &body };
        begun(&url, number, bytes.as_bytes())
    })
    .await;
    for _ in 0..10 {
        tokio::time::sleep(HELD / 10).await;
        for raw in held.iter_mut().flatten() {
            // Some are closed by then.
            let _ = raw.send(b"x").await;
        }
    }
    toll.end().await.unwrap().at_most(48 * MIB, WITHIN).unwrap();
}

#[tokio::test]
async fn tls_handshakes_that_never_end() {
    let _alone = ATTACK.lock().await;
    let certificates = Certificates::new().unwrap();
    let [cert, key] = [certificates.cert(), certificates.key()].map(|path| path.to_str().unwrap().to_owned());
    let mut hub = hub(&[("tls.cert", &cert), ("tls.key", &key)]).await;
    let toll = Toll::begin(&mut hub, Some(certificates.ca())).unwrap();
    let url = hub.url().to_owned();
    // Nothing, and the first bytes of a ClientHello.
    let held = crowd(1000, |number| {
        let bytes: &[u8] =
            if number % 2 == 0 { b"" } else { b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" };
        begun(&url, number, bytes)
    })
    .await;
    assert!(held.iter().flatten().count() > 900);
    tokio::time::sleep(HELD).await;
    toll.end().await.unwrap().at_most(96 * MIB, WITHIN).unwrap();
}

#[tokio::test]
async fn many_more_half_open_connections_than_there_are_places() {
    let _alone = ATTACK.lock().await;
    let settings = [("limits.new_connections", "600"), ("limits.new_connections_per_address", "300")];
    let mut hub = hub(&settings).await;
    let toll = Toll::begin(&mut hub, None).unwrap();
    let url = hub.url().to_owned();
    let held = crowd(1500, |number| begun(&url, number, b"GET /")).await;
    toll.end().await.unwrap().at_most(32 * MIB, WITHIN).unwrap();
    drop(held);
    let metrics = hub.metrics().await.unwrap();
    let given_way = metrics.value("fhircast_limited_total{limit=\"new_connections\"}").unwrap();
    assert!(given_way > 100.0, "{given_way}");
}

#[tokio::test]
async fn floods_of_frames() {
    let _alone = ATTACK.lock().await;
    let mut hub = hub(&[]).await;
    let app = hub.app().unwrap();
    let endpoints =
        crowd(100, |_| async { app.subscribe_websocket(&fresh_topic(), "*", &[]).await.unwrap() }).await;
    let toll = Toll::begin(&mut hub, None).unwrap();
    let text = Shape::good(TEXT);
    let floods = [
        Shape::good(PING).frame(&[b'x'; 125]),
        text.frame(b"{}"),
        Shape { opcode: CONTINUATION, is_last: false, ..text }.frame(&[b' '; 1000]),
        text.frame(br#"{"id":"x","status":500}"#),
    ];
    let closed = join_all(endpoints.iter().zip(floods.iter().cycle()).map(|(endpoint, flood)| async move {
        let mut raw = Raw::upgrade(endpoint, ATTACKER).await.unwrap();
        if flood[0] == CONTINUATION {
            raw.send(&Shape { is_last: false, ..Shape::good(TEXT) }.frame(b"{")).await.unwrap();
        }
        let part = flood.repeat(1000);
        for _ in 0..20 {
            if raw.send(&part).await.is_err() {
                break;
            }
        }
        raw.ends_within(Duration::from_secs(10)).await
    }))
    .await;
    assert!(closed.iter().all(|is_closed| *is_closed));
    // Of each flood 128 KiB are read at once, handed over, and gathered by the codec.
    toll.end().await.unwrap().at_most(96 * MIB, WITHIN).unwrap();
}

#[tokio::test]
async fn large_bodies_at_once() {
    let _alone = ATTACK.lock().await;
    let mut hub = hub(&[("limits.bodies_at_once_bytes", "16777216")]).await;
    let toll = Toll::begin(&mut hub, None).unwrap();
    let url = hub.url().to_owned();
    let head = post_head(JSON, "Content-Length: 4194304\r\n");
    // Each but for its last byte, so that it is kept.
    let body = [head.as_bytes(), &vec![b' '; 4_194_303]].concat();
    let held = crowd(60, |number| begun(&url, number, &body)).await;
    let paid = toll.end().await.unwrap();
    drop(held);
    // What is shared, what every body has free, and what the connections' buffers hold.
    paid.at_most(128 * MIB, WITHIN).unwrap();
    let metrics = hub.metrics().await.unwrap();
    assert!(metrics.value("fhircast_limited_total{limit=\"bodies_at_once_bytes\"}").unwrap() > 0.0);
}

#[tokio::test]
async fn many_topics_from_many_addresses() {
    let _alone = ATTACK.lock().await;
    let settings = [("limits.remembered_callers", "1000"), ("limits.session_secs", "86400")];
    let mut hub = hub(&settings).await;
    let toll = Toll::begin(&mut hub, None).unwrap();
    let url = hub.url().to_owned();
    let asked = crowd(4000, |number| {
        let url = url.clone();
        async move {
            let topic = fresh_topic();
            let request = match number % 3 {
                0 => format!(
                    "GET /api/hub/{topic} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.{}.1\r\n\r\n",
                    number % 250
                ),
                1 => post(JSON, &patient_open(&topic, &fresh_id())),
                _ => post(FORM, &format!("hub.mode=subscribe&hub.topic={topic}")),
            };
            let mut raw = Raw::connect(&url, attacker(number)).await.ok()?;
            raw.send(request.as_bytes()).await.ok()?;
            Some(raw.answer(Duration::from_secs(10)).await.ok()?.status)
        }
    })
    .await;
    assert_eq!(asked.iter().filter(|status| status.is_none()).count(), 0);
    // Most of it is what the embedded store keeps of the topics.
    toll.end().await.unwrap().at_most(48 * MIB, WITHIN).unwrap();
}

/// What a flood got as answers.
#[derive(Default)]
struct Flood {
    done: AtomicUsize,
    refused: AtomicUsize,
    is_stopped: AtomicBool,
}

/// Asks on one connection after another as fast as it can.
async fn flood(url: String, number: usize, flood: Arc<Flood>) {
    let topic = format!("flooded-{}", number % 4);
    while !flood.is_stopped.load(Ordering::Relaxed) {
        let Ok(mut raw) = Raw::connect(&url, ATTACKER).await else { continue };
        let subscribe = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*&hub.topic=";
        for round in 0.. {
            let request = match (number + round) % 3 {
                0 => post(FORM, &format!("{subscribe}{topic}")),
                1 => format!("GET /api/hub/ws/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "0".repeat(40)),
                _ => post(JSON, &patient_open(&topic, &fresh_id())),
            };
            if flood.is_stopped.load(Ordering::Relaxed) || raw.send(request.as_bytes()).await.is_err() {
                break;
            }
            let Ok(answer) = raw.answer(Duration::from_secs(10)).await else { break };
            let count = if answer.status == 429 { &flood.refused } else { &flood.done };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn one_at_its_limit_slows_no_other_and_none_of_the_others_is_refused() {
    let _alone = ATTACK.lock().await;
    // One app that is known, and not a hospital behind its address.
    let hub = Hub::start_embedded(&[("limits.callers_per_address", "1")]).await.unwrap();
    let before = Legitimate::start(hub.url(), None);
    tokio::time::sleep(2 * HELD).await;
    let before = before.stop().await.unwrap();

    let flooding = Arc::new(Flood::default());
    let floods: Vec<_> =
        (0..64).map(|number| tokio::spawn(flood(hub.url().to_owned(), number, flooding.clone()))).collect();
    // Its burst is spent.
    tokio::time::sleep(2 * HELD).await;
    let meanwhile = Legitimate::start(hub.url(), None);
    tokio::time::sleep(2 * HELD).await;
    let meanwhile = meanwhile.stop().await.expect("none of its requests is refused");
    flooding.is_stopped.store(true, Ordering::Relaxed);
    join_all(floods).await;

    let refused = flooding.refused.load(Ordering::Relaxed);
    assert!(refused > 100, "the flood was at its limit: {refused}");
    let ((median, _), (median_meanwhile, late_meanwhile)) = (before.percentiles(), meanwhile.percentiles());
    let allowed = 3 * median + Duration::from_millis(150);
    let seen = format!(
        "median {median:?} before, {median_meanwhile:?} and p99 {late_meanwhile:?} meanwhile, {refused} refused"
    );
    assert!(median_meanwhile <= allowed, "{seen}");
    assert!(late_meanwhile <= WITHIN, "{seen}");
}
