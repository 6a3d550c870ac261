//! What Redis keeps, and for how long: sessions and subscriptions go when what they promise is over, and each costs no
//! more than `docs/ARCHITECTURE.md` says.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use harness::{examples::Message, redis_server::RedisServer, system::Worker, wait::eventually};
use shared::{
    protocol::{Event, Topic, sync_error::Severity},
    publisher::Publisher,
    session::Rules,
    store::{Departure, Parting, Retention, Store, Subscribed},
};

use crate::stores::{Kind, Opened, PARTITIONS, RETENTION, connection, open, socket, terms, topic};

/// Store calls at once.
const AT_ONCE: usize = 64;

fn publisher(store: Arc<dyn Store>) -> Publisher {
    Publisher::new(
        store,
        Rules { max_open: 64, max_content_bytes: 1 << 20 },
        Severity::Warning,
        shared::audit::Audit::off(),
    )
}

/// One of the specification's messages, sent to a topic.
async fn publish(publisher: &Publisher, topic: &Topic, example: &str, id: &str) {
    let message = Message::example(example).unwrap().topic(topic.as_str()).unwrap().id(id).unwrap();
    publisher.publish(&Event::read(message.text()).unwrap(), message.text()).await.unwrap();
}

async fn used(redis: &RedisServer) -> u64 {
    redis.info("memory", "used_memory").await.unwrap().parse().unwrap()
}

async fn keys(redis: &RedisServer) -> u64 {
    redis.ask(&["DBSIZE"]).await.unwrap()
}

/// Does something for each of so many topics.
async fn for_each<F: Future<Output = ()>>(topics: &[Topic], act: impl Fn(Topic) -> F) {
    stream::iter(topics.iter().cloned()).map(act).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

const SESSIONS: usize = 50_000;
/// Leases, logs and sessions end while the next ones begin.
const SHORT: Duration = Duration::from_secs(2);
/// What Redis may keep of all of them: its own tables shrink later.
const MAX_LEFT_BYTES: u64 = 1 << 20;
/// All of them on a busy machine.
const ENDED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_fifty_thousand_short_sessions_redis_holds_what_it_held_before() {
    let retention = Retention { log: SHORT, session: SHORT, resend: Duration::from_secs(1), ..RETENTION };
    let store = open(Kind::Redis, retention).await;
    let redis = store.server();
    let partitions = PARTITIONS.to_string();
    let worker =
        Worker::start(&[("redis.url", &redis.url()), ("redis.partitions", &partitions)]).await.unwrap();
    let all = || async { (keys(redis).await == 3).then_some(()) };
    eventually(ENDED_WITHIN, "the format, the number of partitions and the worker are there", all)
        .await
        .unwrap();
    let (keys_before, used_before) = (keys(redis).await, used(redis).await);

    let publisher = publisher(store.share());
    let topics: Vec<Topic> = (0..SESSIONS).map(|number| topic(&format!("session {number}"))).collect();
    for_each(&topics, |topic| {
        let (publisher, store) = (&publisher, &store);
        async move {
            let mut subscription = socket(&topic);
            subscription.terms = terms("*", SHORT.as_secs());
            let subscribed = store.subscribe_websocket(&subscription, 9).await.unwrap();
            assert_eq!(subscribed, Subscribed::Accepted);
            let (address, connection) = (subscription.address(), connection("c"));
            // Some connect and leave, some unsubscribe, and the lease of the others ends.
            let kind = topic.as_str().bytes().last();
            if kind == Some(b'3') {
                store.attach(address, &connection).await.unwrap().unwrap();
                let departure = Departure { parting: Parting::Left, grace: SHORT / 2, look_after: SHORT / 2 };
                store.detach(address, &connection, departure).await.unwrap();
            }
            publish(publisher, &topic, "3.0.0/Patient-open", "open").await;
            if kind == Some(b'7') {
                assert_eq!(
                    store.end_websocket(address, None, "unsubscribed").await.unwrap(),
                    Subscribed::Accepted
                );
            }
        }
    })
    .await;
    eventually(ENDED_WITHIN, "all of it has gone", || async {
        let (keys, used) = (keys(redis).await, used(redis).await);
        (keys <= keys_before && used < used_before + MAX_LEFT_BYTES).then_some(())
    })
    .await
    .unwrap();
    drop(worker);
}

/// Of each kind.
const MEASURED: usize = 2_000;

/// Entries that fill more than the first node of a log.
const ENTRIES: usize = 20;

/// Says what was measured when it is not what the page says.
fn within(what: &str, bytes: u64, expected: std::ops::Range<u64>) {
    assert!(expected.contains(&bytes), "{what} takes {bytes} bytes, not {expected:?}");
}

/// The bytes that Redis has more after `act` than before, for each of [`MEASURED`].
async fn cost(store: &Opened, act: impl Future<Output = ()>) -> u64 {
    let before = used(store.server()).await;
    act.await;
    used(store.server()).await.saturating_sub(before) / MEASURED as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_keeps_costs_what_the_architecture_page_says() {
    // What is remembered of each request is no part of the figures: it is gone after 5 s.
    let store = open(Kind::Redis, Retention { resend: Duration::from_millis(1), ..RETENTION }).await;
    let publisher = publisher(store.share());
    let topics: Vec<Topic> = (0..MEASURED).map(|number| topic(&number.to_string())).collect();
    let open_with = |example: &'static str| {
        let (topics, publisher) = (&topics, &publisher);
        async move {
            for_each(topics, |topic| async move { publish(publisher, &topic, example, example).await }).await
        }
    };
    let forgotten = || async {
        eventually(ENDED_WITHIN, "requests are forgotten", || async {
            let requests: Vec<String> = store.server().ask(&["KEYS", "*:once:*"]).await.unwrap();
            requests.is_empty().then_some(())
        })
        .await
        .unwrap();
    };
    let first = cost(&store, async {
        open_with("3.0.0/Patient-open").await;
        forgotten().await;
    })
    .await;
    let second = cost(&store, async {
        open_with("3.0.0/ImagingStudy-open").await;
        forgotten().await;
    })
    .await;
    let entries = cost(&store, async {
        for number in 0..ENTRIES {
            for_each(&topics, |topic| {
                let publisher = &publisher;
                async move { publish(publisher, &topic, "3.0.0/userHibernate", &number.to_string()).await }
            })
            .await;
        }
        forgotten().await;
    })
    .await;
    let subscription = cost(&store, async {
        for_each(&topics, |topic| {
            let store = &store;
            async move {
                let subscription = socket(&topic);
                store.subscribe_websocket(&subscription, 9).await.unwrap();
                store
                    .attach(subscription.address(), &connection(subscription.id.to_string().as_str()))
                    .await
                    .unwrap();
            }
        })
        .await;
    })
    .await;
    let bytes = |example: &str| Message::example(example).unwrap().text().len() as u64;
    // A topic: its keys, and the first node of its log, which has room for more entries.
    within("a topic", first - 2 * bytes("3.0.0/Patient-open"), 4_000..5_500);
    // An open context: what was sent, in the session and in the log.
    within(
        "an open context",
        second,
        2 * bytes("3.0.0/ImagingStudy-open")..2 * bytes("3.0.0/ImagingStudy-open") + 700,
    );
    let entry = entries / ENTRIES as u64;
    within("a log entry", entry, bytes("3.0.0/userHibernate")..bytes("3.0.0/userHibernate") + 300);
    within("a subscription", subscription, 1_000..1_800);
}
