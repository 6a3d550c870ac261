//! `redis.durability = "replicas=N"`: what is answered 202 is on a replica, and what is not, is answered 503.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::{
    examples::{fresh_id, fresh_topic},
    redis_server::{Durability as Kept, RedisServer},
    system::System,
    wait::{PATIENCE, eventually},
};

use crate::messages::patient_open;

/// After which an event is refused that a killed replica will not have.
const SHORT_MS: u64 = 1000;
/// After which the machine is not only busy.
const LONG_MS: u64 = 4000;

async fn ask(redis: &RedisServer, words: &[&str]) -> redis::Value {
    let mut connection = redis.connection().await.unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
}

/// A replica that has all that its primary has.
async fn replica_of(primary: &RedisServer) -> RedisServer {
    let replica = RedisServer::start(Kept::None).await.unwrap();
    let port = primary.url().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    ask(&replica, &["REPLICAOF", "127.0.0.1", &port]).await;
    // Its first acknowledgement ends the transfer; only after that it is quick.
    let mut connection = primary.connection().await.unwrap();
    connection.set_response_timeout(PATIENCE);
    for _ in 0..3 {
        let mut both = redis::pipe();
        both.set("written", "by the test").ignore().cmd("WAIT").arg(1).arg(PATIENCE.as_millis() as u64);
        let (replicas,): (u32,) = both.query_async(&mut connection).await.unwrap();
        assert_eq!(replicas, 1, "the replica follows, and says so");
    }
    replica
}

async fn system(timeout_ms: u64) -> (System, RedisServer) {
    let primary = System::builder().hubs(0).workers(0).durability(Kept::None);
    let mut system = primary
        .set("redis.durability", "replicas=1")
        .set("redis.durability_timeout_ms", timeout_ms)
        .start()
        .await
        .unwrap();
    // A replica that comes does not wait for others.
    ask(system.redis.single(), &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;
    let replica = replica_of(system.redis.single()).await;
    for _ in 0..2 {
        system.add_hub().await.unwrap();
    }
    (system, replica)
}

#[tokio::test]
async fn what_is_accepted_is_on_the_replica() {
    let (mut system, replica) = system(LONG_MS).await;
    let apps = [system.hubs[0].app().unwrap(), system.hubs[1].app().unwrap()];
    let topics: Vec<String> = (0..20).map(|_| fresh_topic()).collect();
    let publishes = topics.iter().enumerate().map(|(number, topic)| {
        let app = &apps[number % 2];
        async move {
            for event in 0..5 {
                let id = event.to_string();
                app.publish(&patient_open(topic, &id)).await.unwrap().expect_status(202).unwrap();
            }
        }
    });
    join_all(publishes).await;
    system.redis.single().kill().unwrap();
    let info = format!("{:?}", ask(&replica, &["INFO", "commandstats"]).await);
    let mut connection = replica.connection().await.unwrap();
    let logs: Vec<String> = redis::cmd("KEYS").arg("*:log:*").query_async(&mut connection).await.unwrap();
    let mut entries = 0;
    for log in &logs {
        entries += redis::cmd("XLEN").arg(log).query_async::<usize>(&mut connection).await.unwrap();
    }
    assert_eq!((logs.len(), entries), (20, 100), "{info}");
    let waits = calls_of(&system, "confirm").await;
    assert!(waits >= 100.0, "each waits: {waits}");
}

async fn calls_of(system: &System, operation: &str) -> f64 {
    let selector = format!("fhircast_redis_calls_total{{operation=\"{operation}\"}}");
    let mut calls = 0.0;
    for hub in &system.hubs {
        calls += hub.metrics().await.unwrap().value(&selector).unwrap_or_default();
    }
    calls
}

#[tokio::test]
async fn what_no_replica_has_is_refused_and_its_resend_waits_again() {
    let (mut system, mut replica) = system(SHORT_MS).await;
    let (app, topic) = (system.hubs[0].app().unwrap(), fresh_topic());
    let event = patient_open(&topic, &fresh_id());
    app.publish(&patient_open(&topic, "before")).await.unwrap().expect_status(202).unwrap();
    replica.kill().unwrap();
    for _ in ["first", "resend"] {
        let since = Instant::now();
        let answer = app.publish(&event).await.unwrap().expect_status(503).unwrap();
        assert_eq!(answer.header("Retry-After"), "1");
        assert!(answer.body.contains("not confirmed"), "{}", answer.body);
        assert!(since.elapsed() < Duration::from_millis(2 * SHORT_MS), "{:?}", since.elapsed());
    }
    let replica = replica_of(system.redis.single()).await;
    app.publish(&event).await.unwrap().expect_status(202).unwrap();
    let mut connection = replica.connection().await.unwrap();
    let logs: Vec<String> = redis::cmd("KEYS").arg("*:log:*").query_async(&mut connection).await.unwrap();
    let entries: usize = redis::cmd("XLEN").arg(&logs[0]).query_async(&mut connection).await.unwrap();
    assert_eq!(entries, 2, "FC-REQ-07: it is broadcast once");
    let metrics = system.hubs[0].metrics().await.unwrap();
    let taken = |part: &str| {
        metrics.value(&format!("fhircast_redis_call_seconds_{part}{{operation=\"confirm\"}}")).unwrap()
    };
    assert_eq!(taken("count"), 4.0, "each wait, whatever came of it");
    assert!(taken("sum") >= 0.002 * SHORT_MS as f64, "two of them were in vain: {}", taken("sum"));
}

#[tokio::test]
async fn a_hub_says_at_its_start_what_can_be_promised() {
    let (mut system, replica) = system(LONG_MS).await;
    let says = |hub: &mut harness::system::Hub, what: &str| {
        let lines = hub.process().log_lines();
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
    };
    says(&mut system.hubs[0], "nothing survives the end of Redis");
    says(&mut system.hubs[0], "at least 1 of the replicas have them");
    drop(replica);
    eventually(PATIENCE, "the replica is gone", || async {
        let info = format!("{:?}", ask(&system.redis.servers()[0], &["INFO", "replication"]).await);
        info.contains("connected_slaves:0").then_some(())
    })
    .await
    .unwrap();
    system.add_hub().await.unwrap();
    says(&mut system.hubs[2], "none is accepted: 0 of 1 replicas are connected");
}
