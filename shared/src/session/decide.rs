//! The decision: what an event does to a session, or why it may not.

use serde_json::value::RawValue;

use super::{
    Entry, SessionState,
    entry::{Audience, Notice},
};
use crate::protocol::{Action, Event, event::Versions, event_name::EventKind};

/// What the hub's settings say of sessions.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The most contexts that may be open in one session.
    pub max_open: usize,
}

/// What is to be committed, all or nothing.
#[derive(Debug, Clone)]
pub struct Change {
    /// The session after the event.
    pub state: SessionState,
    /// The fields that the store must write or delete.
    pub writes: Vec<(String, Option<String>)>,
    /// The entry for the topic's log.
    pub entry: Entry,
    /// Does the decision hold for this state of the session only? An event that neither reads nor
    /// changes the contexts is accepted whatever they are by now.
    pub depends_on_state: bool,
}

/// Why an event is not accepted. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The hub alone sends heartbeats (FC-REQ-03): 400.
    #[error("event.hub.event must not be heartbeat: the hub alone sends it")]
    HeartbeatIsTheHubs,
    /// An update that does not say which version it changes (FC-CNT-02): 409.
    #[error("event.context.versionId is missing: an update must name the version that it changes")]
    VersionMissing,
    /// An update of another version than the present one (FC-CNT-02): 409.
    #[error("event.context.versionId is not the current version of the context")]
    StaleVersion,
    /// An update or select of a context that is not open (FC-CNT-02, FC-CNT-06): 409.
    #[error("event.context refers to a context that is not open")]
    NotOpen,
}

/// Decides about an event. `version_id` is the version that an open or update will have: it must
/// never have been used in the topic.
pub fn decide(
    state: &SessionState,
    event: &Event<'_>,
    audience: Audience,
    version_id: &str,
    rules: &Rules,
) -> Result<Change, Rejection> {
    let message = match event.anchored() {
        Some((Action::Open, _)) => event.notification(Some(Versions { current: version_id, prior: None })),
        Some((Action::Update, anchor)) => {
            let open = state.find(anchor).ok_or(Rejection::NotOpen)?;
            let named = event.version_id.as_ref().ok_or(Rejection::VersionMissing)?;
            if *named != open.version_id {
                return Err(Rejection::StaleVersion);
            }
            event.notification(Some(Versions { current: version_id, prior: Some(&open.version_id) }))
        }
        Some((Action::Select, anchor)) => {
            state.find(anchor).ok_or(Rejection::NotOpen)?;
            event.notification(None)
        }
        Some((Action::Close, _)) => event.notification(None),
        None if event.name.kind() == EventKind::Heartbeat => return Err(Rejection::HeartbeatIsTheHubs),
        None => event.notification(None),
    };
    let notice = Notice { id: event.id.clone(), name: event.name.clone(), audience, message: raw(message) };
    let entry = Entry::event(notice);
    let next = state.evolve(&entry, rules.max_open);
    let depends_on_state = match event.name.kind() {
        EventKind::Anchored { .. } | EventKind::HomeOpen | EventKind::UserLogout => true,
        EventKind::SyncError | EventKind::Heartbeat | EventKind::UserHibernate | EventKind::Proprietary => {
            false
        }
    };
    Ok(Change { writes: state.difference(&next), state: next, entry, depends_on_state })
}

