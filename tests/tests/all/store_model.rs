//! The memory store is the model: the same random operations on it and on Redis, the same answers.
//!
//! What depends on the clock or on chance is kept out: leases and pauses are endless or nothing,
//! positions are told by their place in the log, and tokens not at all.

use std::{sync::Arc, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use shared::{
    protocol::{Topic, webhook::Mode},
    store::{
        Activated, Claim, Commit, Committed, Connection, CursorMove, Once, Position, Progress, Release,
        Snapshot, Store, Subscription,
    },
};
use uuid::Uuid;

use crate::stores::{
    ALL_PARTITIONS, Kind, LONG, RETENTION, commit, connection, first_reading, log, lost, open, request, say,
    socket, terms, topic, verification, webhook,
};

const TOPICS: usize = 2;
const SOCKETS: usize = 3;
const WEBHOOKS: usize = 3;
const WORKERS: usize = 2;
const CASES: u32 = 64;
const MAX_OPERATIONS: usize = 40;

/// One step. Numbers name topics, sockets, webhooks, workers and connections; `lag` is how far a
/// revision is behind, `place` a place in the topic's log.
#[derive(Debug, Clone)]
enum Operation {
    Commit { topic: usize, lag: u64, id: u8, is_cause: bool, writes: Vec<(u8, Option<u8>)> },
    Session { topic: usize, id: u8 },
    Log { topic: usize, place: usize, limit: usize },
    Subscribe { socket: usize, limit: usize },
    Renew { socket: usize, leases: u64 },
    Attach { socket: usize, connection: u8 },
    Activate { socket: usize, connection: u8, lag: u64, entries: usize },
    Save { socket: usize, connection: u8, place: usize },
    Detach { socket: usize, connection: u8 },
    EndWebsocket { socket: usize },
    Request { webhook: usize, mode: Mode, limit: usize, leases: u64 },
    Claim { worker: usize, webhook: usize, is_held: bool, max_entries: usize },
    Verify { worker: usize, webhook: usize, lag: u64, entries: usize },
    Settle { worker: usize, webhook: usize, place: usize, attempts: u32, is_answered: bool, release: Release },
    RegisterWorker { worker: usize },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let lag = || prop_oneof![6 => Just(0_u64), 1 => Just(1)];
    let limit = || prop_oneof![1 => 1..3_usize, 4 => Just(9)];
    let mode = prop_oneof![3 => Just(Mode::Subscribe), 1 => Just(Mode::Unsubscribe)];
    let pause = || prop_oneof![Just(Duration::ZERO), Just(LONG)];
    let release = prop_oneof![
        3 => Just(Release::Idle),
        1 => pause().prop_map(Release::After),
        1 => pause().prop_map(Release::Hold),
        1 => Just(Release::End("over")),
    ];
    // Mostly the same one, so that what was begun is gone on with.
    let worker = || prop_oneof![4 => Just(0_usize), 1 => Just(1)];
    let holder = || prop_oneof![4 => Just(0_u8), 1 => Just(1)];
    let writes = prop::collection::vec((0..3_u8, any::<Option<u8>>()), 0..3);
    let of_websockets = prop_oneof![
        2 => (0..SOCKETS, limit()).prop_map(|(socket, limit)| Op::Subscribe { socket, limit }),
        1 => (0..SOCKETS, 1..3_u64).prop_map(|(socket, leases)| Op::Renew { socket, leases }),
        2 => (0..SOCKETS, holder()).prop_map(|(socket, connection)| Op::Attach { socket, connection }),
        2 => (0..SOCKETS, holder(), lag(), 0..3_usize)
            .prop_map(|(socket, connection, lag, entries)| Op::Activate { socket, connection, lag, entries }),
        2 => (0..SOCKETS, holder(), 0..20_usize)
            .prop_map(|(socket, connection, place)| Op::Save { socket, connection, place }),
        1 => (0..SOCKETS, holder()).prop_map(|(socket, connection)| Op::Detach { socket, connection }),
        1 => (0..SOCKETS).prop_map(|socket| Op::EndWebsocket { socket }),
    ];
    let of_webhooks = prop_oneof![
        3 => (0..WEBHOOKS, mode, limit(), 1..3_u64)
            .prop_map(|(webhook, mode, limit, leases)| Op::Request { webhook, mode, limit, leases }),
        5 => (worker(), 0..WEBHOOKS, any::<bool>(), 1..5_usize)
            .prop_map(|(worker, webhook, is_held, max_entries)| Op::Claim { worker, webhook, is_held, max_entries }),
        4 => (worker(), 0..WEBHOOKS, lag(), 0..3_usize)
            .prop_map(|(worker, webhook, lag, entries)| Op::Verify { worker, webhook, lag, entries }),
        4 => (worker(), 0..WEBHOOKS, 0..20_usize, 0..3_u32, any::<bool>(), release).prop_map(
            |(worker, webhook, place, attempts, is_answered, release)| {
                Op::Settle { worker, webhook, place, attempts, is_answered, release }
            }
        ),
        1 => (0..WORKERS).prop_map(|worker| Op::RegisterWorker { worker }),
    ];
    let of_topics = prop_oneof![
        5 => (0..TOPICS, lag(), 0..20_u8, any::<bool>(), writes)
            .prop_map(|(topic, lag, id, is_cause, writes)| Op::Commit { topic, lag, id, is_cause, writes }),
        1 => (0..TOPICS, 0..20_u8).prop_map(|(topic, id)| Op::Session { topic, id }),
        1 => (0..TOPICS, 0..20_usize, 1..5_usize).prop_map(|(topic, place, limit)| Op::Log { topic, place, limit }),
    ];
    prop_oneof![3 => of_topics, 4 => of_websockets, 8 => of_webhooks]
}

/// What all cases begin with, so that they get beyond subscribing: sockets 0 and 1 are read by
/// connection 0, webhooks 0 and 1 are verified by worker 0 and idle.
fn beginning() -> Vec<Operation> {
    use Operation as Op;
    let event = |topic, id| Op::Commit { topic, lag: 0, id, is_cause: true, writes: vec![] };
    let mut operations = vec![event(0, 100), event(1, 101)];
    for socket in 0..2 {
        operations.push(Op::Subscribe { socket, limit: 9 });
        operations.push(Op::Attach { socket, connection: 0 });
        operations.push(Op::Activate { socket, connection: 0, lag: 0, entries: 1 });
    }
    for webhook in 0..2 {
        let (worker, release) = (0, Release::Idle);
        operations.push(Op::Request { webhook, mode: Mode::Subscribe, limit: 9, leases: 1 });
        operations.push(Op::Claim { worker, webhook, is_held: true, max_entries: 9 });
        operations.push(Op::Verify { worker, webhook, lag: 0, entries: 0 });
        operations.push(Op::Settle { worker, webhook, place: 2, attempts: 0, is_answered: true, release });
    }
    operations
}

/// What the operations of one case are about: the same for both stores.
struct Cast {
    name: String,
    topics: Vec<Topic>,
    sockets: Vec<Subscription>,
    webhooks: Vec<Subscription>,
}

impl Cast {
    fn new() -> Self {
        let name = Uuid::new_v4().to_string();
        let topics: Vec<Topic> = (0..TOPICS).map(|number| topic(&format!("{name} {number}"))).collect();
        let sockets = (0..SOCKETS).map(|number| socket(&topics[number % TOPICS])).collect();
        let webhooks =
            (0..WEBHOOKS).map(|number| webhook(&topics[number % TOPICS], &number.to_string())).collect();
        Self { name, topics, sockets, webhooks }
    }

    fn connection(&self, number: u8) -> Connection {
        connection(&format!("{} {number}", self.name))
    }
}

/// A claim that a worker has, or had.
struct Held {
    claim: Claim,
    /// There is a cursor to move.
    is_verified: bool,
}

/// One store, and what its users have in hand.
struct Side {
    store: Arc<dyn Store>,
    logs: Vec<Vec<Position>>,
    claims: [[Option<Held>; WEBHOOKS]; WORKERS],
}

fn with_lease(subscription: &Subscription, leases: u64) -> Subscription {
    Subscription { terms: terms("*", leases * LONG.as_secs()), ..subscription.clone() }
}

/// A lease as a number of long ones: a test takes no time, compared with that.
fn leases(lease: Duration) -> u64 {
    (lease.as_secs() + LONG.as_secs() / 2) / LONG.as_secs()
}

fn ids(step: usize, entries: usize) -> Vec<String> {
    (0..entries).map(|number| format!("step {step}, entry {number}")).collect()
}

impl Side {
    fn new(store: Arc<dyn Store>) -> Self {
        Self { store, logs: vec![Vec::new(); TOPICS], claims: Default::default() }
    }

    /// The number of a position in the log of a topic, counted from 1; 0 is the start.
    fn place(&self, topic: usize, position: Position) -> usize {
        if position == Position::START {
            return 0;
        }
        let place = self.logs[topic].iter().position(|known| *known == position);
        place.unwrap_or_else(|| panic!("{position} is not in the log")) + 1
    }

    fn position(&self, topic: usize, place: usize) -> Position {
        let log = &self.logs[topic];
        match place % (log.len() + 1) {
            0 => Position::START,
            place => log[place - 1],
        }
    }

    async fn revision(&self, cast: &Cast, topic: usize, lag: u64) -> u64 {
        self.store.session(cast.topics[topic].key(), None).await.unwrap().0.revision.saturating_sub(lag)
    }

    fn tell_session(&self, topic: usize, snapshot: &Snapshot) -> String {
        let Snapshot { revision, head, fields } = snapshot;
        format!("revision {revision}, head {}, {fields:?}", self.place(topic, *head))
    }

    fn tell_progress(&self, topic: usize, progress: &Progress) -> String {
        let Progress { cursor, attempts, retry_at, reported } = progress;
        let (cursor, reported) = (self.place(topic, *cursor), self.place(topic, *reported));
        format!("cursor {cursor}, attempts {attempts}, retry at {retry_at}, reported {reported}")
    }

    fn tell_activated(&self, topic: usize, activated: &Activated) -> String {
        match activated {
            Activated::From(cursor) => format!("from {}", self.place(topic, *cursor)),
            Activated::Conflict(snapshot) => format!("conflict: {}", self.tell_session(topic, snapshot)),
            Activated::Lost => "lost".into(),
        }
    }

    /// Does it, and tells the answer.
    async fn perform(&mut self, cast: &Cast, step: usize, operation: &Operation) -> String {
        let store = self.store.clone();
        match *operation {
            Operation::Commit { topic, lag, id, is_cause, ref writes } => {
                let revision = self.revision(cast, topic, lag).await;
                let once = if is_cause { Once::Cause(id.to_string()) } else { Once::Request(id.to_string()) };
                let write = |(name, value): &(u8, Option<u8>)| {
                    (name.to_string(), value.map(|value| value.to_string()))
                };
                let mut writes: Vec<_> = writes.iter().map(write).collect();
                writes.dedup_by(|one, other| one.0 == other.0);
                let commit = Commit { writes, once, ..commit(revision, &id.to_string()) };
                let committed = store.commit(cast.topics[topic].key(), &commit).await.unwrap();
                self.read_logs(cast).await;
                match committed {
                    Committed::At { position, revision } => {
                        format!("{} {revision}", self.place(topic, position))
                    }
                    Committed::Conflict(snapshot) => self.tell_session(topic, &snapshot),
                    Committed::Duplicate => "duplicate".into(),
                    Committed::Refused(refusal) => format!("{refusal:?}"),
                }
            }
            Operation::Session { topic, id } => {
                let once = Once::Request(id.to_string());
                let (snapshot, is_known) =
                    store.session(cast.topics[topic].key(), Some(&once)).await.unwrap();
                format!("{} {is_known}", self.tell_session(topic, &snapshot))
            }
            Operation::Log { topic, place, limit } => {
                let after = self.position(topic, place);
                let page = store.log(cast.topics[topic].key(), after, limit).await.unwrap();
                format!("{:?} {} {}", say(&page.entries), self.place(topic, page.head), page.has_more)
            }
            Operation::Subscribe { socket, limit } => {
                let subscription = &cast.sockets[socket];
                // Nobody is ever given an id that somebody has.
                if store.subscription(subscription.id).await.unwrap().is_some() {
                    return "there already".into();
                }
                format!("{:?}", store.subscribe_websocket(subscription, limit).await.unwrap())
            }
            Operation::Renew { socket, leases } => {
                let renewed = with_lease(&cast.sockets[socket], leases);
                format!("{:?}", store.renew_websocket(&renewed, LONG).await.unwrap())
            }
            Operation::Attach { socket, connection } => {
                let address = cast.sockets[socket].address();
                let attached = store.attach(address, &cast.connection(connection)).await.unwrap();
                self.read_logs(cast).await;
                let topic = socket % TOPICS;
                attached.map_or("none".into(), |attached| {
                    let cursor = attached.cursor.map(|cursor| self.place(topic, cursor));
                    let cursor = cursor.map_err(|snapshot| self.tell_session(topic, &snapshot));
                    format!("{:?} {} {cursor:?}", attached.subscription, leases(attached.lease))
                })
            }
            Operation::Activate { socket, connection, lag, entries } => {
                let (topic, ids) = (socket % TOPICS, ids(step, entries));
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let revision = self.revision(cast, topic, lag).await;
                let activation = first_reading(&cast.connection(connection), revision, &ids);
                let activated = store.activate(cast.sockets[socket].address(), &activation).await.unwrap();
                self.tell_activated(topic, &activated)
            }
            Operation::Save { socket, connection, place } => {
                let (address, connection) = (cast.sockets[socket].address(), cast.connection(connection));
                let cursor = self.position(socket % TOPICS, place);
                store
                    .save_cursors(&[CursorMove { address, connection, cursor, answers: false }])
                    .await
                    .unwrap();
                String::new()
            }
            Operation::Detach { socket, connection } => {
                let address = cast.sockets[socket].address();
                store.detach(address, &cast.connection(connection), lost(LONG)).await.unwrap();
                String::new()
            }
            Operation::EndWebsocket { socket } => {
                store.end_websocket(cast.sockets[socket].address(), "over").await.unwrap().to_string()
            }
            Operation::Request { webhook, mode, limit, leases } => {
                let mut request = request(mode, &with_lease(&cast.webhooks[webhook], leases));
                request.nonce = format!("step {step}");
                format!("{:?}", store.request_webhook(&request, limit).await.unwrap())
            }
            Operation::Claim { worker, webhook, is_held, max_entries } => {
                let hold = if is_held { LONG } else { Duration::ZERO };
                let claimed = store.claim(cast.webhooks[webhook].address(), hold, max_entries).await.unwrap();
                let Some(claim) = claimed else { return "none".into() };
                let Claim { subscription, request, progress, entries, head, .. } = &claim;
                let progress = self.tell_progress(webhook % TOPICS, progress);
                let head = head.map(|head| self.place(webhook % TOPICS, head));
                let (lease, entries) = (leases(claim.lease()), say(entries));
                let told = format!("{subscription:?} {lease} {request:?} {progress} {entries:?} {head:?}");
                let is_verified = subscription.is_some();
                self.claims[worker][webhook] = Some(Held { claim, is_verified });
                told
            }
            Operation::Verify { worker, webhook, lag, entries } => {
                let (topic, ids) = (webhook % TOPICS, ids(step, entries));
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let revision = self.revision(cast, topic, lag).await;
                let Some(held) = &mut self.claims[worker][webhook] else { return "no claim".into() };
                let Some(request) = &held.claim.request else { return "no request".into() };
                let activation = verification(&held.claim.token, request, revision, &ids);
                let activated = store.activate(held.claim.address, &activation).await.unwrap();
                held.is_verified |= matches!(activated, Activated::From(_));
                self.tell_activated(topic, &activated)
            }
            Operation::Settle { worker, webhook, place, attempts, is_answered, release } => {
                let cursor = self.position(webhook % TOPICS, place);
                let Some(Held { claim, is_verified }) = &self.claims[worker][webhook] else {
                    return "no claim".into();
                };
                let moved = Progress { cursor, attempts, retry_at: attempts.into(), reported: cursor };
                let progress = if *is_verified { moved } else { claim.progress.clone() };
                let answered =
                    claim.request.as_ref().filter(|_| is_answered).map(|request| request.nonce.as_str());
                store.settle(claim, &progress, answered, release).await.unwrap().to_string()
            }
            Operation::RegisterWorker { worker } => {
                let workers = store.register_worker(&format!("{} {worker}", cast.name), LONG).await.unwrap();
                format!("{:?}", workers.iter().filter(|id| id.starts_with(&cast.name)).collect::<Vec<_>>())
            }
        }
    }

    async fn read_logs(&mut self, cast: &Cast) {
        for (known, topic) in self.logs.iter_mut().zip(&cast.topics) {
            *known = log(&*self.store, topic.key()).await.iter().map(|entry| entry.position).collect();
        }
    }

    /// All that can be seen without changing anything.
    async fn look(&mut self, cast: &Cast) -> Vec<String> {
        self.read_logs(cast).await;
        let mut seen = Vec::new();
        for (number, topic) in cast.topics.iter().enumerate() {
            let (snapshot, _) = self.store.session(topic.key(), None).await.unwrap();
            seen.push(self.tell_session(number, &snapshot));
            for entry in log(&*self.store, topic.key()).await {
                let place = |position| self.place(number, position);
                let (position, previous) = (place(entry.position), place(entry.previous));
                seen.push(format!("{position} after {previous}, {} {:?}", entry.revision, say([&entry])));
            }
        }
        for subscription in cast.sockets.iter().chain(&cast.webhooks) {
            let found = self.store.subscription(subscription.id).await.unwrap();
            seen.push(format!("{:?}", found.map(|(subscription, lease)| (subscription, leases(lease)))));
        }
        let due = self.store.due(&ALL_PARTITIONS, usize::from(u16::MAX)).await.unwrap();
        seen.push(format!(
            "{:?}",
            cast.webhooks.iter().map(|each| due.contains(&each.address())).collect::<Vec<_>>()
        ));
        seen
    }
}

#[test]
fn redis_answers_as_memory_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (memory, redis) =
        runtime.block_on(async { (open(Kind::Memory, RETENTION).await, open(Kind::Redis, RETENTION).await) });
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let operations = prop::collection::vec(operation(), 1..=MAX_OPERATIONS);
    let outcome = runner.run(&operations, |operations| {
        runtime.block_on(async {
            let cast = Cast::new();
            let (mut model, mut real) = (Side::new(memory.share()), Side::new(redis.share()));
            for (step, operation) in beginning().iter().chain(&operations).enumerate() {
                let expected = model.perform(&cast, step, operation).await;
                let answer = real.perform(&cast, step, operation).await;
                prop_assert_eq!(answer, expected, "the answer to step {}, {:?}", step, operation);
                prop_assert_eq!(
                    real.look(&cast).await,
                    model.look(&cast).await,
                    "after step {}, {:?}",
                    step,
                    operation
                );
            }
            Ok(())
        })
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    runtime.block_on(async { drop(redis) });
}
