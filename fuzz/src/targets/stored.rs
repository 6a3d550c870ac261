//! What is read back from the store. Nobody else is to write there; who does must not break a hub.

use shared::{
    protocol::{Event, Scopes, SubscriptionId},
    session::{Entry, Fields, SessionState},
    store::{History, Position, Progress, Revision, Subscription},
};

use super::text;
use crate::{
    Target,
    seeds::{event, resource, texts},
};

pub const POSITION: Target = Target {
    name: "position",
    check: check_position,
    seeds: positions,
    words: &["@", "-", "+", "0", "ffffffff", "18446744073709551615", "18446744073709551616"],
};
pub const ENTRY: Target = Target { name: "entry", check: check_entry, seeds: entries, words: ENTRY_WORDS };
pub const FIELDS: Target = Target { name: "fields", check: check_fields, seeds: fields, words: FIELD_WORDS };
pub const RECORD: Target =
    Target { name: "record", check: check_record, seeds: records, words: RECORD_WORDS };

const ENTRY_WORDS: &[&str] = &[
    "\"v\":1",
    "\"v\":9",
    "\"event\":",
    "\"subscription\":",
    "\"for\":",
    "\"only\":",
    "\"except\":",
    "\"everyone\"",
    "\"derived\":",
    "\"message\":",
    "\"name\":",
    "\"renewed\":",
    "\"replaced\":",
    "\"ended\":",
    "\"reason\":",
    "\"connection\":",
    "\"0097a8ef7b3de5d5425c12a4040163ea2fb1b952\"",
    "\"Patient-open\"",
    "1.10",
    "null",
];
const FIELD_WORDS: &[&str] =
    &["open:", "current=", "announced=", "\n", "=", "18446744073709551615", "{}", "null"];
const RECORD_WORDS: &[&str] = &[
    "\"id\":",
    "\"topic\":",
    "\"channel\":",
    "\"websocket\"",
    "\"webhook\":",
    "\"callback\":",
    "\"secret\":",
    "\"terms\":",
    "\"events\":",
    "\"lease_secs\":",
    "\"subscriber_name\":",
    "\"cursor\":",
    "\"attempts\":",
    "\"since\":",
    "\"1-2@3\"",
];

fn positions() -> Vec<Vec<u8>> {
    texts([
        "9-10@0",
        "10-2@0000abcd",
        "1@2",
        "-1@0",
        "1-2-3@0",
        "+1-+2@+3",
        "12@000000ab",
        "1-2@fffffffff",
        "0-0@0",
    ])
}

fn check_position(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(position) = text.parse::<Position>() {
        let shown = position.to_string();
        assert_eq!(shown.parse(), Ok(position));
        assert!(position.covers(position) && shown.len() <= 20 + 1 + 20 + 1 + 8);
        assert!(Position::START <= position);
        let stored = serde_json::to_string(&position).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Position>(&stored).ok(), Some(position));
    }
    if let Ok(revision) = text.parse::<Revision>() {
        assert_eq!(revision.to_string().parse(), Ok(revision));
        let next = revision.next_in(History(7));
        assert!(!next.is_before(revision));
    }
    if let Ok(history) = text.parse::<History>() {
        assert_eq!(history.to_string().parse(), Ok(history));
    }
}

