//! Events as they pass, posted or notified, and what is made of a notification (FC-NOT, FC-CNT-04, FC-EXT-01).

use super::Distortion;
use super::json::Json;
use super::seen::Seen;

const OUTCOME: [&str; 2] = ["resource", "issue"];

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    json: Json,
    id: String,
    name: String,
    topic: String,
}

/// What a subscriber is told of a notification.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// What the hub says.
    AsItIs,
    /// This.
    Instead(Message),
    /// Nothing.
    Nothing,
}

impl Message {
    /// Reads an event; `None` when it is none.
    pub fn read(text: &str) -> Option<Message> {
        let json = Json::parse(text)?;
        let (id, name) = (json.string_at(&["id"])?, json.string_at(&["event", "hub.event"])?);
        let topic = json.string_at(&["event", "hub.topic"])?;
        Some(Message { json, id, name, topic })
    }

    /// `id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `hub.topic`.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// `timestamp`.
    pub fn timestamp(&self) -> Option<String> {
        self.json.string_at(&["timestamp"])
    }

    /// The version that an update is of.
    pub fn version(&self) -> Option<String> {
        let version = |name| self.json.string_at(&["event", name]);
        version("context.versionId").or_else(|| version("versionId"))
    }

    /// Whether the name is this one, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether this is an open event.
    pub fn is_open(&self) -> bool {
        self.name.to_ascii_lowercase().ends_with("-open")
    }

    /// Whether this is an update.
    pub fn is_update(&self) -> bool {
        self.name.to_ascii_lowercase().ends_with("-update")
    }

    /// The text.
    pub fn text(&self) -> String {
        self.json.to_string()
    }

    /// The same event with another id.
    pub fn with_id(&self, id: &str) -> Message {
        let mut message = self.clone();
        if let Some(old) = message.json.at_mut(&["id"]) {
            *old = Json::string(id);
        }
        message.id = id.to_owned();
        message
    }

    fn changed(&self, change: impl FnOnce(&mut Json)) -> Told {
        let mut message = self.clone();
        change(&mut message.json);
        if message == *self { Told::AsItIs } else { Told::Instead(message) }
    }

    /// The same event without a member of its own (not of its `event`).
    pub fn without(&self, name: &str) -> Told {
        self.changed(|json| json.remove(name))
    }

    /// Changes each issue of the OperationOutcome.
    fn with_issues(&self, change: impl Fn(&mut Json)) -> Told {
        self.changed(|json| {
            let elements = json.elements_at(&["event", "context"]).into_iter().flatten();
            let issues = elements.filter_map(|element| element.elements_at(&OUTCOME));
            issues.flatten().for_each(change);
        })
    }

    /// The id of the event that a SyncError is about.
    fn failed_event(&self) -> Option<String> {
        let mut outcome = self.json.clone();
        let mut elements = outcome.elements_at(&["event", "context"])?.iter_mut();
        let issue = elements.find_map(|element| element.elements_at(&OUTCOME)?.first_mut())?;
        let mut codings = issue.elements_at(&["details", "coding"])?.iter();
        codings.find(|coding| is_of_system(coding, "eventid"))?.string_at(&["code"])
    }

    /// What is told instead of this notification.
    pub fn told(&self, distortion: Distortion, seen: &Seen) -> Told {
        let is_sync_error_of_hub = self.is("syncerror") && !seen.is_posted(&self.id);
        match distortion {
            Distortion::NoHeartbeats if self.is("heartbeat") => Told::Nothing,
            Distortion::SyncErrorWithoutSubscriber if is_sync_error_of_hub => self.with_issues(|issue| {
                if let Some(codings) = issue.elements_at(&["details", "coding"]) {
                    codings.retain(|coding| {
                        !is_of_system(coding, "subscriber") && !is_of_system(coding, "subscribername")
                    });
                }
            }),
            Distortion::SyncErrorOfOtherCode if is_sync_error_of_hub => self.with_issues(|issue| {
                if let Some(code) = issue.at_mut(&["code"]) {
                    *code = Json::string("invalid");
                }
            }),
            Distortion::SilentAboutAbsence if is_sync_error_of_hub => {
                let is_refusal = self.failed_event().is_some_and(|id| seen.has_failed(&id));
                if is_refusal { Told::AsItIs } else { Told::Nothing }
            }
            Distortion::NoDerivedOpens if seen.source_of_derived(self).is_some() => Told::Nothing,
            Distortion::DerivedWithSourceId => match seen.source_of_derived(self) {
                Some(source) => Told::Instead(self.with_id(&source)),
                None => Told::AsItIs,
            },
            Distortion::NoExtensions => self.changed(|json| {
                if let Some(elements) = json.elements_at(&["event", "context"]) {
                    elements.retain(|element| element.string_at(&["key"]).as_deref() != Some("extension"));
                    elements.iter_mut().for_each(|element| element.remove("extension"));
                }
            }),
            Distortion::NoPriorVersion => self.changed(|json| {
                if let Some(event) = json.at_mut(&["event"]) {
                    event.remove("context.priorVersionId");
                }
            }),
            _ => Told::AsItIs,
        }
    }
}

