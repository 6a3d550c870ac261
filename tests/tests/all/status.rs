//! What `fhircast-hub status` says of a Redis that is in use.

use std::time::Duration;

use harness::{
    redis_server::Durability,
    redis_shape::{Redis, Shape},
    system::run,
};
use serde_json::{Value, json};
use shared::store::Store;

use crate::stores::{
    LONG, RETENTION, clock_passes, connect, connection, publish, socket, topic, verify, webhook,
};

/// Two topics, in two partitions: one with a socket that is held, one with a callback that has not got an event.
async fn fill(store: &dyn Store) {
    let (followed, behind) = (topic("followed"), topic("behind"));
    assert_ne!(followed.key().partition(4), behind.key().partition(4));
    let held = socket(&followed);
    store.subscribe_websocket(&held, 9).await.unwrap();
    store.attach(held.address(), &connection("c")).await.unwrap().unwrap();
    publish(store, &followed, "e1").await;
    verify(store, &webhook(&behind, "w")).await;
    publish(store, &behind, "e2").await;
    store.register_node(&connection("c").node, LONG).await.unwrap();
    store.register_node("gone", Duration::ZERO).await.unwrap();
    store.register_worker("w1", LONG).await.unwrap();
    clock_passes(store, store.now().await.unwrap() + 20).await;
}

async fn status(url: &str, flags: &[&str]) -> String {
    let arguments: Vec<&str> = [&["status", "--redis-url", url], flags].concat();
    let output = run("fhircast-hub", &arguments, &[]).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_of_each_shape_of_redis_what_is_there_and_names_no_topic() {
    for (shape, servers, replicas) in [(Shape::Single, 1, 0), (Shape::Sentinel, 1, 1), (Shape::Cluster, 3, 1)]
    {
        let redis = Redis::start(shape, Durability::None).await.unwrap();
        let store = connect(&redis.url(), vec![], RETENTION).await;
        fill(&*store).await;
        let page = status(&redis.url(), &["--json"]).await;
        let told: Value = serde_json::from_str(&page).unwrap();
        let of = |list: &str, field: &str| -> Vec<Value> {
            told[list].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
        };
        assert_eq!(of("servers", "replicas"), vec![json!(replicas); servers], "{shape:?}: {page}");
        assert_eq!(of("servers", "has_aof"), vec![json!(false); servers]);
        let partitions: u64 = of("servers", "partitions").iter().filter_map(Value::as_u64).sum();
        assert_eq!((told["partitions"].as_u64(), partitions), (Some(4), 4), "{shape:?}: {page}");
        let mut hubs: Vec<(Value, Value)> =
            of("hubs", "is_alive").into_iter().zip(of("hubs", "sockets")).collect();
        hubs.sort_by_key(|(is_alive, _)| is_alive.as_bool());
        assert_eq!(hubs, [(json!(false), json!(0)), (json!(true), json!(1))], "{page}");
        assert_eq!(of("workers", "id"), ["w1"]);
        assert_eq!(of("partitions_in_use", "due").iter().filter_map(Value::as_u64).sum::<u64>(), 1, "{page}");

        let followed = topic("followed").key().to_string();
        let session =
            told["sessions"].as_array().unwrap().iter().find(|s| s["topic"] == followed.as_str()).unwrap();
        let counts = ["connected", "away", "webhooks", "log_entries"].map(|field| session[field].clone());
        assert_eq!(counts, [1, 0, 0, 1].map(Value::from), "{page}");
        assert!(session["last_entry_ms"].as_u64() >= Some(20), "{page}");

        let undelivered = told["undelivered"].as_array().unwrap();
        let of_callback: Vec<&Value> = undelivered.iter().filter(|u| u["kind"] == "webhook").collect();
        assert_eq!(of_callback.len(), 1, "{page}");
        assert_eq!(of_callback[0]["topic"], topic("behind").key().to_string());
        assert!(of_callback[0]["oldest_ms"].as_u64() >= Some(20), "{page}");

        let table = status(&redis.url(), &[]).await;
        for line in [
            "Hubs: 2",
            "Workers: 1",
            "Partitions in use, of 4: 2",
            "Sessions that somebody is subscribed to: 2",
        ] {
            assert!(table.contains(line), "{line} in {table}");
        }
        assert!(table.contains(&followed[..8]) && table.contains("DEAD"), "{table}");
        for page in [page, table] {
            assert!(!page.contains(topic("followed").as_str()), "topics are tickets: {page}");
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_not_there_or_not_in_use_is_an_error_that_says_so() {
    let redis = Redis::start(Shape::Single, Durability::None).await.unwrap();
    for (url, problem) in [
        (redis.url(), "no hub or worker has used this Redis yet"),
        ("redis://127.0.0.1:1".to_owned(), "127.0.0.1:1"),
    ] {
        let output = run("fhircast-hub", &["status", "--redis-url", &url], &[]).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(problem), "{said}");
    }
}
