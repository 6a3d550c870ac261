//! The events that checks send: small ones, each with ids of its own. The specification's own messages are in
//! [`crate::examples`]; [`Event::parse`] makes an [`Event`] of one.

use anyhow::Context;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::check::Outcome;
use crate::examples::fresh_id;

/// An event to be sent. What is sent is [`Event::text`]; change it by [`Event::with`] and [`Event::without`].
#[derive(Debug, Clone)]
pub struct Event {
    /// The whole message.
    pub json: Value,
}

impl Event {
    /// An event of that name with these context elements, a fresh id and the present time.
    pub fn new(topic: &str, name: &str, context: Value) -> Event {
        // Only a year beyond 9999 has no such form.
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let event = json!({"hub.topic": topic, "hub.event": name, "context": context});
        Event { json: json!({"timestamp": now, "id": fresh_id(), "event": event}) }
    }

    /// The event that this text is.
    pub fn parse(text: &str) -> Outcome<Event> {
        Ok(Event { json: serde_json::from_str(text).context("the event is not JSON")? })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }

    /// Its `hub.event`.
    pub fn name(&self) -> &str {
        self.json["event"]["hub.event"].as_str().unwrap_or_default()
    }

    /// The context element of that key; null when there is none.
    pub fn context(&self, key: &str) -> &Value {
        element(&self.json, key)
    }

    /// The id of the first resource of its context: the anchor's, in an event made here.
    pub fn anchor_id(&self) -> &str {
        self.json["event"]["context"][0]["resource"]["id"].as_str().unwrap_or_default()
    }

    /// The message as it is sent.
    pub fn text(&self) -> String {
        self.json.to_string()
    }

