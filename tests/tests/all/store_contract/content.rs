//! The content of open contexts: named fields, changed with a commit or not at all (FC-CNT-03, FC-CNT-07).

use harness::data_keys::SEAL_BYTES;
use redis::AsyncCommands;
use shared::{
    protocol::Topic,
    session::{ContentRefusal, ContentWrite},
    store::{Commit, Committed, Store},
};
use uuid::Uuid;

use crate::stores::{Kind, LONG, RETENTION, commit, log, open, revision, socket, topic};
use shared::store::Revision;

fn keep(field: &str, value: &str) -> ContentWrite {
    ContentWrite::Keep { field: field.into(), value: value.into(), is_new: false }
}

fn new(field: &str, value: &str) -> ContentWrite {
    ContentWrite::Keep { field: field.into(), value: value.into(), is_new: true }
}

fn point(field: &str, to: &str) -> ContentWrite {
    ContentWrite::Point { field: field.into(), to: to.into() }
}

fn remove(field: &str) -> ContentWrite {
    ContentWrite::Remove { field: field.into() }
}

fn remove_named(field: &str) -> ContentWrite {
    ContentWrite::RemoveNamed { field: field.into() }
}

fn clear(prefix: &str) -> ContentWrite {
    ContentWrite::Clear { prefix: prefix.into() }
}

/// The most bytes of one value.
const MOST: usize = 1000;

/// The most bytes of content: one value, with what sealing it adds.
fn room(kind: Kind) -> usize {
    MOST + if kind.seals() { SEAL_BYTES } else { 0 }
}

async fn try_change(kind: Kind, store: &dyn Store, topic: &Topic, content: Vec<ContentWrite>) -> Committed {
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    let id = Uuid::new_v4().to_string();
    let commit = Commit { content, max_content_bytes: room(kind), ..commit(session.revision, &id) };
    store.commit(topic.key(), &commit).await.unwrap()
}

async fn change(kind: Kind, store: &dyn Store, topic: &Topic, content: Vec<ContentWrite>) {
    let committed = try_change(kind, store, topic, content).await;
    assert!(matches!(committed, Committed::At { .. }), "{committed:?}");
}

async fn content(store: &dyn Store, topic: &Topic, prefix: &str) -> Vec<String> {
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    store.content(topic.key(), prefix, session.revision).await.unwrap().unwrap()
}

pub async fn content_is_kept_replaced_and_removed_by_name(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    assert!(content(&*store, &topic, "1/").await.is_empty());
    change(
        kind,
        &*store,
        &topic,
        vec![keep("1/b", "2"), new("1/a", "1"), keep("1/c", "3"), keep("10/a", "x")],
    )
    .await;
    assert_eq!(content(&*store.other, &topic, "1/").await, ["1", "2", "3"], "in the order of the names");
    change(kind, &*store, &topic, vec![remove("1/b"), remove("never there"), keep("1/a", "1'")]).await;
    assert_eq!(content(&*store, &topic, "1/").await, ["1'", "3"]);
    change(kind, &*store, &topic, vec![clear("1/")]).await;
    assert!(content(&*store, &topic, "1/").await.is_empty(), "FC-CNT-07");
    assert_eq!(content(&*store, &topic, "10/").await, ["x"], "FC-CNT-07: 10/ does not begin with 1/");
    assert!(content(&*store, &crate::stores::topic("other"), "10/").await.is_empty());
}

pub async fn what_a_field_names_is_removed_with_it(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    change(kind, &*store, &topic, vec![point("1/url/u", "1/resource/r"), keep("1/resource/r", "r")]).await;
    change(kind, &*store, &topic, vec![remove_named("1/url/v")]).await;
    assert_eq!(content(&*store, &topic, "1/resource/").await, ["r"]);
    change(kind, &*store, &topic, vec![remove_named("1/url/u")]).await;
    assert!(content(&*store, &topic, "1/").await.is_empty(), "FC-CNT-03");
}

pub async fn content_that_may_not_be_changes_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    change(kind, &*store, &topic, vec![keep("1/a", "1")]).await;
    let before = store.session(topic.key(), None).await.unwrap().0;
    let exists =
        try_change(kind, &*store, &topic, vec![remove("1/a"), keep("1/b", "2"), new("1/a", "3")]).await;
    assert!(matches!(exists, Committed::Refused(ContentRefusal::Exists)), "FC-CNT-03: {exists:?}");
    let full = try_change(kind, &*store, &topic, vec![keep("1/b", &"x".repeat(MOST))]).await;
    assert!(matches!(full, Committed::Refused(ContentRefusal::Full)), "FC-CNT-08: {full:?}");
    assert_eq!(store.session(topic.key(), None).await.unwrap().0, before, "FC-CNT-03: whole or not at all");
    assert_eq!(content(&*store, &topic, "1/").await, ["1"], "FC-CNT-03");
    assert_eq!(log(&*store, topic.key()).await.len(), 1);
}