fn entries() -> Vec<Vec<u8>> {
    let message = event("Patient-open", r#","n":1.10"#, &resource("Patient", "1"));
    let id = "0097a8ef7b3de5d5425c12a4040163ea2fb1b952";
    texts([
        &format!(r#"{{"v":1,"event":{{"id":"i","name":"Patient-open","message":{message}}}}}"#),
        &format!(
            r#"{{"v":1,"event":{{"id":"i","name":"Patient-open","for":{{"only":"{id}"}},"message":{message}}}}}"#
        ),
        &format!(
            r#"{{"v":1,"event":{{"id":"i","name":"Patient-open","trace":{{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=1"}},"message":{message}}}}}"#
        ),
        &format!(r#"{{"v":1,"subscription":{{"ended":{{"id":"{id}","reason":"lease expired"}}}}}}"#),
        &format!(r#"{{"v":1,"subscription":{{"replaced":{{"id":"{id}","connection":"c"}}}}}}"#),
        r#"{"v":9}"#,
        r#"{"v":1,"event":null,"subscription":null}"#,
    ])
}

fn check_entry(bytes: &[u8]) {
    let Ok(entry) = Entry::from_json(&text(bytes)) else { return };
    let stored = entry.to_json();
    let again = Entry::from_json(&stored).unwrap_or_else(|problem| panic!("{problem}: {stored}"));
    assert_eq!(again.to_json(), stored, "FC-TRN-05");
    let (Some(notice), Some(kept)) = (entry.as_event(), again.as_event()) else { return };
    assert_eq!(notice.message.get(), kept.message.get(), "FC-TRN-05");
    let state = SessionState::default().evolve(&entry, 3);
    let replayed = SessionState::default().evolve(&again, 3);
    assert_eq!(state.to_fields(), replayed.to_fields());
    let fields = state.to_fields();
    let read = SessionState::from_fields(&fields).unwrap_or_else(|unreadable| panic!("{unreadable}"));
    assert_eq!(read.to_fields(), fields);
}

fn fields() -> Vec<Vec<u8>> {
    let message = event("Patient-open", "", &resource("Patient", "1"));
    let open = format!(
        r#"{{"since":1,"anchor":{{"resourceType":"Patient","id":"1"}},"versionId":"v","name":"Patient-open","message":{message}}}"#
    );
    texts([
        &format!("current=1\nopen:1={open}"),
        &format!("current=18446744073709551615\nopen:18446744073709551615={open}"),
        &format!("current=7\nopen:1={open}\nopen:01={open}\nopen:2={open}\nannounced={{}}"),
        "current=+1",
        "open:x={}",
        "other=1",
    ])
}

/// Each line is a field of a session's hash: its name, `=`, its value.
fn check_fields(bytes: &[u8]) {
    let text = text(bytes);
    let pairs = text.split('\n').take(20).filter_map(|line| line.split_once('='));
    let fields: Fields = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let Ok(state) = SessionState::from_fields(&fields) else { return };
    let kept = state.to_fields();
    let again = SessionState::from_fields(&kept).unwrap_or_else(|unreadable| panic!("{unreadable}"));
    assert_eq!(again.to_fields(), kept, "what was written once is written the same again");
    assert!(state.difference(&state.clone()).is_empty());
    state.current_context(&Scopes::everything()).to_json([]);
    // The session goes on from it.
    let message = event("Patient-open", "", &resource("Patient", "new"));
    let entry = format!(r#"{{"v":1,"event":{{"id":"i","name":"Patient-open","message":{message}}}}}"#);
    let entry = Entry::from_json(&entry).unwrap_or_else(|problem| panic!("{problem}"));
    let next = state.evolve(&entry, 3);
    let opened = Event::read(&message).ok();
    let anchor = opened.as_ref().and_then(Event::anchor).unwrap_or_else(|| panic!("it has an anchor"));
    assert!(next.current().is_some_and(|current| current.anchor.is_same(anchor)), "FC-CTX-02");
}

fn records() -> Vec<Vec<u8>> {
    let id = "0097a8ef7b3de5d5425c12a4040163ea2fb1b952";
    texts([
        &format!(
            r#"{{"id":"{id}","topic":"t","channel":"websocket","terms":{{"events":"Patient-open,*-select","lease_secs":60,"subscriber_name":"A"}}}}"#
        ),
        &format!(
            r#"{{"id":"{id}","topic":"t","channel":{{"webhook":{{"callback":"https://a/b?c","secret":"s"}}}},"terms":{{"events":"*","lease_secs":60}}}}"#
        ),
        r#"{"cursor":"1-2@3","attempts":1,"retry_at":2,"reported":"0-0@0"}"#,
        r#"{"since":1,"parting":"lost"}"#,
    ])
}

/// A subscription or a progress, as the stores keep them.
fn check_record(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(subscription) = serde_json::from_str::<Subscription>(&text) {
        let stored = serde_json::to_string(&subscription).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Subscription>(&stored).ok().as_ref(), Some(&subscription));
        let id: SubscriptionId = subscription.address().id;
        assert_eq!(id, subscription.id);
        assert!(subscription.topic.as_str().len() <= 256);
    }
    if let Ok(progress) = serde_json::from_str::<Progress>(&text) {
        let stored = serde_json::to_string(&progress).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Progress>(&stored).ok(), Some(progress));
    }
}
