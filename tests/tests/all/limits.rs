//! What is asked for too often, too slowly or too largely is refused, by the name of its limit.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use harness::{
    attack::{
        ATTACKER,
        frames::{CONTINUATION, PING, Shape, TEXT},
        raw::{Raw, post, post_head},
    },
    client::{Answer, App, FORM, JSON},
    examples::{fresh_id, fresh_topic},
    name_server::{NameServer, Records},
    process::Signal,
    redis_server::{Durability, RedisServer},
    socket::{Socket, upgrade_status},
    system::Hub,
    tokens::TokenAuthority,
    wait::{PATIENCE, eventually},
};
use reqwest::Method;

use crate::messages::{event, patient_open};

pub async fn hub(settings: &[(&str, &str)]) -> Hub {
    Hub::start_embedded(settings).await.unwrap()
}

/// Checks a refusal, and answers with what it says of when to come back.
fn assert_limited(answer: &Answer, limit: &str, whose: &str) -> Duration {
    assert_eq!(answer.status, 429, "{limit}: {answer:?}");
    assert!(answer.body.starts_with(&format!("limits.{limit}: {whose} has")), "{answer:?}");
    let secs: u64 = answer.header("retry-after").parse().unwrap();
    assert!(secs >= 1, "{answer:?}");
    Duration::from_secs(secs)
}

pub async fn counted(hub: &Hub, limit: &str) -> f64 {
    let metrics = hub.metrics().await.unwrap();
    metrics.value(&format!("fhircast_limited_total{{limit=\"{limit}\"}}")).unwrap()
}

/// Asks until it is refused, waits as long as it is told, and asks once more.
async fn refused_and_true<F: Future<Output = Answer>>(limit: &str, whose: &str, ask: impl Fn() -> F) {
    for _ in 0..100 {
        let answer = ask().await;
        if answer.status < 300 {
            continue;
        }
        let again = assert_limited(&answer, limit, whose);
        tokio::time::sleep(again).await;
        let answer = ask().await;
        assert!(answer.status < 300, "{limit}: after {again:?}: {answer:?}");
        return;
    }
    panic!("{limit}: it was never refused");
}

#[tokio::test]
async fn a_caller_over_a_rate_is_told_which_and_when_to_come_back() {
    let hub = hub(&[
        ("limits.callers_per_address", "1"),
        ("limits.caller_publishes_per_sec", "1"),
        ("limits.caller_publishes_burst", "3"),
        ("limits.caller_reads_per_sec", "1"),
        ("limits.caller_subscribes_per_min", "30"),
    ])
    .await;
    let app = &hub.app().unwrap();
    let whose = "the caller's address";
    refused_and_true("caller_publishes_per_sec", whose, || async {
        app.publish(&patient_open(&fresh_topic(), &fresh_id())).await.unwrap()
    })
    .await;
    refused_and_true("caller_reads_per_sec", whose, || async {
        app.current_context(&fresh_topic()).await.unwrap()
    })
    .await;
    let form = format!(
        "hub.channel.type=websocket&hub.mode=subscribe&hub.events=Patient-open&hub.topic={}",
        fresh_topic()
    );
    refused_and_true("caller_subscribes_per_min", whose, || async {
        app.post("", FORM, form.as_bytes()).await.unwrap()
    })
    .await;
    for limit in ["caller_publishes_per_sec", "caller_reads_per_sec", "caller_subscribes_per_min"] {
        assert!(counted(&hub, limit).await >= 1.0, "{limit}");
    }
    let mut other = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    other.send(post(JSON, &patient_open(&fresh_topic(), "1")).as_bytes()).await.unwrap();
    assert_eq!(other.answer(PATIENCE).await.unwrap().status, 202, "another address has a rate of its own");
}

