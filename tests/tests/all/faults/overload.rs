//! More is published than the hub takes: it says so early, keeps its sockets and the order, and is itself again soon
//! after.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use harness::system::System;
use harness::wait::{self, PATIENCE};
use uuid::Uuid;

use super::load::{Publisher, Record, apps, stop, topics_with_sockets};
use crate::messages::event;

const TOPICS: usize = 4;
const SOCKETS: usize = 5;
/// Publishers of each topic, none of which waits between two events.
const PUBLISHERS: usize = 16;
const NO_PAUSE: Duration = Duration::from_millis(1);
/// What each hub takes at once.
const IN_FLIGHT: usize = 4;
/// Events of each topic before the load ends.
const EVENTS: usize = 150;
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
    let accepted = |of_topic: &Vec<Publisher>| of_topic.iter().map(Publisher::accepted).sum::<usize>();
    wait::eventually(3 * PATIENCE, "the load has lasted", || async {
        publishers.iter().all(|of_topic| accepted(of_topic) >= EVENTS).then_some(())
    })
    .await
    .unwrap();
    let mut records = join_all(publishers.into_iter().map(stop)).await;
    let ended = Instant::now();
    for ((topic, records), app) in topics.iter().zip(&mut records).zip(apps.iter().cycle()) {
        let id = Uuid::new_v4().to_string();
        let after = event(&topic.name, &id, "Patient-open", &crate::messages::resource("Patient", "after"));
        app.publish(&after).await.unwrap().expect_status(202).unwrap();
        for listener in &topic.listeners {
            listener.wait_for_event(PATIENCE, &id).await.unwrap();
        }
        records.push(Record { accepted: vec![id], ..Record::default() });
    }
    assert!(ended.elapsed() < NORMAL_WITHIN, "normal only after {:?}", ended.elapsed());

    let mut refused = Vec::new();
    for (topic, records) in topics.iter().zip(records) {
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
}
