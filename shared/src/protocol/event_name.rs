//! Event names: `hub.event` of an event, compared without regard to case (FC-EVT-02, FC-EVT-03).

use std::{fmt, hash, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Invalid;

/// The longest event name, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 128;

/// What an event of the form `Resource-action` does to its anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The anchor becomes the current context.
    Open,
    /// The anchor is a context no longer.
    Close,
    /// The content shared in the anchor changes.
    Update,
    /// Something in the anchor is selected.
    Select,
}

impl Action {
    /// All of them, as names have them.
    pub(super) const NAMES: [(&str, Self); 4] =
        [("open", Self::Open), ("close", Self::Close), ("update", Self::Update), ("select", Self::Select)];

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::NAMES.into_iter().find_map(|(name, action)| text.eq_ignore_ascii_case(name).then_some(action))
    }
}

/// What an event name says that the event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// `Patient-open`, `DiagnosticReport-update`, …
    Anchored {
        /// The FHIR resource type that the name begins with, as the sender wrote it.
        resource: &'a str,
        /// What happens to it.
        action: Action,
    },
    /// `home-open`: the user looks at no context.
    HomeOpen,
    /// `syncerror`
    SyncError,
    /// `heartbeat`: the hub's own.
    Heartbeat,
    /// `userLogout`
    UserLogout,
    /// `userHibernate`
    UserHibernate,
    /// A reverse-domain name: `org.example.patient_transmogrify`.
    Proprietary,
}

/// A valid event name that keeps the sender's spelling and compares without it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventName(String);

impl EventName {
    /// The name as the sender wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the name says.
    pub fn kind(&self) -> EventKind<'_> {
        // The constructor let nothing else in than what `classify` knows.
        classify(&self.0).unwrap_or(EventKind::Proprietary)
    }

    /// Is it this name, in whatever case?
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

fn classify(name: &str) -> Option<EventKind<'_>> {
    let named = [
        ("syncerror", EventKind::SyncError),
        ("heartbeat", EventKind::Heartbeat),
        ("userlogout", EventKind::UserLogout),
        ("userhibernate", EventKind::UserHibernate),
        ("home-open", EventKind::HomeOpen),
    ];
    if let Some((_, kind)) = named.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
        return Some(kind);
    }
    if let Some((resource, action)) = name.split_once('-') {
        let action = Action::parse(action)?;
        return is_resource_type(resource).then_some(EventKind::Anchored { resource, action });
    }
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (name.contains('.') && name.split('.').all(is_label)).then_some(EventKind::Proprietary)
}

/// Is it spelled like a FHIR resource type: letters only?
pub(super) fn is_resource_type(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic())
}

impl FromStr for EventName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        if name.len() <= MAX_EVENT_NAME_BYTES && classify(name).is_some() {
            Ok(Self(name.to_owned()))
        } else {
            Err(Invalid::value(
                "hub.event",
                "must be Resource-open, -close, -update or -select, a name of the event catalogue, \
                 or a reverse-domain name without a dash",
            ))
        }
    }
}

impl TryFrom<String> for EventName {
    type Error = Invalid;
    fn try_from(name: String) -> Result<Self, Invalid> {
        name.parse()
    }
}

impl From<EventName> for String {
    fn from(name: EventName) -> Self {
        name.0
    }
}

impl PartialEq for EventName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for EventName {}

impl hash::Hash for EventName {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_and_reverse_domain_names_are_accepted() {
        for (name, kind) in [
            ("Patient-open", EventKind::Anchored { resource: "Patient", action: Action::Open }),
            ("patient-CLOSE", EventKind::Anchored { resource: "patient", action: Action::Close }),
            (
                "DiagnosticReport-update",
                EventKind::Anchored { resource: "DiagnosticReport", action: Action::Update },
            ),
            ("ImagingStudy-select", EventKind::Anchored { resource: "ImagingStudy", action: Action::Select }),
            ("SyncError", EventKind::SyncError),
            ("heartbeat", EventKind::Heartbeat),
            ("userLogout", EventKind::UserLogout),
            ("UserHibernate", EventKind::UserHibernate),
            ("Home-open", EventKind::HomeOpen),
            ("org.example.patient_transmogrify", EventKind::Proprietary),
        ] {
            assert_eq!(name.parse::<EventName>().unwrap().kind(), kind, "FC-EVT-03");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("org.{}", "x".repeat(200));
        for name in [
            "",
            "Patient",
            "Patient-opened",
            "-open",
            "Patient-",
            "a-b-open",
            "org.example-x.y",
            ".a",
            "a..b",
            "org example.x",
            "Pat1ent-open",
            &long,
        ] {
            assert!(name.parse::<EventName>().is_err(), "FC-EVT-03: {name}");
        }
    }

    #[test]
    fn names_compare_without_case_and_keep_their_spelling() {
        let name: EventName = "PATIENT-open".parse().unwrap();
        assert_eq!(name, "Patient-Open".parse().unwrap(), "FC-EVT-02");
        assert_eq!(name.as_str(), "PATIENT-open", "FC-EVT-02");
    }
}