#[tokio::test]
async fn a_topic_over_a_rate_is_told_so_and_others_are_not() {
    let hub = hub(&[
        ("limits.topic_publishes_per_sec", "1"),
        ("limits.topic_publishes_burst", "3"),
        ("limits.topic_reads_per_sec", "1"),
        ("limits.topic_subscribes_per_min", "30"),
    ])
    .await;
    let (app, topic) = (&hub.app().unwrap(), &fresh_topic());
    refused_and_true("topic_publishes_per_sec", "the topic", || async {
        app.publish(&patient_open(topic, &fresh_id())).await.unwrap()
    })
    .await;
    refused_and_true("topic_reads_per_sec", "the topic", || async {
        app.current_context(topic).await.unwrap()
    })
    .await;
    let form = format!("hub.channel.type=websocket&hub.mode=subscribe&hub.events=*&hub.topic={topic}");
    refused_and_true("topic_subscribes_per_min", "the topic", || async {
        app.post("", FORM, form.as_bytes()).await.unwrap()
    })
    .await;
    app.publish(&patient_open(&fresh_topic(), "1")).await.unwrap().expect_status(202).unwrap();
}

#[tokio::test]
async fn who_may_not_read_uses_up_nothing_of_a_topic_and_has_no_name_looked_up() {
    let authority = TokenAuthority::start().unwrap();
    let servers = NameServer::start(|_| Records::NoName).unwrap();
    let mut settings = authority.settings();
    settings.push(("callbacks.dns_servers", servers.address().to_string()));
    settings.push(("limits.topic_subscribes_per_min", "2".to_owned()));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (hub, topic) = (hub(&settings).await, &fresh_topic());
    let app = |scopes: &str| {
        hub.app().unwrap().with_token(&authority.token().unwrap().scope(scopes).mint().unwrap())
    };
    let good = app("fhircast/*.read");
    let ready = eventually(PATIENCE, "the keys", || async {
        (good.current_context(topic).await.ok()?.status == 200).then_some(())
    });
    ready.await.unwrap();
    let stranger = app("openid");
    for _ in 0..5 {
        let webhook = stranger.subscribe_webhook(topic, "*", "https://app.example/cb", &[]).await.unwrap();
        assert_eq!(webhook.status, 403, "FC-SCO-02: {webhook:?}");
        assert!(stranger.subscribe_websocket(topic, "*", &[]).await.unwrap_err().to_string().contains("403"));
    }
    assert_eq!(servers.asked(), Vec::<String>::new(), "FC-SCO-02, FC-SEC-02");
    good.subscribe_websocket(topic, "*", &[]).await.unwrap();
}

