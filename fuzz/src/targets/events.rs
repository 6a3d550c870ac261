//! Events as subscribers post them, and their context elements.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use shared::protocol::{Anchor, ContextElement, Event, event::Versions, json, json::Members};

use super::JSON_WORDS;
use crate::{
    Target,
    seeds::{event, examples, resource, texts},
};

const MAX_DEPTH: usize = 64;

pub const EVENT: Target = Target { name: "event", check: check_event, seeds: event_seeds, words: JSON_WORDS };

pub const UNAMBIGUOUS: Target =
    Target { name: "unambiguous", check: check_unambiguous, seeds: event_seeds, words: JSON_WORDS };

pub const CONTEXT_ELEMENT: Target =
    Target { name: "context-element", check: check_element, seeds: element_seeds, words: JSON_WORDS };

fn event_seeds() -> Vec<Vec<u8>> {
    let mut seeds = examples();
    seeds.extend(texts([
        "{",
        "[]",
        "{}",
        r#"{"timestamp":"\ud800","id":"i","event":{}}"#,
        r#"{"id":"i","i\u0064":"j","timestamp":"t","event":{"hub.topic":"t","hub.event":"syncerror","context":[]}}"#,
        r#"{"timestamp":"t","id":"i","event":{"hub.topic":"metadata","hub.event":"syncerror","context":[]}}"#,
        r#" {"x":{"a":[1.10,-0,1e999]},"id":"i","timestamp":"T010","event":{"hub.event":"org.example.a","versionId":"v","context.versionId":"w","context.priorVersionId":7,"context":[ {"a":1.10} , {"key":7} ],"hub.topic":"t"} } "#,
        &"[".repeat(100),
        &event("Patient-open", r#","\u0061":1"#, &resource("Patient", "1")),
        &event("Patient-open", &many_members(253), &resource("Patient", "1")),
        &event("Patient-open", &many_members(250), &resource("Patient", "1")),
        &event("DiagnosticReport-update", "", r#"{"key":"r","reference":{"reference":"DiagnosticReport/1/_history/2"}}"#),
    ]));
    seeds
}

fn many_members(count: usize) -> String {
    (0..count).map(|number| format!(r#","m{number}":{number}"#)).collect()
}

fn check_event(bytes: &[u8]) {
    let Ok(text) = json::text(bytes, MAX_DEPTH) else { return };
    let Ok(event) = Event::read(text) else { return };
    assert!((1..=256).contains(&event.id.len()) && (1..=256).contains(&event.timestamp.len()), "FC-EVT-01");
    assert!((1..=256).contains(&event.topic.as_str().len()), "FC-SES-01");
    assert!((1..=128).contains(&event.name.as_str().len()), "FC-EVT-03");
    assert!(event.version_id.as_ref().is_none_or(|version| (1..=256).contains(&version.len())), "FC-CNT-02");
    assert!(event.context.len() <= 256);
    event.has_iso_timestamp();

    let passed_on = event.notification(None);
    let again = read_again(&passed_on, &event);
    assert_eq!(again.notification(None), passed_on, "FC-TRN-05: to pass it on once more changes nothing");
    assert_eq!(again.version_id, event.version_id);
    assert_eq!(members(text), members(&passed_on), "FC-TRN-05: the sender's members, in its order and bytes");

    let versions = Versions { current: "v-2", prior: Some("v-1") };
    let versioned = event.notification(Some(versions));
    let again = read_again(&versioned, &event);
    assert_eq!(again.version_id.as_deref(), Some("v-2"), "FC-CNT-01");
    assert_eq!(again.notification(Some(versions)), versioned, "FC-CNT-04");
    let foreign = |text| {
        let mut members = members(text);
        members.retain(|(name, _)| {
            !matches!(
                name.as_str(),
                "event/versionId" | "event/context.versionId" | "event/context.priorVersionId"
            )
        });
        members
    };
    assert_eq!(foreign(text), foreign(&versioned), "FC-TRN-05");
}

fn read_again<'a>(message: &'a str, event: &Event<'_>) -> Event<'a> {
    let again =
        Event::read(message).unwrap_or_else(|invalid| panic!("a notification is an event: {invalid}"));
    assert_eq!((&again.id, &again.timestamp), (&event.id, &event.timestamp), "FC-NOT-01, FC-REQ-02");
    assert_eq!(again.topic, event.topic);
    assert_eq!(again.name.as_str(), event.name.as_str(), "FC-EVT-02: the name as the sender wrote it");
    assert_eq!(again.raw_context(), event.raw_context(), "FC-TRN-05");
    assert_eq!(again.anchor(), event.anchor(), "FC-EVT-07");
    again
}

/// All members but `event`, and those of `event`, each with its raw value.
fn members(text: &str) -> Vec<(String, String)> {
    let Ok(envelope) = Members::read("the body", text) else { return Vec::new() };
    let event =
        envelope.get("event").and_then(|event| Members::read("event", event).ok()).unwrap_or_default();
    let outer = envelope.iter().filter(|(name, _)| *name != "event");
    let outer = outer.map(|(name, value)| (name.to_owned(), value.to_owned()));
    outer.chain(event.iter().map(|(name, value)| (format!("event/{name}"), value.to_owned()))).collect()
}

/// What a parser that goes step by step finds: how deep it is, and whether a name stands twice in one object.
#[derive(Default)]
struct Found {
    depth: usize,
    has_repeats: bool,
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Found, A::Error> {
        let mut whole = Found { depth: 1, has_repeats: false };
        while let Some(element) = elements.next_element::<Found>()? {
            whole.add(&element);
        }
        Ok(whole)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Found, A::Error> {
        let (mut whole, mut names) = (Found { depth: 1, has_repeats: false }, HashSet::new());
        while let Some((name, value)) = members.next_entry::<String, Found>()? {
            whole.has_repeats |= !names.insert(name);
            whole.add(&value);
        }
        Ok(whole)
    }
}

impl Found {
    fn add(&mut self, part: &Self) {
        self.depth = self.depth.max(part.depth + 1);
        self.has_repeats |= part.has_repeats;
    }
}

/// The look without recursion sees in JSON what a parser sees that goes step by step.
fn check_unambiguous(bytes: &[u8]) {
    let Ok(found) = serde_json::from_slice::<Found>(bytes) else { return };
    let is_plain = found.depth <= MAX_DEPTH && !found.has_repeats;
    let accepted = json::text(bytes, MAX_DEPTH);
    assert_eq!(accepted.is_ok(), is_plain, "FC-EVT-01: {:?}", accepted.err());
}

fn element_seeds() -> Vec<Vec<u8>> {
    texts([
        r#"{"key":"patient","resource":{"resourceType":"Patient","id":"1","identifier":[{"system":"s","value":"v"},{"value":""},7]}}"#,
        r#"{"key":"report","reference":{"reference":"https://a/fhir/DiagnosticReport/1/_history/2","type":"DiagnosticReport"}}"#,
        r#"{"reference":{"identifier":{"value":"v"},"type":"Patient"}}"#,
        r#"{"reference":{"reference":"//"}}"#,
        r#"{"key":7,"resource":null,"reference":[],"extension":[1.10]}"#,
        r#"{"key":"a","key":"b"}"#,
        r#"{"decimal":"10"}"#,
        "7",
    ])
}

fn check_element(bytes: &[u8]) {
    let Ok(raw) = serde_json::from_slice::<&RawValue>(bytes) else { return };
    let Ok(element) = ContextElement::read(0, raw.get()) else { return };
    assert_eq!(element.raw, raw.get(), "FC-EXT-01");
    for anchor in [&element.resource, &element.reference].into_iter().flatten() {
        assert!(!anchor.resource_type.is_empty() && anchor.id.as_ref().is_none_or(|id| !id.is_empty()));
        assert!(anchor.identifiers.iter().all(|identifier| !identifier.value.is_empty()));
        assert_eq!(anchor.is_same(anchor), anchor.is_identified(), "FC-EVT-07");
        assert!(anchor.is_a(&anchor.resource_type.to_ascii_uppercase()), "FC-EVT-02");
        let stored = serde_json::to_string(anchor).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Anchor>(&stored).ok().as_ref(), Some(anchor));
    }
    if let (Some(resource), Some(reference)) = (&element.resource, &element.reference) {
        assert_eq!(resource.is_same(reference), reference.is_same(resource));
    }
}
