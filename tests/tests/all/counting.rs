//! What things cost: calls to Redis, connections to Redis, renderings.

use std::collections::BTreeMap;

use futures_util::{StreamExt, future::join_all, stream};
use harness::{
    callback_server::CallbackServer,
    examples::{fresh_id, fresh_topic},
    redis_server::Durability,
    redis_shape::Redis,
    socket::Listener,
    system::System,
    wait::PATIENCE,
};

use crate::{
    messages::patient_open,
    setups::{Kind, Setup, confirmed, on_each_setup},
};

on_each_setup![an_event_to_a_thousand_sockets_is_rendered_once];

/// How often each command has been called since the counts were reset, those called by scripts included.
async fn command_counts(redis: &Redis) -> BTreeMap<String, u64> {
    let mut connection = redis.connection().await.unwrap();
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
    let count = |line: &str| {
        let (command, stats) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
        Some((command.to_owned(), stats.strip_prefix("calls=")?.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(count).collect()
}

/// How many connections Redis has from programs that are not this test.
async fn connections(redis: &Redis) -> usize {
    let mut connection = redis.connection().await.unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
    list.lines().count() - 1
}

#[tokio::test]
async fn a_publish_that_meets_no_conflict_is_one_round_trip_to_redis() {
    const PUBLISHES: usize = 50;
    // No worker and no socket: nothing else asks Redis for anything but whether it is there.
    let system = System::builder().workers(0).durability(Durability::None).start().await.unwrap();
    let app = system.hubs[0].app().unwrap();
    let topic = fresh_topic();
    let publish = || async {
        app.publish(&patient_open(&topic, &fresh_id())).await.unwrap().expect_status(202).unwrap();
    };
    publish().await;

    let client = redis::Client::open(system.redis.url()).unwrap();
    let monitor = client.get_async_monitor().await.unwrap();
    let mut seen = monitor.into_on_message::<String>();
    let mut connection = system.redis.connection().await.unwrap();
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut connection).await.unwrap();
    for _ in 0..PUBLISHES {
        publish().await;
    }
    let counts = command_counts(&system.redis).await;
    assert_eq!(counts.get("evalsha"), Some(&(PUBLISHES as u64)), "a publish is one call: {counts:?}");

    let _: String = redis::cmd("ECHO").arg("the end").query_async(&mut connection).await.unwrap();
    let mut calls = BTreeMap::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, seen.next()).await.unwrap().unwrap();
        // `… [0 127.0.0.1:1234] "EVALSHA" "…"`, or `[0 lua]` for what a script calls.
        let (source, command) = line.split_once("] ").unwrap();
        let command = command.split(' ').next().unwrap().trim_matches('"').to_uppercase();
        if command == "ECHO" {
            break;
        }
        // The bells' connection rings its own probe from time to time, and the hub asks for the time, and for what has been
        // agreed on.
        let is_agreed = ["partitions", "format", "seal"].map(|name| format!("\"fhircast:{name}\""));
        let is_nobodys = ["PING", "TIME", "INFO", "CONFIG", "CLIENT", "HELLO"].contains(&command.as_str())
            || line.contains(":probe:")
            || is_agreed.iter().any(|key| line.contains(key));
        if !source.ends_with("lua") && !is_nobodys {
            *calls.entry(command).or_insert(0) += 1;
        }
    }
    assert_eq!(calls, BTreeMap::from([("EVALSHA".to_owned(), PUBLISHES)]), "one round trip a publish");
    let conflicts = system.hubs[0].metrics().await.unwrap().value("fhircast_commit_conflicts_total");
    assert_eq!(conflicts, Some(0.0));
}

/// Two hubs and a worker.
const PROCESSES: usize = 3;
/// What each keeps for what takes long, opened when it is first needed, whatever for.
const POOL: usize = 4;

#[tokio::test]
async fn sockets_topics_and_webhooks_hold_no_connections_to_redis() {
    let setup = Kind::Cluster.own(&[]).await;
    let Setup::Cluster(system) = &setup else { unreachable!() };
    let server = CallbackServer::start().unwrap();
    let warm = fresh_topic();
    let _listener = setup.listener(&warm, "*").await;
    setup.webhook(&server, "/warm", &warm, "*", &[]).await;
    let before = connections(&system.redis).await;

    let topics: Vec<String> = (0..100).map(|_| fresh_topic()).collect();
    let listeners = subscribed(&setup, topics.iter().flat_map(|topic| [topic, topic]), "Patient-open").await;
    let webhooks = topics[..50].iter().enumerate().map(|(number, topic)| {
        let (setup, server) = (&setup, &server);
        async move { setup.webhook(server, &format!("/{number}"), topic, "Patient-open", &[]).await }
    });
    stream::iter(webhooks).buffer_unordered(10).collect::<Vec<()>>().await;
    join_all(topics.iter().map(|topic| async { setup.publish(&patient_open(topic, "1")).await })).await;
    for listener in &listeners {
        listener.wait_for_event(PATIENCE, "1").await.unwrap();
    }
    for number in 0..50 {
        server.wait_for_event(PATIENCE, &format!("/{number}"), "1").await.unwrap();
    }
    let after = connections(&system.redis).await;
    assert!(
        after <= before + PROCESSES * POOL,
        "200 sockets, 100 topics and 50 webhooks need no connection of their own: {before} before, {after} with them"
    );
}

/// Confirmed listeners on node a, one for each topic.
async fn subscribed<'t>(
    setup: &Setup,
    topics: impl Iterator<Item = &'t String>,
    events: &str,
) -> Vec<Listener> {
    let app = setup.subscriber();
    let listeners = topics.map(|topic| {
        let app = &app;
        async move {
            let endpoint = app.subscribe_websocket(topic, events, &[]).await.unwrap();
            confirmed(&endpoint).await
        }
    });
    stream::iter(listeners).buffer_unordered(20).collect().await
}

async fn an_event_to_a_thousand_sockets_is_rendered_once(kind: Kind) {
    let setup = kind.own(&[]).await;
    let topic = fresh_topic();
    let mut listeners = Vec::new();
    for (events, count) in [("Patient-open", 334), ("*", 333), ("Patient-*,syncerror", 333)] {
        listeners.extend(subscribed(&setup, std::iter::repeat_n(&topic, count), events).await);
    }
    // The first event brings every socket to the relay's position.
    setup.publish(&patient_open(&topic, "first")).await;
    for listener in &listeners {
        listener.wait_for_event(PATIENCE, "first").await.unwrap();
    }
    let renderings = || async {
        let mut sum = 0.0;
        for node in setup.nodes() {
            sum += node.metrics().await.unwrap().value("fhircast_renderings_total").unwrap();
        }
        sum
    };
    let before = renderings().await;
    setup.publish(&patient_open(&topic, "counted")).await;
    let mut first = None;
    for listener in &listeners {
        let received = listener.wait_for_event(PATIENCE, "counted").await.unwrap();
        assert_eq!(*first.get_or_insert(received.text.clone()), received.text, "FC-NOT-01");
    }
    assert_eq!(renderings().await - before, 1.0, "three filters, one view: one rendering for 1,000 sockets");
}
