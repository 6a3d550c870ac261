//! What the hub tells a subscriber about its subscription: confirmation and denial
//! (FC-WSC-01, FC-SUB-10). Over a socket they are JSON; a webhook gets them as a query
//! (see [`super::webhook`]).

use std::time::Duration;

use serde::Serialize;

use super::{EventFilter, Topic};

/// The `hub.reason` of a subscription whose time is over (FC-SUB-07).
pub const LEASE_EXPIRED: &str = "lease expired";

/// The first message on a socket, and the answer to subscribing again.
#[derive(Serialize)]
struct Confirmation<'a> {
    #[serde(rename = "hub.mode")]
    mode: &'static str,
    #[serde(rename = "hub.topic")]
    topic: &'a str,
    #[serde(rename = "hub.events")]
    events: String,
    #[serde(rename = "hub.lease_seconds")]
    lease_seconds: u64,
}

/// The last message on a socket whose subscription has ended.
#[derive(Serialize)]
struct Denial<'a> {
    #[serde(rename = "hub.mode")]
    mode: &'static str,
    #[serde(rename = "hub.topic")]
    topic: &'a str,
    #[serde(rename = "hub.events")]
    events: String,
    #[serde(rename = "hub.reason")]
    reason: &'a str,
}

/// The confirmation as a text frame, with what remains of the lease in seconds, rounded up.
pub fn confirmation(topic: &Topic, events: &EventFilter, lease: Duration) -> String {
    let lease_seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
    to_json(&Confirmation {
        mode: "subscribe",
        topic: topic.as_str(),
        events: events.to_string(),
        lease_seconds,
    })
}

/// The denial as a text frame.
pub fn denial(topic: &Topic, events: &EventFilter, reason: &str) -> String {
    to_json(&Denial { mode: "denied", topic: topic.as_str(), events: events.to_string(), reason })
}

/// Plain structs of strings and numbers always serialize.
pub(super) fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_have_the_members_of_the_specification() {
        let topic: Topic = "t".parse().unwrap();
        let events = EventFilter::parse("Patient-open,Patient-close", 10).unwrap();
        assert_eq!(
            confirmation(&topic, &events, Duration::from_millis(59_001)),
            r#"{"hub.mode":"subscribe","hub.topic":"t","hub.events":"Patient-open,Patient-close","hub.lease_seconds":60}"#,
            "FC-WSC-01"
        );
        assert_eq!(
            denial(&topic, &events, "unsubscribed"),
            r#"{"hub.mode":"denied","hub.topic":"t","hub.events":"Patient-open,Patient-close","hub.reason":"unsubscribed"}"#,
            "FC-SUB-10"
        );
    }
}
