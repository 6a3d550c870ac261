//! What is done to the stores: the steps of a random history.

use std::time::Duration;

use proptest::{prelude::*, sample::select};
use shared::{
    protocol::webhook::Mode,
    session::ContentWrite,
    store::{Parting, Release},
};

use crate::stores::LONG;

pub const TOPICS: usize = 2;
pub const SOCKETS: usize = 3;
pub const WEBHOOKS: usize = 3;
/// All subscriptions, the sockets first.
pub const SUBSCRIPTIONS: usize = SOCKETS + WEBHOOKS;
pub const WORKERS: usize = 2;
/// Each connection is of a node of its own.
pub const CONNECTIONS: u8 = 2;

/// The names of the content's fields, and how those of a context begin: one is the beginning of
/// another, but for the slash.
const FIELDS: [&str; 3] = ["1/a", "1/b", "11/a"];
pub const PREFIXES: [&str; 2] = ["1/", "11/"];
/// So few that the content is full now and then; where it is sealed it has other sizes, and room for all.
pub const MAX_CONTENT_BYTES: usize = 16;
pub const ROOM_FOR_ALL: usize = 1 << 20;

/// One step. Numbers name topics, subscriptions, workers and connections (a webhook counts on
/// from the sockets); `lag` is how far a revision is behind, `place` a place in the topic's log.
#[derive(Debug, Clone)]
pub enum Operation {
    Commit {
        topic: usize,
        lag: u64,
        id: u8,
        is_cause: bool,
        writes: Vec<(u8, Option<u8>)>,
        content: Vec<ContentWrite>,
    },
    Session {
        topic: usize,
        id: u8,
    },
    Content {
        topic: usize,
        lag: u64,
        prefix: &'static str,
    },
    Log {
        topic: usize,
        place: usize,
        limit: usize,
    },
    Subscribe {
        socket: usize,
        limit: usize,
        by: By,
    },
    Renew {
        socket: usize,
        leases: u64,
        grace: Duration,
        by: By,
    },
    Attach {
        socket: usize,
        connection: u8,
    },
    Activate {
        socket: usize,
        connection: u8,
        lag: u64,
        is_restart: bool,
        entries: usize,
    },
    Save {
        socket: usize,
        connection: u8,
        place: usize,
        answers: bool,
    },
    Detach {
        socket: usize,
        connection: u8,
        parting: Parting,
        grace: Duration,
        look_after: Duration,
    },
    EndWebsocket {
        socket: usize,
        by: By,
    },
    Request {
        webhook: usize,
        mode: Mode,
        limit: usize,
        leases: u64,
        by: By,
    },
    Withdraw {
        webhook: usize,
        by: By,
    },
    Verify {
        worker: usize,
        webhook: usize,
        lag: u64,
        entries: usize,
    },
    BeginAnew {
        worker: usize,
        webhook: usize,
        lag: u64,
        entries: usize,
    },
    Claim {
        worker: usize,
        subscription: usize,
        is_held: bool,
        max_entries: usize,
    },
    Settle {
        worker: usize,
        subscription: usize,
        place: usize,
        attempts: u32,
        is_answered: bool,
        release: Release,
    },
    RegisterWorker {
        worker: usize,
    },
    RegisterNode {
        connection: u8,
        ttl: Duration,
    },
    Orphan {
        connection: u8,
        grace: Duration,
    },
}

use Operation as Op;

/// Who asks: an owner, or nobody in particular; and for how many long times its token lasts, if it
/// ends at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct By {
    pub owner: Option<u8>,
    pub token: Option<u64>,
}

/// Mostly the same one.
fn by() -> impl Strategy<Value = By> {
    let owner = prop_oneof![3 => Just(None), 4 => Just(Some(0)), 1 => Just(Some(1))];
    let token = prop_oneof![4 => Just(None), 3 => Just(Some(1)), 1 => Just(Some(0))];
    (owner, token).prop_map(|(owner, token)| By { owner, token })
}