/// JSON that this program rendered out of JSON that it has read.
pub(super) fn raw(message: String) -> Box<RawValue> {
    RawValue::from_string(message).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::Anchor;

    const RULES: Rules = Rules { max_open: 3 };

    fn message(name: &str, context: &str, version: Option<&str>) -> String {
        let version =
            version.map(|version| format!(r#""context.versionId":"{version}","#)).unwrap_or_default();
        format!(
            r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"i","event":{{"hub.topic":"t","hub.event":"{name}",{version}"context":[{context}]}}}}"#
        )
    }

    fn resource(kind: &str, id: &str) -> String {
        format!(r#"{{"key":"k","resource":{{"resourceType":"{kind}","id":"{id}"}}}}"#)
    }

    fn try_step(
        state: &SessionState,
        name: &str,
        context: &str,
        named: Option<&str>,
        version: &str,
    ) -> Result<Change, Rejection> {
        decide(
            state,
            &Event::read(&message(name, context, named)).unwrap(),
            Audience::Everyone,
            version,
            &RULES,
        )
    }

    fn step(state: &SessionState, name: &str, context: &str, version: &str) -> SessionState {
        try_step(state, name, context, None, version).unwrap().state
    }

    fn open(state: &SessionState, kind: &str, id: &str, version: &str) -> SessionState {
        step(state, &format!("{kind}-open"), &resource(kind, id), version)
    }

    fn current(state: &SessionState) -> Option<(&str, &str)> {
        state.current().map(|open| (open.anchor.id.as_deref().unwrap(), open.version_id.as_str()))
    }

    #[test]
    fn the_last_context_opened_is_current_until_it_is_closed() {
        let state = open(&open(&SessionState::default(), "Patient", "1", "v1"), "ImagingStudy", "2", "v2");
        assert_eq!(current(&state), Some(("2", "v2")), "FC-CTX-02");
        let other_closed = step(&state, "Patient-close", &resource("Patient", "1"), "-");
        assert_eq!(current(&other_closed), Some(("2", "v2")), "FC-CTX-02: closing another leaves it");
        let closed = step(&state, "imagingstudy-CLOSE", &resource("ImagingStudy", "2"), "-");
        assert_eq!(current(&closed), None, "FC-CTX-02: others are open, none is current");
        assert_eq!(closed.opens().count(), 1);
    }

    #[test]
    fn reopening_makes_an_open_context_current_once() {
        let state = open(
            &open(&open(&SessionState::default(), "Patient", "1", "v1"), "Patient", "2", "v2"),
            "Patient",
            "1",
            "v3",
        );
        assert_eq!(current(&state), Some(("1", "v3")), "FC-CNT-10");
        let order: Vec<_> = state.opens().map(|open| open.anchor.id.clone().unwrap()).collect();
        assert_eq!(order, ["2", "1"], "FC-CNT-10");
    }

    #[test]
    fn home_open_keeps_contexts_and_logout_clears_them() {
        let state = open(&SessionState::default(), "Patient", "1", "v1");
        let home = step(&state, "Home-open", "", "-");
        assert_eq!((current(&home), home.opens().count()), (None, 1), "FC-REQ-06");
        let out = step(&state, "userLogout", "", "-");
        assert_eq!((current(&out), out.opens().count()), (None, 0), "FC-REQ-06");
    }

    #[test]
    fn an_update_needs_the_present_version_and_gives_a_new_one() {
        let state = open(&SessionState::default(), "DiagnosticReport", "1", "v1");
        let reference = r#"{"key":"report","reference":{"reference":"DiagnosticReport/1"}}"#;
        let update = |context: &str, named, version| {
            try_step(&state, "DiagnosticReport-update", context, named, version)
        };
        assert_eq!(update(reference, None, "v2").unwrap_err(), Rejection::VersionMissing, "FC-CNT-02");
        assert_eq!(update(reference, Some("v0"), "v2").unwrap_err(), Rejection::StaleVersion, "FC-CNT-02");
        let unknown = reference.replace("/1", "/2");
        assert_eq!(update(&unknown, Some("v1"), "v2").unwrap_err(), Rejection::NotOpen, "FC-CNT-02");
        let change = update(reference, Some("v1"), "v2").unwrap();
        assert_eq!(current(&change.state), Some(("1", "v2")));
        let sent = change.entry.as_event().unwrap().message.get();
        assert!(
            sent.contains(r#""context.versionId":"v2","context.priorVersionId":"v1""#),
            "FC-CNT-04: {sent}"
        );
        assert_eq!(change.writes.len(), 1, "one context changed, one field is written");
    }

    #[test]
    fn a_select_needs_its_anchor_open_and_changes_nothing() {
        let state = open(&SessionState::default(), "DiagnosticReport", "1", "v1");
        let select = |id: &str| {
            try_step(&state, "DiagnosticReport-select", &resource("DiagnosticReport", id), None, "v2")
        };
        assert_eq!(select("2").unwrap_err(), Rejection::NotOpen, "FC-CNT-06");
        assert!(select("1").unwrap().writes.is_empty(), "FC-CNT-06");
    }

    #[test]
    fn only_what_concerns_contexts_depends_on_them() {
        let depends = |name: &str, context: &str| {
            try_step(&SessionState::default(), name, context, None, "v").unwrap().depends_on_state
        };
        assert!(depends("Patient-open", &resource("Patient", "1")) && depends("home-open", ""));
        for name in ["syncerror", "userHibernate", "org.example.thing"] {
            assert!(!depends(name, ""), "{name}");
        }
    }

    #[test]
    fn a_heartbeat_from_outside_is_refused() {
        assert_eq!(
            try_step(&SessionState::default(), "Heartbeat", "", None, "-").unwrap_err(),
            Rejection::HeartbeatIsTheHubs,
            "FC-REQ-03"
        );
    }

    #[test]
    fn the_oldest_context_makes_room_when_too_many_are_open() {
        let ids = ["1", "2", "3", "4"];
        let state = ids.iter().fold(SessionState::default(), |state, id| open(&state, "Patient", id, id));
        let kept: Vec<_> = state.opens().map(|open| open.anchor.id.clone().unwrap()).collect();
        assert_eq!(kept, ["2", "3", "4"]);
        assert_eq!(current(&state), Some(("4", "4")));
    }

    #[test]
    fn the_fields_of_a_change_carry_the_store_from_state_to_state() {
        let first = open(&open(&SessionState::default(), "Patient", "1", "v1"), "ImagingStudy", "2", "v2");
        let change =
            try_step(&first, "ImagingStudy-close", &resource("ImagingStudy", "2"), None, "-").unwrap();
        let mut fields = first.to_fields();
        for (field, value) in change.writes {
            match value {
                Some(value) => fields.insert(field, value),
                None => fields.remove(&field),
            };
        }
        assert_eq!(fields, change.state.to_fields());
        assert_eq!(SessionState::from_fields(&fields).unwrap().to_fields(), fields);
    }

    #[test]
    fn one_resource_is_found_by_id_or_identifier() {
        let by_identifier =
            r#"{"key":"k","resource":{"resourceType":"Patient","identifier":[{"system":"s","value":"v"}]}}"#;
        let state = step(&SessionState::default(), "Patient-open", by_identifier, "v1");
        let anchor: Anchor = serde_json::from_str(
            r#"{"resourceType":"Patient","id":"9","identifier":[{"system":"s","value":"v"}]}"#,
        )
        .unwrap();
        assert!(state.find(&anchor).is_some());
    }
}
