//! A record as one flat JSON object.

use std::net::IpAddr;

use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Record, trail::Source};

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    kind: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_secs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    program: &'static str,
    host: &'a str,
    node: &'a str,
}

/// The object, on one line, without its end.
pub(super) fn render(record: &Record, source: &Source) -> String {
    let who = record.who.as_ref();
    let line = Line {
        time: time(record),
        kind: record.kind.as_str(),
        outcome: record.outcome.as_str(),
        asked: record.asked.map(|kind| kind.as_str()),
        status: record.status,
        reason: record.reason.as_deref(),
        issuer: who.map(|who| who.issuer.as_str()),
        subject: who.and_then(|who| who.subject.as_deref()),
        client: who.and_then(|who| who.client.as_deref()),
        owner: record.owner.map(|owner| owner.to_string()),
        address: record.address,
        topic: record.topic.map(|topic| topic.to_string()),
        subscription: record.subscription.map(|id| format!("{id:?}")),
        callback: record.callback.as_deref(),
        event: record.event.as_ref().map(|event| event.as_str()),
        event_id: record.event_id.map(|id| id.to_string()),
        entry: record.entry.map(|entry| entry.to_string()),
        events: record.events.as_deref(),
        lease_secs: record.lease.map(|lease| lease.as_secs_f64().round() as u64),
        request_id: record.request_id.as_deref(),
        program: source.program,
        host: &source.host,
        node: &source.node,
    };
    // Strings and numbers: it always serializes.
    serde_json::to_string(&line).unwrap_or_default()
}

/// The moment, as RFC 3339 has it.
pub(super) fn time(record: &Record) -> String {
    record.at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;
    use crate::audit::{
        Kind,
        record::tests::{records, subscription},
        trail::tests::source,
    };

    #[test]
    fn each_record_is_one_line_that_says_when_who_what_and_how_it_went() {
        for record in records() {
            let text = render(&record, &source());
            assert!(!text.contains('\n'), "{text}");
            let line: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(line["time"], "2026-11-25T17:50:02.25Z");
            assert_eq!(line["kind"], record.kind.as_str());
            assert_eq!(line["outcome"], record.outcome.as_str());
            assert_eq!(line["node"], "node-1");
            assert_eq!(line["program"], "fhircast-hub");
        }
    }

    #[test]
    fn a_publish_names_its_bearer_and_the_whole_hash_of_its_topic() {
        let all = records();
        let publish = all.iter().find(|record| record.kind == Kind::Publish && record.entry.is_some());
        let line: Value = serde_json::from_str(&render(publish.unwrap(), &source())).unwrap();
        for (field, expected) in [
            ("issuer", "https://issuer.example"),
            ("subject", "user-7"),
            ("client", "viewer"),
            ("address", "192.0.2.7"),
            ("topic", &subscription().topic.key().to_string()),
            ("event", "Patient-open"),
            ("event_id", "0f8fad5b-d9cb-469f-a165-70867728950e"),
            ("request_id", "0af7651916cd43dd8448eb211c80319c"),
        ] {
            assert_eq!(line[field], expected, "{field}: {line}");
        }
    }

    #[test]
    fn a_subscription_is_named_by_what_opens_nothing() {
        for record in records() {
            let text = render(&record, &source());
            for told in ["ticket", "hush", "secret", "Somebody", &subscription().id.to_string()] {
                assert!(!text.contains(told), "{told} is in {text}");
            }
        }
        let text = render(&Record::denial(&subscription(), "x"), &source());
        assert!(text.contains("\"callback\":\"https://app.example:8443\""), "{text}");
    }

    #[test]
    fn what_others_chose_cannot_begin_a_line() {
        let mut record = Record::new(Kind::Publish).because("a\n{\"kind\":\"forged\"}\u{1b}[31m");
        record.set_request_id("a\nb");
        let text = render(&record, &source());
        assert!(!text.contains('\n') && !text.contains('\u{1b}'), "{text}");
    }
}
