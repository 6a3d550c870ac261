//! What has passed through the proxy and is needed to know later messages by: posted events, answers, endpoints.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::message::Message;

/// How many posted events are remembered.
const POSTED_KEPT: usize = 10_000;
/// Within which the same request is the retry of a client (FC-REQ-07).
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// An event that an app has posted.
struct Posted {
    message: Message,
    body: Vec<u8>,
    at: Instant,
}

/// What has been seen.
#[derive(Default)]
pub struct Seen {
    posted: VecDeque<Posted>,
    /// The ids of events that a subscriber answered with an error, or did not take.
    failed: HashSet<String>,
    /// The paths of endpoints that an app has unsubscribed.
    unsubscribed: HashSet<String>,
    /// The paths of endpoints that have been connected to, and whether the last of them broke without a Close frame.
    connected: HashMap<String, bool>,
    /// How many sockets each topic has had.
    sockets: HashMap<String, usize>,
    /// Updates on their way, by topic and version.
    updates: HashMap<(String, String), Race>,
}

/// The updates of one version that are on their way at once.
#[derive(Default)]
struct Race {
    under_way: usize,
    has_rivals: bool,
}

impl Seen {
    /// An app posts an event. True if it did so before, byte for byte, a moment ago.
    pub fn posts(&mut self, message: Message, body: &[u8]) -> bool {
        let mut before = self.posted.iter();
        let is_retry = before.any(|before| before.body == body && before.at.elapsed() < RETRY_WITHIN);
        if self.posted.len() == POSTED_KEPT {
            self.posted.pop_front();
        }
        self.posted.push_back(Posted { message, body: body.to_vec(), at: Instant::now() });
        is_retry
    }

    /// Whether an app has posted this event: else it is the hub's own.
    pub fn is_posted(&self, id: &str) -> bool {
        self.posted.iter().any(|posted| posted.message.id() == id)
    }

    /// The ids of all events that were posted so far.
    pub fn posted_ids(&self) -> HashSet<String> {
        self.posted.iter().map(|posted| posted.message.id().to_owned()).collect()
    }

    /// The id of the event that an open is derived from; `None` when it is an app's own.
    pub fn source_of_derived(&self, open: &Message) -> Option<String> {
        if !open.is_open() || self.is_posted(open.id()) {
            return None;
        }
        let is_source = |posted: &&Posted| {
            let of = &posted.message;
            of.is_open() && of.topic() == open.topic() && of.timestamp() == open.timestamp()
        };
        self.posted.iter().rev().find(is_source).map(|posted| posted.message.id().to_owned())
    }

    /// A subscriber has not taken an event.
    pub fn fails(&mut self, id: &str) {
        self.failed.insert(id.to_owned());
    }

    /// Whether a subscriber has not taken an event.
    pub fn has_failed(&self, id: &str) -> bool {
        self.failed.contains(id)
    }

    /// An app unsubscribes this endpoint.
    pub fn unsubscribes(&mut self, endpoint: &str) {
        self.unsubscribed.insert(endpoint.to_owned());
    }

    /// Whether an app has unsubscribed this endpoint.
    pub fn has_unsubscribed(&self, endpoint: &str) -> bool {
        self.unsubscribed.contains(endpoint)
    }

    /// An endpoint is connected to. True if it has been before.
    pub fn connects(&mut self, endpoint: &str) -> bool {
        self.connected.insert(endpoint.to_owned(), false).is_some()
    }

    /// A connection broke without a Close frame.
    pub fn breaks(&mut self, endpoint: &str) {
        self.connected.insert(endpoint.to_owned(), true);
    }

    /// Whether the last connection to this endpoint broke.
    pub fn is_broken(&self, endpoint: &str) -> bool {
        self.connected.get(endpoint).copied().unwrap_or_default()
    }

    /// A socket of this topic is confirmed: its number, from 1.
    pub fn number_of_socket(&mut self, topic: &str) -> usize {
        let number = self.sockets.entry(topic.to_owned()).or_default();
        *number += 1;
        *number
    }

    /// An update sets out.
    pub fn sets_out(&mut self, topic: &str, version: &str) {
        let race = self.updates.entry((topic.to_owned(), version.to_owned())).or_default();
        race.under_way += 1;
        race.has_rivals |= race.under_way > 1;
    }

    /// An update has been answered. True if another of the same version was on its way at the same time.
    pub fn arrives(&mut self, topic: &str, version: &str) -> bool {
        let key = (topic.to_owned(), version.to_owned());
        let Some(race) = self.updates.get_mut(&key) else { return false };
        let had_rivals = race.has_rivals;
        race.under_way -= 1;
        if race.under_way == 0 {
            self.updates.remove(&key);
        }
        had_rivals
    }
}
