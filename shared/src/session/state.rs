//! The state of a session: which contexts are open, and which one is current.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Entry,
    derived::{Announced, parts},
    entry::Audience,
};
use crate::protocol::{Action, Anchor, Event, EventName, event_name::EventKind, json};

/// A session as the store keeps it: one field for each open context, so that a change writes what
/// it changes. The store reads nothing in it.
pub type Fields = BTreeMap<String, String>;

const CURRENT: &str = "current";
const ANNOUNCED: &str = "announced";
/// What the names of the fields begin with that hold open contexts.
pub const OPEN_PREFIX: &str = "open:";

/// The contexts of one session.
#[derive(Debug, Clone, Default)]
pub struct SessionState {
    /// The open contexts, in the order in which they were opened.
    opens: Vec<Arc<OpenContext>>,
    /// The ordinal of the current one.
    current: Option<u64>,
    /// The last one of each type that all subscribers have (FC-NOT-07).
    pub(super) announced: Announced,
}

/// A context that has been opened and not been closed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OpenContext {
    /// Its place in the order of opens; greater is later.
    #[serde(skip)]
    pub ordinal: u64,
    /// The ordinal with which it was opened first: its content is kept by this number, also when
    /// it is opened again (FC-CNT-10).
    pub since: u64,
    /// The resource that it is about.
    pub anchor: Anchor,
    /// Its present version.
    #[serde(rename = "versionId")]
    pub version_id: String,
    /// The name of the event that opened it.
    pub name: EventName,
    /// The event that opened it, as it was sent.
    pub message: Box<RawValue>,
}

/// The store holds something that no version of this program wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the session's field {field} cannot be read: {problem}")]
pub struct Unreadable {
    field: String,
    problem: String,
}

impl SessionState {
    /// The current context (FC-CTX-02): the last one opened, unless it has been closed.
    pub fn current(&self) -> Option<&OpenContext> {
        self.opens.iter().find(|open| Some(open.ordinal) == self.current).map(Arc::as_ref)
    }

    /// Becomes a state in which nothing is open but the current context of another.
    #[cfg(test)]
    pub(super) fn clone_current_of(&mut self, other: &Self) {
        let is_current = |open: &&Arc<OpenContext>| Some(open.ordinal) == other.current;
        self.opens = other.opens.iter().filter(is_current).cloned().collect();
        self.current = other.current;
    }

    /// All open contexts, oldest first.
    pub fn opens(&self) -> impl DoubleEndedIterator<Item = &OpenContext> {
        self.opens.iter().map(Arc::as_ref)
    }

    /// The open context of this resource.
    pub fn find(&self, anchor: &Anchor) -> Option<&OpenContext> {
        self.opens().find(|open| open.anchor.is_same(anchor))
    }

    /// The state after an entry of the log. Entries that are no event, and those that are only
    /// for one subscription, change nothing.
    ///
    /// `max_open` bounds the number of open contexts: apps in the field open the next patient and
    /// never close the last, so the oldest one that is not current makes room.
    pub fn evolve(&self, entry: &Entry, max_open: usize) -> Self {
        let mut next = self.clone();
        let Some(notice) = entry.as_event() else { return next };
        if matches!(notice.audience, Audience::Only(_)) {
            return next;
        }
        // What is in the log was read as an event before it was accepted.
        if let Ok(event) = Event::read(notice.message.get()) {
            next.apply(&event, &notice.message, max_open);
        }
        next
    }

    fn apply(&mut self, event: &Event<'_>, message: &RawValue, max_open: usize) {
        match event.name.kind() {
            EventKind::Anchored { .. } => {
                if let Some((action, anchor)) = event.anchored() {
                    self.apply_anchored(action, anchor, event, message, max_open);
                }
            }
            EventKind::HomeOpen => {
                self.current = None;
                self.announced = Announced::default();
            }
            EventKind::UserLogout => *self = Self::default(),
            EventKind::SyncError
            | EventKind::Heartbeat
            | EventKind::UserHibernate
            | EventKind::Proprietary => {}
        }
    }

