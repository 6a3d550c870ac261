//! Events: read from a request, rendered as a notification (FC-EVT-01…07, FC-NOT-01).
//!
//! A notification is the request with its own bytes: unknown members, key order and number
//! lexemes stay (FC-TRN-05). The hub adds what is its own, the context's version, and nothing else.

use super::{
    Action, Anchor, ContextElement, EventName, Invalid, Topic, event_name::EventKind, json, json::Members,
};

/// The longest `id` and the longest `timestamp`, in bytes.
const MAX_ID_BYTES: usize = 256;
/// The most elements of a context array.
const MAX_CONTEXT_ELEMENTS: usize = 256;

const VERSION: &str = "context.versionId";
const PRIOR_VERSION: &str = "context.priorVersionId";
/// What a sender may write for [`VERSION`].
const SHORT_VERSION: &str = "versionId";

/// The most members of `event` besides its versions: with those that the hub adds, a notification is still read.
const MAX_EVENT_MEMBERS: usize = json::MAX_MEMBERS - 3;

/// An event as a subscriber posted it, borrowed from the text of the request.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// `timestamp`, passed on as it is (FC-EVT-01).
    pub timestamp: String,
    /// `id`, chosen by the sender, and reused in the notification (FC-REQ-02).
    pub id: String,
    /// `event["hub.topic"]`
    pub topic: Topic,
    /// `event["hub.event"]`
    pub name: EventName,
    /// `event["context.versionId"]`, or `versionId`, which some senders write.
    pub version_id: Option<String>,
    /// The elements of `event.context`.
    pub context: Vec<ContextElement<'a>>,
    envelope: Members<'a>,
    event: Members<'a>,
}

/// The versions that a notification carries (2.10).
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// The anchor's version after the event.
    pub current: &'a str,
    /// The anchor's version before an update.
    pub prior: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// Reads the text of a request (see [`json::text`]).
    pub fn read(text: &'a str) -> Result<Self, Invalid> {
        let envelope = Members::read("the body", text)?;
        let timestamp: String = envelope.required("timestamp", "timestamp", "must be a string")?;
        let id: String = envelope.required("id", "id", "must be a string")?;
        for (field, value) in [("timestamp", &timestamp), ("id", &id)] {
            if value.is_empty() || value.len() > MAX_ID_BYTES {
                return Err(Invalid::value(field, format!("must have 1 to {MAX_ID_BYTES} bytes")));
            }
        }
        let event = Members::read("event", envelope.get("event").ok_or(Invalid::missing("event"))?)?;
        if event.iter().filter(|(name, _)| !is_version(name)).count() > MAX_EVENT_MEMBERS {
            return Err(Invalid::value(
                "event",
                format!("must not have more than {MAX_EVENT_MEMBERS} members"),
            ));
        }
        let topic: String = event.required("event.hub.topic", "hub.topic", "must be a string")?;
        let name: String = event.required("event.hub.event", "hub.event", "must be a string")?;
        let elements = event.get("context").ok_or(Invalid::missing("event.context"))?;
        let read = Self {
            timestamp,
            id,
            topic: topic.parse()?,
            name: name.parse()?,
            version_id: version_id(&event)?,
            context: context(elements)?,
            envelope,
            event,
        };
        read.check_anchor()?;
        Ok(read)
    }

    /// The resource that the event is about, or `None` for an event that has no anchor.
    pub fn anchor(&self) -> Option<&Anchor> {
        let EventKind::Anchored { resource, action } = self.name.kind() else { return None };
        let resources = self.context.iter().filter_map(|element| element.resource.as_ref());
        let references = self.context.iter().filter_map(|element| element.reference.as_ref());
        let may_refer = matches!(action, Action::Update | Action::Select);
        resources.chain(references.filter(|_| may_refer)).find(|anchor| anchor.is_a(resource))
    }

    /// What the event does, and to what (FC-EVT-07).
    pub fn anchored(&self) -> Option<(Action, &Anchor)> {
        match self.name.kind() {
            EventKind::Anchored { action, .. } => Some((action, self.anchor()?)),
            _ => None,
        }
    }

    fn check_anchor(&self) -> Result<(), Invalid> {
        let EventKind::Anchored { resource, .. } = self.name.kind() else { return Ok(()) };
        let problem = match self.anchor() {
            Some(anchor) if anchor.is_identified() => return Ok(()),
            Some(_) => format!("must hold the {resource} of {} with an id or an identifier", self.name),
            None => format!("must hold the {resource} that {} is about", self.name),
        };
        Err(Invalid::value("event.context", problem))
    }

    /// The raw text of the `context` array.
    pub fn raw_context(&self) -> &'a str {
        self.event.get("context").unwrap_or("[]")
    }

    /// Does the timestamp look like ISO 8601? The specification's own examples do not always.
    pub fn has_iso_timestamp(&self) -> bool {
        is_iso_8601(&self.timestamp)
    }

    /// The notification: the sender's bytes, with the versions that the hub gives.
    ///
    /// With `versions: None` the message is passed on with whatever the sender wrote.
    pub fn notification(&self, versions: Option<Versions<'_>>) -> String {
        let mut event = String::from("{");
        for (name, value) in self.event.iter() {
            if versions.is_none() || !is_version(name) {
                json::push_member(&mut event, name, value);
            }
            if name == "hub.event"
                && let Some(versions) = versions
            {
                json::push_member(&mut event, VERSION, &json::string(versions.current));
                if let Some(prior) = versions.prior {
                    json::push_member(&mut event, PRIOR_VERSION, &json::string(prior));
                }
            }
        }
        event.push('}');
        let mut message = String::with_capacity(event.len() + 128);
        message.push('{');
        for (name, value) in self.envelope.iter() {
            json::push_member(&mut message, name, if name == "event" { &event } else { value });
        }
        message.push('}');
        message
    }
}

