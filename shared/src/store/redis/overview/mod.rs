//! What there is, read from outside and changing nothing: for whoever wants to know at three in the morning.
//!
//! It needs no data key: nothing that is sealed is read. It asks for what the sets and hashes hold beside it.

mod looking;
mod sessions;

use serde::{Serialize, Serializer};

use self::looking::Looking;
use super::connect;
use crate::{
    format::Format,
    protocol::{SubscriptionId, TopicKey},
    settings::Redis as Settings,
    store::{Census, Result, census::Kind},
};

/// What a store on Redis holds, and who uses it.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// What could not be asked for, and why: it is missing from the rest.
    pub problems: Vec<String>,
    /// The primaries.
    pub servers: Vec<Server>,
    /// The format that all programs write, as far as it is known.
    pub format: Option<Format>,
    /// The number of partitions.
    pub partitions: u16,
    /// The partitions of which nothing is known, since their server does not answer.
    #[serde(rename = "partitions_unanswered")]
    pub unanswered: Vec<u16>,
    /// The hubs that have not been let go of.
    pub hubs: Vec<Program>,
    /// The workers that have said lately that they are alive.
    pub workers: Vec<Program>,
    /// What there is in each partition that has something.
    #[serde(rename = "partitions_in_use", serialize_with = "in_numbers")]
    pub census: Vec<Census>,
    /// The sessions that somebody is subscribed to, those with most subscriptions first.
    pub sessions: Vec<Session>,
    /// The subscriptions that have not got everything, the longest behind first.
    pub undelivered: Vec<Undelivered>,
}

/// A primary.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// Where it is: `host:port`.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Replicas that are connected to it.
    pub replicas: u64,
    /// Bytes that it uses.
    pub used_bytes: u64,
    /// Bytes that it may use; 0: as many as there are.
    pub max_bytes: u64,
    /// Whether it has an append-only file.
    pub has_aof: bool,
    /// Whether its last write of that file, or of a snapshot, went well.
    pub persists: bool,
    /// Partitions that it has.
    pub partitions: usize,
    /// Why nothing else is known of it.
    pub problem: Option<String>,
}

/// A hub or a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its id, as its log lines and the audit trail have it.
    pub id: String,
    /// Whether it has said in time that it is alive.
    pub is_alive: bool,
    /// Sockets that it holds; of a worker none.
    pub sockets: usize,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its topic's hash, as log lines begin to write it.
    #[serde(serialize_with = "in_text")]
    pub topic: TopicKey,
    /// Its partition.
    pub partition: u16,
    /// Contexts that are open.
    pub open_contexts: usize,
    /// Subscriptions whose sockets hubs hold.
    pub connected: usize,
    /// Those whose socket has gone, or has not come yet.
    pub away: usize,
    /// Those with callbacks.
    pub webhooks: usize,
    /// Entries that the log keeps.
    pub log_entries: u64,
    /// Milliseconds since the last entry; absent when there has been none.
    pub last_entry_ms: Option<u64>,
}

impl Session {
    /// One of which nothing else is known.
    fn unknown(topic: TopicKey, partition: u16) -> Self {
        let (open_contexts, connected, away, webhooks, log_entries, last_entry_ms) = Default::default();
        Self { topic, partition, open_contexts, connected, away, webhooks, log_entries, last_entry_ms }
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.connected + self.away + self.webhooks
    }
}

/// A subscription that has not got everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undelivered {
    /// Which.
    #[serde(serialize_with = "in_text")]
    pub subscription: SubscriptionId,
    /// Its topic's hash.
    #[serde(serialize_with = "in_text")]
    pub topic: TopicKey,
    /// What it is.
    #[serde(serialize_with = "as_kind")]
    pub kind: Kind,
    /// Milliseconds for which the oldest entry has been in the log that it has not confirmed.
    pub oldest_ms: u64,
    /// Requests to its callback that have failed, for that entry.
    pub attempts: u32,
    /// Milliseconds until the next; absent when it is not waiting for one.
    pub retry_in_ms: Option<u64>,
}

fn in_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn as_kind<S: Serializer>(kind: &Kind, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

/// A partition, as it is told.
#[derive(Serialize)]
struct Numbers {
    partition: u16,
    subscriptions: usize,
    due: usize,
    oldest_due_ms: u128,
    later: usize,
}

fn in_numbers<S: Serializer>(census: &[Census], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(census.iter().map(|of| Numbers {
        partition: of.partition,
        subscriptions: of.subscriptions.len(),
        due: of.due_count,
        oldest_due_ms: of.oldest_due().as_millis(),
        later: of.later,
    }))
}

impl Overview {
    /// Looks. Needs `redis` of the settings and nothing else.
    pub async fn take(settings: &Settings) -> Result<Self> {
        let (_, connections) = connect(settings).await?;
        Looking { connections, settings }.look().await
    }
}