    /// With `value` at this JSON pointer (`/event/context/0/resource/id`): replaced, or added to the object there.
    /// A pointer whose parent is not there changes nothing.
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Event {
        if let Some((parent, member)) = parent_of(&mut self.json, pointer) {
            match parent {
                Value::Object(members) => drop(members.insert(member, value.into())),
                Value::Array(elements) => {
                    if let Some(element) = member.parse().ok().and_then(|n: usize| elements.get_mut(n)) {
                        *element = value.into();
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// Without the member at this JSON pointer.
    pub fn without(mut self, pointer: &str) -> Event {
        if let Some((Value::Object(members), member)) = parent_of(&mut self.json, pointer) {
            members.remove(&member);
        }
        self
    }

    /// With one more context element.
    pub fn and(mut self, element: Value) -> Event {
        if let Some(context) = self.json["event"]["context"].as_array_mut() {
            context.push(element);
        }
        self
    }

    /// Naming the version of its anchor (FC-CNT-02).
    pub fn version(self, version: &str) -> Event {
        self.with("/event/context.versionId", version)
    }

    /// The same with an id of its own: another event, not a resend.
    pub fn again(self) -> Event {
        self.with("/id", fresh_id())
    }

    /// The close of what this opens: the same context under the name `…-close`, with an id of its own.
    pub fn closed(self) -> Event {
        let name = self.name().replace("-open", "-close");
        self.with("/event/hub.event", name).again()
    }
}

fn parent_of<'a>(json: &'a mut Value, pointer: &str) -> Option<(&'a mut Value, String)> {
    let (parent, member) = pointer.rsplit_once('/')?;
    Some((json.pointer_mut(parent)?, member.to_owned()))
}

/// The context element of that key in a notification or an event; null when there is none.
pub fn element<'a>(message: &'a Value, key: &str) -> &'a Value {
    let elements = message["event"]["context"].as_array();
    let found = elements.and_then(|elements| elements.iter().find(|element| element["key"] == key));
    found.unwrap_or(&Value::Null)
}

/// A context element that holds a resource with an id (and an identifier, for hubs that want one).
pub fn resource(key: &str, resource_type: &str, id: &str) -> Value {
    json!({"key": key, "resource": {
        "resourceType": resource_type,
        "id": id,
        "identifier": [{"system": "urn:oid:2.25.1", "value": id}],
    }})
}

/// A context element that holds a reference: `Patient/p-1` under the key `patient`.
pub fn reference(key: &str, reference: &str) -> Value {
    json!({"key": key, "reference": {"reference": reference}})
}

/// `Patient-open` of a patient that nobody has opened yet.
pub fn patient_open(topic: &str) -> Event {
    Event::new(topic, "Patient-open", json!([resource("patient", "Patient", &fresh_id())]))
}

/// `Encounter-open` of an encounter that nobody has opened yet, and the patient `patient_id`.
pub fn encounter_open(topic: &str, patient_id: &str) -> Event {
    let encounter = resource("encounter", "Encounter", &fresh_id());
    Event::new(topic, "Encounter-open", json!([encounter, resource("patient", "Patient", patient_id)]))
}

/// `ImagingStudy-open` of a study that nobody has opened yet, and a patient of its own.
pub fn imaging_study_open(topic: &str) -> Event {
    let study = resource("study", "ImagingStudy", &fresh_id());
    Event::new(topic, "ImagingStudy-open", json!([study, resource("patient", "Patient", &fresh_id())]))
}

/// `DiagnosticReport-open` of a report that nobody has opened yet, and a patient of its own.
pub fn report_open(topic: &str) -> Event {
    let report = resource("report", "DiagnosticReport", &fresh_id());
    Event::new(topic, "DiagnosticReport-open", json!([report, resource("patient", "Patient", &fresh_id())]))
}

/// `DiagnosticReport-update` of the report `report_id` at `version`, with these entries ([`put`], [`delete`]).
pub fn report_update(topic: &str, report_id: &str, version: &str, entries: Value) -> Event {
    let bundle = json!({"resourceType": "Bundle", "id": fresh_id(), "type": "transaction", "entry": entries});
    let context = json!([
        reference("report", &format!("DiagnosticReport/{report_id}")),
        {"key": "updates", "resource": bundle},
    ]);
    Event::new(topic, "DiagnosticReport-update", context).version(version)
}

/// `DiagnosticReport-select` of the report `report_id`: these references (`Observation/o-1`) are selected.
pub fn report_select(topic: &str, report_id: &str, selected: &[&str]) -> Event {
    let selected: Vec<_> = selected.iter().map(|reference| json!({"reference": reference})).collect();
    let context = json!([
        reference("report", &format!("DiagnosticReport/{report_id}")),
        {"key": "select", "reference": selected},
    ]);
    Event::new(topic, "DiagnosticReport-select", context)
}

/// The entry of an updates Bundle that adds or replaces an Observation.
pub fn put(observation_id: &str) -> Value {
    let resource = json!({"resourceType": "Observation", "id": observation_id, "status": "preliminary",
        "code": {"text": "size"}});
    json!({"request": {"method": "PUT", "url": format!("Observation/{observation_id}")}, "resource": resource})
}

/// The entry of an updates Bundle that removes an Observation.
pub fn delete(observation_id: &str) -> Value {
    let url = format!("Observation/{observation_id}");
    json!({"fullUrl": url, "request": {"method": "DELETE", "url": url}})
}

/// A SyncError about the event `about`, as a subscriber posts it.
pub fn sync_error(topic: &str, about: &Event) -> Event {
    let coding = |name: &str, code: &str| json!({"system": format!("https://fhircast.hl7.org/events/syncerror/{name}"), "code": code});
    let outcome = json!({"resourceType": "OperationOutcome", "issue": [{
        "severity": "warning",
        "code": "processing",
        "diagnostics": "the context was not followed",
        "details": {"coding": [coding("eventid", about.id()), coding("eventname", about.name())]},
    }]});
    Event::new(topic, "syncerror", json!([{"key": "operationoutcome", "resource": outcome}]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_event_is_changed_where_it_is_told_to_be() {
        let open = patient_open("t");
        let changed =
            open.clone().with("/event/context/0/key", "other").with("/extra", 1).without("/timestamp");
        assert_eq!((&changed.json["extra"], &changed.json["timestamp"]), (&json!(1), &Value::Null));
        assert_eq!(changed.context("other")["resource"]["id"], open.anchor_id());
        assert_eq!(open.json["event"]["context"][0]["key"], "patient");
    }

    #[test]
    fn a_close_names_what_was_opened_and_is_another_event() {
        let open = encounter_open("t", "p-1");
        let close = open.clone().closed();
        assert_eq!((close.name(), close.anchor_id()), ("Encounter-close", open.anchor_id()));
        assert_ne!(close.id(), open.id());
    }
}