#[tokio::test]
async fn a_socket_too_many_is_429_at_the_upgrade_and_has_a_place_when_another_goes() {
    let hub = hub(&[("limits.caller_sockets", "2"), ("limits.callers_per_address", "1")]).await;
    let (app, topic) = (hub.app().unwrap(), fresh_topic());
    let mut open = Vec::new();
    for _ in 0..2 {
        let endpoint = app.subscribe_websocket(&topic, "*", &[]).await.unwrap();
        open.push(Socket::connect(&endpoint).await.unwrap());
    }
    let endpoint = app.subscribe_websocket(&topic, "*", &[]).await.unwrap();
    let refused = Socket::connect(&endpoint).await.err().unwrap();
    assert_eq!(upgrade_status(&refused), Some(429));
    assert_eq!(counted(&hub, "caller_sockets").await, 1.0);
    open.pop().unwrap().close(1000).await.unwrap();
    let opened = eventually(PATIENCE, "a place", || async { Socket::connect(&endpoint).await.ok() });
    assert!(opened.await.is_ok());
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_and_the_connection_ends() {
    let hub = hub(&[("limits.body_idle_secs", "2"), ("limits.body_secs", "4")]).await;
    for (every, limit) in
        [(Duration::from_secs(60), "body_idle_secs"), (Duration::from_millis(500), "body_secs")]
    {
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(post_head(JSON, "Content-Length: 1000\r\n").as_bytes()).await.unwrap();
        let begun = Instant::now();
        let answer = loop {
            raw.send(b" ").await.unwrap();
            if let Ok(answer) = raw.answer(every).await {
                break answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{limit}");
        };
        assert_eq!(answer.status, 408, "{answer:?}");
        assert!(answer.text.contains(&format!("limits.{limit}")), "{answer:?}");
        assert!(raw.ends_within(PATIENCE).await, "{limit}");
        assert!(counted(&hub, limit).await >= 1.0);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_or_a_body_that_is_compressed_is_refused() {
    let hub =
        hub(&[("limits.url_bytes", "200"), ("limits.header_bytes", "2000"), ("limits.headers", "20")]).await;
    let app = hub.app().unwrap();
    let get = |path: &str| app.request(Method::GET, path);
    let long = app.send(get(&format!("/{}", "t".repeat(300)))).await.unwrap();
    assert_eq!((long.status, long.body.contains("limits.url_bytes")), (414, true), "{long:?}");
    let large = app.send(get("/t").header("x-large", "x".repeat(3000))).await.unwrap();
    assert_eq!((large.status, large.body.contains("limits.header_bytes")), (431, true), "{large:?}");
    let many = (0..30).fold(get("/t"), |request, number| request.header(format!("x-{number}"), "1"));
    let many = app.send(many).await.unwrap();
    assert_eq!((many.status, many.body.contains("limits.headers")), (431, true), "{many:?}");
    for coding in ["gzip", "deflate", "identity, gzip", "x-unknown"] {
        let request = app.request(Method::POST, "").header("content-type", JSON);
        let request = request.header("content-encoding", coding).body(patient_open("t", "1"));
        let answer = app.send(request).await.unwrap();
        assert_eq!(answer.status, 415, "{coding}: {answer:?}");
        assert!(answer.body.contains("Content-Encoding"), "{answer:?}");
    }
    // What no room of the API sees: more than any head may be.
    let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    let huge = format!("GET /api/hub HTTP/1.1\r\nx: {}", "x".repeat(200_000));
    let _ = raw.send(huge.as_bytes()).await;
    assert!(raw.ends_within(PATIENCE).await);
}

/// A socket of its own, whose frames are the test's.
async fn raw_socket(app: &App) -> Raw {
    let endpoint = app.subscribe_websocket(&fresh_topic(), "*", &[]).await.unwrap();
    Raw::upgrade(&endpoint, ATTACKER).await.unwrap()
}

#[tokio::test]
async fn what_is_no_websocket_or_too_much_of_it_closes_the_socket_with_its_code() {
    let hub = hub(&[("limits.frames_per_sec", "100"), ("limits.frame_bytes", "4096")]).await;
    let app = hub.app().unwrap();
    let text = Shape::good(TEXT);
    let part = Shape { opcode: CONTINUATION, is_last: false, ..text };
    let object = br#"{"hub.channel.endpoint":"x"}"#;
    let fragments =
        [Shape { is_last: false, ..text }.frame(b"{"), part.frame(&[b' '; 1000]).repeat(20)].concat();
    let broken_text =
        [Shape { is_last: false, ..text }.frame(b"{"), Shape { is_last: true, ..part }.frame(b"\xff")];
    for (what, bytes, code) in [
        ("a flood of pings", Shape::good(PING).frame(b"x").repeat(2000), 1008),
        ("a flood of pongs", Shape::good(0xA).frame(b"x").repeat(2000), 1008),
        ("a flood of tiny frames", text.frame(b"{}").repeat(2000), 1008),
        ("a flood of objects", text.frame(object).repeat(2000), 1008),
        ("a flood of answers to nothing", text.frame(br#"{"id":"x","status":200}"#).repeat(2000), 1008),
        (
            "empty fragments without end",
            [Shape { is_last: false, ..text }.frame(b""), part.frame(b"").repeat(2000)].concat(),
            1008,
        ),
        ("fragments without end", fragments, 1009),
        ("a frame that is too large", text.frame(&[b' '; 5000]), 1009),
        (
            "a frame that says it is larger than it can be",
            [vec![0x81, 0xff], vec![0x7f; 8], vec![0; 4]].concat(),
            1009,
        ),
        ("a compressed frame", Shape { reserved: 0x40, ..text }.frame(object), 1002),
        ("a frame without a mask", Shape { is_masked: false, ..text }.frame(object), 1002),
        ("an unknown opcode", Shape::good(0x3).frame(object), 1002),
        ("a part of nothing", part.frame(b"x"), 1002),
        ("a ping in parts", Shape { is_last: false, ..Shape::good(PING) }.frame(b"x"), 1002),
        ("text that is none", text.frame(b"\xff\xfe"), 1007),
        ("text in parts that is none", broken_text.concat(), 1007),
        ("binary", Shape::good(0x2).frame(object), 1003),
    ] {
        let mut raw = raw_socket(&app).await;
        // The hub may close while it is still sent to.
        let _ = raw.send(&bytes).await;
        assert_eq!(raw.close_code(PATIENCE).await, Some(code), "FC-WSC-05: {what}");
        assert!(raw.ends_within(PATIENCE).await, "FC-WSC-05: {what}");
    }
}

#[tokio::test]
async fn a_caller_has_so_many_requests_under_way() {
    let hub = hub(&[("limits.caller_requests", "2"), ("limits.callers_per_address", "1")]).await;
    let begun = async || {
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(post_head(JSON, "Content-Length: 1000\r\n").as_bytes()).await.unwrap();
        raw
    };
    let refused = eventually(PATIENCE, "both are worked on", || async {
        // Whichever comes third is refused: it may be one of these.
        let held = [begun().await, begun().await];
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(post(JSON, &patient_open(&fresh_topic(), "1")).as_bytes()).await.unwrap();
        let answer = raw.answer(PATIENCE).await.unwrap();
        (answer.status != 202).then_some((answer, held))
    });
    let (refused, held) = refused.await.unwrap();
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body().starts_with("limits.caller_requests: the caller's address has"), "{refused:?}");
    let app = hub.app().unwrap();
    app.publish(&patient_open(&fresh_topic(), "1")).await.unwrap().expect_status(202).expect("another's");
    drop(held);
    eventually(PATIENCE, "they have gone", || async {
        let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
        raw.send(post(JSON, &patient_open(&fresh_topic(), "1")).as_bytes()).await.unwrap();
        (raw.answer(PATIENCE).await.unwrap().status == 202).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn bodies_share_their_room_until_they_are_answered() {
    let mut redis = RedisServer::start(Durability::None).await.unwrap();
    let settings = [
        ("redis.url", redis.url()),
        ("redis.timeout_ms", "20000".to_owned()),
        ("limits.bodies_at_once_bytes", "1048576".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let hub = Hub::start(&settings).await.unwrap();
    let app = hub.app().unwrap();
    // An address may have half of the room.
    let large = |id: &str| {
        let resource = format!(r#"{{"resourceType":"Patient","id":"p","x":"{}"}}"#, "x".repeat(400_000));
        event(&fresh_topic(), id, "Patient-open", &format!(r#"{{"key":"patient","resource":{resource}}}"#))
    };
    app.publish(&large("0")).await.unwrap().expect_status(202).unwrap();
    redis.signal(Signal::STOP).unwrap();
    let (one, other) = (large("1"), large("2"));
    let publishes = [app.publish(&one), app.publish(&other)].map(Box::pin);
    let (answer, _, waits) = select_all(publishes).await;
    assert_limited(&answer.unwrap(), "bodies_at_once_bytes", "the caller's address");
    redis.signal(Signal::CONT).unwrap();
    let [waits] = waits.try_into().ok().unwrap();
    waits.await.unwrap().expect_status(202).unwrap();
    app.publish(&large("3")).await.unwrap().expect_status(202).expect("there is room again");
}