fn is_version(name: &str) -> bool {
    matches!(name, VERSION | PRIOR_VERSION | SHORT_VERSION)
}

fn version_id(event: &Members<'_>) -> Result<Option<String>, Invalid> {
    let Some(raw) = event.get(VERSION).or_else(|| event.get(SHORT_VERSION)) else { return Ok(None) };
    let problem = || {
        Invalid::value("event.context.versionId", format!("must be a string of 1 to {MAX_ID_BYTES} bytes"))
    };
    let version: String = serde_json::from_str(raw).map_err(|_| problem())?;
    if version.is_empty() || version.len() > MAX_ID_BYTES { Err(problem()) } else { Ok(Some(version)) }
}

fn context(raw: &str) -> Result<Vec<ContextElement<'_>>, Invalid> {
    let elements: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(raw).map_err(|_| Invalid::value("event.context", "must be an array"))?;
    if elements.len() > MAX_CONTEXT_ELEMENTS {
        return Err(Invalid::value(
            "event.context",
            format!("must not have more than {MAX_CONTEXT_ELEMENTS} elements"),
        ));
    }
    elements.into_iter().enumerate().map(|(index, raw)| ContextElement::read(index, raw.get())).collect()
}

fn is_iso_8601(timestamp: &str) -> bool {
    use time::format_description::well_known::Iso8601;
    time::OffsetDateTime::parse(timestamp, &Iso8601::PARSING).is_ok()
        || time::PrimitiveDateTime::parse(timestamp, &Iso8601::PARSING).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(event: &str, context: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"i","event":{{"hub.topic":"t","hub.event":"{event}","context":{context}}}}}"#
        )
    }

    fn refusal(text: &str) -> String {
        Event::read(text).unwrap_err().to_string()
    }

    const PATIENT: &str = r#"[{"key":"patient","resource":{"resourceType":"Patient","id":"1"}}]"#;

    #[test]
    fn each_missing_or_wrongly_typed_member_is_named() {
        for (text, expected) in [
            ("[]", "the body must be a JSON object"),
            ("{", "the body is not valid JSON (line 1, column 1)"),
            ("{}", "timestamp is missing"),
            (r#"{"timestamp":1}"#, "timestamp must be a string"),
            (r#"{"timestamp":""}"#, "id is missing"),
            (r#"{"timestamp":"","id":"x"}"#, "timestamp must have 1 to 256 bytes"),
            (r#"{"timestamp":"t","id":null}"#, "id must be a string"),
            (r#"{"timestamp":"t","id":"i"}"#, "event is missing"),
            (r#"{"timestamp":"t","id":"i","event":[]}"#, "event must be a JSON object"),
            (r#"{"timestamp":"t","id":"i","event":{}}"#, "event.hub.topic is missing"),
            (r#"{"timestamp":"t","id":"i","event":{"hub.topic":7}}"#, "event.hub.topic must be a string"),
            (r#"{"timestamp":"t","id":"i","event":{"hub.topic":"t"}}"#, "event.hub.event is missing"),
            (
                r#"{"timestamp":"t","id":"i","event":{"hub.topic":"t","hub.event":"syncerror"}}"#,
                "event.context is missing",
            ),
            (&message("syncerror", "{}"), "event.context must be an array"),
            (&message("syncerror", "[1]"), "event.context[0] must be a JSON object"),
            (
                r#"{"timestamp":"t","id":"i","id":"j","event":{}}"#,
                "a member of the body appears more than once",
            ),
        ] {
            assert_eq!(refusal(text), expected, "FC-EVT-01: {text}");
        }
    }

    #[test]
    fn what_is_no_json_or_more_than_json_is_refused_and_odd_numbers_pass_as_they_are() {
        let good = message("Patient-open", PATIENT);
        assert!(Event::read(&good).is_ok());
        for text in [
            format!("\u{feff}{good}"),
            format!("{good}{good}"),
            format!("{good}\0"),
            good.replace("\"i\"", "\"i\0\""),
            good.replace("\"i\"", "NaN"),
            good.replace("\"i\"", "'i'"),
            good.replace("\"i\",", "\"i\",,"),
            good.replace("{\"timestamp", "{/**/\"timestamp"),
        ] {
            assert!(Event::read(&text).is_err(), "FC-EVT-01: {text}");
        }
        for number in ["1e999999", "-0.0", "123456789012345678901234567890.10"] {
            let odd = good.replace("\"id\":\"1\"", &format!("\"id\":\"1\",\"weight\":{number}"));
            let event = Event::read(&odd).unwrap();
            assert!(
                event.notification(None).contains(&format!("\"weight\":{number}")),
                "FC-TRN-05: {number}"
            );
        }
    }

    #[test]
    fn an_open_needs_its_anchor_with_something_that_identifies_it() {
        assert!(Event::read(&message("Patient-open", PATIENT)).is_ok(), "FC-EVT-07");
        assert!(Event::read(&message("home-open", "[]")).is_ok(), "FC-EVT-07");
        assert_eq!(
            refusal(&message("Encounter-open", PATIENT)),
            "event.context must hold the Encounter that Encounter-open is about"
        );
        let anonymous = r#"[{"key":"patient","resource":{"resourceType":"Patient"}}]"#;
        assert_eq!(
            refusal(&message("Patient-close", anonymous)),
            "event.context must hold the Patient of Patient-close with an id or an identifier",
            "FC-EVT-07"
        );
        let reference = r#"[{"key":"report","reference":{"reference":"DiagnosticReport/1"}}]"#;
        assert!(Event::read(&message("DiagnosticReport-update", reference)).is_ok(), "FC-EVT-07");
        assert!(Event::read(&message("DiagnosticReport-open", reference)).is_err(), "FC-EVT-07");
    }

    #[test]
    fn a_notification_is_the_request_with_the_hubs_versions() {
        let text = r#"{ "id":"i","x-extra":1.10, "timestamp":"T010", "event":{"hub.event":"Patient-open","versionId":"old",
            "context":[ {"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}} ],"hub.topic":"t"} }"#;
        let event = Event::read(text).unwrap();
        assert_eq!(event.version_id.as_deref(), Some("old"));
        let versions = Versions { current: "v2", prior: Some("v1") };
        assert_eq!(
            event.notification(Some(versions)),
            r#"{"id":"i","x-extra":1.10,"timestamp":"T010","event":{"hub.event":"Patient-open","context.versionId":"v2","context.priorVersionId":"v1","context":[ {"key":"patient","resource":{"resourceType":"Patient","id":"1","weight":1.10}} ],"hub.topic":"t"}}"#,
            "FC-TRN-05, FC-NOT-01"
        );
        assert!(!event.has_iso_timestamp(), "FC-EVT-01: accepted, and known to be odd");
    }

    #[test]
    fn an_event_with_as_many_members_as_it_may_have_is_still_one_when_the_hub_has_added_its_own() {
        let event = |count: usize| {
            let others: String = (0..count).map(|number| format!(r#""m{number}":1,"#)).collect();
            message("Patient-open", PATIENT).replace(r#""hub.topic""#, &format!(r#"{others}"hub.topic""#))
        };
        let text = event(MAX_EVENT_MEMBERS - 3);
        let versions = Versions { current: "v2", prior: Some("v1") };
        let notification = Event::read(&text).unwrap().notification(Some(versions));
        assert!(Event::read(&notification).is_ok(), "FC-CTX-02: what is accepted is read from the log");
        let refused = refusal(&event(MAX_EVENT_MEMBERS - 2));
        assert_eq!(refused, "event must not have more than 253 members", "FC-EVT-01");
    }

    #[test]
    fn iso_timestamps_are_told_from_others() {
        for (timestamp, expected) in [
            ("2019-09-10T14:58:45.988Z", true),
            ("2018-01-08T01:37:05.14", true),
            ("2026-11-23T10:00:00+01:00", true),
            ("2023-04-01T010:38:04.16", false),
            ("yesterday", false),
        ] {
            assert_eq!(is_iso_8601(timestamp), expected, "FC-EVT-01: {timestamp}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,200}") {
            let _ = Event::read(&text);
        }

        #[test]
        fn a_rendered_notification_reads_as_the_same_event(id in "[ -~]{1,40}", version in "[a-z0-9-]{1,36}") {
            let text = message("Patient-open", PATIENT).replace("\"i\"", &json::string(&id));
            let event = Event::read(&text).unwrap();
            let notification = event.notification(Some(Versions { current: &version, prior: None }));
            let again = Event::read(&notification).unwrap();
            prop_assert_eq!(&again.id, &id);
            prop_assert_eq!(again.version_id.as_deref(), Some(version.as_str()));
            prop_assert_eq!(again.raw_context(), PATIENT);
        }
    }
}
