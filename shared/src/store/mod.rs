//! The seam between the hub and where its state lives.
//!
//! [`redis`] is the real one, for any number of nodes; [`memory`] serves the embedded hub, in one
//! process. Both keep the same things for a topic: its session (fields and a revision), its log,
//! its subscriptions, and the due set of its webhooks. One contract and one model test run
//! against both. No rule of the protocol is in a store: it compares revisions, keeps order, and
//! fences those who come too late.
//!
//! What every store promises:
//!
//! - A [`Store::commit`] happens whole or not at all, and only on the revision that was expected.
//!   What it returned as committed is read by every later reader, in the one order of the topic.
//! - An entry names its predecessor: who sees it knows whether it has missed one.
//! - No position and no revision is given twice, not even when Redis has lost the end of a log and
//!   goes on from an earlier entry ([`History`]): whoever knows of something lost finds out ([`Gap`]).
//! - A bell may be lost, the log is not: after [`Rung::Interrupted`], read the log.
//! - Times are the store's clock, never a node's.
//! - Who holds a subscription (a connection, a claim) is the only one who can move its cursor.
//! - Whose a subscription is ([`Owner`]) is compared in the step that would change it: another gets
//!   [`Subscribed::Foreign`]. Who is nobody (authentication is off) may do everything.
//! - A lease never outlives the token that it was asked for with ([`Subscription::not_after`]).
//!
//! Rules: FC-SUB-04, FC-SUB-05, FC-SEC-04.

mod bells;
pub mod census;
mod history;
pub mod memory;
pub mod open;
mod owner;
mod position;
pub mod redis;
mod subscription;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use bells::{BELL_CAPACITY, DUE_BELL_CAPACITY};
pub use bells::{DueListener, Listener, Rung};
pub use census::Census;
pub use history::{History, NotARevision, Revision};
pub use owner::{NotAnOwner, Owner};
pub use position::{NotAPosition, Position};
pub use subscription::{
    Absence, Activated, Activation, Address, Attached, Channel, Claim, Connection, CursorMove, Departure,
    Holder, Parting, Progress, Release, Subscribed, Subscription, WebhookRequest,
};

use crate::{
    protocol::{SubscriptionId, TopicKey},
    session::{ContentRefusal, ContentWrite, Entry, Fields},
    settings::Limits,
};

/// Why a store did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or not in time. What was asked may have happened or not.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was asked has happened, and too few replicas say that they have it (`redis.durability`).
    #[error("it is written, and not confirmed: {0}")]
    Unconfirmed(String),
    /// It holds something that this program cannot read.
    #[error("the store holds what cannot be read: {0}")]
    Corrupt(String),
    /// It is not set up as the settings say.
    #[error("the store does not fit the settings: {0}")]
    Misconfigured(String),
}

/// What a store answers.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long an entry stays in a topic's log.
    pub log: Duration,
    /// The most entries that a topic's log holds, roughly.
    pub log_entries: usize,
    /// The most bytes that they have, roughly; the last one stays whatever it has.
    pub log_bytes: usize,
    /// How long a session stays that nobody touches.
    pub session: Duration,
    /// How long a request is recognised when it is sent again (FC-REQ-07).
    pub resend: Duration,
}

/// How long a request is recognised when it is sent again (FC-REQ-07).
const RESEND: Duration = Duration::from_secs(5);

impl From<&Limits> for Retention {
    fn from(limits: &Limits) -> Self {
        Self {
            log: limits.log_age(),
            log_entries: limits.log_entries,
            log_bytes: limits.log_bytes,
            session: limits.session_age(),
            resend: RESEND,
        }
    }
}

/// A session as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// How often its fields have changed.
    pub revision: Revision,
    /// The last entry of the log.
    pub head: Position,
    /// The fields of the session.
    pub fields: Fields,
}

/// What is to be written, all or nothing.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The revision that it was decided on; `None` when it holds on any.
    pub revision: Option<Revision>,
    /// The fields to write, or to delete.
    pub writes: Vec<(String, Option<String>)>,
    /// What changes in the topic's content; nothing changes anywhere if it cannot be.
    pub content: Vec<ContentWrite>,
    /// The most bytes of content that the topic may have.
    pub max_content_bytes: usize,
    /// What is appended to the log.
    pub entry: Entry,
    /// What makes this commit the same as another.
    pub once: Once,
}

/// What makes a commit the same as another: it happens once while the store remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// A client's request, remembered for [`Retention::resend`].
    Request(String),
    /// Something that several processes notice, remembered for [`Retention::log`].
    Cause(String),
}

