//! The events of the workload: small, and each with an id that says who sent it.

use serde_json::{Value, json};

use crate::history::verdict::LAST;

/// An event that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// The session.
    pub topic: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub text: String,
}

/// Opens a patient.
pub fn patient_open(topic: &str, id: &str, patient: &str) -> Event {
    event(topic, id, "Patient-open", None, vec![anchor("Patient", patient)])
}

/// Closes a patient.
pub fn patient_close(topic: &str, id: &str, patient: &str) -> Event {
    event(topic, id, "Patient-close", None, vec![anchor("Patient", patient)])
}

/// Opens a report.
pub fn report_open(topic: &str, id: &str, report: &str) -> Event {
    event(topic, id, "DiagnosticReport-open", None, vec![anchor("DiagnosticReport", report)])
}

/// Closes a report.
pub fn report_close(topic: &str, id: &str, report: &str) -> Event {
    event(topic, id, "DiagnosticReport-close", None, vec![anchor("DiagnosticReport", report)])
}

/// Selects something in a report.
pub fn report_select(topic: &str, id: &str, report: &str) -> Event {
    let select = json!({"key": "select", "resource": {"resourceType": "Observation", "id": "o-0"}});
    event(topic, id, "DiagnosticReport-select", None, vec![anchor("DiagnosticReport", report), select])
}

/// Puts one observation into a report that is at `version`, and removes another from its third update on.
pub fn report_update(topic: &str, id: &str, report: &str, version: &str, number: usize) -> Event {
    let observation = json!({"resourceType": "Observation", "id": format!("o-{number}"), "status": "final", "valueInteger": number});
    let mut entries = vec![json!({"request": {"method": "PUT"}, "resource": observation})];
    if number >= 2 {
        let url = format!("Observation/o-{}", number - 2);
        entries.push(json!({"fullUrl": url, "request": {"method": "DELETE", "url": url}}));
    }
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    let context = vec![anchor("DiagnosticReport", report), json!({"key": "updates", "resource": bundle})];
    event(topic, id, "DiagnosticReport-update", Some(version), context)
}

/// What comes last in a topic.
pub fn last(topic: &str) -> Event {
    event(topic, &format!("{topic}-last"), LAST, None, Vec::new())
}

/// What shows that a callback is in service.
pub fn probe(topic: &str, id: &str) -> Event {
    event(topic, id, crate::history::topic::PROBE, None, Vec::new())
}

fn anchor(kind: &str, id: &str) -> Value {
    json!({"key": kind.to_lowercase(), "resource": {"resourceType": kind, "id": id}})
}

fn event(topic: &str, id: &str, name: &str, version: Option<&str>, context: Vec<Value>) -> Event {
    let mut event = json!({"hub.topic": topic, "hub.event": name, "context": context});
    if let Some(version) = version {
        event["context.versionId"] = version.into();
    }
    let message = json!({"timestamp": "2026-01-01T00:00:00Z", "id": id, "event": event});
    Event { topic: topic.to_owned(), id: id.to_owned(), name: name.to_owned(), text: message.to_string() }
}
