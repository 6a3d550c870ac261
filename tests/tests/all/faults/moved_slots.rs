//! Slots of a cluster move from one master to another under load, and nobody notices.

use futures_util::future::join_all;
use harness::callback_server::CallbackServer;
use harness::redis_server::Durability;
use harness::redis_shape::Shape;
use harness::system::System;

use super::load::{PACE, PARTITIONS, Publisher, apps, slot_of, stop, topics_with_sockets, wait_for_more};

const TOPICS: usize = 8;
const SOCKETS: usize = 3;
/// How often a slot moves, and events of each publisher between two moves.
const MOVES: usize = 6;
const EVENTS: usize = 5;

#[tokio::test]
async fn slots_move_under_load_and_nobody_notices() {
    let builder = System::builder().shape(Shape::Cluster).durability(Durability::None).hubs(2);
    let mut system = builder.set("redis.partitions", PARTITIONS).start().await.unwrap();
    let server = CallbackServer::start().unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    for topic in &mut topics {
        topic.call_back(&apps[0], &server).await;
    }
    let publish = |(number, topic)| Publisher::start(&[&apps[number % 2]], topic, PACE, usize::MAX);
    let publishers: Vec<Publisher> = topics.iter().enumerate().map(publish).collect();
    let cluster = system.redis.cluster();
    let masters = cluster.masters().await.unwrap();
    let mut slots = Vec::new();
    for topic in &topics {
        slots.push(slot_of(cluster, topic).await);
    }
    for number in 0..MOVES {
        wait_for_more(&publishers, EVENTS).await;
        let slot = slots[number / masters.len()];
        let from = cluster.master_of(slot).await.unwrap();
        let from = masters.iter().position(|master| *master == from).unwrap();
        let to = masters[(from + 1) % masters.len()];
        let from = cluster.begin_move(slot, to).await.unwrap();
        // Meanwhile no script that needs several keys of the slot can run anywhere; whoever asks waits. The others do not.
        let others = publishers.iter().zip(&slots).filter(|(_, other)| **other != slot);
        join_all(others.map(|(publisher, _)| publisher.wait_for_more(EVENTS))).await;
        cluster.finish_move(slot, from, to).await.unwrap();
    }
    wait_for_more(&publishers, EVENTS).await;

    for (topic, record) in topics.iter().zip(&stop(publishers).await) {
        let findings = topic.judge(std::slice::from_ref(record), Some(&server)).await;
        assert_eq!(findings.repeated, 0, "topic {}", topic.name);
        assert!(record.failed().next().is_none(), "no publisher is refused");
        for listener in &topic.listeners {
            let (connections, closed) = listener.seen(|seen| (seen.connections, seen.closed.clone()));
            assert_eq!((connections, closed), (1, vec![]), "sockets stay open");
        }
    }
}
