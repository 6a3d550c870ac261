//! Updates that race on one version: exactly one wins (FC-CNT-02, FC-CNT-04, FC-CNT-05).

use futures_util::future::join_all;
use harness::client::App;
use harness::examples::fresh_topic;
use harness::wait::PATIENCE;

use crate::messages::{event, resource, versioned};
use crate::setups::{Kind, Setup, confirmed};

const RACERS: usize = 8;

/// One round: the version after it.
async fn race(apps: &[App], topic: &str, round: usize, version: &str) -> usize {
    let bundle = |racer: usize| {
        format!(
            r#"{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{{"request":{{"method":"PUT"}},"resource":{{"resourceType":"Observation","id":"{racer}"}}}}]}}}}"#
        )
    };
    let update = |racer: usize| {
        let context = format!("{},{}", resource("DiagnosticReport", "r"), bundle(racer));
        versioned(&event(topic, &format!("{round}/{racer}"), "DiagnosticReport-update", &context), version)
    };
    let updates: Vec<String> = (0..RACERS).map(update).collect();
    let racing = updates.iter().zip(apps).map(|(update, app)| app.publish(update));
    let statuses: Vec<u16> =
        join_all(racing).await.into_iter().map(|answer| answer.unwrap().status).collect();
    let winners: Vec<usize> = (0..RACERS).filter(|racer| statuses[*racer] == 202).collect();
    assert_eq!(winners.len(), 1, "FC-CNT-05: round {round}: {statuses:?}");
    assert!(statuses.iter().all(|status| [202, 409].contains(status)), "FC-CNT-02: {statuses:?}");
    winners[0]
}

async fn races(setup: &Setup, rounds: usize) {
    let topic = fresh_topic();
    let nodes = setup.nodes();
    let apps: Vec<App> = (0..RACERS).map(|racer| nodes[racer % nodes.len()].app().unwrap()).collect();
    let mut listeners = Vec::new();
    for node in &nodes {
        let endpoint = node.app().unwrap().subscribe_websocket(&topic, "*", &[]).await.unwrap();
        listeners.push(confirmed(&endpoint).await);
    }
    setup.publish(&event(&topic, "open", "DiagnosticReport-open", &resource("DiagnosticReport", "r"))).await;
    let opened = listeners[0].wait_for_event(PATIENCE, "open").await.unwrap().json;
    let mut version = opened["event"]["context.versionId"].as_str().unwrap().to_owned();
    let mut expected = vec!["open".to_owned()];
    for round in 0..rounds {
        let winner = race(&apps, &topic, round, &version).await;
        let id = format!("{round}/{winner}");
        let came = listeners[0].wait_for_event(PATIENCE, &id).await.unwrap().json;
        assert_eq!(came["event"]["context.priorVersionId"], version.as_str(), "FC-CNT-04: round {round}");
        version = came["event"]["context.versionId"].as_str().unwrap().to_owned();
        expected.push(id);
    }
    for listener in &listeners {
        listener.wait_for_event(PATIENCE, expected.last().unwrap()).await.unwrap();
        let events = |received: &harness::socket::Received| Some(received.event()?.0.to_owned());
        let came: Vec<String> = listener.seen(|seen| seen.received.iter().filter_map(events).collect());
        assert_eq!(came, expected, "FC-CNT-05: every node tells the winners alone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_updates_racing_over_two_hubs_one_wins_200_times() {
    races(&*Kind::Cluster.shared().await, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_updates_racing_on_the_embedded_hub_one_wins() {
    races(&*Kind::Embedded.shared().await, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_updates_racing_on_redis_behind_sentinels_one_wins() {
    races(&*Kind::Sentinel.shared().await, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_updates_racing_on_redis_cluster_one_wins() {
    races(&*Kind::RedisCluster.shared().await, 50).await;
}
