//! What a subscriber sees of a log entry, and how it is rendered.
//!
//! Sockets and callbacks send what [`render`] gives, so that both channels carry the same content
//! (FC-NOT-01). Callers render once for each distinct view, not for each subscriber.

use bytestring::ByteString;

use super::{
    Entry, OpenContext, SessionState,
    decide::raw,
    derived::{Part, parts},
    entry::{Audience, Notice},
};
use crate::protocol::{Anchor, Event, EventFilter, EventName, SubscriptionId, event::Versions};

/// One of the forms in which an entry may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The event as it was sent.
    Source,
    /// An open that was derived from it, by its place among them (FC-NOT-07).
    Derived(usize),
}

/// What this subscription sees of the entry, if anything.
pub fn view(entry: &Entry, subscription: &SubscriptionId, events: &EventFilter) -> Option<View> {
    let notice = entry.as_event()?;
    if notice.audience.includes(subscription) { view_by(notice, events) } else { None }
}

/// What a subscription of the notice's audience sees of it with this filter: the part of [`view`]
/// that is the same for all who asked for the same.
pub fn view_by(notice: &Notice, events: &EventFilter) -> Option<View> {
    if events.matches(&notice.name) {
        return Some(View::Source);
    }
    notice.derived.iter().position(|derived| events.matches(&derived.name)).map(View::Derived)
}

/// The notification, ready to be sent. `None` for an entry that is no event.
pub fn render(entry: &Entry, view: View) -> Option<ByteString> {
    let notice = entry.as_event()?;
    match view {
        View::Source => Some(notice.message.get().into()),
        View::Derived(index) => {
            let event = Event::read(notice.message.get()).ok()?;
            Some(notice.derived.get(index)?.message(&event)?.into())
        }
    }
}

/// The `id` of the notification: what its subscriber answers with.
pub fn id(notice: &Notice, view: View) -> String {
    let derived = match view {
        View::Source => None,
        View::Derived(index) => notice.derived.get(index),
    };
    let of_derived = derived.and_then(|derived| Some(derived.id(&Event::read(notice.message.get()).ok()?)));
    of_derived.unwrap_or_else(|| notice.id.clone())
}

/// A SyncError for the one subscriber that it is about.
pub fn sync_error_for(subscription: SubscriptionId, event: &Event<'_>) -> Entry {
    let message = raw(event.notification(None));
    Entry::event(Notice::new(event.id.clone(), event.name.clone(), Audience::Only(subscription), message))
}

/// A SyncError for all subscribers.
pub fn sync_error_for_all(event: &Event<'_>) -> Entry {
    let message = raw(event.notification(None));
    Entry::event(Notice::new(event.id.clone(), event.name.clone(), Audience::Everyone, message))
}

impl SessionState {
    /// What a new subscriber is sent before anything else (FC-SUB-08): for each type of anchor
    /// that it may see, the last open that has not been closed, oldest first, with the original
    /// id and timestamp, and the anchor's present version (FC-CNT-01). Of an open that it may not
    /// see it is sent what is derived from it, as everybody else is (FC-NOT-07).
    pub fn opens_for(&self, subscription: SubscriptionId, events: &EventFilter) -> Vec<Entry> {
        let mut types: Vec<String> = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        for open in self.opens().rev() {
            let Some(seen) = open.seen_by(|name| events.matches(name), &types) else { continue };
            let Seen { resource_type, id, name, message } = seen;
            types.push(resource_type);
            entries.push(Entry::event(Notice::new(id, name, Audience::Only(subscription), raw(message))));
        }
        entries.reverse();
        entries
    }

    /// The same for all subscribers at once, whatever they ask for: each view of an entry has what
    /// that subscriber may see of it.
    pub fn opens_for_all(&self) -> Vec<Entry> {
        let mut types: Vec<String> = self.opens().map(|open| open.anchor.resource_type.clone()).collect();
        let mut entries: Vec<Entry> = Vec::new();
        let mut is_opened: Vec<&str> = Vec::new();
        for open in self.opens().rev() {
            let Ok(event) = Event::read(open.message.get()) else { continue };
            if is_opened.contains(&open.anchor.resource_type.as_str()) {
                continue;
            }
            is_opened.push(&open.anchor.resource_type);
            let present = event.notification(Some(Versions { current: &open.version_id, prior: None }));
            let mut notice =
                Notice::new(event.id.clone(), open.name.clone(), Audience::Everyone, raw(present));
            for part in parts(&event) {
                if !types.iter().any(|known| part.resource.is_a(known)) {
                    types.push(part.resource.resource_type.clone());
                    notice.derived.push(part.derived);
                }
            }
            entries.push(Entry::event(notice));
        }
        entries.reverse();
        entries
    }
}

/// The open of a context as it is seen: its own, or one that is derived from it.
pub(super) struct Seen {
    /// The type of the resource that it is about.
    pub resource_type: String,
    pub id: String,
    pub name: EventName,
    /// The notification, with the context's present version.
    pub message: String,
}

