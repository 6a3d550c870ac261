//! Clients that ask for their socket and are gone before they have it: nothing stays of them, and nothing is said of them
//! that is not so (FC-NOT-04, FC-WSC-02).

use std::{sync::Arc, time::Duration};

use harness::{
    attack::{ATTACKER, frames, raw::Raw},
    examples::fresh_topic,
    redis_server::{Durability, RedisServer, ServerOptions},
    system::{Hub, Worker},
    tcp_proxy::{Pace, Paces, TcpProxy},
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::{event, patient_open},
    setups::{code_of, confirmed, ids_until, sync_error_after, sync_errors_until},
};

/// How many sockets are asked for at once, and how often.
const SOCKETS: usize = 8;
const ROUNDS: usize = 4;
/// How long the hub waits for each answer of the store: a socket takes three of them.
const STORE_TAKES: Duration = Duration::from_millis(100);
/// Places for who has gone and who has come, and too few for all that ever asked.
const PLACES: usize = 2 * SOCKETS;

/// When a client leaves.
#[derive(Debug, Clone, Copy)]
enum Leaves {
    AtOnce,
    /// The store has given the subscription to its connection, and the hub does not know yet.
    DuringTheAttach,
    /// It has its socket, and has read nothing.
    AfterTheUpgrade,
}

/// How many subscriptions are some connection's, as far as the store knows.
async fn held(redis: &RedisServer) -> usize {
    let mut held = 0;
    for key in redis.ask::<Vec<String>>(&["KEYS", "fhircast:*:held"]).await.unwrap() {
        held += redis.ask::<usize>(&["HLEN", &key]).await.unwrap();
    }
    held
}

async fn are_held(redis: &RedisServer, count: usize, when: Leaves) {
    let all =
        eventually(PATIENCE, "those that are held", || async { (held(redis).await == count).then_some(()) });
    all.await.unwrap_or_else(|error| panic!("FC-WSC-02: {when:?}: {count}: {error}"));
}

/// Asks for the sockets of these endpoints, and leaves.
async fn leave(endpoints: &[String], when: Leaves, redis: &RedisServer, others: usize) {
    let mut asked = Vec::new();
    for endpoint in endpoints {
        let mut raw = Raw::connect(&endpoint.replacen("ws", "http", 1), ATTACKER).await.unwrap();
        let path = reqwest::Url::parse(endpoint).unwrap().path().to_owned();
        raw.send(frames::upgrade(&path, &[]).as_bytes()).await.unwrap();
        asked.push(raw);
    }
    match when {
        Leaves::AtOnce => {}
        Leaves::DuringTheAttach => are_held(redis, others + endpoints.len(), when).await,
        Leaves::AfterTheUpgrade => {
            for raw in &mut asked {
                assert_eq!(raw.answer(PATIENCE).await.unwrap().status, 101, "FC-WSC-02");
            }
        }
    }
    drop(asked);
    are_held(redis, others, when).await;
}

#[tokio::test]
async fn who_leaves_before_it_has_its_socket_leaves_nothing_behind_and_is_not_reported() {
    let proxy = Arc::new(TcpProxy::unconnected().unwrap());
    let options = ServerOptions { proxy: Some(proxy.clone()), ..Durability::None.into() };
    let redis = RedisServer::start(options).await.unwrap();
    let (through, direct) = (redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
    let (places, connections) = (PLACES.to_string(), (PLACES + SOCKETS).to_string());
    let settings = [
        ("ack_timeout_secs", "1"),
        ("reconnect_grace_secs", "4"),
        ("limits.caller_sockets", places.as_str()),
        ("limits.callers_per_address", "1"),
        ("limits.connections_per_address", connections.as_str()),
    ];
    let hub = Hub::start(&[&settings[..], &[("redis.url", &through)]].concat()).await.unwrap();
    let _worker = Worker::start(&[&settings[..], &[("redis.url", &direct)]].concat()).await.unwrap();
    let (app, topic) = (hub.app().unwrap(), fresh_topic());
    let subscribe =
        async |name| app.subscribe_websocket(&topic, "*", &[("subscriber.name", name)]).await.unwrap();
    let reporter = confirmed(&subscribe("Reporter").await).await;
    let mut endpoints = Vec::new();
    for _ in 0..SOCKETS {
        endpoints.push(subscribe("Hasty").await);
    }

    proxy.set(Paces { to_client: Pace::Delayed(STORE_TAKES), ..Paces::default() });
    for _ in 0..ROUNDS {
        for when in [Leaves::AtOnce, Leaves::DuringTheAttach, Leaves::AfterTheUpgrade] {
            leave(&endpoints, when, &redis, 1).await;
        }
    }
    proxy.mend();
    let open = async || hub.metrics().await.unwrap().value("fhircast_connections").unwrap();
    eventually(PATIENCE, "no socket is left", || async { (open().await == 1.0).then_some(()) })
        .await
        .unwrap();

    let mut raws = Vec::new();
    for endpoint in &endpoints {
        raws.push(Raw::upgrade(endpoint, ATTACKER).await.expect("there is a place"));
    }
    let mut hasty = Vec::new();
    for endpoint in &endpoints {
        hasty.push(confirmed(endpoint).await);
    }
    let mut lost = confirmed(&subscribe("Lost").await).await;
    lost.drop_connection().await;
    app.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    // What is missed, and the absence, of who is really away: all that would be said of the others is said by then.
    sync_error_after(&reporter, 1).await;
    app.publish(&event(&topic, "last", "org.example.last", "")).await.unwrap().expect_status(202).unwrap();
    for sync_error in sync_errors_until(&reporter, "last").await {
        assert_eq!(code_of(&sync_error, "subscriber"), "Lost", "FC-NOT-04: {sync_error}");
    }
    for listener in &hasty {
        let mut ids = ids_until(listener, "last").await;
        ids.retain(|id| id.len() < 5);
        assert_eq!(ids, ["1", "last"], "FC-WSC-08");
        assert!(listener.seen(|seen| seen.closed.is_empty()), "FC-WSC-02: it is nobody else's");
    }
}
