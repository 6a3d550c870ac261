//! Subscriptions as the stores keep them: a filter and a cursor over a topic's log.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Gap, LogEntry, Owner, Position, Revision, Snapshot};
use crate::{
    protocol::{
        SubscriptionId, Topic, TopicKey,
        subscription_request::{Callback, Secret, Terms},
        webhook::Mode,
    },
    session::Entry,
};

/// A subscription: who is told what, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The session that it follows.
    pub topic: Topic,
    /// How it is told.
    pub channel: Channel,
    /// What it asked for.
    pub terms: Terms,
    /// Whose it is; absent while authentication is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// The end of the token that it was asked for with, in milliseconds since 1970: no lease goes
    /// beyond it (FC-SUB-05, FC-SEC-04).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// The way in which a subscriber is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Over the socket that connects to the subscription's endpoint.
    Websocket,
    /// By requests to its callback.
    Webhook {
        /// Where to.
        callback: Callback,
        /// What signs them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
    },
}

impl Subscription {
    /// Where the stores find it.
    pub fn address(&self) -> Address {
        Address { id: self.id, topic: self.topic.key() }
    }

    /// Its lease, if it began now (milliseconds since 1970 by the store's clock). `None` when its
    /// token has ended.
    pub fn lease(&self, now: u64) -> Option<Duration> {
        let asked = Duration::from_secs(self.terms.lease_secs);
        match self.not_after {
            None => Some(asked),
            Some(end) if end > now => Some(asked.min(Duration::from_millis(end - now))),
            Some(_) => None,
        }
    }
}

/// Where the stores find a subscription and the log that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its topic.
    pub topic: TopicKey,
}

/// One connection of a socket to a node: the fence against the connection before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The node that holds the socket.
    pub node: String,
    /// Unique among all connections ever.
    pub id: String,
}

/// Why nobody holds a WebSocket subscription that has been held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parting {
    /// Its subscriber closed the socket with 1000 or 1001: it follows no longer, and says so.
    Left,
    /// The hub closed the socket with 1001: its subscriber is expected back (FC-SUB-11).
    SentAway,
    /// Anything else: its subscriber may be lost (FC-NOT-04).
    Lost,
}

/// How a connection lets go of its subscription.
#[derive(Debug, Clone, Copy)]
pub struct Departure {
    /// Why.
    pub parting: Parting,
    /// For how long the subscription may be taken again.
    pub grace: Duration,
    /// When somebody has to look whether it has missed something.
    pub look_after: Duration,
}

/// The absence of a subscriber whose socket has gone, in milliseconds since 1970 by the store's
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// Since when nobody holds the subscription.
    pub since: u64,
    /// Until when it may be taken again.
    pub until: u64,
    /// Why.
    pub parting: Parting,
}

/// What came of a request to subscribe, or to end a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// It is done, or for a webhook: it is being verified.
    Accepted,
    /// The subscription that the request names does not exist.
    Unknown,
    /// The topic has as many subscriptions as it may.
    TooMany,
    /// The subscription is another owner's.
    Foreign,
    /// The token that it was asked for with has ended.
    TooLate,
}

/// A subscription that a connection has just taken.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The subscription.
    pub subscription: Subscription,
    /// What remains of its lease.
    pub lease: Duration,
    /// The log's head at that moment: who held it before lost it there or earlier.
    pub head: Position,
    /// Has the subscriber ever answered a notification?
    pub answers: bool,
    /// Where reading goes on, or the session as it is if the subscription has never been read:
    /// then it is to be activated.
    pub cursor: Result<Position, Snapshot>,
}

/// The first reading of a subscription: the entries that only it is sent, and the place in the
/// log from which it reads, set in one step.
#[derive(Debug, Clone)]
pub struct Activation {
    /// Who holds the subscription.
    pub holder: Holder,
    /// The revision of the session that `entries` were made from.
    pub revision: Revision,
    /// Does it begin anew although it has been read already? What it has not got is gone from the
    /// log then.
    pub is_restart: bool,
    /// The open contexts that the subscriber is sent first (FC-SUB-08).
    pub entries: Vec<Entry>,
}

