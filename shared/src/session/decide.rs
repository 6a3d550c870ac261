//! The decision: what an event does to a session, or why it may not.

use serde_json::value::RawValue;

use super::{
    ContentRefusal, ContentWrite, Derived, Entry, SessionState,
    entry::{Audience, Notice},
};
use crate::{
    protocol::{Action, Event, Invalid, bundle, event::Versions, event_name::EventKind},
    settings::Limits,
};

/// What the hub's settings say of sessions.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The most contexts that may be open in one session.
    pub max_open: usize,
    /// The most bytes of content that one session may have.
    pub max_content_bytes: usize,
}

impl From<&Limits> for Rules {
    fn from(limits: &Limits) -> Self {
        Self { max_open: limits.open_contexts, max_content_bytes: limits.content_bytes }
    }
}

/// What is to be committed, all or nothing.
#[derive(Debug, Clone)]
pub struct Change {
    /// The session after the event.
    pub state: SessionState,
    /// The fields that the store must write or delete.
    pub writes: Vec<(String, Option<String>)>,
    /// What the store must change in the session's content.
    pub content: Vec<ContentWrite>,
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
    /// An update that removes what the open event brought (FC-CNT-03): 409.
    #[error("event.context: updates must not delete a resource of the event that opened the context")]
    OpenedResource,
    /// An update that adds what is there already (FC-CNT-03): 409.
    #[error("event.context: updates must not POST a resource that the content has already")]
    ResourceExists,
    /// An update that makes the content too large (FC-CNT-08): 413.
    #[error("event.context: with these updates the session's content would be larger than it may be")]
    ContentTooLarge,
    /// An update whose Bundle is not what it must be (FC-CNT-03): 400.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl From<ContentRefusal> for Rejection {
    fn from(refusal: ContentRefusal) -> Self {
        match refusal {
            ContentRefusal::Exists => Self::ResourceExists,
            ContentRefusal::Full => Self::ContentTooLarge,
        }
    }
}

/// What an update has to bring.
const UPDATES: &str = "the element of event.context with key updates";

