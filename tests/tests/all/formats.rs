//! Old and new programs on one Redis: they write what all of them read, and what is newer is not passed over.

use std::sync::Arc;

use harness::{
    examples::{fresh_id, fresh_topic},
    redis_server::{Durability, RedisServer},
    socket::Listener,
    system::{System, run},
    wait::{PATIENCE, eventually},
};
use redis::{FromRedisValue, Value, streams::StreamRangeReply};
use shared::{
    format::Format,
    settings::{DataKeys, Redis, RedisUrl},
    store::{
        Position, Store, StoreError,
        redis::{RedisStore, raise_format},
    },
};

use crate::{
    messages::patient_open,
    stores::{RETENTION, publish, topic, verify, webhook},
};

fn settings(server: &RedisServer, newest: u32) -> Redis {
    let url = Some(RedisUrl::try_from(server.url()).unwrap());
    Redis { url, partitions: 4, max_format: newest, ..Redis::default() }
}

async fn program(server: &RedisServer, newest: u32) -> Result<Arc<RedisStore>, StoreError> {
    RedisStore::connect(&settings(server, newest), DataKeys::default(), RETENTION).await
}

/// The first key that fits.
async fn key(server: &RedisServer, pattern: &str) -> String {
    server.ask::<Vec<String>>(&["KEYS", pattern]).await.unwrap().remove(0)
}

/// The last entry of a topic's log as Redis keeps it.
async fn last_entry(server: &RedisServer) -> String {
    let log = key(server, "fhircast:*:log:*").await;
    let read: StreamRangeReply = server.ask(&["XREVRANGE", &log, "+", "-", "COUNT", "1"]).await.unwrap();
    read.ids[0].get("e").unwrap()
}

async fn record(server: &RedisServer) -> String {
    let subscription = key(server, "fhircast:*:subscription:*").await;
    server.ask(&["HGET", &subscription, "record"]).await.unwrap()
}

