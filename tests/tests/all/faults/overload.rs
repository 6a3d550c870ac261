//! More is published than the hub takes: it says so early, keeps its sockets and the order, and is itself again soon
//! after.

use std::time::{Duration, Instant};

use harness::system::System;
use harness::wait::PATIENCE;
use uuid::Uuid;

use super::load::{Publisher, apps, stop, topics_with_sockets, wait_for_more};
use crate::messages::event;

const TOPICS: usize = 4;
const SOCKETS: usize = 5;
/// Publishers of each topic, none of which waits between two events.
const PUBLISHERS: usize = 16;
const NO_PAUSE: Duration = Duration::from_millis(1);
/// What each hub takes at once.
const IN_FLIGHT: usize = 4;
/// Events of each publisher before the load ends.
const EVENTS: usize = 10;
/// Nine of ten refusals come so soon; on a busy machine one may take longer.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// After the load.
const NORMAL_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_hub_that_is_asked_for_more_than_it_can_do_refuses_early_and_keeps_the_rest() {
    let system = System::builder()
        .hubs(2)
        .workers(0)
        .set("limits.in_flight_publishes", IN_FLIGHT)
        .start()
        .await
        .unwrap();
    let apps = apps(&system);
    let topics = topics_with_sockets(TOPICS, &apps[0], SOCKETS).await;
    let mut publishers: Vec<Vec<Publisher>> = Vec::new();
    for topic in &topics {
        let start = |number: usize| Publisher::start(&[&apps[number % 2]], topic, NO_PAUSE, usize::MAX);
        publishers.push((0..PUBLISHERS).map(start).collect());
    }
    for of_topic in &publishers {
        wait_for_more(of_topic, EVENTS).await;
    }
    let mut refused = Vec::new();
    let ended = Instant::now();
    for (topic, of_topic) in topics.iter().zip(publishers) {
        let records = stop(of_topic).await;
        let findings = topic.judge(&records, None).await;
        assert_eq!(findings.repeated, 0, "nobody was sent away: {findings}");
        for listener in &topic.listeners {
            assert_eq!(listener.seen(|seen| (seen.connections, seen.closed.len())), (1, 0));
        }
        for attempt in records.iter().flat_map(|record| record.failed()) {
            assert_eq!((attempt.status, attempt.retry_after.as_str()), (Some(503), "1"));
            refused.push(attempt.took);
        }
    }
    assert!(!refused.is_empty(), "it was not too much");
    let late = refused.iter().filter(|took| **took > REFUSED_WITHIN).count();
    assert!(late * 10 <= refused.len(), "{late} of {} refusals are late", refused.len());
    for (topic, app) in topics.iter().zip(apps.iter().cycle()) {
        let id = Uuid::new_v4().to_string();
        let after = event(&topic.name, &id, "Patient-open", &crate::messages::resource("Patient", "after"));
        app.publish(&after).await.unwrap().expect_status(202).unwrap();
        for listener in &topic.listeners {
            listener.wait_for_event(PATIENCE, &id).await.unwrap();
        }
    }
    assert!(ended.elapsed() < NORMAL_WITHIN, "normal only after {:?}", ended.elapsed());
}
