//! A hub that dies, or lets go: its subscribers resume on the other one (FC-SUB-11, FC-WSC-08).

use std::time::Duration;

use harness::client::App;
use harness::system::System;
use harness::wait::{self, PATIENCE};

use super::load::{PACE, Publisher, Topic, apps, reconnect_at, stop, topics_with_sockets, wait_for_more};

const TOPICS: usize = 5;
const SOCKETS: usize = 10;
/// So many of a topic's sockets never answer.
const SILENT: usize = 2;
/// Events of each publisher before the failure, while nobody is connected, and after the resume.
const EVENTS: usize = 20;
/// By then the cursor of who never answers has moved for the first time: a ping after a second, and a save after
/// another one.
const CURSOR_MOVES: Duration = Duration::from_secs(4);

/// Two publishers a topic: one at the other hub, and one that stays with the first as long as it answers.
fn publishers(topics: &[Topic], first: &App, other: &App) -> Vec<Publisher> {
    let both = |topic| {
        let start = |apps: &[&App]| Publisher::start(apps, topic, PACE, usize::MAX);
        [start(&[other]), start(&[first, other])]
    };
    topics.iter().flat_map(both).collect()
}

#[tokio::test]
async fn a_killed_hubs_subscribers_resume_on_the_other() {
    let mut system = System::builder().hubs(2).workers(0).start().await.unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    for topic in &topics {
        topic.listeners.iter().take(SILENT).for_each(|listener| listener.answer_with(|_| None));
    }
    let publishers = publishers(&topics, &apps[0], &apps[1]);
    wait_for_more(&publishers, EVENTS).await;
    wait::eventually(PATIENCE, "events that are old enough", || async {
        let is_old = |topic: &Topic| {
            topic.listeners[0].seen(|seen| Some(seen.received.get(1)?.at.elapsed() > CURSOR_MOVES))
        };
        topics.iter().all(|topic| is_old(topic) == Some(true)).then_some(())
    })
    .await
    .unwrap();

    system.hubs[0].process().kill().unwrap();
    for topic in &topics {
        assert_eq!(topic.wait_closed().await, [None; SOCKETS]);
    }
    wait_for_more(&publishers, EVENTS).await;
    reconnect_at(&system.hubs[1], &mut topics).await;
    wait_for_more(&publishers, EVENTS).await;

    for (topic, sent) in topics.iter().zip(stop(publishers).await.chunks(2)) {
        topic.judge(sent, None).await;
        for listener in topic.listeners.iter().take(SILENT) {
            let ids = listener.seen(|seen| seen.ids("Patient-open"));
            assert_ne!(ids[0][0], ids[1][0], "the cursor of who never answers stands still");
        }
    }
}

#[tokio::test]
async fn a_hub_that_drains_loses_nothing() {
    const DRAIN: Duration = Duration::from_secs(10);
    let mut system =
        System::builder().hubs(2).workers(0).set("drain_secs", DRAIN.as_secs()).start().await.unwrap();
    let apps = apps(&system);
    let mut topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    let publishers = publishers(&topics, &apps[0], &apps[1]);
    wait_for_more(&publishers, EVENTS).await;

    let exit = system.hubs[0].stop(DRAIN).await.unwrap();
    assert!(exit.success(), "{exit}");
    for topic in &topics {
        assert_eq!(topic.wait_closed().await, [Some(1001); SOCKETS]);
    }
    wait_for_more(&publishers, EVENTS).await;
    reconnect_at(&system.hubs[1], &mut topics).await;
    wait_for_more(&publishers, EVENTS).await;

    for (topic, sent) in topics.iter().zip(stop(publishers).await.chunks(2)) {
        topic.judge(sent, None).await;
    }
}
