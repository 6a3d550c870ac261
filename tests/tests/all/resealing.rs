//! Sealing anew what Redis keeps, while others use it (FC-SEC-03); and that the keys are the same everywhere.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use harness::{
    data_keys::{NEW, OLD},
    redis_server::{Durability, RedisServer},
    redis_shape::{Redis, Shape},
};
use redis::AsyncCommands;
use shared::{
    protocol::{Topic, webhook::Mode},
    session::ContentWrite,
    settings::DataKeys,
    store::{Commit, Committed, Retention, Revision, Store, StoreError, redis::Walk},
};
use uuid::Uuid;

use crate::stores::{
    LONG, RETENTION, commit, connect, connect_with, log, request, revision, say, socket, topic, try_connect,
    verify, webhook,
};

const UNSEALED: &str = "unsealed";
const TOPICS: usize = 3;
/// Events of each topic.
const EVENTS: usize = 3;

fn by_key(counts: &[(Option<&str>, u64)]) -> BTreeMap<Option<String>, u64> {
    counts.iter().map(|(key, count)| (key.map(str::to_owned), *count)).collect()
}

fn topics() -> Vec<Topic> {
    (0..TOPICS).map(|number| topic(&format!("t{number}"))).collect()
}

/// Of each topic: a session of one field, two resources and a name for one of them, events, a socket, a webhook in
/// force that asks for something else, and what is no event.
async fn fill(store: &dyn Store) {
    for topic in topics() {
        let keep = |field: &str| ContentWrite::Keep {
            field: field.into(),
            value: format!(r#"{{"of":"{field}"}}"#),
            is_new: false,
        };
        let to = "1/resource/a".to_owned();
        let content = vec![
            keep("1/resource/a"),
            keep("1/resource/b"),
            ContentWrite::Point { field: "1/url/u".into(), to },
        ];
        for number in 0..EVENTS {
            let content = if number == 0 { content.clone() } else { Vec::new() };
            let id = Uuid::new_v4().to_string();
            let commit = Commit {
                content,
                max_content_bytes: 1000,
                ..commit(revision(store, topic.key(), 0).await, &id)
            };
            assert!(matches!(store.commit(topic.key(), &commit).await.unwrap(), Committed::At { .. }));
        }
        let socket = socket(&topic);
        store.subscribe_websocket(&socket, 9).await.unwrap();
        for connection in ["first", "second"] {
            store.attach(socket.address(), &crate::stores::connection(connection)).await.unwrap().unwrap();
        }
        verify(store, &webhook(&topic, "w")).await;
        let again = request(Mode::Subscribe, &webhook(&topic, "w"));
        store.request_webhook(&again, 9).await.unwrap();
    }
}

/// What [`fill`] leaves, as it is read.
async fn see(store: &dyn Store) -> Vec<String> {
    let mut seen = Vec::new();
    for topic in topics() {
        let (session, _) = store.session(topic.key(), None).await.unwrap();
        let content = store.content(topic.key(), "1/", session.revision).await.unwrap();
        let said = say(&log(store, topic.key()).await);
        let id = webhook(&topic, "w").id;
        let hook = store.subscription(id).await.unwrap().unwrap().0;
        seen.push(format!("{session:?} {content:?} {said:?} {hook:?}"));
    }
    seen
}

const VALUES: u64 = TOPICS as u64 * (1 + 2 + 1 + 2);
const LOGGED: u64 = (TOPICS * EVENTS) as u64;

async fn everything_is_sealed_anew_and_means_the_same(shape: Shape) {
    let redis = Redis::start(shape, Durability::None).await.unwrap();
    let url = redis.url();
    let plain = connect(&url, vec![], RETENTION).await;
    fill(&*plain).await;
    let before = see(&*plain).await;

    // From nothing to the first key, to the second, and back to nothing.
    let look = |walk: &Walk| assert!(walk.keys > 0);
    for (keys, to) in
        [(vec![OLD], Some("old")), (vec![NEW, OLD], Some("new")), (vec![UNSEALED, NEW, OLD], None)]
    {
        let store = connect(&url, keys, RETENTION).await;
        let walk = store.reseal(look).await.unwrap();
        assert_eq!(walk.values, by_key(&[(to, VALUES)]), "FC-SEC-03");
        assert_eq!(walk.resealed, VALUES);
        assert_eq!(walk.unreadable, BTreeMap::new());
        assert_eq!(walk.entries, by_key(&[(None, LOGGED)]), "what is in a log stays as it is");
        assert_eq!(see(&*store).await, before, "it means the same as before");
        let again = store.reseal(look).await.unwrap();
        assert_eq!((again.values, again.resealed), (by_key(&[(to, VALUES)]), 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_on_one_server_is_sealed_anew_and_means_the_same() {
    everything_is_sealed_anew_and_means_the_same(Shape::Single).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_behind_sentinels_is_sealed_anew_and_means_the_same() {
    everything_is_sealed_anew_and_means_the_same(Shape::Sentinel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_in_a_cluster_is_sealed_anew_and_means_the_same() {
    everything_is_sealed_anew_and_means_the_same(Shape::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_still_used_cannot_be_dropped_and_one_that_is_not_can() {
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let url = redis.url();
    fill(&*connect(&url, vec![OLD], RETENTION).await).await;
    let refused = |keys: Vec<&'static str>| async {
        match try_connect(&url, keys, RETENTION).await {
            Err(StoreError::Misconfigured(problem)) => problem,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("FC-SEC-03: it is let in"),
        }
    };
    for keys in [vec![], vec![NEW], vec![UNSEALED, NEW]] {
        let problem = refused(keys).await;
        assert!(problem.starts_with("data_keys: ") && problem.contains("the key old"), "{problem}");
    }
    let other = NEW.replacen("new", "old", 1);
    let problem = refused(vec![Box::leak(other.into_boxed_str())]).await;
    assert!(problem.contains("does not open with the key old"), "FC-SEC-03: {problem}");

    // Only the logs are left, until their events have had their time.
    let store = connect(&url, vec![NEW, OLD], RETENTION).await;
    let walk = store.reseal(|_| ()).await.unwrap();
    assert_eq!((walk.other_values(Some("new")), walk.other_entries(Some("new"))), (0, LOGGED));
    refused(vec![NEW]).await;
    let retention = Retention { log: Duration::from_millis(1), ..RETENTION };
    let walk = connect(&url, vec![NEW, OLD], retention).await.reseal(|_| ()).await.unwrap();
    assert_eq!((walk.other_values(Some("new")), walk.other_entries(Some("new"))), (0, 0));
    let last = connect(&url, vec![NEW], RETENTION).await;
    let id = webhook(&topics()[0], "w").id;
    assert!(last.subscription(id).await.unwrap().is_some(), "FC-SEC-03: it reads without the old key");
}

/// Why a value was not read.
fn corrupt<T: std::fmt::Debug>(read: Result<T, StoreError>) -> String {
    match read {
        Err(StoreError::Corrupt(problem)) => problem,
        other => panic!("FC-SEC-03: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_sealed_is_read_by_default_and_by_nobody_who_must_not() {
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let url = redis.url();
    let plain = connect(&url, vec![], RETENTION).await;
    fill(&*plain).await;
    let (topic, before) = (topics()[0].clone(), see(&*plain).await);
    let key = topic.key();
    assert_eq!(see(&*connect(&url, vec![OLD], RETENTION).await).await, before, "while keys are turned on");

    let required = || DataKeys::parse([OLD]).unwrap().required(true);
    let strict = connect_with(&url, required(), RETENTION).await.unwrap();
    let revision = revision(&*plain, key, 0).await;
    let hook = webhook(&topic, "w");
    let says = "it is not sealed, as data_keys_required says it must be: run fhircast-hub reseal";
    for problem in [
        corrupt(strict.session(key, None).await),
        corrupt(strict.content(key, "1/resource/", revision).await),
        corrupt(strict.subscription(hook.id).await),
        corrupt(strict.claim(hook.address(), LONG, 10).await),
    ] {
        assert!(problem.contains(says), "FC-SEC-03: {problem}");
    }
    let (all, left) = (log(&*plain, key).await, log(&*strict, key).await);
    assert!(left.iter().all(|entry| entry.entry.as_event().is_none()), "FC-SEC-03: events are sealed");
    assert_eq!(left.len(), all.len() - EVENTS, "what is no event never is");

    let retention = Retention { log: Duration::from_millis(1), ..RETENTION };
    let walk = connect_with(&url, required(), retention).await.unwrap().reseal(|_| ()).await.unwrap();
    assert_eq!((walk.other_values(Some("old")), walk.other_entries(Some("old"))), (0, 0), "{walk:?}");
    let (session, _) = strict.session(key, None).await.unwrap();
    assert_eq!(strict.content(key, "1/resource/", revision).await.unwrap().unwrap().len(), 2);
    assert!(strict.subscription(hook.id).await.unwrap().is_some());

    // Somebody who may write to Redis, and has no key.
    let mut connection = redis.connection().await.unwrap();
    let keys: Vec<String> = connection.keys(format!("fhircast:*:session:{key}")).await.unwrap();
    connection.hset::<_, _, _, ()>(&keys[0], "last", "forged").await.unwrap();
    assert!(corrupt(strict.session(key, None).await).contains("the session's field last: "), "FC-SEC-03");
    let taken = connect(&url, vec![OLD], RETENTION).await.session(key, None).await.unwrap().0;
    assert_eq!(taken.fields["last"], "forged");
    assert_ne!(taken.fields, session.fields);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_life_keeps_it_and_what_counts_bytes_counts_right() {
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let plain = connect(&redis.url(), vec![], RETENTION).await;
    fill(&*plain).await;
    let mut connection = redis.connection().await.unwrap();
    let keys: Vec<String> = connection.keys("fhircast:*:*").await.unwrap();
    let mut before = BTreeMap::new();
    for key in &keys {
        let left: i64 = connection.pexpire_time(key).await.unwrap();
        before.insert(key.clone(), left);
    }
    let store = connect(&redis.url(), vec![OLD], RETENTION).await;
    store.reseal(|_| ()).await.unwrap();
    for (key, left) in before {
        let now: i64 = connection.pexpire_time(&key).await.unwrap();
        assert_eq!(now, left, "{key}");
        if key.contains(":content:") {
            let fields: BTreeMap<String, Vec<u8>> = connection.hgetall(&key).await.unwrap();
            let counted: usize = std::str::from_utf8(&fields[".bytes"]).unwrap().parse().unwrap();
            let bytes = fields.iter().filter(|(field, _)| *field != ".bytes").map(|(_, value)| value.len());
            assert_eq!(counted, bytes.sum::<usize>(), "FC-CNT-08: {key}");
        }
    }
}

/// One writer seals with the old key while it is sealed anew; when it ends, so does the old key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_is_written_meanwhile_is_lost() {
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let (url, topic) = (redis.url(), topic("busy"));
    let writer = connect(&url, vec![OLD, NEW], RETENTION).await;
    let (is_over, written) = (Arc::new(AtomicBool::new(false)), {
        let topic = topic.clone();
        move |writer: Arc<dyn Store>, is_over: Arc<AtomicBool>| async move {
            let (mut revision, mut number) = (Revision::NONE, 0_u32);
            while !is_over.load(Ordering::Relaxed) || number < 100 {
                let field = format!("open:{}", number % 20);
                let writes = vec![(field, Some(number.to_string()))];
                let commit = Commit { writes, ..commit(revision, &number.to_string()) };
                match writer.commit(topic.key(), &commit).await.unwrap() {
                    Committed::At { revision: next, .. } => revision = next,
                    other => panic!("sealing anew changes no revision: {other:?}"),
                }
                number += 1;
            }
            number
        }
    });
    let writing = tokio::spawn(written(writer.clone(), is_over.clone()));
    let store = connect(&url, vec![NEW, OLD], Retention { log: LONG, ..RETENTION }).await;
    let mut was_given_up = false;
    for _ in 0..5 {
        was_given_up |= !store.reseal(|_| ()).await.unwrap().is_quiet;
    }
    assert!(was_given_up, "FC-SEC-03: whoever still seals with another key is noticed");
    is_over.store(true, Ordering::Relaxed);
    let number = writing.await.unwrap();
    let walk = store.reseal(|_| ()).await.unwrap();
    assert!(walk.is_quiet && walk.other_values(Some("new")) == 0, "FC-SEC-03: {walk:?}");
    let fields = store.session(topic.key(), None).await.unwrap().0.fields;
    for last in number.saturating_sub(20)..number {
        assert_eq!(fields[&format!("open:{}", last % 20)], last.to_string(), "the last value stands");
    }
}
