//! What stands in a topic's log.
//!
//! An entry is either an event that was accepted, or a change of a subscription that the node
//! holding its socket must act on: both need the topic's order, so both are in the log.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Derived;
use crate::{
    format::{Format, Newer},
    protocol::{EventName, SubscriptionId, TraceContext, event_name::EventKind, json},
};

/// One entry of a topic's log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What happened.
    pub kind: EntryKind,
}

/// Why an entry cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A newer program wrote it.
    #[error("a log entry: {0}")]
    Newer(#[from] Newer),
    /// No program wrote it.
    #[error("{0}")]
    Broken(String),
}

/// What an entry says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// An event for the subscribers.
    Event(Notice),
    /// A subscription changed.
    Subscription(SubscriptionChange),
}

/// An event as it was accepted, and who it is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// The event's `id`.
    pub id: String,
    /// The event's name.
    pub name: EventName,
    /// Who may be sent it.
    #[serde(rename = "for", default, skip_serializing_if = "Audience::is_everyone")]
    pub audience: Audience,
    /// The opens that are derived from it for those who do not see it (FC-NOT-07).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<Derived>,
    /// The trace that it is of, and the span that published it.
    #[serde(
        default,
        deserialize_with = "TraceContext::read_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<TraceContext>,
    /// The notification as the subscribers of this event see it.
    pub message: Box<RawValue>,
}

impl Notice {
    /// An event of which nothing is derived.
    pub fn new(id: String, name: EventName, audience: Audience, message: Box<RawValue>) -> Self {
        Self { id, name, audience, derived: Vec::new(), trace: None, message }
    }

    /// Are the others told when a subscriber does not follow it? Not when it is a SyncError: that
    /// would be told about with a SyncError again (FC-NOT-05).
    pub fn is_reported(&self) -> bool {
        self.name.kind() != EventKind::SyncError
    }
}

/// Whom an event concerns, before any filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Every subscription of the topic.
    #[default]
    Everyone,
    /// All but one: a SyncError about that one (FC-NOT-02).
    Except(SubscriptionId),
    /// One alone: an open context that is sent again to a late joiner (FC-SUB-08).
    Only(SubscriptionId),
}

impl Audience {
    /// Is the event for all of the topic?
    pub fn is_everyone(&self) -> bool {
        *self == Self::Everyone
    }

    /// Does it hold this subscription?
    pub fn includes(&self, id: &SubscriptionId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Except(left_out) => left_out != id,
            Self::Only(target) => target == id,
        }
    }
}

/// A change that concerns the node that holds the subscription's socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionChange {
    /// It was subscribed again: read it anew and confirm (FC-SUB-04).
    Renewed {
        /// Which subscription.
        id: SubscriptionId,
    },
    /// Another connection has taken over (FC-WSC-04): this one is to close.
    Replaced {
        /// Which subscription.
        id: SubscriptionId,
        /// The connection that held it until now.
        connection: String,
    },
    /// It has ended: tell the subscriber and close (FC-SUB-09).
    Ended {
        /// Which subscription.
        id: SubscriptionId,
        /// The `hub.reason` of the denial.
        reason: String,
    },
}

impl SubscriptionChange {
    /// Which subscription changed.
    pub fn id(&self) -> &SubscriptionId {
        match self {
            Self::Renewed { id } | Self::Replaced { id, .. } | Self::Ended { id, .. } => id,
        }
    }
}

impl Entry {
    /// An entry for an event.
    pub fn event(notice: Notice) -> Self {
        Self { kind: EntryKind::Event(notice) }
    }

    /// An entry for a change of a subscription.
    pub fn subscription(change: SubscriptionChange) -> Self {
        Self { kind: EntryKind::Subscription(change) }
    }

    /// The event, if the entry is one.
    pub fn as_event(&self) -> Option<&Notice> {
        match &self.kind {
            EntryKind::Event(notice) => Some(notice),
            EntryKind::Subscription(_) => None,
        }
    }