/// What came of a commit.
#[derive(Debug, Clone)]
pub enum Committed {
    /// It is in the log.
    At {
        /// Where.
        position: Position,
        /// The session's revision from now on.
        revision: Revision,
    },
    /// The session has changed: decide again with this.
    Conflict(Snapshot),
    /// The content does not allow it.
    Refused(ContentRefusal),
    /// The same has been committed before.
    Duplicate {
        /// The last entry of the log, at which it is or before.
        head: Position,
    },
}

/// Something that concerns all of a topic, has several entries, and may go further when it is noticed
/// again: it is told once for as far as it goes.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// What it is about, the same for all who notice it.
    pub cause: String,
    /// How far it goes.
    pub up_to: Position,
    /// The revision of the session that the entries were made from.
    pub revision: Revision,
    /// What is appended, all or nothing.
    pub entries: Vec<Entry>,
}

/// What came of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// It is in the log.
    Now {
        /// The entry before it: who reads on from there reads it.
        from: Position,
    },
    /// It had been told that far already.
    Before {
        /// The entry before it.
        from: Position,
    },
    /// The session has changed: make it anew.
    Conflict,
}

/// An entry in its place.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Where it is.
    pub position: Position,
    /// The entry before it.
    pub previous: Position,
    /// The revision of the session after it.
    pub revision: Revision,
    /// What it says.
    pub entry: Entry,
}

/// A part of a log.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// The entries after the position that was asked for, in order, up to the limit, or up to the
    /// bytes that one page has.
    pub entries: Vec<Arc<LogEntry>>,
    /// The last entry that the log had when it was read.
    pub head: Position,
    /// What is wrong between that position and these entries, if they do not follow it.
    pub gap: Option<Gap>,
    /// Did it end before the log did, as far as is known?
    pub has_more: bool,
}

/// Why entries do not follow a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// What came between is older or more than the log keeps.
    Trimmed,
    /// The log does not know the position, and goes on from an earlier one: the end of its history,
    /// with that position, has been lost.
    Lost,
}