impl OpenContext {
    /// What somebody sees of it who may see events of these names, and has the opens of other
    /// types already.
    pub(super) fn seen_by(&self, may_see: impl Fn(&EventName) -> bool, types: &[String]) -> Option<Seen> {
        let is_known = |resource: &Anchor| types.iter().any(|known| resource.is_a(known));
        let event = Event::read(self.message.get()).ok()?;
        let present = event.notification(Some(Versions { current: &self.version_id, prior: None }));
        if may_see(&self.name) {
            let (resource_type, name) = (self.anchor.resource_type.clone(), self.name.clone());
            let seen = Seen { resource_type, id: event.id, name, message: present };
            return (!is_known(&self.anchor)).then_some(seen);
        }
        let is_seen = |part: &Part<'_>| may_see(&part.derived.name) && !is_known(part.resource);
        let part = parts(&event).into_iter().find(is_seen)?;
        let message = part.derived.message(&Event::read(&present).ok()?)?;
        let (resource_type, id) = (part.resource.resource_type.clone(), part.derived.id(&event));
        Some(Seen { resource_type, id, name: part.derived.name, message })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::session::{Rules, decide};

    fn accepted(state: &SessionState, name: &str, context: &str, id: &str) -> (SessionState, Entry) {
        let text = format!(
            r#"{{"timestamp":"T","id":"{id}","event":{{"hub.topic":"t","hub.event":"{name}","context":[{context}]}}}}"#
        );
        let change = decide(
            state,
            &Event::read(&text).unwrap(),
            Audience::Everyone,
            &format!("v-{id}"),
            &Rules { max_open: 9, max_content_bytes: 99 },
        )
        .unwrap();
        (change.state, change.entry)
    }

    fn open(state: &SessionState, kind: &str, id: &str) -> SessionState {
        let context = format!(r#"{{"key":"k","resource":{{"resourceType":"{kind}","id":"{id}"}}}}"#);
        accepted(state, &format!("{kind}-open"), &context, &format!("open-{id}")).0
    }

    fn filter(text: &str) -> EventFilter {
        EventFilter::parse(text, 9).unwrap()
    }

    #[test]
    fn an_entry_is_seen_by_its_audience_as_far_as_it_asked_for_it() {
        let (_, entry) = accepted(&SessionState::default(), "syncerror", "", "e");
        let (me, other) = (SubscriptionId::random(1), SubscriptionId::random(1));
        assert_eq!(view(&entry, &me, &filter("syncerror")), Some(View::Source));
        assert_eq!(view(&entry, &me, &filter("Patient-*")), None);
        let mut notice = entry.as_event().unwrap().clone();
        notice.audience = Audience::Except(me);
        let excepted = Entry::event(notice);
        assert_eq!(view(&excepted, &me, &filter("*")), None, "FC-NOT-02");
        assert_eq!(view(&excepted, &other, &filter("*")), Some(View::Source), "FC-NOT-02");
    }

    #[test]
    fn all_are_sent_the_last_open_of_each_type_and_each_sees_what_it_may() {
        let state = open(&open(&SessionState::default(), "Patient", "1"), "Patient", "2");
        let study = r#"{"key":"study","resource":{"resourceType":"ImagingStudy","id":"3"}}"#;
        let visit = r#"{"key":"encounter","resource":{"resourceType":"Encounter","id":"5"}}"#;
        let patient = r#"{"key":"patient","resource":{"resourceType":"Patient","id":"4"}}"#;
        let context = [study, visit, patient].join(",");
        let state = accepted(&state, "ImagingStudy-open", &context, "open-3").0;
        let sent = state.opens_for_all();
        let seen = |events: &str| -> Vec<String> {
            let (me, events) = (SubscriptionId::random(1), filter(events));
            let view = |entry: &Entry| Some(id(entry.as_event()?, super::view(entry, &me, &events)?));
            sent.iter().filter_map(view).collect()
        };
        assert_eq!(seen("*"), ["open-2", "open-3"]);
        assert_eq!(
            seen("Patient-open"),
            ["open-2"],
            "FC-NOT-07: the patient that is open, not that of the study"
        );
        assert_eq!(seen("Encounter-open").len(), 1, "FC-NOT-07: derived from the study");
        assert!(seen("Patient-close,syncerror").is_empty());
        assert!(SessionState::default().opens_for_all().is_empty());
    }

    #[test]
    fn a_late_joiner_gets_the_last_open_of_each_type_that_it_may_see_oldest_first() {
        let state = ["1", "2"].iter().fold(SessionState::default(), |state, id| open(&state, "Patient", id));
        let state = open(&open(&state, "ImagingStudy", "3"), "Patient", "4");
        let me = SubscriptionId::random(1);
        let sent = |events: &str| -> Vec<String> {
            state
                .opens_for(me, &filter(events))
                .iter()
                .map(|entry| entry.as_event().unwrap().id.clone())
                .collect()
        };
        assert_eq!(sent("*"), ["open-3", "open-4"], "FC-SUB-08");
        assert_eq!(sent("Patient-open"), ["open-4"], "FC-SUB-08");
        assert!(sent("Patient-close,syncerror").is_empty(), "FC-SUB-08");
        let entry = &state.opens_for(me, &filter("Patient-open"))[0];
        let message = render(entry, View::Source).unwrap();
        assert!(
            message.contains(r#""timestamp":"T""#) && message.contains(r#""context.versionId":"v-open-4""#),
            "FC-SUB-08, FC-CNT-01: {message}"
        );
        assert_eq!(
            view(entry, &SubscriptionId::random(1), &filter("*")),
            None,
            "sent to the one that joined"
        );
    }

    fn resource(kind: &str, id: &str) -> String {
        format!(r#"{{"key":"k","resource":{{"resourceType":"{kind}","id":"{id}"}}}}"#)
    }

    /// Opens a study of a patient.
    fn study(state: &SessionState, id: &str, patient: &str) -> (SessionState, Entry) {
        let context = format!("{},{}", resource("ImagingStudy", id), resource("Patient", patient));
        accepted(state, "ImagingStudy-open", &context, &format!("study-{id}"))
    }

    #[test]
    fn who_does_not_see_an_open_sees_what_is_derived_from_it() {
        let (state, entry) = study(&SessionState::default(), "s", "p");
        let notice = entry.as_event().unwrap();
        assert_eq!(view_by(notice, &filter("*")), Some(View::Source), "FC-NOT-07");
        assert_eq!(
            view_by(notice, &filter("Patient-open,ImagingStudy-open")),
            Some(View::Source),
            "one a cause"
        );
        assert_eq!(view_by(notice, &filter("Patient-close")), None);
        let derived = view_by(notice, &filter("patient-open")).unwrap();
        let message: serde_json::Value = serde_json::from_str(&render(&entry, derived).unwrap()).unwrap();
        assert_eq!(message["event"]["hub.event"], "Patient-open", "FC-NOT-07");
        assert_eq!(message["timestamp"], "T", "FC-NOT-07: the source's");
        assert_eq!(message["id"], id(notice, derived).as_str());
        assert_ne!(message["id"], "study-s", "FC-NOT-07: its own id");
        let context = message["event"]["context"].as_array().unwrap();
        assert_eq!((context.len(), &context[0]["resource"]["id"]), (1, &"p".into()), "FC-NOT-07");

        let late = &state.opens_for(SubscriptionId::random(1), &filter("Patient-open"))[0];
        assert_eq!(
            render(late, View::Source),
            render(&entry, derived),
            "FC-SUB-08: the same for late joiners"
        );
        assert_eq!(late.as_event().unwrap().id, id(notice, derived));
    }

    #[test]
    fn nothing_is_derived_of_what_is_current_already() {
        let derives = |entry: &Entry| view_by(entry.as_event().unwrap(), &filter("Patient-open")).is_some();
        let patient = open(&SessionState::default(), "Patient", "p");
        let (one, entry) = study(&patient, "1", "p");
        assert!(!derives(&entry), "FC-NOT-07: the patient is open");
        let (two, entry) = study(&one, "2", "q");
        assert!(derives(&entry), "FC-NOT-07: another patient");
        let (three, entry) = study(&two, "3", "q");
        assert!(!derives(&entry), "FC-NOT-07: derived before");
        assert!(derives(&study(&three, "1", "p").1), "FC-NOT-07: the first again");
        let home = accepted(&three, "home-open", "", "home").0;
        assert!(derives(&study(&home, "4", "q").1), "nothing is current any more");
        let closed = accepted(&one, "ImagingStudy-close", &resource("ImagingStudy", "1"), "c").0;
        assert!(!derives(&study(&closed, "5", "p").1), "FC-NOT-07: the patient is still open");
        let gone = accepted(&closed, "Patient-close", &resource("Patient", "p"), "d").0;
        assert!(derives(&study(&gone, "6", "p").1), "FC-NOT-07: it was closed");
    }

    #[test]
    fn a_subscriber_sees_one_derived_open_at_most_the_patient_first() {
        let context = [("DiagnosticReport", "r"), ("ImagingStudy", "s"), ("Patient", "p"), ("Patient", "q")]
            .map(|(kind, id)| resource(kind, id))
            .join(",");
        let (state, entry) = accepted(&SessionState::default(), "DiagnosticReport-open", &context, "r");
        let sees = |entry: &Entry, events: &str| {
            let view = view_by(entry.as_event().unwrap(), &filter(events)).unwrap();
            Event::read(&render(entry, view).unwrap()).unwrap().anchor().unwrap().clone()
        };
        assert!(sees(&entry, "Patient-open,ImagingStudy-open").is_a("Patient"), "FC-NOT-07");
        assert!(sees(&entry, "ImagingStudy-open").is_a("ImagingStudy"), "FC-NOT-07");
        assert_eq!(sees(&entry, "Patient-open").id.unwrap(), "p", "the first of its type");
        let late = state.opens_for(SubscriptionId::random(1), &filter("Patient-open,ImagingStudy-open"));
        assert_eq!(late.len(), 1, "FC-NOT-07, FC-SUB-08");
        assert_eq!(late[0].as_event().unwrap().name.as_str(), "Patient-open");
    }
}
