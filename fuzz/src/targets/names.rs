//! Names: of events, of what is subscribed to, of topics and of subscriptions.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use shared::protocol::{
    EventFilter, EventName, SubscriptionId, Topic, TopicKey,
    event_name::{EventKind, MAX_EVENT_NAME_BYTES},
    topic::{MAX_TOPIC_BYTES, RESERVED_NAMES},
};

use super::text;
use crate::{Target, seeds::texts};

const MAX_PATTERNS: usize = 20;

const NAMES: &[&str] = &[
    "Patient-open",
    "*",
    "*-*",
    "Patient-*",
    "*-select",
    "-",
    "open",
    "close",
    "update",
    "select",
    "syncerror",
    "SyncError",
    "heartbeat",
    "userLogout",
    "home-open",
    "org.example.a_b",
    ".",
    ",",
    " ",
    "K",
    "ſ",
    "\u{200b}",
    "\0",
];

pub const EVENT_NAME: Target =
    Target { name: "event-name", check: check_event_name, seeds: event_names, words: NAMES };
pub const FILTER: Target = Target { name: "filter", check: check_filter, seeds: filters, words: NAMES };
pub const TOPIC: Target = Target { name: "topic", check: check_topic, seeds: topics, words: NAMES };
pub const SUBSCRIPTION_ID: Target =
    Target { name: "subscription-id", check: check_id, seeds: ids, words: &["00", "ffff", "A", "g"] };

fn event_names() -> Vec<Vec<u8>> {
    texts([
        "Patient-open",
        "ImagingStudy-SELECT",
        "home-open",
        "org.example.thing",
        "syncerror",
        "Patient-opened",
        "a-b-open",
        "Patient\u{2010}open",
        "Pat\u{131}ent-open",
        "Patient-open ",
        "Patient-open\0",
        ".a",
        "a..b",
    ])
}

fn check_event_name(bytes: &[u8]) {
    let text = text(bytes);
    let Ok(name) = text.parse::<EventName>() else { return };
    assert_eq!(name.as_str(), text, "FC-EVT-02: it keeps its spelling");
    assert!(text.is_ascii() && (1..=MAX_EVENT_NAME_BYTES).contains(&text.len()), "FC-EVT-03");
    assert!(!text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ','), "FC-EVT-03");
    let kind = |name: &EventName| format!("{:?}", name.kind()).to_ascii_lowercase();
    for other in [text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
        let other: EventName = other.parse().unwrap_or_else(|invalid| panic!("FC-EVT-02: {invalid}"));
        assert_eq!(other, name, "FC-EVT-02");
        assert_eq!((hash(&other), kind(&other)), (hash(&name), kind(&name)), "FC-EVT-02");
    }
    assert_eq!(name.kind() == EventKind::Proprietary, text.contains('.'), "FC-EVT-03");
    assert!(EventFilter::parse(&text, 1).is_ok_and(|filter| filter.matches(&name)), "FC-SUB-01");
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn filters() -> Vec<Vec<u8>> {
    texts([
        "*\nPatient-open\nheartbeat\nsyncerror",
        "*-*\nPatient-open\nhome-open\norg.example.a",
        "Patient-*, patient-OPEN ,*-select\nPatientX-open\nPatient-close\nA-select",
        "heartbeat,syncerror,org.example.a\nHEARTBEAT\norg.example.A\norg.example.ab",
        "home-*,*-open\nhome-open\nHOME-OPEN",
        "*-*-*\na",
        "**\na",
        ",\na",
        "Pat*-open\na",
        "*-open,\na",
    ])
}