pub fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![4 => of_topics(), 6 => of_websockets(), 4 => of_webhooks(), 7 => of_workers(), 1 => of_nodes()]
}

fn lag() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(0), 1 => Just(1)]
}

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![1 => 1..3_usize, 4 => Just(9)]
}

/// Nothing, or more than a test takes.
fn time() -> impl Strategy<Value = Duration> {
    select(vec![Duration::ZERO, LONG])
}

/// Mostly more than a test takes: what is over is soon gone on with no longer.
fn grace() -> impl Strategy<Value = Duration> {
    prop_oneof![1 => Just(Duration::ZERO), 4 => Just(LONG)]
}

/// Mostly the same one, so that what was begun is gone on with.
fn worker() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => 1..WORKERS]
}

fn holder() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0), 1 => 1..CONNECTIONS]
}

fn webhook() -> impl Strategy<Value = usize> {
    SOCKETS..SUBSCRIPTIONS
}

fn change() -> impl Strategy<Value = ContentWrite> {
    let value = (0..9_usize).prop_map(|bytes| "x".repeat(bytes));
    prop_oneof![
        4 => (field(), value, prop::bool::weighted(0.2))
            .prop_map(|(field, value, is_new)| ContentWrite::Keep { field, value, is_new }),
        2 => (field(), field()).prop_map(|(field, to)| ContentWrite::Point { field, to }),
        1 => field().prop_map(|field| ContentWrite::Remove { field }),
        2 => field().prop_map(|field| ContentWrite::RemoveNamed { field }),
        1 => select(&PREFIXES[..]).prop_map(|prefix| ContentWrite::Clear { prefix: prefix.into() }),
    ]
}

fn field() -> impl Strategy<Value = String> {
    select(&FIELDS[..]).prop_map(str::to_owned)
}

fn of_topics() -> impl Strategy<Value = Operation> {
    let writes = prop::collection::vec((0..3_u8, any::<Option<u8>>()), 0..3);
    let content = prop::collection::vec(change(), 0..4);
    prop_oneof![
        6 => (0..TOPICS, lag(), 0..20_u8, any::<bool>(), writes, content).prop_map(
            |(topic, lag, id, is_cause, writes, content)| {
                Op::Commit { topic, lag, id, is_cause, writes, content }
            }
        ),
        1 => (0..TOPICS, 0..20_u8).prop_map(|(topic, id)| Op::Session { topic, id }),
        1 => (0..TOPICS, lag(), select(&PREFIXES[..]))
            .prop_map(|(topic, lag, prefix)| Op::Content { topic, lag, prefix }),
        1 => (0..TOPICS, 0..20_usize, 1..5_usize)
            .prop_map(|(topic, place, limit)| Op::Log { topic, place, limit }),
    ]
}

fn of_websockets() -> impl Strategy<Value = Operation> {
    let parting = select(vec![Parting::Left, Parting::SentAway, Parting::Lost]);
    // A lease of nothing is over at once.
    let leases = prop_oneof![1 => Just(0_u64), 4 => 1..3_u64];
    prop_oneof![
        2 => (0..SOCKETS, limit(), by())
            .prop_map(|(socket, limit, by)| Op::Subscribe { socket, limit, by }),
        2 => (0..SOCKETS, leases, grace(), by())
            .prop_map(|(socket, leases, grace, by)| Op::Renew { socket, leases, grace, by }),
        3 => (0..SOCKETS, holder()).prop_map(|(socket, connection)| Op::Attach { socket, connection }),
        3 => (0..SOCKETS, holder(), lag(), prop::bool::weighted(0.3), 0..3_usize).prop_map(
            |(socket, connection, lag, is_restart, entries)| {
                Op::Activate { socket, connection, lag, is_restart, entries }
            }
        ),
        2 => (0..SOCKETS, holder(), 0..20_usize, prop::bool::weighted(0.3))
            .prop_map(|(socket, connection, place, answers)| Op::Save { socket, connection, place, answers }),
        4 => (0..SOCKETS, holder(), parting, grace(), time()).prop_map(
            |(socket, connection, parting, grace, look_after)| {
                Op::Detach { socket, connection, parting, grace, look_after }
            }
        ),
        1 => (0..SOCKETS, by()).prop_map(|(socket, by)| Op::EndWebsocket { socket, by }),
    ]
}