/// Where the hub's state lives. See the module's page for what every implementation promises.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The number of partitions, the same for every process.
    fn partitions(&self) -> u16;

    /// Does it answer?
    async fn ping(&self) -> Result<()>;

    /// Does it fit the settings, still? Misconfigured when the processes that use it mean different things.
    async fn agree(&self) -> Result<()>;

    /// How long it is since this process could be sure to hear bells.
    fn silent_for(&self) -> Duration;

    /// What there is in each of these partitions. What cannot be asked for at the moment is left out.
    async fn census(&self, partitions: &[u16]) -> Result<Vec<Census>>;

    /// The session as it is now, and whether `once` has been committed, and is as durable as the
    /// settings ask for. A topic never seen has
    /// revision 0 and no fields.
    async fn session(&self, topic: TopicKey, once: Option<&Once>) -> Result<(Snapshot, bool)>;

    /// Writes a change, appends its entry, makes the topic's webhooks due, and rings the bell.
    async fn commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed>;

    /// Appends the entries of an announcement, unless it has been told as far as it goes; it is
    /// remembered for as long as the log.
    async fn announce(&self, topic: TopicKey, announcement: &Announcement) -> Result<Announced>;

    /// The values of the content whose names begin with `prefix`, in the order of their names.
    /// `None` when the session is at another revision.
    async fn content(&self, topic: TopicKey, prefix: &str, revision: Revision)
    -> Result<Option<Vec<String>>>;

    /// At most `limit` entries after a position, fewer if they are large.
    async fn log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage>;

    /// The last entry of each of these logs. `None` for those that cannot be asked for at the moment.
    async fn heads(&self, topics: &[TopicKey]) -> Result<Vec<Option<Position>>>;

    /// Listens to a topic's bell. What was committed after this returns rings, or is followed by
    /// [`Rung::Interrupted`].
    async fn listen(&self, topic: TopicKey) -> Result<Listener>;

    /// Writes a new WebSocket subscription, unless its topic has `limit` of them. Too late when its
    /// token has ended.
    async fn subscribe_websocket(&self, subscription: &Subscription, limit: usize) -> Result<Subscribed>;

    /// Replaces events, lease and name of a WebSocket subscription (FC-SUB-04), and tells the
    /// node that holds its socket. One whose subscriber is away may be taken again within `grace`
    /// from now on. Unknown when there is none of that id in that topic, or its grace is over; foreign
    /// when it is another owner's; too late when the token has ended.
    async fn renew_websocket(&self, subscription: &Subscription, grace: Duration) -> Result<Subscribed>;

    /// A subscription that has not ended, with what remains of its lease.
    async fn subscription(&self, id: SubscriptionId) -> Result<Option<(Subscription, Duration)>>;

    /// Takes a WebSocket subscription for a connection, and tells the connection that had it.
    /// `None` when it is unknown, has ended, or its reconnect grace is over.
    async fn attach(&self, address: Address, connection: &Connection) -> Result<Option<Attached>>;

    /// Starts the reading of a subscription that has never been read or begins anew, or (for a
    /// webhook that is subscribed again) puts new terms into force and leaves the cursor where it is.
    async fn activate(&self, address: Address, activation: &Activation) -> Result<Activated>;

    /// Moves the cursors of connected sockets forward. Who lost its subscription moves nothing:
    /// says for each whether it still holds its own.
    async fn save_cursors(&self, moves: &[CursorMove]) -> Result<Vec<bool>>;

    /// Lets go of a subscription: it may be taken again within its grace, and is due meanwhile, so
    /// that a worker looks after it.
    async fn detach(&self, address: Address, connection: &Connection, departure: Departure) -> Result<()>;

    /// Ends a WebSocket subscription for this owner and tells the node that holds its socket. Unknown
    /// when there is none or it is over already, foreign when it is another's. What is due is ended by the worker that has
    /// claimed it ([`Release::End`]), whoever owns it.
    async fn end_websocket(
        &self,
        address: Address,
        owner: Option<&Owner>,
        reason: &str,
    ) -> Result<Subscribed>;

    /// Notes a webhook subscriber's request, for the owner that its subscription names, and makes it
    /// due. Unknown when it would end what does not exist; foreign when what is in force or waits to
    /// be verified is another owner's; too many when the topic has `limit` of them; too late when it
    /// would begin what its token does not allow any more.
    async fn request_webhook(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed>;

    /// Takes back what this owner has asked for and nobody has confirmed, as if it had never been asked;
    /// a claim that brought it is void, so no answer puts it into force any more. `false` when there is no
    /// such request of this owner, and when something is in force: that is ended by a request.
    async fn withdraw_webhook(&self, address: Address, owner: Option<&Owner>) -> Result<bool>;

    /// What is due now in these partitions, at most `limit` each, longest due first; and, likewise,
    /// the subscriptions whose lease has ended.
    async fn due(&self, partitions: &[u16], limit: usize) -> Result<Vec<Address>>;

    /// Takes a due subscription for `hold`. `None` when it is not due, held by a worker or (while
    /// its lease lasts) by a socket, or gone.
    async fn claim(&self, address: Address, hold: Duration, max_entries: usize) -> Result<Option<Claim>>;

    /// Saves the progress of a claim and keeps it or gives it back. `answered` is the nonce of
    /// the request that is done with, if any. `false` when the claim is void.
    async fn settle(
        &self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
    ) -> Result<bool>;

    /// Hears when something becomes due.
    fn due_listener(&self) -> DueListener;

    /// Names the partitions whose bells [`due_listener`](Self::due_listener) hears.
    async fn watch_due(&self, partitions: &[u16]) -> Result<()>;

    /// Says that a worker is alive for `ttl`, and returns all that are, sorted.
    async fn register_worker(&self, id: &str, ttl: Duration) -> Result<Vec<String>>;

    /// Says that a node is alive for `ttl`. `false` when it did not count as alive before: then
    /// its subscriptions may have been taken from it.
    async fn register_node(&self, id: &str, ttl: Duration) -> Result<bool>;

    /// The nodes that have not said for too long that they are alive.
    async fn lapsed_nodes(&self) -> Result<Vec<String>>;

    /// Lets go of all subscriptions that a node holds, as [`detach`](Self::detach) does, and
    /// forgets the node unless it is alive again. Returns how many there were.
    async fn orphan(&self, node: &str, grace: Duration) -> Result<usize>;

    /// How often this process has connected to the store's servers again, or to others. When it grows,
    /// the store may have lost the end of its history, and with it what this process knows.
    fn interruptions(&self) -> u64;

    /// The store's clock, in milliseconds since 1970.
    async fn now(&self) -> Result<u64>;
}

/// Bytes of entries after which a page of the log ends, and a claim brings no more: an update may
/// have megabytes.
const PAGE_BYTES: usize = 1 << 20;