fn is_of_system(coding: &Json, last: &str) -> bool {
    let system = coding.string_at(&["system"]).unwrap_or_default();
    system.rsplit('/').next() == Some(last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const DERIVED: &str =
        r#"{"timestamp":"T","id":"d","event":{"hub.topic":"t","hub.event":"Patient-open","context":[]}}"#;

    fn message(text: &str) -> Message {
        Message::read(text).unwrap()
    }

    #[test]
    fn a_heartbeat_is_swallowed_and_nothing_else() {
        let (seen, open) = (Seen::default(), message(DERIVED));
        let heartbeat = message(&DERIVED.replace("Patient-open", "Heartbeat"));
        assert_eq!(heartbeat.told(Distortion::NoHeartbeats, &seen), Told::Nothing, "FC-WSC-06");
        assert_eq!(open.told(Distortion::NoHeartbeats, &seen), Told::AsItIs, "FC-WSC-06");
    }

    #[test]
    fn a_derived_open_is_known_by_what_it_is_derived_from() {
        let (mut seen, derived) = (Seen::default(), message(DERIVED));
        assert_eq!(derived.told(Distortion::NoDerivedOpens, &seen), Told::AsItIs, "FC-NOT-07");
        let source = DERIVED.replace("Patient-open", "Encounter-open").replace("\"d\"", "\"s\"");
        seen.posts(message(&source), source.as_bytes());
        assert_eq!(derived.told(Distortion::NoDerivedOpens, &seen), Told::Nothing, "FC-NOT-07");
        assert_eq!(message(&source).told(Distortion::NoDerivedOpens, &seen), Told::AsItIs, "FC-NOT-07");
        let told = derived.told(Distortion::DerivedWithSourceId, &seen);
        assert_eq!(told, Told::Instead(message(&DERIVED.replace("\"d\"", "\"s\""))), "FC-NOT-07");
    }

    #[test]
    fn only_sync_errors_without_an_error_answer_are_kept_back() {
        let mut seen = Seen::default();
        let coding = r#"{"system":"https://fhircast.hl7.org/events/syncerror/eventid","code":"e"}"#;
        let outcome = format!(r#"[{{"resource":{{"issue":[{{"details":{{"coding":[{coding}]}}}}]}}}}]"#);
        let sync_error = message(&DERIVED.replace("Patient-open", "SyncError").replace("[]", &outcome));
        assert_eq!(sync_error.told(Distortion::SilentAboutAbsence, &seen), Told::Nothing, "FC-NOT-04");
        seen.fails("e");
        assert_eq!(sync_error.told(Distortion::SilentAboutAbsence, &seen), Told::AsItIs, "FC-NOT-02");
    }

    #[test]
    fn extensions_are_removed_from_the_context_and_not_from_resources() {
        let context =
            r#"[{"key":"a","extension":{"x":1}},{"key":"extension","data":1},{"resource":{"extension":[]}}]"#;
        let told = message(&DERIVED.replace("[]", context)).told(Distortion::NoExtensions, &Seen::default());
        let expected = DERIVED.replace("[]", r#"[{"key":"a"},{"resource":{"extension":[]}}]"#);
        assert_eq!(told, Told::Instead(message(&expected)), "FC-EXT-01");
    }
}