/// The first line is the filter, the others are names.
fn check_filter(bytes: &[u8]) {
    let text = text(bytes);
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default();
    let Ok(filter) = EventFilter::parse(asked, MAX_PATTERNS) else { return };
    let shown = filter.to_string();
    let again =
        EventFilter::parse(&shown, MAX_PATTERNS).unwrap_or_else(|invalid| panic!("FC-SUB-03: {invalid}"));
    assert_eq!((&again, again.to_string()), (&filter, shown.clone()), "FC-SUB-03");
    let patterns: Vec<&str> = shown.split(',').collect();
    let folded: HashSet<String> = patterns.iter().map(|pattern| pattern.to_ascii_lowercase()).collect();
    assert!(patterns.len() == folded.len() && patterns.len() <= MAX_PATTERNS, "FC-SUB-03: it is a set");
    let reversed = patterns.iter().rev().copied().collect::<Vec<_>>().join(",");
    let reversed = EventFilter::parse(&reversed, MAX_PATTERNS).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(reversed, filter, "FC-SUB-03: in any order");
    for name in lines.filter_map(|line| line.parse::<EventName>().ok()).take(20) {
        let naive = patterns.iter().any(|pattern| wants(pattern, name.as_str()));
        assert_eq!(filter.matches(&name), naive, "FC-EVT-06: {shown} on {name}");
        assert_eq!(reversed.matches(&name), naive);
    }
}

/// The rule, written another way: a bare `*` takes all but the heartbeat, the halves of the others match each alone.
pub fn wants(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    if pattern == "*" {
        return name != "heartbeat";
    }
    let (wanted, given): (Vec<&str>, Vec<&str>) = (pattern.split('-').collect(), name.split('-').collect());
    wanted.len() == given.len()
        && wanted.iter().zip(given).all(|(half, other)| *half == "*" || *half == other)
}

fn topics() -> Vec<Vec<u8>> {
    let (longest, longer) = ("x".repeat(256), "ü".repeat(129));
    texts([
        "fdb2f928-5546-4f52-87a0-0648e9ded065",
        "Größe/ü b?",
        "ws",
        "metadata",
        ".well-known",
        "WS",
        "a\nb",
        "a\u{7f}",
        "\u{2028}",
        "t ",
        " t",
        "%2e%2e/",
        "../../etc/passwd",
        "a\0",
        "\u{feff}t",
        &longest,
        &longer,
    ])
}

fn check_topic(bytes: &[u8]) {
    let name = text(bytes);
    let naive = (1..=MAX_TOPIC_BYTES).contains(&name.len())
        && !RESERVED_NAMES.contains(&name.as_ref())
        && name.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace()));
    let read = name.parse::<Topic>();
    assert_eq!(read.is_ok(), naive, "FC-SES-01");
    let topic = match read {
        Ok(topic) => topic,
        Err(invalid) => {
            assert!(invalid.to_string().starts_with("hub.topic must"), "FC-TRN-03: {invalid}");
            return;
        }
    };
    assert_eq!(topic.as_str(), name, "FC-SES-01: opaque");
    let key = topic.key();
    assert_eq!(key.to_string().parse::<TopicKey>().ok(), Some(key));
    assert!(key.partition(64) < 64 && key.partition(1) == 0);
    assert!(!format!("{topic:?}").contains(name.as_ref()) || name.len() < 10, "no log shows a topic");
    let stored = serde_json::to_string(&topic).unwrap_or_default();
    assert_eq!(serde_json::from_str::<Topic>(&stored).ok(), Some(topic));
}

fn ids() -> Vec<Vec<u8>> {
    texts([
        "0097a8ef7b3de5d5425c12a4040163ea2fb1b952",
        "0097A8EF7B3DE5D5425C12A4040163EA2FB1B952",
        "0097a8ef7b3de5d5425c12a4040163ea2fb1b95",
        "0097a8ef7b3de5d5425c12a4040163ea2fb1b9520",
        "",
    ])
}

fn check_id(bytes: &[u8]) {
    let text = text(bytes);
    let naive = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let read = text.parse::<SubscriptionId>();
    assert_eq!(read.is_ok(), naive, "FC-WSC-02: one spelling an id");
    if let Ok(id) = read {
        assert_eq!(id.to_string(), text, "FC-WSC-02");
        assert!(format!("{id:?}").len() < 20, "no log shows a whole id");
        assert_eq!(format!("{:04x}", id.partition()), text[..4]);
    }
}
