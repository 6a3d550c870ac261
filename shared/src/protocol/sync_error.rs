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
    /// It has the notification, and has not answered it in time (FC-NOT-04).
    Unanswered,
    /// Its socket closed without a goodbye, and it did not come back in time (FC-NOT-04).
    Gone,
    /// What it had not got yet is no longer kept: it cannot get it any more.
    Missed,
    /// The hub's store has lost events that had been accepted: nobody can be sure who has seen them.
    Lost,
}

/// One subscriber that is out of step, or the hub itself, once: the cause of exactly one SyncError.
#[derive(Debug, Clone)]
pub struct Cause<'a> {
    /// The session.
    pub topic: &'a Topic,
    /// The `id` and the name of the event that was not followed, if it is about one.
    pub event: Option<(&'a str, &'a EventName)>,
    /// Which of many it is: where the event is in the log (a resent one may fail again), or what
    /// tells this absence or loss from another.
    pub mark: &'a str,
    /// The subscription that did not follow; `None` when it is the hub itself.
    pub subscription: Option<SubscriptionId>,
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
            .chain_update(self.mark)
            .chain_update(self.subscription.map_or_else(String::new, |id| id.to_string()))
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The SyncError, as if a subscriber had posted it. `timestamp` is ISO 8601.
    pub fn message(&self, severity: Severity, timestamp: &str) -> String {
        let unnamed = if self.subscription.is_some() { "an unnamed subscriber" } else { "the hub" };
        let subscriber = self.subscriber_name.unwrap_or(unnamed);
        let event = self.event.map_or("an event", |(_, name)| name.as_str());
        let diagnostics = match self.reason {
            Reason::Refused(status) => format!("{subscriber} refused {event} with status {status}"),
            Reason::Undelivered => format!("{event} could not be delivered to {subscriber} in time"),
            Reason::Unanswered => format!("{subscriber} did not answer {event} in time"),
            Reason::Gone => format!("{subscriber} has lost its connection and did not come back"),
            Reason::Missed => format!("{subscriber} has missed events that are no longer kept"),
            Reason::Lost => {
                format!("{subscriber} has lost events that it had accepted: ask for the current context")
            }
        };
        let coding = |system: &str, code: &str| json!({"system": format!("https://fhircast.hl7.org/events/syncerror/{system}"), "code": code});
        let of_event = self.event.into_iter();
        let of_event =
            of_event.flat_map(|(id, name)| [coding("eventid", id), coding("eventname", name.as_str())]);
        let of_subscriber = [coding("subscriber", subscriber), coding("subscribername", subscriber)];
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
                            "details": {"coding": of_event.chain(of_subscriber).collect::<Vec<_>>()},
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
            event: Some(("e1", &event_name)),
            mark: "1-0",
            subscription: Some(SubscriptionId::random(1)),
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
        cause.mark = "2-0";
        assert_ne!(first, cause.event_id_of_sync_error());

        (cause.event, cause.reason) = (None, Reason::Gone);
        let gone = cause.message(Severity::Error, "2026-01-01T00:00:00Z");
        assert!(
            gone.contains("Acme has lost its connection") && !gone.contains("eventid"),
            "FC-NOT-04: {gone}"
        );

        (cause.subscription, cause.subscriber_name, cause.reason) = (None, None, Reason::Lost);
        let lost = cause.message(Severity::Error, "2026-01-01T00:00:00Z");
        assert!(lost.contains("the hub has lost events") && Event::read(&lost).is_ok(), "{lost}");
    }
}
