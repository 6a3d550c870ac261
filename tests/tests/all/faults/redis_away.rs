//! Redis is away for ten seconds, in three ways: publishers are told to come again, sockets stay open, and afterwards
//! all goes on by itself, with nothing lost that was answered 202.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::callback_server::CallbackServer;
use harness::process::Signal;
use harness::redis_server::RedisServer;
use harness::system::System;

use super::load::{PACE, Publisher, apps, stop, topics_with_sockets, wait_for_more};

const TOPICS: usize = 4;
const SOCKETS: usize = 5;
const EVENTS: usize = 10;
const AWAY: Duration = Duration::from_secs(10);
/// Twice `redis.timeout_ms`.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);
/// From Redis's return until a publish is accepted.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// How Redis goes away and comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It stands still: connections stay open, and nothing is answered.
    StandsStill,
    /// It is stopped by its operator, and started again.
    Stopped,
    /// It is killed, and started again.
    Killed,
}

async fn leave(redis: &mut RedisServer, way: Way) {
    match way {
        Way::StandsStill => redis.signal(Signal::STOP).unwrap(),
        Way::Stopped => redis.stop().await.unwrap(),
        Way::Killed => redis.kill().unwrap(),
    }
}

async fn come_back(redis: &mut RedisServer, way: Way) {
    match way {
        Way::StandsStill => redis.signal(Signal::CONT).unwrap(),
        Way::Stopped | Way::Killed => redis.start_again().await.unwrap(),
    }
}

async fn redis_is_away_for_ten_seconds(way: Way) {
    let mut system = System::builder().hubs(2).set("retry.claim_secs", 2).start().await.unwrap();
    if way == Way::Killed {
        // With `everysec` a kill may cost Redis what it wrote while the disk was busy: then Redis has lost it, not the hub.
        let mut redis = system.redis.connection().await.unwrap();
        let mut config = redis::cmd("CONFIG");
        config.arg(&["SET", "appendfsync", "always"]).query_async::<()>(&mut redis).await.unwrap();
    }
    let server = CallbackServer::start().unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    for topic in &mut topics {
        topic.call_back(&apps[0], &server).await;
    }
    let publish = |(number, topic)| Publisher::start(&[&apps[number % 2]], topic, PACE, usize::MAX);
    let publishers: Vec<Publisher> = topics.iter().enumerate().map(publish).collect();
    wait_for_more(&publishers, EVENTS).await;

    leave(system.redis.single(), way).await;
    let left = Instant::now();
    join_all(publishers.iter().map(|publisher| {
        publisher.wait_for("refusals for as long as Redis is away", |record| {
            let last = record.failed().last()?;
            (last.at + last.took > left + AWAY).then_some(())
        })
    }))
    .await;
    come_back(system.redis.single(), way).await;
    let back = Instant::now();
    join_all(publishers.iter().map(|publisher| {
        publisher.wait_for("an event that is accepted again", |record| record.accepted_after(back))
    }))
    .await;
    wait_for_more(&publishers, EVENTS).await;

    for (topic, record) in topics.iter().zip(&stop(publishers).await) {
        let findings = topic.judge(std::slice::from_ref(record), Some(&server)).await;
        assert!(findings.repeated <= 1, "one event was in flight to the callback: {findings}");
        for listener in &topic.listeners {
            let (connections, closed) = listener.seen(|seen| (seen.connections, seen.closed.clone()));
            assert_eq!((connections, closed), (1, vec![]), "sockets stay open");
        }
        for refused in record.failed() {
            assert_eq!(refused.status, Some(503));
            assert!(
                refused.retry_after.parse::<u64>().is_ok_and(|secs| secs > 0),
                "{:?}",
                refused.retry_after
            );
            assert!(refused.took < ANSWERED_WITHIN, "refused after {:?}", refused.took);
        }
        let again = record.accepted_after(back).unwrap() - back;
        assert!(again < BACK_WITHIN, "accepted again only after {again:?}");
    }
}

#[tokio::test]
async fn redis_stands_still_for_ten_seconds_and_all_goes_on() {
    redis_is_away_for_ten_seconds(Way::StandsStill).await;
}

#[tokio::test]
async fn redis_is_stopped_for_ten_seconds_and_all_goes_on() {
    redis_is_away_for_ten_seconds(Way::Stopped).await;
}

#[tokio::test]
async fn redis_is_killed_for_ten_seconds_and_all_goes_on() {
    redis_is_away_for_ten_seconds(Way::Killed).await;
}