    /// The trace that it is of, if it is of any.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.as_event()?.trace.as_ref()
    }

    /// Makes an event part of a trace.
    pub fn set_trace(&mut self, trace: Option<TraceContext>) {
        if let EntryKind::Event(notice) = &mut self.kind {
            notice.trace = trace;
        }
    }

    /// The entry as the store keeps it, in the newest format.
    pub fn to_json(&self) -> String {
        self.to_json_in(Format::NEWEST)
    }

    /// The entry as the store keeps it.
    pub fn to_json_in(&self, format: Format) -> String {
        #[derive(Serialize)]
        struct Written<'e> {
            v: Format,
            #[serde(flatten)]
            kind: &'e EntryKind,
        }
        let without_trace = (self.trace().is_some() && !format.carries_traces()).then(|| {
            let mut entry = self.clone();
            entry.set_trace(None);
            entry
        });
        let kind = &without_trace.as_ref().unwrap_or(self).kind;
        // Strings, ids and JSON that has been parsed before: it always serializes.
        serde_json::to_string(&Written { v: format, kind }).unwrap_or_default()
    }

    /// Reads what [`to_json`](Self::to_json) wrote, here or in an older version.
    pub fn from_json(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            v: Format,
        }
        let head: Head = serde_json::from_str(text).map_err(broken)?;
        head.v.known()?;
        #[derive(Deserialize)]
        struct Body {
            event: Option<Notice>,
            subscription: Option<SubscriptionChange>,
        }
        let body: Body = serde_json::from_str(text).map_err(broken)?;
        match (body.event, body.subscription) {
            (Some(notice), None) => Ok(Self::event(notice)),
            (None, Some(change)) => Ok(Self::subscription(change)),
            _ => Err(Unreadable::Broken("a log entry is neither event nor subscription".into())),
        }
    }
}

fn broken(error: serde_json::Error) -> Unreadable {
    Unreadable::Broken(format!("a log entry {}", json::problem(&error)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn notice(audience: Audience) -> Entry {
        let message = RawValue::from_string(r#"{"id": "i","n":1.10}"#.into()).unwrap();
        Entry::event(Notice::new("i".into(), "Patient-open".parse().unwrap(), audience, message))
    }

    #[test]
    fn an_entry_survives_the_store_byte_for_byte() {
        let id = SubscriptionId::random(1);
        for audience in [Audience::Everyone, Audience::Except(id), Audience::Only(id)] {
            let text = notice(audience).to_json();
            let read = Entry::from_json(&text).unwrap();
            assert_eq!(read.to_json(), text, "FC-TRN-05");
            assert_eq!(read.as_event().unwrap().audience, audience);
            assert_eq!(read.as_event().unwrap().message.get(), r#"{"id": "i","n":1.10}"#, "FC-TRN-05");
        }
        let change = Entry::subscription(SubscriptionChange::Ended { id, reason: "unsubscribed".into() });
        assert_eq!(Entry::from_json(&change.to_json()).unwrap().to_json(), change.to_json());
    }

    #[test]
    fn a_trace_is_carried_and_where_there_is_none_nothing_is_written() {
        let mut entry = notice(Audience::Everyone);
        let without = entry.to_json();
        assert!(!without.contains("trace"));
        assert_eq!(Entry::from_json(&without).unwrap().trace(), None);
        let trace = TraceContext::new(1, 2, 1, "vendor=1").unwrap();
        entry.set_trace(Some(trace.clone()));
        let text = entry.to_json();
        assert_eq!(Entry::from_json(&text).unwrap().trace(), Some(&trace));
        assert_eq!(Entry::from_json(&text).unwrap().to_json(), text);
    }

    #[test]
    fn an_entry_whose_trace_cannot_be_read_is_read_without_it() {
        let mut entry = notice(Audience::Everyone);
        let without = entry.to_json();
        entry.set_trace(TraceContext::new(1, 2, 1, ""));
        let text = entry.to_json();
        for (from, to) in [
            ("\"00-0", "\"zz-0"),
            (r#"{"traceparent":"#, r#"{"later":"#),
            (r#""trace":{"#, r#""trace":7,"or":{"#),
        ] {
            assert!(text.contains(from), "{text}");
            let read = Entry::from_json(&text.replacen(from, to, 1)).unwrap();
            assert_eq!(read.to_json(), without);
        }
    }

    #[test]
    fn nobody_is_told_that_somebody_missed_a_sync_error() {
        let mut notice = notice(Audience::Everyone).as_event().unwrap().clone();
        assert!(notice.is_reported());
        notice.name = "SyncError".parse().unwrap();
        assert!(!notice.is_reported(), "FC-NOT-05");
    }

    #[test]
    fn what_an_older_program_wrote_is_read_and_what_it_shall_read_is_written() {
        let mut entry = notice(Audience::Everyone);
        entry.set_trace(TraceContext::new(1, 2, 1, ""));
        let old = entry.to_json_in(Format::OLDEST);
        assert!(old.starts_with(r#"{"v":1,"event":{"id":"i","#) && !old.contains("trace"), "{old}");
        let read = Entry::from_json(&old).unwrap();
        assert_eq!((read.to_json_in(Format::OLDEST), read.trace()), (old, None));
        assert!(entry.to_json().starts_with(r#"{"v":2,"#));
    }

    #[test]
    fn an_unknown_newer_format_is_a_clear_error() {
        let text = notice(Audience::Everyone).to_json().replacen("\"v\":2", "\"v\":9", 1);
        assert_eq!(Entry::from_json(&text).unwrap_err(), Unreadable::Newer(Newer(Format::new(9))));
        assert!(Entry::from_json("nonsense").is_err());
        assert!(Entry::from_json(r#"{"v":1}"#).is_err());
    }
}