fn of_webhooks() -> impl Strategy<Value = Operation> {
    let mode = prop_oneof![3 => Just(Mode::Subscribe), 1 => Just(Mode::Unsubscribe)];
    prop_oneof![
        3 => (webhook(), mode, limit(), 1..3_u64, by())
            .prop_map(|(webhook, mode, limit, leases, by)| Op::Request { webhook, mode, limit, leases, by }),
        1 => (webhook(), by()).prop_map(|(webhook, by)| Op::Withdraw { webhook, by }),
        4 => (worker(), webhook(), lag(), 0..3_usize)
            .prop_map(|(worker, webhook, lag, entries)| Op::Verify { worker, webhook, lag, entries }),
        1 => (worker(), webhook(), lag(), 0..3_usize)
            .prop_map(|(worker, webhook, lag, entries)| Op::BeginAnew { worker, webhook, lag, entries }),
    ]
}

fn of_workers() -> impl Strategy<Value = Operation> {
    let release = prop_oneof![
        3 => Just(Release::Idle),
        1 => time().prop_map(Release::After),
        1 => time().prop_map(Release::Hold),
        1 => Just(Release::End("over")),
    ];
    prop_oneof![
        6 => (worker(), 0..SUBSCRIPTIONS, any::<bool>(), 1..5_usize).prop_map(
            |(worker, subscription, is_held, max_entries)| {
                Op::Claim { worker, subscription, is_held, max_entries }
            }
        ),
        5 => (worker(), 0..SUBSCRIPTIONS, 0..20_usize, 0..3_u32, any::<bool>(), release).prop_map(
            |(worker, subscription, place, attempts, is_answered, release)| {
                Op::Settle { worker, subscription, place, attempts, is_answered, release }
            }
        ),
        1 => (0..WORKERS).prop_map(|worker| Op::RegisterWorker { worker }),
    ]
}

fn of_nodes() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..CONNECTIONS, time()).prop_map(|(connection, ttl)| Op::RegisterNode { connection, ttl }),
        (0..CONNECTIONS, grace()).prop_map(|(connection, grace)| Op::Orphan { connection, grace }),
    ]
}

/// What all cases begin with, so that they get beyond subscribing: sockets 0 and 1 are read by
/// connection 0, and the first two webhooks are verified by worker 0 and idle. Those that are numbered
/// even have an owner.
pub fn beginning() -> Vec<Operation> {
    let event = |topic, id| Op::Commit { topic, lag: 0, id, is_cause: true, writes: vec![], content: vec![] };
    let mut operations = vec![event(0, 100), event(1, 101)];
    for socket in 0..2 {
        let by = By { owner: (socket % 2 == 0).then_some(0), token: None };
        operations.push(Op::Subscribe { socket, limit: 9, by });
        operations.push(Op::Attach { socket, connection: 0 });
        operations.push(Op::Activate { socket, connection: 0, lag: 0, is_restart: false, entries: 1 });
    }
    for webhook in SOCKETS..SOCKETS + 2 {
        let (worker, subscription, release) = (0, webhook, Release::Idle);
        let by = By { owner: (webhook % 2 == 0).then_some(0), token: None };
        operations.push(Op::Request { webhook, mode: Mode::Subscribe, limit: 9, leases: 1, by });
        operations.push(Op::Claim { worker, subscription, is_held: true, max_entries: 9 });
        operations.push(Op::Verify { worker, webhook, lag: 0, entries: 0 });
        operations.push(Op::Settle {
            worker,
            subscription,
            place: 2,
            attempts: 0,
            is_answered: true,
            release,
        });
    }
    operations
}
