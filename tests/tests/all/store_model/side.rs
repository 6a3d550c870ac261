//! One of the two stores, and all that its users have in hand: does what an operation says, and
//! tells the answer in words that do not depend on the clock or on chance.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use shared::{
    protocol::Topic,
    store::{
        Activated, Activation, Claim, Commit, Committed, Connection, CursorMove, Departure, Holder, Once,
        Position, Progress, Release, Snapshot, Store, Subscribed, Subscription,
    },
};
use uuid::Uuid;

use super::operations::{By, CONNECTIONS, Operation, PREFIXES, SOCKETS, SUBSCRIPTIONS, TOPICS, WORKERS};
use crate::stores::{
    ALL_PARTITIONS, LONG, commit, event, first_reading, log, owner, request, revision, say, socket, terms,
    topic, verification, webhook,
};
use shared::store::Revision;

/// What the operations of one case are about: the same for both stores.
pub struct Cast {
    name: String,
    /// When it began, in milliseconds since 1970.
    began: u64,
    topics: Vec<Topic>,
    subscriptions: Vec<Subscription>,
}

impl Cast {
    pub fn new() -> Self {
        let name = Uuid::new_v4().to_string();
        let topics: Vec<Topic> = (0..TOPICS).map(|number| topic(&format!("{name} {number}"))).collect();
        let subscription = |number: usize| {
            let topic = &topics[topic_of(number)];
            if number < SOCKETS { socket(topic) } else { webhook(topic, &number.to_string()) }
        };
        let subscriptions = (0..SUBSCRIPTIONS).map(subscription).collect();
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Self { name, began, topics, subscriptions }
    }

    /// A subscription as somebody asks for it.
    fn asked(&self, number: usize, by: By) -> Subscription {
        let owner = by.owner.and_then(|number| owner(&number.to_string()));
        let not_after = by.token.map(|longs| self.began + longs * LONG.as_millis() as u64);
        Subscription { owner, not_after, ..self.subscriptions[number].clone() }
    }

    fn connection(&self, number: u8) -> Connection {
        let id = format!("{} {number}", self.name);
        Connection { node: self.node(number), id }
    }

    /// The node of a connection.
    fn node(&self, connection: u8) -> String {
        format!("{} node {connection}", self.name)
    }
}

/// The number of the topic that a subscription follows.
fn topic_of(subscription: usize) -> usize {
    subscription % TOPICS
}

/// A claim that a worker has, or had.
struct Held {
    claim: Claim,
    /// There is a cursor to move.
    is_verified: bool,
}

/// One store, and what its users have in hand.
pub struct Side {
    store: Arc<dyn Store>,
    max_content_bytes: usize,
    logs: Vec<Vec<Position>>,
    claims: [[Option<Held>; SUBSCRIPTIONS]; WORKERS],
    /// Which sockets have been subscribed and not ended: nobody is ever given an id that somebody
    /// has, not even when its lease or grace is over and nobody has looked yet.
    is_there: [bool; SOCKETS],
}

fn with_lease(subscription: Subscription, leases: u64) -> Subscription {
    Subscription { terms: terms("*", leases * LONG.as_secs()), ..subscription }
}

/// A time as a number of long ones: a test takes no time, compared with that.
fn longs(time: Duration) -> u64 {
    (time.as_secs() + LONG.as_secs() / 2) / LONG.as_secs()
}

fn ids(step: usize, entries: usize) -> Vec<String> {
    (0..entries).map(|number| format!("step {step}, entry {number}")).collect()
}