pub async fn bytes_are_given_back(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let large = "x".repeat(MOST);
    change(kind, &*store, &topic, vec![keep("1/a", &large)]).await;
    for freed in [remove("1/a"), clear("1/"), keep("1/a", "")] {
        change(kind, &*store, &topic, vec![freed]).await;
        change(kind, &*store, &topic, vec![keep("1/a", &large)]).await;
    }
    change(kind, &*store, &topic, vec![point("1/url", "1/a"), remove("1/a")]).await;
    change(kind, &*store, &topic, vec![keep("1/a", &"x".repeat(MOST - 3))]).await;
    change(kind, &*store, &topic, vec![remove_named("1/url")]).await;
    change(kind, &*store, &topic, vec![keep("1/a", &large)]).await;
}

pub async fn content_is_of_one_revision(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    change(kind, &*store, &topic, vec![keep("1/a", "1")]).await;
    let present = revision(&*store, topic.key(), 0).await;
    assert_eq!(store.content(topic.key(), "1/", Revision::NONE).await.unwrap(), None);
    assert_eq!(store.content(topic.key(), "1/", present).await.unwrap().unwrap(), ["1"]);
    let unseen = crate::stores::topic("never seen").key();
    assert_eq!(store.content(unseen, "1/", Revision::NONE).await.unwrap(), Some(vec![]));
}

/// Only Redis tells what it was asked to do.
#[tokio::test]
async fn a_change_costs_what_it_changes_not_what_is_there() {
    let store = open(Kind::Redis, RETENTION).await;
    let topic = topic("t");
    let mut redis = store.redis().await;
    let mut costs = Vec::new();
    for fields in [10, 5000] {
        let all = (0..fields).map(|number| keep(&format!("1/resource/{number:04}"), &"x".repeat(400)));
        let commit = |content, id: &str| Commit {
            content,
            max_content_bytes: 8 << 20,
            revision: None,
            ..commit(Revision::NONE, id)
        };
        store.commit(topic.key(), &commit(all.collect(), &format!("fill {fields}"))).await.unwrap();
        let before = cost(&mut redis).await;
        let changed =
            vec![keep("1/resource/0001", "y"), remove("1/resource/0002"), new("1/resource/new", "z")];
        store.commit(topic.key(), &commit(changed, &format!("change {fields}"))).await.unwrap();
        let after = cost(&mut redis).await;
        costs.push((after.0 - before.0, after.1 - before.1));
        store.commit(topic.key(), &commit(vec![clear("1/")], &format!("clear {fields}"))).await.unwrap();
    }
    // A key whose life need not be lengthened is left alone: within a millisecond that is one command less each.
    assert!(costs[0].0.abs_diff(costs[1].0) <= 5, "FC-CNT-03: as many commands: {costs:?}");
    // INFO's own answer varies by some digits.
    assert!(costs[0].1.abs_diff(costs[1].1) < 500, "FC-CNT-03: as many bytes: {costs:?}");
}

/// How many commands Redis has run, and how many bytes it has sent.
async fn cost(redis: &mut redis::aio::MultiplexedConnection) -> (u64, u64) {
    let calls: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.unwrap();
    let calls = calls
        .lines()
        .filter(|line| !line.contains("cmdstat_info"))
        .filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
    let sent: String = redis::cmd("INFO").arg("stats").query_async(redis).await.unwrap();
    let sent =
        sent.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")?.trim().parse().ok());
    (calls.sum(), sent.unwrap())
}

#[tokio::test]
async fn content_lives_as_long_as_its_session() {
    let store = open(Kind::Redis, RETENTION).await;
    let topic = topic("t");
    change(Kind::Redis, &*store, &topic, vec![keep("1/a", "1")]).await;
    let mut redis = store.redis().await;
    // A subscription makes the session live longer than a commit does.
    let mut long = socket(&topic);
    long.terms.lease_secs = 10 * LONG.as_secs();
    store.subscribe_websocket(&long, 9).await.unwrap();
    let mut lives = Vec::new();
    for kind in ["session", "content", "content-names"] {
        let keys: Vec<String> = redis.keys(format!("fhircast:*:{kind}:*")).await.unwrap();
        assert_eq!(keys.len(), 1, "{kind}");
        let left: i64 = redis.ttl(&keys[0]).await.unwrap();
        lives.push(left);
    }
    assert!(lives[0] > 9 * LONG.as_secs() as i64, "{lives:?}");
    assert!(lives.iter().all(|left| left.abs_diff(lives[0]) <= 1), "{lives:?}");
    change(Kind::Redis, &*store, &topic, vec![clear("1/")]).await;
    let left: Vec<String> = redis.keys("fhircast:*:content*").await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
