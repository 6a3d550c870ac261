//! What a subscriber sees of a log entry, and how it is rendered.
//!
//! Sockets and callbacks send what [`render`] gives, so that both channels carry the same content
//! (FC-NOT-01). Callers render once for each distinct view, not for each subscriber.

use bytestring::ByteString;

use super::{
    Entry, SessionState,
    decide::raw,
    entry::{Audience, Notice},
};
use crate::protocol::{Event, EventFilter, SubscriptionId, event::Versions};

/// One of the forms in which an entry may be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// The event as it was sent.
    Source,
}

/// What this subscription sees of the entry, if anything.
pub fn view(entry: &Entry, subscription: &SubscriptionId, events: &EventFilter) -> Option<View> {
    let notice = entry.as_event()?;
    if notice.audience.includes(subscription) { view_by(notice, events) } else { None }
}

/// What a subscription of the notice's audience sees of it with this filter: the part of [`view`]
/// that is the same for all who asked for the same.
pub fn view_by(notice: &Notice, events: &EventFilter) -> Option<View> {
    events.matches(&notice.name).then_some(View::Source)
}

/// The notification, ready to be sent. `None` for an entry that is no event.
pub fn render(entry: &Entry, view: View) -> Option<ByteString> {
    let notice = entry.as_event()?;
    match view {
        View::Source => Some(notice.message.get().into()),
    }
}

impl SessionState {
    /// What a new subscriber is sent before anything else (FC-SUB-08): for each type of anchor
    /// that it may see, the last open that has not been closed, oldest first, with the original
    /// id and timestamp, and the anchor's present version (FC-CNT-01).
    pub fn opens_for(&self, subscription: SubscriptionId, events: &EventFilter) -> Vec<Entry> {
        let mut types: Vec<&str> = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        for open in self.opens().rev().filter(|open| events.matches(&open.name)) {
            if types.iter().any(|known| open.anchor.is_a(known)) {
                continue;
            }
            types.push(&open.anchor.resource_type);
            if let Ok(event) = Event::read(open.message.get()) {
                let versions = Versions { current: &open.version_id, prior: None };
                entries.push(Entry::event(Notice {
                    id: event.id.clone(),
                    name: event.name.clone(),
                    audience: Audience::Only(subscription),
                    message: raw(event.notification(Some(versions))),
                }));
            }
        }
        entries.reverse();
        entries
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
            &Rules { max_open: 9 },
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
}
