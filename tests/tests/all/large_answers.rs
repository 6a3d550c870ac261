//! Current contexts that are large: how long they may take, what they hold, and whom they keep waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::{
    attack::{ATTACKER, raw::Raw},
    client::App,
    examples::{fresh_id, fresh_topic},
    process::Signal,
    redis_server::{Durability, RedisServer},
    system::Hub,
    wait::{PATIENCE, eventually},
};

use crate::{
    content::{update, updates},
    limits::{counted, hub},
    messages::{event, resource},
};

/// How often the store was asked for a session.
const SESSIONS_READ: &str = "fhircast_redis_calls_total{operation=\"session\"}";

/// Opens a report with so many resources of so many bytes in it.
async fn fill(app: &App, topic: &str, count: usize, bytes: usize) {
    let report = resource("DiagnosticReport", "r");
    let open = event(topic, &fresh_id(), "DiagnosticReport-open", &report);
    app.publish(&open).await.unwrap().expect_status(202).unwrap();
    for number in 0..count {
        let context = app.current_context(topic).await.unwrap().json().unwrap();
        let version = context["context.versionId"].as_str().unwrap().to_owned();
        let large = format!(
            r#"{{"request":{{"method":"PUT"}},"resource":{{"resourceType":"Observation","id":"o{number}","x":"{}"}}}}"#,
            "x".repeat(bytes)
        );
        let update = update(topic, &fresh_id(), "r", &version, &updates(&[large]));
        app.publish(&update).await.unwrap().expect_status(202).unwrap();
    }
}

/// Asks for the current context, and leaves the answer where it is.
async fn asked(hub: &Hub, topic: &str) -> Raw {
    let mut raw = Raw::connect(hub.url(), ATTACKER).await.unwrap();
    raw.send(format!("GET /api/hub/{topic} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    raw
}

#[tokio::test]
async fn current_contexts_that_are_read_slowly_share_their_room() {
    // Room for two of them, and not for one share more: of 65536 bytes each of them takes 244.
    let hub = hub(&[("limits.answers_at_once_bytes", "1048576"), ("limits.content_bytes", "15990784")]).await;
    // One that stands in a path as it is.
    let (app, topic) = (hub.app().unwrap(), "slow");
    fill(&app, topic, 4, 3_990_000).await;
    let read = || async { app.current_context(topic).await.unwrap() };
    assert!(read().await.body.len() > 15_960_000);
    let slow = [asked(&hub, topic).await, asked(&hub, topic).await];
    // Whoever else is at that address, and reads as slowly.
    let refused = eventually(PATIENCE, "there is no room", || async {
        let answer = asked(&hub, topic).await.answer(Duration::from_secs(2)).await.unwrap();
        Some(answer).filter(|answer| answer.status != 200)
    });
    let refused = refused.await.unwrap();
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(
        refused.body().starts_with("limits.answers_at_once_bytes: the caller's address has"),
        "{refused:?}"
    );
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1, "{refused:?}");
    // The app is elsewhere and holds nothing: what it asks for is more than all may hold together.
    let whole = read().await;
    assert_eq!(whole.status, 503, "{}", whole.body.len());
    assert!(whole.body.starts_with("limits.answers_at_once_bytes: the hub has"), "{whole:?}");
    assert!(whole.header("retry-after").parse::<u64>().unwrap() >= 1, "{whole:?}");
    assert!(counted(&hub, "answers_at_once_bytes").await >= 2.0);
    app.current_context(&fresh_topic()).await.unwrap().expect_status(200).expect("small ones go on");
    drop(slow);
    eventually(PATIENCE, "there is room again", || async { (read().await.status == 200).then_some(()) })
        .await
        .unwrap();
}

#[tokio::test]
async fn who_takes_a_large_answer_slowly_is_not_idle_and_who_does_not_take_it_is_cut() {
    let hub = hub(&[
        ("limits.keep_alive_secs", "1"),
        ("limits.answer_secs", "5"),
        ("limits.content_bytes", "25165824"),
    ])
    .await;
    let topic = "large";
    fill(&hub.app().unwrap(), topic, 5, 4_000_000).await;
    let mut slow = asked(&hub, topic).await;
    // For longer than an idle connection is kept: a second, and another in which actix goes first.
    let came = slow.take_slowly(12, Duration::from_millis(200)).await.unwrap();
    assert!(came < 1_000_000, "{came}");
    let answer = slow.answer(PATIENCE).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body().len() > 20_000_000, "{}", answer.body().len());

    // The hub has nothing more to read from one of them.
    let mut stuck = [asked(&hub, topic).await, asked(&hub, topic).await];
    stuck[1].says_no_more().await.unwrap();
    eventually(PATIENCE, "both are cut", || async {
        (counted(&hub, "answer_secs").await >= 2.0).then_some(())
    })
    .await
    .unwrap();
    drop(stuck);
}

#[tokio::test]
async fn who_asks_for_many_contents_keeps_nobody_else_waiting() {
    const MANY: usize = 60;
    let mut redis = RedisServer::start(Durability::None).await.unwrap();
    let hub = Hub::start(&[("redis.url", &redis.url()), ("redis.timeout_ms", "20000")]).await.unwrap();
    let (app, large, small) = (hub.app().unwrap(), "large", fresh_topic());
    fill(&app, large, 1, 3_000).await;
    fill(&app, &small, 1, 10).await;
    let read = || async { hub.metrics().await.unwrap().value(SESSIONS_READ).unwrap_or_default() };
    let before = read().await;
    redis.signal(Signal::STOP).unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let mut asking = Vec::new();
    for _ in 0..MANY {
        let (mut raw, answered) = (asked(&hub, large).await, answered.clone());
        asking.push(tokio::spawn(async move {
            let answer = raw.answer(4 * PATIENCE).await.unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
            answer.status
        }));
    }
    let all_ask = |count: usize| {
        eventually(PATIENCE, "all have asked", move || async move {
            (read().await - before >= count as f64).then_some(())
        })
    };
    all_ask(MANY).await.unwrap();
    let others = tokio::spawn({
        let app = hub.app().unwrap();
        async move { app.current_context(&small).await.unwrap().status }
    });
    all_ask(MANY + 1).await.unwrap();
    redis.signal(Signal::CONT).unwrap();
    assert_eq!(others.await.unwrap(), 200);
    let before = answered.load(Ordering::SeqCst);
    for answer in asking {
        assert_eq!(answer.await.unwrap(), 200);
    }
    assert!(before < MANY * 3 / 4, "{before} of {MANY} had their answer first");
}
