//! A row of events, and what they make of a session.

use serde_json::Value;
use shared::{
    protocol::{Action, Event, EventFilter, Scopes, SubscriptionId, Topic, json},
    session::{Audience, Entry, Rules, SessionState, decide, id, render, view},
};

use super::JSON_WORDS;
use crate::{
    Target,
    seeds::{event, examples, resource},
};

const RULES: Rules = Rules { max_open: 3, max_content_bytes: 1 << 16 };
const MAX_EVENTS: usize = 12;

pub const SESSION: Target = Target { name: "session", check, seeds, words: JSON_WORDS };

fn seeds() -> Vec<Vec<u8>> {
    let (patient, study) = (resource("Patient", "1"), resource("ImagingStudy", "2"));
    let both = format!("{study},{patient}");
    let row = |events: &[String]| events.join("\n").into_bytes();
    let mut seeds: Vec<Vec<u8>> = examples()
        .into_iter()
        .map(|text| text.split(|byte| *byte == b'\n').collect::<Vec<_>>().concat())
        .collect();
    seeds.extend([
        row(&[
            event("Patient-open", "", &patient),
            event("ImagingStudy-open", "", &both),
            event("Patient-close", "", &patient),
            event("ImagingStudy-close", "", &study),
        ]),
        row(&[
            event("ImagingStudy-open", "", &both),
            event("Patient-open", "", &patient),
            event("home-open", "", ""),
        ]),
        row(&[event("Patient-open", "", &patient), event("userLogout", "", ""), event("syncerror", "", "")]),
        row(&["1", "2", "3", "4", "5"].map(|number| event("Patient-open", "", &resource("Patient", number)))),
        row(&[
            event("Patient-open", "", &patient),
            event("Patient-select", "", &patient),
            event("heartbeat", "", ""),
        ]),
    ]);
    seeds
}

/// Each line is an event.
fn check(bytes: &[u8]) {
    let everything = EventFilter::parse("*,heartbeat", 2).unwrap_or_else(|invalid| panic!("{invalid}"));
    let anybody = SubscriptionId::of_callback(0, &topic(), "");
    let mut state = SessionState::default();
    for (number, line) in bytes.split(|byte| *byte == b'\n').take(MAX_EVENTS).enumerate() {
        let Ok(text) = json::text(line, 64) else { continue };
        let Ok(event) = Event::read(text) else { continue };
        let version = format!("v{number}");
        let Ok(change) = decide(&state, &event, Audience::Everyone, &version, &RULES) else { continue };

        // The store's way from the state before to the one after.
        let mut fields = state.to_fields();
        for (field, value) in &change.writes {
            match value {
                Some(value) => drop(fields.insert(field.clone(), value.clone())),
                None => drop(fields.remove(field)),
            }
        }
        assert_eq!(fields, change.state.to_fields(), "what is written is what is decided");
        let stored = SessionState::from_fields(&fields).unwrap_or_else(|unreadable| panic!("{unreadable}"));
        assert_eq!(stored.to_fields(), fields);

        // The log's way.
        let entry = change.entry.to_json();
        let read = Entry::from_json(&entry).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(read.to_json(), entry, "FC-TRN-05");
        assert_eq!(
            state.evolve(&read, RULES.max_open).to_fields(),
            fields,
            "who replays the log has the same state"
        );

        assert!(change.state.opens().count() <= RULES.max_open, "FC-CNT-10");
        if let Some((Action::Open, anchor)) = event.anchored() {
            let current =
                change.state.current().unwrap_or_else(|| panic!("FC-CTX-02: an open makes it current"));
            assert!(current.anchor.is_same(anchor) && current.version_id == version, "FC-CTX-02, FC-CNT-01");
        }
        if let Some((Action::Close, anchor)) = event.anchored() {
            assert!(change.state.find(anchor).is_none(), "FC-CNT-07");
        }
        let current: Value =
            serde_json::from_str(&change.state.current_context(&Scopes::everything()).to_json([]))
                .unwrap_or_else(|error| panic!("FC-CTX-01: {error}"));
        assert_eq!(current["context.type"] == "", change.state.current().is_none(), "FC-CTX-03");

        seen(&read, &everything, &anybody, &event);
        for open in change.state.opens_for(anybody, &everything) {
            let notice = open.as_event().unwrap_or_else(|| panic!("an open is an event"));
            assert!(Event::read(notice.message.get()).is_ok(), "FC-SUB-08");
        }
        state = change.state;
    }
}

/// What subscribers are sent of it reads as an event, with the id that they answer with.
fn seen(entry: &Entry, everything: &EventFilter, anybody: &SubscriptionId, event: &Event<'_>) {
    let notice = entry.as_event().unwrap_or_else(|| panic!("it is an event"));
    let names = notice.derived.iter().map(|derived| EventFilter::parse(derived.name.as_str(), 1));
    let filters = std::iter::once(Ok(everything.clone())).chain(names);
    for filter in filters.map(|filter| filter.unwrap_or_else(|invalid| panic!("FC-NOT-07: {invalid}"))) {
        let view = view(entry, anybody, &filter).unwrap_or_else(|| panic!("FC-NOT-07: it is asked for"));
        let text = render(entry, view).unwrap_or_else(|| panic!("FC-NOT-07: it can be rendered"));
        let read = Event::read(&text).unwrap_or_else(|invalid| panic!("FC-NOT-07: {invalid}: {text}"));
        assert_eq!(read.id, id(notice, view), "FC-WSC-03");
        assert_eq!((&read.timestamp, &read.topic), (&event.timestamp, &event.topic), "FC-NOT-07");
    }
}

fn topic() -> Topic {
    "t".parse().unwrap_or_else(|invalid| panic!("{invalid}"))
}
