//! Reading what Redis answers.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use redis::{FromRedisValue, Value, streams::StreamId};
use serde::{Deserialize, Serialize};

use super::seal::{NotOpened, Place, Seal};
use crate::{
    format::{Format, Newer},
    protocol::{TopicKey, json},
    session::{Entry, Fields, UnreadableEntry},
    store::{Gap, LogEntry, Position, Revision, Snapshot, StoreError},
    telemetry::metrics::METRICS,
};

/// What a record says first of all. Those of the first format say nothing.
#[derive(Deserialize)]
struct Head {
    #[serde(default = "oldest")]
    format: Format,
}

fn oldest() -> Format {
    Format::OLDEST
}

/// A record as it is kept in a format that says so.
#[derive(Serialize)]
struct Marked<'r, T> {
    format: Format,
    #[serde(flatten)]
    record: &'r T,
}

/// A record as it is kept.
pub fn record<T: Serialize>(record: &T, format: Format) -> Result<String, StoreError> {
    let written = if format.marks_records() {
        serde_json::to_string(&Marked { format, record })
    } else {
        serde_json::to_string(record)
    };
    written.map_err(|error| corrupt(json::problem(&error)))
}

pub fn corrupt(problem: impl ToString) -> StoreError {
    StoreError::Corrupt(problem.to_string())
}

/// The elements of a script's answer, read one after the other.
pub struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// An answer that is an array.
    pub fn new(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(elements) => Ok(Self(elements.into_iter())),
            _ => Err(corrupt("an answer that is no array")),
        }
    }

    /// The next element.
    pub fn value<T: FromRedisValue>(&mut self) -> Result<T, StoreError> {
        let value = self.0.next().ok_or_else(|| corrupt("an answer that is too short"))?;
        T::from_redis_value(value).map_err(|_| corrupt("an answer of another type than expected"))
    }

    /// The next element, as text.
    pub fn text(&mut self) -> Result<String, StoreError> {
        self.value()
    }

    /// A number or position that the scripts send as text.
    pub fn parsed<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let text = self.text()?;
        text.parse().map_err(|_| corrupt("an answer that should be a number"))
    }

    /// A record that may be sealed, or `None` for nothing.
    pub fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        seal: &Seal,
        place: Place<'_>,
    ) -> Result<Option<T>, StoreError> {
        let value: Vec<u8> = self.value()?;
        if value.is_empty() {
            return Ok(None);
        }
        let text =
            seal.open(place, value).map_err(|problem| corrupt(format!("a subscription: {problem}")))?;
        let broken = |error: serde_json::Error| corrupt(json::problem(&error));
        let Head { format } = serde_json::from_str(&text).map_err(broken)?;
        format.known().map_err(|newer| corrupt(format!("a subscription: {newer}")))?;
        serde_json::from_str(&text).map(Some).map_err(broken)
    }

    /// What is wrong before the entries that follow.
    pub fn gap(&mut self) -> Result<Option<Gap>, StoreError> {
        match self.text()?.as_str() {
            "" => Ok(None),
            "trimmed" => Ok(Some(Gap::Trimmed)),
            "lost" => Ok(Some(Gap::Lost)),
            other => Err(corrupt(format!("an unknown gap: {other}"))),
        }
    }

    /// The session's hash, as HGETALL has it.
    pub fn snapshot(&mut self, seal: &Seal, topic: TopicKey) -> Result<Snapshot, StoreError> {
        let hash: HashMap<String, Vec<u8>> = self.value()?;
        let mut snapshot =
            Snapshot { revision: Revision::NONE, head: Position::START, fields: Fields::default() };
        for (field, value) in hash {
            let clear = || std::str::from_utf8(&value).map_err(corrupt);
            match field.as_str() {
                ".revision" => snapshot.revision = clear()?.parse().map_err(corrupt)?,
                ".head" => snapshot.head = clear()?.parse().map_err(corrupt)?,
                // What the scripts keep for themselves.
                _ if field.starts_with('.') => {}
                _ => {
                    let opened = seal.open(Place::Session(topic, &field), value);
                    let opened = opened
                        .map_err(|problem| corrupt(format!("the session's field {field}: {problem}")))?;
                    snapshot.fields.insert(field, opened);
                }
            }
        }
        Ok(snapshot)
    }
}

/// Why an entry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It needs a key that is not here: who has that key reads it.
    #[error("{0}")]
    NoSuchKey(NotOpened),
    /// A newer program wrote it: who is upgraded reads it.
    #[error("{0}")]
    Newer(Newer),
    /// Nobody reads it.
    #[error("{0}")]
    Broken(String),
}

/// The entries of an XRANGE. One that nobody can read is left out, and said loudly: a reader sees
/// that the next one's predecessor is not the one it has. One that only needs another key
/// or a newer program is an error: nobody is to go on without it, who can be given the key, or be upgraded.
pub fn log_entries(
    ids: Vec<StreamId>,
    seal: &Seal,
    topic: TopicKey,
) -> Result<Vec<Arc<LogEntry>>, StoreError> {
    let read = |mut id: StreamId| {
        let entry = id.map.remove("e").and_then(|value| Vec::from_redis_value(value).ok());
        let field = |name: &str| id.get::<String>(name).unwrap_or_default();
        let position = format!("{}@{}", id.id, field("h"));
        log_entry(&position, &field("p"), &field("r"), entry.unwrap_or_default(), seal, topic)
    };
    let mut entries = Vec::with_capacity(ids.len());
    for id in ids {
        match read(id) {
            Ok(entry) => entries.push(Arc::new(entry)),
            Err(Unread::NoSuchKey(problem)) => return Err(corrupt(format!("a log entry: {problem}"))),
            Err(Unread::Newer(newer)) => return Err(corrupt(format!("a log entry: {newer}"))),
            Err(Unread::Broken(problem)) => {
                METRICS.gaps.inc();
                tracing::error!(?topic, problem, "a log entry cannot be read and is left out");
            }
        }
    }
    Ok(entries)
}

pub fn log_entry(
    position: &str,
    previous: &str,
    revision: &str,
    entry: Vec<u8>,
    seal: &Seal,
    topic: TopicKey,
) -> Result<LogEntry, Unread> {
    // What says no more than which subscription has changed is not sealed.
    let is_event = |text: &str| Entry::from_json(text).is_ok_and(|entry| entry.as_event().is_some());
    let entry = seal.open_if(Place::Log(topic), entry, is_event).map_err(|problem| match problem {
        NotOpened::NoSuchKey(_) => Unread::NoSuchKey(problem),
        other => Unread::Broken(other.to_string()),
    })?;
    let broken = |problem: &str| Unread::Broken(problem.to_owned());
    Ok(LogEntry {
        position: position.parse().map_err(|_| broken("a position that is none"))?,
        previous: previous.parse().map_err(|_| broken("a position that is none"))?,
        revision: revision.parse().map_err(|_| broken("a revision that is none"))?,
        entry: Entry::from_json(&entry).map_err(|unreadable| match unreadable {
            UnreadableEntry::Newer(newer) => Unread::Newer(newer),
            UnreadableEntry::Broken(problem) => Unread::Broken(problem),
        })?,
    })
}
