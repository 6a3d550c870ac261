//! The primary of a topic fails, and a replica takes its place: publishing goes on soon, sockets stay open, and nobody
//! misses what was answered 202, since the replica had all of it.

use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use harness::callback_server::CallbackServer;
use harness::process::Signal;
use harness::redis_server::{Durability, RedisServer};
use harness::redis_shape::{Redis, Shape};
use harness::system::System;
use harness::wait::{PATIENCE, eventually};

use super::load::{
    PACE, PARTITIONS, Publisher, Record, Topic, apps, slot_of, stop, topics_with_sockets, wait_for_more,
};

const TOPICS: usize = 4;
const SOCKETS: usize = 5;
const EVENTS: usize = 10;
/// From when Redis has taken the primary for dead until a publish is accepted.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// How the primary fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is killed.
    Killed,
    /// It stands still: its connections stay open, and nothing is answered.
    StandsStill,
    /// It lives, and an operator has a replica take its place.
    Replaced,
}

/// Has the primary of a topic fail. Answers with its number, and with how long Redis itself needs to see it at least.
async fn fail(redis: &mut Redis, topic: &Topic, way: Way) -> (usize, Duration) {
    match redis {
        Redis::Single(_) => unreachable!("one server has no replica"),
        Redis::Sentinel(sentinel) => {
            let primary = sentinel.primary().await.unwrap();
            match way {
                Way::Killed => sentinel.server(primary).kill().unwrap(),
                Way::StandsStill => sentinel.signal(primary, Signal::STOP).unwrap(),
                Way::Replaced => {
                    // Until it hears of it the old primary accepts what is lost then: nobody publishes meanwhile.
                    sentinel.fail_over().await.unwrap();
                    sentinel.wait_failed_over(primary).await.unwrap();
                    sentinel.wait_healthy().await.unwrap();
                }
            }
            (primary, sentinel.down_after())
        }
        Redis::Cluster(cluster) => {
            let slot = slot_of(cluster, topic).await;
            let master = cluster.master_of(slot).await.unwrap();
            match way {
                Way::Killed => cluster.server(master).kill().unwrap(),
                Way::StandsStill => cluster.signal(master, Signal::STOP).unwrap(),
                Way::Replaced => cluster.fail_over(slot).await.unwrap(),
            }
            (master, cluster.node_timeout())
        }
    }
}

/// After how long the Sentinels have agreed on another primary.
async fn replaced_after(redis: &Redis, failed: usize, left: Instant) -> Duration {
    if let Redis::Sentinel(sentinel) = redis {
        sentinel.wait_failed_over(failed).await.unwrap();
        return left.elapsed();
    }
    Duration::ZERO
}

/// What has failed comes back, and follows whoever has taken its place.
async fn come_back(redis: &mut Redis, number: usize, way: Way) {
    match (&mut *redis, way) {
        (_, Way::Replaced) | (Redis::Single(_), _) => {}
        (Redis::Sentinel(sentinel), Way::Killed) => sentinel.start_again(number).await.unwrap(),
        (Redis::Cluster(cluster), Way::Killed) => cluster.start_again(number).await.unwrap(),
        (Redis::Sentinel(sentinel), Way::StandsStill) => sentinel.signal(number, Signal::CONT).unwrap(),
        (Redis::Cluster(cluster), Way::StandsStill) => cluster.signal(number, Signal::CONT).unwrap(),
    }
    match redis {
        Redis::Single(_) => {}
        Redis::Sentinel(sentinel) => sentinel.wait_healthy().await.unwrap(),
        Redis::Cluster(cluster) => cluster.wait_healthy().await.unwrap(),
    }
}