#[tokio::test]
async fn all_write_what_the_oldest_reads_until_the_format_is_raised() {
    let server = RedisServer::start(Durability::None).await.unwrap();
    let old = program(&server, 1).await.unwrap();
    let new = program(&server, 2).await.unwrap();
    let topic = topic("t");
    publish(&*new, &topic, "e1").await;
    verify(&*new, &webhook(&topic, "w")).await;
    assert!(last_entry(&server).await.starts_with(r#"{"v":1,"#));
    assert!(!record(&server).await.contains("format"));
    assert_eq!(old.log(topic.key(), Position::START, 9).await.unwrap().entries.len(), 1);

    let raised = raise_format(&settings(&server, 2)).await.unwrap();
    assert_eq!(raised, (Format::OLDEST, Format::NEWEST));
    new.agree().await.unwrap();
    publish(&*new, &topic, "e2").await;
    assert!(last_entry(&server).await.starts_with(r#"{"v":2,"#));
    server.ask::<()>(&["DEL", &key(&server, "fhircast:*:subscription:*").await]).await.unwrap();
    verify(&*new, &webhook(&topic, "v")).await;
    assert!(record(&server).await.starts_with(r#"{"format":2,"#));
    // Who is too old says so, at its start and while it runs.
    for refused in [old.agree().await, program(&server, 1).await.map(|_| ())] {
        let problem = refused.unwrap_err();
        assert!(matches!(problem, StoreError::Misconfigured(_)), "{problem}");
        assert!(
            problem.to_string().contains("has format 2, and this program reads and writes up to 1"),
            "{problem}"
        );
    }
    // Who has lost everything goes on with what it wrote.
    server.ask::<()>(&["FLUSHALL"]).await.unwrap();
    new.agree().await.unwrap();
    assert_eq!(server.ask::<u8>(&["GET", "fhircast:format"]).await.unwrap(), 2);
}

#[tokio::test]
async fn a_redis_that_was_used_when_nobody_agreed_on_a_format_has_the_first() {
    let server = RedisServer::start(Durability::None).await.unwrap();
    server.ask::<()>(&["SET", "fhircast:partitions", "4"]).await.unwrap();
    program(&server, 2).await.unwrap();
    assert_eq!(server.ask::<u8>(&["GET", "fhircast:format"]).await.unwrap(), 1);
}

/// Puts `to` for `from` in every entry of a log, at the same places.
async fn rewrite(server: &RedisServer, from: &str, to: &str) {
    let log = key(server, "fhircast:*:log:*").await;
    let entries: StreamRangeReply = server.ask(&["XRANGE", &log, "-", "+"]).await.unwrap();
    server.ask::<()>(&["DEL", &log]).await.unwrap();
    for entry in entries.ids {
        let text = |value: &Value| String::from_redis_value(value.clone()).unwrap().replacen(from, to, 1);
        let fields: Vec<(String, String)> =
            ["p", "r", "h", "e"].map(|name| (name.to_owned(), text(&entry.map[name]))).to_vec();
        let mut command = vec!["XADD", log.as_str(), entry.id.as_str()];
        command.extend(fields.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        server.ask::<String>(&command).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_an_error_and_comes_when_it_can_be_read() {
    let server = RedisServer::start(Durability::None).await.unwrap();
    let store = program(&server, 2).await.unwrap();
    let topic = topic("t");
    publish(&*store, &topic, "e1").await;
    rewrite(&server, "\"v\":2", "\"v\":3").await;
    let problem = store.log(topic.key(), Position::START, 9).await.unwrap_err().to_string();
    assert!(problem.contains("it has format 3, and this program reads up to 2: upgrade it"), "{problem}");
    rewrite(&server, "\"v\":3", "\"v\":2").await;
    assert_eq!(
        store.log(topic.key(), Position::START, 9).await.unwrap().entries.len(),
        1,
        "nothing is left out"
    );

    let id = verify(&*store, &webhook(&topic, "w")).await.id;
    let subscription = key(&server, "fhircast:*:subscription:*").await;
    let newer = record(&server).await.replacen("\"format\":2", "\"format\":3", 1);
    server.ask::<()>(&["HSET", &subscription, "record", &newer]).await.unwrap();
    let problem = store.subscription(id).await.unwrap_err().to_string();
    assert!(problem.contains("a subscription: it has format 3"), "{problem}");
}

/// A hub that is too old for an entry keeps its subscriber where it is; one that is not goes on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_misses_nothing_that_its_hub_is_too_old_for() {
    let mut system = System::builder().hubs(1).workers(0).durability(Durability::None).start().await.unwrap();
    let (app, topic) = (system.hubs[0].app().unwrap(), fresh_topic());
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut listener = Listener::connect(&endpoint).await.unwrap();
    let ids = [fresh_id(), fresh_id()];
    app.publish(&patient_open(&topic, &ids[0])).await.unwrap().expect_status(202).unwrap();
    listener.wait_for_event(PATIENCE, &ids[0]).await.unwrap();
    listener.drop_connection().await;
    app.publish(&patient_open(&topic, &ids[1])).await.unwrap().expect_status(202).unwrap();
    rewrite(system.redis.single(), "\"v\":2", "\"v\":3").await;

    // It is not handed what this hub has in mind: another hub is what it comes to.
    system.hubs[0].start_again().await.unwrap();
    let endpoint = system.hubs[0].endpoint_here(&endpoint).unwrap();
    listener.reconnect_to(&endpoint).await.unwrap();
    let said = "it has format 3, and this program reads up to 2: upgrade it";
    eventually(PATIENCE, "the hub says what it cannot read", || async {
        system.hubs[0].log_lines().iter().any(|line| line.contains(said)).then_some(())
    })
    .await
    .unwrap();
    assert!(!listener.seen(|seen| seen.ids("Patient-open").concat().contains(&ids[1])));
    rewrite(system.redis.single(), "\"v\":3", "\"v\":2").await;
    listener.wait_for_event(PATIENCE, &ids[1]).await.unwrap();
    assert_eq!(listener.seen(|seen| seen.ids("syncerror").concat().len()), 0, "nothing is lost");
}

#[tokio::test]
async fn a_program_that_is_older_than_its_redis_does_not_start_and_says_why() {
    let system = System::builder().hubs(0).workers(0).durability(Durability::None).start().await.unwrap();
    let server = &system.redis.servers()[0];
    server.ask::<()>(&["SET", "fhircast:format", "9"]).await.unwrap();
    for name in ["fhircast-hub", "fhircast-worker"] {
        let url = server.url();
        let output = run(name, &[], &[("redis.url", url.as_str())]).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains("what this Redis keeps has format 9"),
            "{name}: {said}"
        );
    }
}
