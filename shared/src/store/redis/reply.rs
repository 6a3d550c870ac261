//! Reading what Redis answers.

use std::{collections::HashMap, str::FromStr, sync::Arc};

use redis::{FromRedisValue, Value, streams::StreamId};

use crate::{
    protocol::json,
    session::{Entry, Fields},
    store::{Gap, LogEntry, Position, Revision, Snapshot, StoreError},
    telemetry::metrics::METRICS,
};

pub fn corrupt(problem: impl ToString) -> StoreError {
    StoreError::Corrupt(problem.to_string())
}

/// The elements of a script's answer, read one after the other.
pub struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub fn new(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(elements) => Ok(Self(elements.into_iter())),
            _ => Err(corrupt("an answer that is no array")),
        }
    }

    pub fn value<T: FromRedisValue>(&mut self) -> Result<T, StoreError> {
        let value = self.0.next().ok_or_else(|| corrupt("an answer that is too short"))?;
        T::from_redis_value(value).map_err(|_| corrupt("an answer of another type than expected"))
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        self.value()
    }

    /// A number or position that the scripts send as text.
    pub fn parsed<T: FromStr>(&mut self) -> Result<T, StoreError> {
        let text = self.text()?;
        text.parse().map_err(|_| corrupt("an answer that should be a number"))
    }

    /// JSON, or `None` for empty text.
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        let text = self.text()?;
        if text.is_empty() {
            Ok(None)
        } else {
            serde_json::from_str(&text).map(Some).map_err(|error| corrupt(json::problem(&error)))
        }
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
    pub fn snapshot(&mut self) -> Result<Snapshot, StoreError> {
        snapshot(self.value()?)
    }
}

pub fn snapshot(hash: HashMap<String, String>) -> Result<Snapshot, StoreError> {
    let mut fields: Fields = hash.into_iter().collect();
    let mut own = |field: &str| fields.remove(field);
    let (revision, head) = (own(".revision"), own(".head"));
    Ok(Snapshot {
        revision: revision.map_or(Ok(Revision::NONE), |text| text.parse().map_err(corrupt))?,
        head: head.map_or(Ok(Position::START), |text| text.parse().map_err(corrupt))?,
        fields,
    })
}

/// The entries of an XRANGE. One that cannot be read is left out, and said loudly: a reader sees
/// that the next one's predecessor is not the one it has.
pub fn log_entries(ids: Vec<StreamId>) -> Vec<Arc<LogEntry>> {
    let read = |id: StreamId| {
        let field = |name: &str| id.get::<String>(name).unwrap_or_default();
        let position = format!("{}@{}", id.id, field("h"));
        log_entry(&position, &field("p"), &field("r"), &field("e"))
    };
    ids.into_iter()
        .filter_map(|id| match read(id) {
            Ok(entry) => Some(Arc::new(entry)),
            Err(problem) => {
                METRICS.gaps.inc();
                tracing::error!(problem, "a log entry cannot be read and is left out");
                None
            }
        })
        .collect()
}

pub fn log_entry(position: &str, previous: &str, revision: &str, entry: &str) -> Result<LogEntry, String> {
    Ok(LogEntry {
        position: position.parse().map_err(|_| "a position that is none")?,
        previous: previous.parse().map_err(|_| "a position that is none")?,
        revision: revision.parse().map_err(|_| "a revision that is none")?,
        entry: Entry::from_json(entry)?,
    })
}