/// Waits until nobody asks a server anything but how the cluster is. (Sentinels see to it themselves that nobody does.)
async fn wait_until_deserted(server: &RedisServer) {
    let is_alone = async || {
        let clients: String = server.ask(&["CLIENT", "LIST", "TYPE", "NORMAL"]).await.ok()?;
        let heard: String = server.ask(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await.ok()?;
        let asks = |client: &str| !client.contains(" cmd=cluster|") && !client.contains(" cmd=client|");
        (heard.is_empty() && !clients.lines().any(asks)).then_some(())
    };
    eventually(PATIENCE, "nobody uses the master that was", is_alone).await.unwrap();
}

fn publish(topics: &[Topic], apps: &[harness::client::App]) -> Vec<Publisher> {
    let publish = |(number, topic)| Publisher::start(&[&apps[number % 2]], topic, PACE, usize::MAX);
    topics.iter().enumerate().map(publish).collect()
}

async fn a_primary_fails(shape: Shape, way: Way) {
    let builder = System::builder().shape(shape).durability(Durability::None).hubs(2);
    let builder = builder.set("retry.claim_secs", 2).set("redis.partitions", PARTITIONS);
    let mut system = builder.start().await.unwrap();
    let server = CallbackServer::start().unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    for topic in &mut topics {
        topic.call_back(&apps[0], &server).await;
    }
    let publishers = publish(&topics, &apps);
    wait_for_more(&publishers, EVENTS).await;
    let mut sent: Vec<Vec<Record>> = stop(publishers).await.into_iter().map(|record| vec![record]).collect();

    // What the replica did not have yet would be lost, and that is another promise.
    system.redis.wait_in_sync().await.unwrap();
    let (failed, noticed_after) = fail(&mut system.redis, &topics[0], way).await;
    let left = Instant::now();
    let publishers = publish(&topics, &apps);
    let accepted = join_all(publishers.iter().map(|publisher| {
        publisher.wait_for("an event that is accepted again", |record| record.accepted_after(left))
    }));
    let (_, replaced_after) = join(accepted, replaced_after(&system.redis, failed, left)).await;
    // How long it takes on a busy machine until there is another primary is the Sentinels' affair.
    let noticed_after = noticed_after.max(replaced_after);
    wait_for_more(&publishers, EVENTS).await;
    come_back(&mut system.redis, failed, way).await;
    wait_for_more(&publishers, EVENTS).await;

    if shape == Shape::Cluster {
        wait_until_deserted(&system.redis.servers()[failed]).await;
    }

    for (records, record) in sent.iter_mut().zip(stop(publishers).await) {
        records.push(record);
    }
    for (topic, records) in topics.iter().zip(&sent) {
        topic.judge(records, Some(&server)).await;
        for listener in &topic.listeners {
            let (connections, closed) = listener.seen(|seen| (seen.connections, seen.closed.clone()));
            assert_eq!((connections, closed), (1, vec![]), "sockets stay open");
        }
        let again = records[1].accepted_after(left).unwrap() - left;
        assert!(again < noticed_after + BACK_WITHIN, "accepted again only after {again:?}");
    }
}

#[tokio::test]
async fn a_killed_primary_is_replaced_by_sentinels_and_all_goes_on() {
    a_primary_fails(Shape::Sentinel, Way::Killed).await;
}

#[tokio::test]
async fn a_primary_that_stands_still_is_replaced_by_sentinels_and_all_goes_on() {
    a_primary_fails(Shape::Sentinel, Way::StandsStill).await;
}

#[tokio::test]
async fn a_primary_that_lives_is_replaced_by_sentinels_and_all_goes_on() {
    a_primary_fails(Shape::Sentinel, Way::Replaced).await;
}

#[tokio::test]
async fn a_killed_master_of_a_cluster_is_replaced_and_all_goes_on() {
    a_primary_fails(Shape::Cluster, Way::Killed).await;
}

#[tokio::test]
async fn a_master_of_a_cluster_that_stands_still_is_replaced_and_all_goes_on() {
    a_primary_fails(Shape::Cluster, Way::StandsStill).await;
}

#[tokio::test]
async fn a_master_of_a_cluster_that_lives_is_replaced_and_all_goes_on() {
    a_primary_fails(Shape::Cluster, Way::Replaced).await;
}