impl Side {
    pub fn new(store: Arc<dyn Store>, max_content_bytes: usize) -> Self {
        let (claims, is_there) = Default::default();
        Self { store, max_content_bytes, logs: vec![Vec::new(); TOPICS], claims, is_there }
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

    async fn revision(&self, cast: &Cast, topic: usize, lag: u64) -> Revision {
        revision(&*self.store, cast.topics[topic].key(), 0i64.saturating_sub_unsigned(lag)).await
    }

    fn tell_session(&self, topic: usize, snapshot: &Snapshot) -> String {
        let Snapshot { revision, head, fields } = snapshot;
        format!("revision {}, head {}, {fields:?}", revision.number, self.place(topic, *head))
    }

    fn tell_progress(&self, topic: usize, progress: &Progress) -> String {
        let Progress { cursor, attempts, retry_at, reported, asked } = progress;
        let (cursor, reported) = (self.place(topic, *cursor), self.place(topic, *reported));
        format!(
            "cursor {cursor}, attempts {attempts}, retry at {retry_at}, reported {reported}, asked {asked}"
        )
    }

    fn tell_claim(&self, topic: usize, claim: &Claim) -> String {
        let Claim { subscription, request, progress, absence, entries, gap, .. } = claim;
        let progress = self.tell_progress(topic, progress);
        let absence = absence.map(|absence| {
            let grace = longs(Duration::from_millis(absence.until - absence.since));
            format!("{:?} for {grace}", absence.parting)
        });
        let (lease, entries) = (longs(claim.lease()), say(entries));
        format!("{subscription:?} {lease} {request:?} {progress} {absence:?} {entries:?} {gap:?}")
    }

    fn tell_activated(&self, topic: usize, activated: &Activated) -> String {
        match activated {
            Activated::From(cursor) => format!("from {}", self.place(topic, *cursor)),
            Activated::Conflict(snapshot) => format!("conflict: {}", self.tell_session(topic, snapshot)),
            Activated::Lost => "lost".into(),
        }
    }

    /// Does it, and tells the answer.
    pub async fn perform(&mut self, cast: &Cast, step: usize, operation: &Operation) -> String {
        let store = self.store.clone();
        match *operation {
            Operation::Commit { topic, lag, id, is_cause, ref writes, ref content } => {
                let revision = self.revision(cast, topic, lag).await;
                let once = if is_cause { Once::Cause(id.to_string()) } else { Once::Request(id.to_string()) };
                let write = |(name, value): &(u8, Option<u8>)| {
                    (name.to_string(), value.map(|value| value.to_string()))
                };
                let mut writes: Vec<_> = writes.iter().map(write).collect();
                writes.dedup_by(|one, other| one.0 == other.0);
                let (content, max_content_bytes) = (content.clone(), self.max_content_bytes);
                let commit =
                    Commit { writes, content, max_content_bytes, once, ..commit(revision, &id.to_string()) };
                let committed = store.commit(cast.topics[topic].key(), &commit).await.unwrap();
                self.read_logs(cast).await;
                match committed {
                    Committed::At { position, revision } => {
                        format!("{} {}", self.place(topic, position), revision.number)
                    }
                    Committed::Conflict(snapshot) => self.tell_session(topic, &snapshot),
                    Committed::Duplicate { .. } => "duplicate".into(),
                    Committed::Refused(refusal) => format!("{refusal:?}"),
                }
            }
            Operation::Session { topic, id } => {
                let once = Once::Request(id.to_string());
                let (snapshot, is_known) =
                    store.session(cast.topics[topic].key(), Some(&once)).await.unwrap();
                format!("{} {is_known}", self.tell_session(topic, &snapshot))
            }
            Operation::Content { topic, lag, prefix } => {
                let revision = self.revision(cast, topic, lag).await;
                format!("{:?}", store.content(cast.topics[topic].key(), prefix, revision).await.unwrap())
            }
            Operation::Log { topic, place, limit } => {
                let after = self.position(topic, place);
                let page = store.log(cast.topics[topic].key(), after, limit).await.unwrap();
                format!(
                    "{:?} {} {:?} {}",
                    say(&page.entries),
                    self.place(topic, page.head),
                    page.gap,
                    page.has_more
                )
            }
            Operation::Subscribe { socket, limit, by } => {
                if self.is_there[socket] {
                    return "there already".into();
                }
                let subscribed = store.subscribe_websocket(&cast.asked(socket, by), limit).await.unwrap();
                self.is_there[socket] = subscribed == Subscribed::Accepted;
                format!("{subscribed:?}")
            }
            Operation::Renew { socket, leases, grace, by } => {
                let renewed = with_lease(cast.asked(socket, by), leases);
                format!("{:?}", store.renew_websocket(&renewed, grace).await.unwrap())
            }
            Operation::Attach { socket, connection } => {
                let address = cast.subscriptions[socket].address();
                let attached = store.attach(address, &cast.connection(connection)).await.unwrap();
                self.read_logs(cast).await;
                let topic = topic_of(socket);
                attached.map_or("none".into(), |attached| {
                    let (lease, answers) = (longs(attached.lease), attached.answers);
                    let head = self.place(topic, attached.head);
                    let cursor = attached.cursor.map(|cursor| self.place(topic, cursor));
                    let cursor = cursor.map_err(|snapshot| self.tell_session(topic, &snapshot));
                    format!("{:?} {lease} {head} {answers} {cursor:?}", attached.subscription)
                })
            }
            Operation::Activate { socket, connection, lag, is_restart, entries } => {
                let (topic, ids) = (topic_of(socket), ids(step, entries));
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let revision = self.revision(cast, topic, lag).await;
                let reading = first_reading(&cast.connection(connection), revision, &ids);
                let activation = Activation { is_restart, ..reading };
                let address = cast.subscriptions[socket].address();
                self.tell_activated(topic, &store.activate(address, &activation).await.unwrap())
            }
            Operation::Save { socket, connection, place, answers } => {
                let (address, connection) =
                    (cast.subscriptions[socket].address(), cast.connection(connection));
                let cursor = self.position(topic_of(socket), place);
                let moved = CursorMove { address, connection, cursor, answers };
                format!("{:?}", store.save_cursors(&[moved]).await.unwrap())
            }
            Operation::Detach { socket, connection, parting, grace, look_after } => {
                let (address, connection) =
                    (cast.subscriptions[socket].address(), cast.connection(connection));
                let departure = Departure { parting, grace, look_after };
                store.detach(address, &connection, departure).await.unwrap();
                String::new()
            }
            Operation::EndWebsocket { socket, by } => {
                let asking = cast.asked(socket, by);
                let ended = store.end_websocket(asking.address(), asking.owner.as_ref(), "over");
                let ended = ended.await.unwrap();
                self.is_there[socket] &= ended == Subscribed::Foreign;
                format!("{ended:?}")
            }
            Operation::Request { webhook, mode, limit, leases, by } => {
                let mut request = request(mode, &with_lease(cast.asked(webhook, by), leases));
                request.nonce = format!("step {step}");
                format!("{:?}", store.request_webhook(&request, limit).await.unwrap())
            }
            Operation::Withdraw { webhook, by } => {
                let asking = cast.asked(webhook, by);
                let withdrawn = store.withdraw_webhook(asking.address(), asking.owner.as_ref());
                withdrawn.await.unwrap().to_string()
            }
            Operation::Verify { worker, webhook, lag, entries } => {
                let (topic, ids) = (topic_of(webhook), ids(step, entries));
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let revision = self.revision(cast, topic, lag).await;
                let Some(held) = &mut self.claims[worker][webhook] else { return "no claim".into() };
                let Some(request) = &held.claim.request else { return "no request".into() };
                let activation = verification(&held.claim.token, request, revision, &ids);
                let activated = store.activate(held.claim.address, &activation).await.unwrap();
                held.is_verified |= matches!(activated, Activated::From(_));
                self.tell_activated(topic, &activated)
            }
            Operation::BeginAnew { worker, webhook, lag, entries } => {
                let (topic, ids) = (topic_of(webhook), ids(step, entries));
                let revision = self.revision(cast, topic, lag).await;
                let held = self.claims[worker][webhook].as_ref().filter(|held| held.is_verified);
                let Some(Held { claim, .. }) = held else { return "nothing to begin anew".into() };
                let holder = Holder::Claim { token: claim.token.clone(), request: None };
                let entries = ids.iter().map(|id| event(id)).collect();
                let activation = Activation { holder, revision, is_restart: true, entries };
                self.tell_activated(topic, &store.activate(claim.address, &activation).await.unwrap())
            }
            Operation::Claim { worker, subscription, is_held, max_entries } => {
                let hold = if is_held { LONG } else { Duration::ZERO };
                let address = cast.subscriptions[subscription].address();
                let Some(claim) = store.claim(address, hold, max_entries).await.unwrap() else {
                    return "none".into();
                };
                let told = self.tell_claim(topic_of(subscription), &claim);
                let is_verified = claim.subscription.is_some();
                self.claims[worker][subscription] = Some(Held { claim, is_verified });
                told
            }
            Operation::Settle { worker, subscription, place, attempts, is_answered, release } => {
                let cursor = self.position(topic_of(subscription), place);
                let Some(Held { claim, is_verified }) = &self.claims[worker][subscription] else {
                    return "no claim".into();
                };
                let moved = Progress {
                    cursor,
                    attempts,
                    retry_at: attempts.into(),
                    reported: cursor,
                    asked: attempts,
                };
                let progress = if *is_verified { moved } else { claim.progress.clone() };
                let answered =
                    claim.request.as_ref().filter(|_| is_answered).map(|request| request.nonce.as_str());
                let is_valid = store.settle(claim, &progress, answered, release).await.unwrap();
                if is_valid && subscription < SOCKETS && matches!(release, Release::End(_)) {
                    self.is_there[subscription] = false;
                }
                is_valid.to_string()
            }
            Operation::RegisterWorker { worker } => {
                let workers = store.register_worker(&format!("{} {worker}", cast.name), LONG).await.unwrap();
                format!("{:?}", workers.iter().filter(|id| id.starts_with(&cast.name)).collect::<Vec<_>>())
            }
            Operation::RegisterNode { connection, ttl } => {
                store.register_node(&cast.node(connection), ttl).await.unwrap().to_string()
            }
            Operation::Orphan { connection, grace } => {
                store.orphan(&cast.node(connection), grace).await.unwrap().to_string()
            }
        }
    }

    async fn read_logs(&mut self, cast: &Cast) {
        for (known, topic) in self.logs.iter_mut().zip(&cast.topics) {
            *known = log(&*self.store, topic.key()).await.iter().map(|entry| entry.position).collect();
        }
    }

    /// All that can be seen without changing anything.
    pub async fn look(&mut self, cast: &Cast) -> Vec<String> {
        self.read_logs(cast).await;
        let mut seen = Vec::new();
        for (number, topic) in cast.topics.iter().enumerate() {
            let (snapshot, _) = self.store.session(topic.key(), None).await.unwrap();
            seen.push(self.tell_session(number, &snapshot));
            for prefix in PREFIXES {
                let content = self.store.content(topic.key(), prefix, snapshot.revision).await.unwrap();
                seen.push(format!("{prefix} {content:?}"));
            }
            for entry in log(&*self.store, topic.key()).await {
                let place = |position| self.place(number, position);
                let (position, previous) = (place(entry.position), place(entry.previous));
                seen.push(format!(
                    "{position} after {previous}, {} {:?}",
                    entry.revision.number,
                    say([&entry])
                ));
            }
        }
        for subscription in &cast.subscriptions {
            let found = self.store.subscription(subscription.id).await.unwrap();
            seen.push(format!("{:?}", found.map(|(subscription, lease)| (subscription, longs(lease)))));
        }
        let due = self.store.due(&ALL_PARTITIONS, usize::from(u16::MAX)).await.unwrap();
        let is_due = cast.subscriptions.iter().map(|each| due.contains(&each.address()));
        seen.push(format!("due: {:?}", is_due.collect::<Vec<_>>()));
        let lapsed = self.store.lapsed_nodes().await.unwrap();
        let has_lapsed = (0..CONNECTIONS).map(|number| lapsed.contains(&cast.node(number)));
        seen.push(format!("lapsed: {:?}", has_lapsed.collect::<Vec<_>>()));
        seen
    }
}
