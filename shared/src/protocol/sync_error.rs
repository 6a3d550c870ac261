//! The hub's SyncErrors (FC-NOT-02, FC-NOT-03).

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{EventName, SubscriptionId, Topic};

/// How grave a SyncError is: 2.1 says `error`, 3.0 says `warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As 3.0.0 has it.
    Warning,
    /// As 2.1.0-ballot has it.
    Error,
}

/// Why a subscriber is out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It answered the notification with this status.
    Refused(u16),
    /// The notification could not be delivered in time; delivery is still being tried.
    Undelivered,
}

/// One subscriber that did not follow one event: the cause of exactly one SyncError.
#[derive(Debug, Clone)]
pub struct Cause<'a> {
    /// The session.
    pub topic: &'a Topic,
    /// The `id` of the event that was not followed.
    pub event_id: &'a str,
    /// Its name.
    pub event_name: &'a EventName,
    /// Which acceptance of that id it was: a resent event may fail again.
    pub position: &'a str,
    /// The subscription that did not follow.
    pub subscription: SubscriptionId,
    /// `subscriber.name`, if it gave one.
    pub subscriber_name: Option<&'a str>,
    /// What happened.
    pub reason: Reason,
}

impl Cause<'_> {
    /// The same for every process that notices the same cause, so that it is told once.
    pub fn event_id_of_sync_error(&self) -> Uuid {
        let hash = Sha256::new()
            .chain_update(self.topic.key().as_bytes())
            .chain_update(self.position)
            .chain_update(self.subscription.to_string())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The SyncError, as if a subscriber had posted it. `timestamp` is ISO 8601.
    pub fn message(&self, severity: Severity, timestamp: &str) -> String {
        let subscriber = self.subscriber_name.unwrap_or("an unnamed subscriber");
        let diagnostics = match self.reason {
            Reason::Refused(status) => {
                format!("{subscriber} refused {} with status {status}", self.event_name)
            }
            Reason::Undelivered => {
                format!("{} could not be delivered to {subscriber} in time", self.event_name)
            }
        };
        let coding = |system: &str, code: &str| json!({"system": format!("https://fhircast.hl7.org/events/syncerror/{system}"), "code": code});
        json!({
            "timestamp": timestamp,
            "id": self.event_id_of_sync_error().to_string(),
            "event": {
                "hub.topic": self.topic.as_str(),
                "hub.event": "syncerror",
                "context": [{
                    "key": "operationoutcome",
                    "resource": {
                        "resourceType": "OperationOutcome",
                        "issue": [{
                            "severity": severity,
                            "code": "processing",
                            "diagnostics": diagnostics,
                            "details": {"coding": [
                                coding("eventid", self.event_id),
                                coding("eventname", self.event_name.as_str()),
                                coding("subscriber", subscriber),
                                coding("subscribername", subscriber),
                            ]},
                        }],
                    },
                }],
            },
        })
        .to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::Event;

    #[test]
    fn a_sync_error_names_event_and_subscriber_and_is_an_event_itself() {
        let (topic, event_name): (Topic, EventName) = ("t".parse().unwrap(), "Patient-open".parse().unwrap());
        let mut cause = Cause {
            topic: &topic,
            event_id: "e1",
            event_name: &event_name,
            position: "1-0",
            subscription: SubscriptionId::random(1),
            subscriber_name: Some("Acme"),
            reason: Reason::Refused(409),
        };
        let text = cause.message(Severity::Warning, "2026-01-01T00:00:00Z");
        assert_eq!(Event::read(&text).unwrap().id, cause.event_id_of_sync_error().to_string());
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        let issue = &message["event"]["context"][0]["resource"]["issue"][0];
        assert_eq!(issue["severity"], "warning", "FC-NOT-03");
        assert_eq!(issue["code"], "processing", "FC-NOT-03");
        assert_eq!(issue["diagnostics"], "Acme refused Patient-open with status 409", "FC-NOT-03");
        let codes: Vec<(&str, &str)> = issue["details"]["coding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|coding| {
                (
                    coding["system"].as_str().unwrap().rsplit('/').next().unwrap(),
                    coding["code"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            codes,
            [
                ("eventid", "e1"),
                ("eventname", "Patient-open"),
                ("subscriber", "Acme"),
                ("subscribername", "Acme")
            ],
            "FC-NOT-03"
        );

        let first = cause.event_id_of_sync_error();
        cause.reason = Reason::Undelivered;
        assert_eq!(first, cause.event_id_of_sync_error(), "one SyncError for the event and subscriber");
        cause.position = "2-0";
        assert_ne!(first, cause.event_id_of_sync_error());
    }
}
