//! Bells that are lost: the log knows what they would have said (FC-WSC-08).

use harness::callback_server::CallbackServer;
use harness::system::System;

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