/// Decides about an event. `version_id` is the version that an open or update will have: it must
/// never have been used in the topic.
pub fn decide(
    state: &SessionState,
    event: &Event<'_>,
    audience: Audience,
    version_id: &str,
    rules: &Rules,
) -> Result<Change, Rejection> {
    let mut derived: Vec<Derived> = Vec::new();
    let mut content = Vec::new();
    let message = match event.anchored() {
        Some((Action::Open, _)) => {
            derived = state.announced.news(event);
            event.notification(Some(Versions { current: version_id, prior: None }))
        }
        Some((Action::Update, anchor)) => {
            let updates = bundle::updates(event)?.ok_or(Invalid::missing(UPDATES))?;
            let open = state.find(anchor).ok_or(Rejection::NotOpen)?;
            let named = event.version_id.as_ref().ok_or(Rejection::VersionMissing)?;
            if *named != open.version_id {
                return Err(Rejection::StaleVersion);
            }
            content = open.content_writes(&event.topic, updates)?;
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
    let mut notice = Notice::new(event.id.clone(), event.name.clone(), audience, raw(message));
    notice.derived = derived;
    let entry = Entry::event(notice);
    let next = state.evolve(&entry, rules.max_open);
    content.extend(state.disposed(&next));
    let depends_on_state = match event.name.kind() {
        EventKind::Anchored { .. } | EventKind::HomeOpen | EventKind::UserLogout => true,
        EventKind::SyncError | EventKind::Heartbeat | EventKind::UserHibernate | EventKind::Proprietary => {
            false
        }
    };
    Ok(Change { writes: state.difference(&next), content, state: next, entry, depends_on_state })
}

/// JSON that this program rendered out of JSON that it has read.
pub(super) fn raw(message: String) -> Box<RawValue> {
    RawValue::from_string(message).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{protocol::Anchor, session::Content};

    const RULES: Rules = Rules { max_open: 3, max_content_bytes: 1 << 20 };

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

    /// A transaction of these methods, types and ids.
    fn updates(entries: &[(&str, &str, &str)]) -> String {
        let entry = |(method, kind, id): &(&str, &str, &str)| match *method {
            "DELETE" => format!(r#"{{"fullUrl":"{kind}/{id}","request":{{"method":"DELETE"}}}}"#),
            _ => format!(
                r#"{{"request":{{"method":"{method}"}},"resource":{{"resourceType":"{kind}","id":"{id}","n":1.10}}}}"#
            ),
        };
        let entries: Vec<String> = entries.iter().map(entry).collect();
        format!(
            r#"{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}}}"#,
            entries.join(",")
        )
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
        let reference = &format!(
            r#"{{"key":"report","reference":{{"reference":"DiagnosticReport/1"}}}},{}"#,
            updates(&[("PUT", "Observation", "o")])
        );
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
        let without = reference.split_once(",{").unwrap().0;
        let refused = update(without, Some("v1"), "v2").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the element of event.context with key updates is missing",
            "FC-CNT-03"
        );
    }

    #[test]
    fn an_update_changes_what_it_names_in_the_content_of_its_context() {
        let report = resource("DiagnosticReport", "1");
        let opened = step(
            &SessionState::default(),
            "DiagnosticReport-open",
            &format!("{report},{}", resource("Patient", "p")),
            "v1",
        );
        let update = |entries: &[(&str, &str, &str)]| {
            let context = format!("{report},{}", updates(entries));
            try_step(&opened, "DiagnosticReport-update", &context, Some("v1"), "v2")
        };
        let mut content = Content::default();
        let change = update(&[("POST", "Observation", "a"), ("PUT", "Observation", "b")]).unwrap();
        content.apply(&change.content, 1000).unwrap();
        let prefix = change.state.current().unwrap().resources();
        let kept = |content: &Content| {
            content.below(&prefix).map(|(_, value)| value.clone()).collect::<BTreeSet<_>>()
        };
        let entry =
            |id: &str| format!(r#"{{"resource":{{"resourceType":"Observation","id":"{id}","n":1.10}}}}"#);
        assert_eq!(kept(&content), BTreeSet::from([entry("a"), entry("b")]), "FC-CNT-03, FC-TRN-05");
        let names: Vec<&String> = content.below("").map(|(name, _)| name).collect();
        let shows = ["Observation", "/a", "/b"];
        assert!(
            !names.iter().any(|name| shows.iter().any(|shown| name.contains(shown))),
            "FC-SEC-03: {names:?}"
        );

        let again = update(&[("DELETE", "Observation", "b"), ("POST", "Observation", "a")]).unwrap();
        assert_eq!(content.apply(&again.content, 1000), Err(ContentRefusal::Exists), "FC-CNT-03: 409");
        assert_eq!(kept(&content).len(), 2, "FC-CNT-03: all or nothing");
        let more = update(&[("PUT", "Observation", "c")]).unwrap();
        assert_eq!(content.apply(&more.content, content.bytes()), Err(ContentRefusal::Full), "FC-CNT-08");
        content.apply(&update(&[("DELETE", "Observation", "b")]).unwrap().content, 1000).unwrap();
        assert_eq!(kept(&content), BTreeSet::from([entry("a")]), "FC-CNT-03");
        assert_eq!(content.bytes(), entry("a").len());
        let refused = update(&[("DELETE", "Patient", "p")]).unwrap_err();
        assert_eq!(refused, Rejection::OpenedResource, "FC-CNT-03: what was opened stays");

        let other = try_step(&change.state, "Patient-open", &resource("Patient", "q"), None, "v3").unwrap();
        assert!(other.content.is_empty(), "FC-CNT-07: content of other open anchors stays");
        let reopened = step(&other.state, "DiagnosticReport-open", &report, "v4");
        assert_eq!(reopened.current().unwrap().resources(), prefix, "FC-CNT-10: it keeps its content");
        let closed = try_step(&reopened, "DiagnosticReport-close", &report, None, "-").unwrap();
        content.apply(&closed.content, 1000).unwrap();
        assert!(content.is_empty(), "FC-CNT-07");
    }

    #[test]
    fn what_has_only_a_full_url_is_found_by_it() {
        let report = resource("DiagnosticReport", "1");
        let opened = step(&SessionState::default(), "DiagnosticReport-open", &report, "v1");
        let update = |entry: &str| {
            let bundle = updates(&[]).replace("[]", &format!("[{entry}]"));
            let context = format!("{report},{bundle}");
            try_step(&opened, "DiagnosticReport-update", &context, Some("v1"), "v2").unwrap().content
        };
        let delete = update(r#"{"fullUrl":"urn:uuid:7","request":{"method":"DELETE"}}"#);
        for resource in [r#"{"resourceType":"Observation","id":"x"}"#, r#"{"resourceType":"Observation"}"#] {
            let mut content = Content::default();
            let put =
                format!(r#"{{"fullUrl":"urn:uuid:7","request":{{"method":"PUT"}},"resource":{resource}}}"#);
            content.apply(&update(&put), 1000).unwrap();
            assert!(!content.is_empty(), "FC-CNT-03");
            content.apply(&delete, 1000).unwrap();
            assert!(content.is_empty(), "FC-CNT-03: {resource}");
        }
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
    fn a_number_that_leaves_none_for_the_next_open_is_not_read() {
        let fields = open(&SessionState::default(), "Patient", "1", "v1").to_fields();
        let last = (format!("open:{}", u64::MAX), fields["open:1"].clone());
        let refused = SessionState::from_fields(&[last].into()).unwrap_err().to_string();
        assert!(refused.ends_with("no number is left for the next"), "{refused}");
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
