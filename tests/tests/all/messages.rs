//! Small events for tests that are about one thing. The specification's own messages are in `harness::examples`.

use serde_json::Value;

/// An event whose context has these elements (JSON, separated by commas).
pub fn event(topic: &str, id: &str, name: &str, elements: &str) -> String {
    let topic = Value::from(topic);
    format!(
        r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"{id}","event":{{"hub.topic":{topic},"hub.event":"{name}","context":[{elements}]}}}}"#
    )
}

/// A context element that holds a resource with nothing but an id.
pub fn resource(resource_type: &str, id: &str) -> String {
    let key = resource_type.to_lowercase();
    format!(r#"{{"key":"{key}","resource":{{"resourceType":"{resource_type}","id":"{id}"}}}}"#)
}

/// The last element of a current context in which nothing has been shared (FC-CTX-04).
pub const NO_CONTENT: &str =
    r#"{"key":"content","resource":{"resourceType":"Bundle","type":"collection","entry":[]}}"#;

/// `Patient-open` of the patient `p-{id}`.
pub fn patient_open(topic: &str, id: &str) -> String {
    event(topic, id, "Patient-open", &resource("Patient", &format!("p-{id}")))
}

/// The same event with `context.versionId`.
pub fn versioned(event: &str, version: &str) -> String {
    event.replacen(r#""context":["#, &format!(r#""context.versionId":"{version}","context":["#), 1)
}
