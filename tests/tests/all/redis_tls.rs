//! Hubs and workers on Redis behind Sentinels and on Redis Cluster, where every connection is TLS, with a certificate of
//! the hub's and a user who may do no more than the hub needs. One server is in `redis_access`.

use std::sync::Arc;

use harness::{
    callback_server::CallbackServer,
    certs::Certificates,
    client::App,
    examples::{fresh_id, fresh_topic},
    redis_cluster::{ClusterOptions, ClusterRedis},
    redis_sentinel::{SentinelOptions, SentinelRedis},
    redis_server::{Durability, RedisServer},
    redis_shape::Redis,
    socket::Listener,
    system::System,
    wait::{PATIENCE, eventually},
};

use crate::{messages::patient_open, redis_access::set_user, setups::confirmed};

const PASSWORD: &str = "s3cret@1";

/// Two hubs and a worker, as the user `hub`.
async fn system(redis: impl Into<Redis>, certificates: &Certificates) -> System {
    let file = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let builder = System::builder().hubs(2).workers(1).redis(redis);
    let builder = builder.set("redis.username", "hub").set("redis.password", PASSWORD);
    let builder = builder.set("redis.ca_file", file(certificates.ca()));
    let builder = builder.set("redis.cert", file(certificates.client_cert()));
    builder.set("redis.key", file(certificates.client_key())).start().await.unwrap()
}

async fn sentinels(certificates: &Arc<Certificates>) -> SentinelRedis {
    let mut options = SentinelOptions::from(Durability::None);
    options.certificates = Some(certificates.clone());
    let redis = SentinelRedis::start(options).await.unwrap();
    redis.ask_servers(&set_user()).await.unwrap();
    redis
}

async fn cluster(certificates: &Arc<Certificates>) -> ClusterRedis {
    let mut options = ClusterOptions::from(Durability::None);
    options.certificates = Some(certificates.clone());
    let redis = ClusterRedis::start(options).await.unwrap();
    redis.ask_servers(&set_user()).await.unwrap();
    redis
}

async fn subscribed(system: &System, topic: &str) -> Listener {
    let app = system.hubs[0].app().unwrap();
    confirmed(&app.subscribe_websocket(topic, "Patient-open", &[]).await.unwrap()).await
}

/// Publishes on the other hub, until it is accepted.
async fn publish(app: &App, topic: &str) -> String {
    let id = fresh_id();
    let accepted = eventually(2 * PATIENCE, "an event that is accepted", || async {
        app.publish(&patient_open(topic, &id)).await.ok().filter(|answer| answer.status == 202)
    });
    accepted.await.unwrap();
    id
}

/// What is published on one hub reaches the sockets of the other, and a callback.
async fn delivers(system: &System) {
    let (topic, server) = (fresh_topic(), CallbackServer::start().unwrap());
    let listener = subscribed(system, &topic).await;
    let (a, b) = (system.hubs[0].app().unwrap(), system.hubs[1].app().unwrap());
    let asked = a.subscribe_webhook(&topic, "Patient-open", &server.url("/cb"), &[]).await.unwrap();
    asked.expect_status(202).unwrap();
    let arrived = eventually(PATIENCE, "an event at the callback", || async {
        let id = publish(&b, &topic).await;
        listener.wait_for_event(PATIENCE, &id).await.unwrap();
        (!server.notifications("/cb").is_empty()).then_some(())
    });
    arrived.await.unwrap();
}

/// The programs are there as the user, and not as the one that needs no password.
async fn are_there_as_the_user(servers: &[RedisServer]) {
    let mut connections = 0;
    for server in servers.iter().filter(|server| server.is_running()) {
        let clients: String = server.ask(&["CLIENT", "LIST"]).await.unwrap();
        connections += clients.matches("user=hub").count();
    }
    assert!(connections >= 3, "{connections}");
}

#[tokio::test]
async fn events_are_delivered_through_sentinels_with_tls_and_after_their_failover() {
    let certificates = Arc::new(Certificates::new().unwrap());
    let redis = sentinels(&certificates).await;
    assert!(redis.url().starts_with("rediss+sentinel://"));
    let mut system = system(redis, &certificates).await;
    delivers(&system).await;
    are_there_as_the_user(system.redis.servers()).await;

    let topic = fresh_topic();
    let listener = subscribed(&system, &topic).await;
    let killed = system.redis.sentinel().kill_primary().await.unwrap();
    let primary = system.redis.sentinel().wait_failed_over(killed).await.unwrap();
    assert_ne!(primary, killed);
    let id = publish(&system.hubs[1].app().unwrap(), &topic).await;
    listener.wait_for_event(2 * PATIENCE, &id).await.unwrap();
    delivers(&system).await;
}

#[tokio::test]
async fn events_are_delivered_through_a_cluster_with_tls() {
    let certificates = Arc::new(Certificates::new().unwrap());
    let redis = cluster(&certificates).await;
    assert!(redis.url().starts_with("rediss+cluster://"));
    let system = system(redis, &certificates).await;
    for _ in 0..4 {
        delivers(&system).await;
    }
    are_there_as_the_user(system.redis.servers()).await;
}

#[tokio::test]
async fn sentinels_ask_for_their_own_user() {
    let certificates = Arc::new(Certificates::new().unwrap());
    let redis = sentinels(&certificates).await;
    // The Sentinels need no more than this from the hub.
    let watcher = ["ACL", "SETUSER", "watcher", "on", ">w4tch", "resetkeys", "-@all", "+sentinel|master"];
    let watcher =
        [&watcher[..], &["+sentinel|get-master-addr-by-name", "+client", "+auth", "+hello"]].concat();
    redis.ask_sentinels(&watcher).await.unwrap();
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (url, ca) = (redis.url(), path(certificates.ca()));
    let (cert, key) = (path(certificates.client_cert()), path(certificates.client_key()));
    let settings = [
        ("redis.url", url.as_str()),
        ("redis.username", "hub"),
        ("redis.password", PASSWORD),
        ("redis.sentinel_username", "watcher"),
        ("redis.sentinel_password", "w4tch"),
        ("redis.ca_file", &ca),
        ("redis.cert", &cert),
        ("redis.key", &key),
    ];
    let hub = harness::system::Hub::start(&settings).await.unwrap();
    let (app, topic) = (hub.app().unwrap(), fresh_topic());
    publish(&app, &topic).await;
}
