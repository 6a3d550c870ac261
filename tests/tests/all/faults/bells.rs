//! Bells that are lost: the log knows what they would have said (FC-WSC-08).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use harness::callback_server::CallbackServer;
use harness::system::System;
use harness::wait::PATIENCE;
use redis::AsyncCommands;
use redis::streams::StreamRangeReply;
use shared::protocol::Topic;

use crate::messages::patient_open;
use crate::setups::{Setup, ids_until};

use super::load::{PACE, Publisher, apps, stop, topics_with_sockets, wait_for_more};

const TOPICS: usize = 4;
const SOCKETS: usize = 5;
/// How often the connections are cut that hear the bells, and events of each publisher between two cuts.
const CUTS: usize = 5;
const EVENTS: usize = 10;

#[tokio::test]
async fn bells_that_are_lost_are_made_up_for_from_the_log() {
    let system = System::builder().hubs(2).start().await.unwrap();
    let server = CallbackServer::start().unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    for topic in &mut topics {
        topic.call_back(&apps[0], &server).await;
    }
    let publish = |topic| Publisher::start(&[&apps[1]], topic, PACE, usize::MAX);
    let publishers: Vec<Publisher> = topics.iter().map(publish).collect();
    let mut redis = system.redis.connection().await.unwrap();
    for _ in 0..CUTS {
        wait_for_more(&publishers, EVENTS).await;
        let mut kill = redis::cmd("CLIENT");
        let killed: usize = kill.arg(&["KILL", "TYPE", "pubsub"]).query_async(&mut redis).await.unwrap();
        assert!(killed > 0, "nobody was listening");
    }
    wait_for_more(&publishers, EVENTS).await;

    for (topic, record) in topics.iter().zip(&stop(publishers).await) {
        let findings = topic.judge(std::slice::from_ref(record), Some(&server)).await;
        assert_eq!(findings.repeated, 0, "topic {}", topic.name);
        assert!(record.failed().next().is_none(), "publishing goes on without bells");
    }
}

/// Within this a silent loss is found: a look every 5 s, and what it takes.
const FOUND_WITHIN: Duration = Duration::from_secs(8);

/// Appends to a log what the script appends, and rings no bell.
async fn append_silently(redis: &mut redis::aio::MultiplexedConnection, topic: &str, id: &str) {
    let key = topic.parse::<Topic>().unwrap().key().to_string();
    let find = |kind: &str| format!("fhircast:{{*}}:{kind}:{key}");
    let mut keys = Vec::new();
    for kind in ["log", "session"] {
        let found: Vec<String> = redis.keys(find(kind)).await.unwrap();
        keys.extend(found);
    }
    let [log, session] = &keys[..] else { panic!("{keys:?}") };
    let last: StreamRangeReply = redis.xrevrange_count(log, "+", "-", 1).await.unwrap();
    let field = |name: &str| last.ids[0].get::<String>(name).unwrap();
    let head: String = redis.hget(session, ".head").await.unwrap();
    let entry = field("e").replace("heard", id);
    let fields = [("p", head), ("r", field("r")), ("h", field("h")), ("e", entry)];
    let appended: String = redis.xadd(log, "*", &fields).await.unwrap();
    let _: () = redis.hset(session, ".head", format!("{appended}@{}", field("h"))).await.unwrap();
}

#[tokio::test]
async fn a_bell_that_is_lost_without_a_trace_is_made_up_for_by_a_look_at_the_heads() {
    let system = System::builder().workers(0).start().await.unwrap();
    let mut redis = system.redis.connection().await.unwrap();
    let setup = Setup::Cluster(Box::new(system));
    let topics = ["one", "other"];
    let mut listeners = HashMap::new();
    for topic in topics {
        listeners.insert(topic, setup.listener(topic, "Patient-open").await);
        let app = setup.a().app().unwrap();
        app.publish(&patient_open(topic, "heard")).await.unwrap().expect_status(202).unwrap();
        listeners[topic].wait_for_event(PATIENCE, "heard").await.unwrap();
    }
    let missed = async || setup.a().metrics().await.unwrap().value("fhircast_missed_bells_total").unwrap();
    let before = missed().await;
    let since = Instant::now();
    append_silently(&mut redis, "one", "silent").await;
    assert_eq!(ids_until(&listeners["one"], "silent").await, ["heard", "silent"]);
    assert!(since.elapsed() < FOUND_WITHIN, "found only after {:?}", since.elapsed());
    assert!(missed().await > before, "it is counted");
    assert_eq!(ids_until(&listeners["other"], "heard").await, ["heard"], "the other log is left alone");
}