    fn apply_anchored(
        &mut self,
        action: Action,
        anchor: &Anchor,
        event: &Event<'_>,
        message: &RawValue,
        max_open: usize,
    ) {
        match action {
            Action::Open => {
                let ordinal = self.opens.last().map_or(1, |last| last.ordinal + 1);
                let before = self.find(anchor).map(|known| known.since);
                let since = before.unwrap_or(ordinal);
                self.opens.retain(|open| !open.anchor.is_same(anchor));
                self.opens.push(Arc::new(OpenContext {
                    ordinal,
                    since,
                    anchor: anchor.clone(),
                    version_id: event.version_id.clone().unwrap_or_default(),
                    name: event.name.clone(),
                    message: message.to_owned(),
                }));
                self.current = Some(ordinal);
                self.announced.open(event);
                let is_full = self.opens.len() > max_open;
                if is_full {
                    self.opens.remove(0);
                }
                if is_full || before.is_some() {
                    self.forget_announced();
                }
            }
            Action::Close => {
                self.opens.retain(|open| !open.anchor.is_same(anchor));
                if self.current().is_none() {
                    self.current = None;
                }
                self.announced.close(anchor);
                self.forget_announced();
            }
            Action::Update => {
                if let (Some(open), Some(version)) =
                    (self.opens.iter_mut().find(|open| open.anchor.is_same(anchor)), &event.version_id)
                {
                    Arc::make_mut(open).version_id.clone_from(version);
                }
            }
            Action::Select => {}
        }
    }

    fn forget_announced(&mut self) {
        let Self { opens, announced, .. } = self;
        announced.keep_only(|of_type| opens.iter().rev().find_map(|open| open.resource_of(of_type)));
    }

    /// The state as the store keeps it.
    pub fn to_fields(&self) -> Fields {
        let opens = self.opens.iter().map(|open| (format!("{OPEN_PREFIX}{}", open.ordinal), open.to_json()));
        let current = self.current.map(|ordinal| (CURRENT.to_owned(), ordinal.to_string()));
        let announced = Some((ANNOUNCED.to_owned(), self.announced.to_json()));
        opens.chain(current).chain(announced.filter(|_| !self.announced.is_empty())).collect()
    }

    /// The fields in which `next` differs: a new value, or `None` where one is gone.
    pub fn difference(&self, next: &Self) -> Vec<(String, Option<String>)> {
        let name = |open: &OpenContext| format!("{OPEN_PREFIX}{}", open.ordinal);
        let mut writes = Vec::new();
        for open in &self.opens {
            if !next.opens.iter().any(|kept| kept.ordinal == open.ordinal) {
                writes.push((name(open), None));
            }
        }
        for open in &next.opens {
            if !self.opens.iter().any(|known| Arc::ptr_eq(known, open)) {
                writes.push((name(open), Some(open.to_json())));
            }
        }
        if self.current != next.current {
            writes.push((CURRENT.to_owned(), next.current.map(|ordinal| ordinal.to_string())));
        }
        if self.announced != next.announced {
            let announced = (!next.announced.is_empty()).then(|| next.announced.to_json());
            writes.push((ANNOUNCED.to_owned(), announced));
        }
        writes
    }

    /// Reads what the store kept. Fields of other names belong to others.
    pub fn from_fields(fields: &Fields) -> Result<Self, Unreadable> {
        let unreadable = |field: &str, problem: String| Unreadable { field: field.to_owned(), problem };
        let mut state = Self::default();
        for (field, value) in fields {
            if field == CURRENT {
                state.current = Some(value.parse().map_err(|error| unreadable(field, format!("{error}")))?);
            } else if field == ANNOUNCED {
                state.announced =
                    serde_json::from_str(value).map_err(|error| unreadable(field, json::problem(&error)))?;
            } else if let Some(ordinal) = field.strip_prefix(OPEN_PREFIX) {
                let mut open: OpenContext =
                    serde_json::from_str(value).map_err(|error| unreadable(field, json::problem(&error)))?;
                open.ordinal = ordinal.parse().map_err(|error| unreadable(field, format!("{error}")))?;
                if open.ordinal == u64::MAX {
                    return Err(unreadable(field, "no number is left for the next".into()));
                }
                state.opens.push(Arc::new(open));
            }
        }
        state.opens.sort_by_key(|open| open.ordinal);
        Ok(state)
    }

    /// How many bytes the state takes, more or less.
    pub fn weight(&self) -> usize {
        self.opens().map(|open| open.message.get().len() + 256).sum()
    }
}

impl OpenContext {
    /// The resource of this type that it has: its own, or one that its open brought along.
    fn resource_of(&self, resource_type: &str) -> Option<Anchor> {
        if self.anchor.is_a(resource_type) {
            return Some(self.anchor.clone());
        }
        let event = Event::read(self.message.get()).ok()?;
        let part = parts(&event).into_iter().find(|part| part.resource.is_a(resource_type))?;
        Some(part.resource.clone())
    }

    fn to_json(&self) -> String {
        // Strings and JSON that has been parsed before: it always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }
}