/// Who may move a subscription: anybody else is too late.
#[derive(Debug, Clone)]
pub enum Holder {
    /// The socket that is connected.
    Connection(Connection),
    /// The worker that has claimed it.
    Claim {
        /// The claim.
        token: String,
        /// The request that it has verified, if it has.
        request: Option<Box<WebhookRequest>>,
    },
}

/// What came of an activation.
#[derive(Debug, Clone)]
pub enum Activated {
    /// Reading starts behind this position.
    From(Position),
    /// The session has changed: decide again with this.
    Conflict(Snapshot),
    /// Somebody else holds the subscription, or it has ended.
    Lost,
}

/// How far a socket's subscriber has come.
#[derive(Debug, Clone)]
pub struct CursorMove {
    /// Which subscription.
    pub address: Address,
    /// The connection that says so.
    pub connection: Connection,
    /// The last entry that need not be sent again.
    pub cursor: Position,
    /// Has the subscriber answered a notification?
    pub answers: bool,
}

/// A request of a webhook subscriber that waits for its verification (FC-WHK-02).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRequest {
    /// Tells this request from one that overtakes it.
    pub nonce: String,
    /// To begin, or to end.
    pub mode: Mode,
    /// The subscription as it shall be, or the one that shall end.
    pub subscription: Subscription,
}

/// A subscription that one worker holds for a while, with what there is to do: a webhook that is
/// due, a WebSocket subscription whose subscriber is away, or either when its lease is over.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Where it is.
    pub address: Address,
    /// The fence: whoever claims next makes this one void.
    pub token: String,
    /// The subscription as verified, if it has been.
    pub subscription: Option<Subscription>,
    /// When the lease ends or has ended, in milliseconds since 1970 by the store's clock; 0 when
    /// there has never been one.
    pub lease_end: u64,
    /// The request to verify before anything else.
    pub request: Option<WebhookRequest>,
    /// How far it has come.
    pub progress: Progress,
    /// Has its reading begun? Before that nothing is owed to it.
    pub is_read: bool,
    /// Of a WebSocket subscription that nobody holds: since when and why.
    pub absence: Option<Absence>,
    /// What comes after the cursor, as far as one claim reads.
    pub entries: Vec<Arc<LogEntry>>,
    /// What is wrong between the cursor and `entries`, if they do not follow it.
    pub gap: Option<Gap>,
    /// The store's clock at the claim, in milliseconds since 1970.
    pub now: u64,
}

impl Claim {
    /// What remained of the lease at the claim; zero when it had ended.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_end.saturating_sub(self.now))
    }

    /// Had the lease ended at the claim?
    pub fn is_over(&self) -> bool {
        self.lease().is_zero()
    }
}

/// How far a webhook subscription has come, and what stands in its way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The last entry that is done with: delivered, given up, or not for this subscriber.
    pub cursor: Position,
    /// How often the entry after it has been tried.
    pub attempts: u32,
    /// No further try before this time, in milliseconds since 1970 by the store's clock.
    pub retry_at: u64,
    /// The last entry that a SyncError has been sent for.
    pub reported: Position,
    /// How often the subscriber has been asked to confirm the request that is to be verified. A new
    /// request begins at nought.
    pub asked: u32,
}

/// What a worker does with its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Keep it for this long from now.
    Hold(Duration),
    /// Give it back; it is due again after this time, or at once if a request has come in since the
    /// claim.
    After(Duration),
    /// Give it back; it is due again when there is something to do, or when its lease ends.
    Idle,
    /// The subscription has ended, for this `hub.reason`, which a node hears that holds its socket.
    /// A newer request of a webhook subscriber, if one has come in meanwhile, stays and is due at
    /// once.
    End(&'static str),
}
