//! What holds for any sequence of requests.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::{Audience, Content, Entry, Rejection, Rules, SessionState, View, decide, render, view_by};
use crate::protocol::{Action, Event, EventFilter, Scopes, SubscriptionId, bundle};

const RULES: Rules = Rules { max_open: 4, max_content_bytes: 600 };
const TYPES: [&str; 3] = ["Patient", "ImagingStudy", "DiagnosticReport"];

/// A request, in terms of a small world.
#[derive(Debug, Clone)]
enum Request {
    Open { of: Resource, patient: Option<u8> },
    Close(Resource),
    Select(Resource),
    Update { of: Resource, version: Version, changes: Vec<(u8, u8, bool)> },
    Plain(&'static str),
}

#[derive(Debug, Clone, Copy)]
struct Resource {
    of_type: usize,
    id: u8,
}

#[derive(Debug, Clone, Copy)]
enum Version {
    Present,
    Stale,
    Missing,
}

fn request() -> impl Strategy<Value = Request> {
    let resource = || (0..TYPES.len(), 0_u8..3).prop_map(|(of_type, id)| Resource { of_type, id });
    let version =
        prop_oneof![8 => Just(Version::Present), 1 => Just(Version::Stale), 1 => Just(Version::Missing)];
    let changes = prop::collection::vec((0_u8..3, 0_u8..5, any::<bool>()), 0..4);
    prop_oneof![
        4 => (resource(), prop::option::of(0_u8..3)).prop_map(|(of, patient)| Request::Open { of, patient }),
        2 => resource().prop_map(Request::Close),
        1 => resource().prop_map(Request::Select),
        4 => (resource(), version, changes).prop_map(|(of, version, changes)| Request::Update { of, version, changes }),
        1 => prop::sample::select(vec!["home-open", "userLogout", "syncerror", "heartbeat", "org.example.x"])
            .prop_map(Request::Plain),
    ]
}

impl Resource {
    fn element(self) -> String {
        format!(r#"{{"key":"k","resource":{{"resourceType":"{}","id":"{}"}}}}"#, TYPES[self.of_type], self.id)
    }

    fn named(self, action: &str) -> String {
        format!("{}-{action}", TYPES[self.of_type])
    }
}

/// The request as JSON. `present` is the version of the context that it is about.
fn message(request: &Request, id: usize, present: Option<&str>) -> String {
    let (name, context, version) = match request {
        Request::Open { of, patient } => {
            let part = patient.filter(|_| of.of_type != 0).map(|id| Resource { of_type: 0, id }.element());
            let elements: Vec<String> = [of.element()].into_iter().chain(part).collect();
            (of.named("open"), elements.join(","), None)
        }
        Request::Close(of) => (of.named("close"), of.element(), None),
        Request::Select(of) => (of.named("select"), of.element(), None),
        Request::Update { of, version, changes } => {
            let entry = |(method, id, has_url): &(u8, u8, bool)| {
                let url = if *has_url { format!(r#""fullUrl":"urn:x:{id}","#) } else { String::new() };
                let resource =
                    format!(r#""resource":{{"resourceType":"Observation","id":"{id}","n":{id}.10}}"#);
                match method {
                    0 => format!(r#"{{{url}"request":{{"method":"POST"}},{resource}}}"#),
                    1 => format!(r#"{{{url}"request":{{"method":"PUT"}},{resource}}}"#),
                    _ => format!(r#"{{"fullUrl":"Observation/{id}","request":{{"method":"DELETE"}}}}"#),
                }
            };
            let entries: Vec<String> = changes.iter().map(entry).collect();
            let bundle = format!(
                r#"{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}}}"#,
                entries.join(",")
            );
            let version = match version {
                Version::Present => present,
                Version::Stale => Some("stale"),
                Version::Missing => None,
            };
            (of.named("update"), format!("{},{bundle}", of.element()), version)
        }
        Request::Plain(name) => ((*name).to_owned(), String::new(), None),
    };
    let version = version.map(|version| format!(r#""context.versionId":"{version}","#)).unwrap_or_default();
    format!(
        r#"{{"timestamp":"T","id":"e{id}","event":{{"hub.topic":"t","hub.event":"{name}",{version}"context":[{context}]}}}}"#
    )
}

/// A session with its content and its log, as a hub and a store have it.
#[derive(Default)]
struct Session {
    state: SessionState,
    content: Content,
    log: Vec<Entry>,
    /// The versions that have been given.
    versions: Vec<String>,
}

impl Session {
    fn post(&mut self, request: &Request) -> Result<(), Rejection> {
        let number = self.log.len();
        let of = match request {
            Request::Update { of, .. } => Some(format!("{},{}", TYPES[of.of_type], of.id)),
            _ => None,
        };
        let key = |open: &super::OpenContext| {
            format!("{},{}", open.anchor.resource_type, open.anchor.id.as_deref().unwrap_or(""))
        };
        let present =
            self.state.opens().find(|open| Some(key(open)) == of).map(|open| open.version_id.clone());
        let text = message(request, number, present.as_deref());
        let event = Event::read(&text).unwrap();
        let change = decide(&self.state, &event, Audience::Everyone, &format!("v{number}"), &RULES)?;
        self.content.apply(&change.content, RULES.max_content_bytes)?;
        if let Some((Action::Open | Action::Update, _)) = event.anchored() {
            let sent = Event::read(change.entry.as_event().unwrap().message.get()).unwrap().version_id;
            self.versions.push(sent.unwrap());
        }
        self.state = change.state;
        self.log.push(change.entry);
        Ok(())
    }

    fn current_context(&self) -> serde_json::Value {
        self.current_context_for(&Scopes::everything())
    }

    fn current_context_for(&self, scopes: &Scopes) -> serde_json::Value {
        let shown = self.state.current_context(scopes);
        let below = |prefix| self.content.below(prefix).map(|(_, entry)| entry.as_str());
        let content = shown.content().into_iter().flat_map(below);
        serde_json::from_str(&shown.to_json(content)).unwrap()
    }
}

/// What an app knows that has heard all events from the beginning: the contexts that are open, and
/// the content of each.
#[derive(Default)]
struct EarlyJoiner {
    opens: Vec<(String, BTreeMap<String, String>)>,
    current: Option<String>,
}

impl EarlyJoiner {
    fn hear(&mut self, message: &str) {
        let event = Event::read(message).unwrap();
        if event.name.is("userLogout") || event.name.is("home-open") {
            self.current = None;
            if event.name.is("userLogout") {
                self.opens.clear();
            }
        }
        let Some((action, anchor)) = event.anchored() else { return };
        let key = format!("{}/{}", anchor.resource_type, anchor.id.as_ref().unwrap());
        match action {
            Action::Open => {
                let before = self.opens.iter().position(|(known, _)| *known == key);
                let content = before.map(|at| self.opens.remove(at).1).unwrap_or_default();
                self.opens.push((key.clone(), content));
                self.current = Some(key);
                if self.opens.len() > RULES.max_open {
                    self.opens.remove(0);
                }
            }
            Action::Close => {
                self.opens.retain(|(known, _)| *known != key);
                self.current.take_if(|current| *current == key);
            }
            Action::Update => {
                let (_, content) = self.opens.iter_mut().find(|(known, _)| *known == key).unwrap();
                for update in bundle::updates(&event).unwrap().unwrap() {
                    let bundle::ResourceKey::Named(name) = update.key else { panic!("it has an id") };
                    match update.entry {
                        Some(entry) => content.insert(name, entry),
                        None => content.remove(&name),
                    };
                }
            }
            Action::Select => {}
        }
    }
}

/// What a subscriber of Patient-open alone shows.
struct PatientApp {
    patient: Option<String>,
}

impl PatientApp {
    fn hear(&mut self, entry: &Entry) {
        let seen = view_by(entry.as_event().unwrap(), &filter("Patient-open"));
        if let Some(message) = seen.and_then(|view| render(entry, view)) {
            self.patient = Event::read(&message).unwrap().anchor().unwrap().id.clone();
        }
    }

    fn joining(session: &Session) -> Self {
        let mut app = Self { patient: None };
        for entry in session.state.opens_for(SubscriptionId::random(0), &filter("Patient-open")) {
            app.hear(&entry);
        }
        app
    }
}

fn filter(events: &str) -> EventFilter {
    EventFilter::parse(events, 9).unwrap()
}

proptest! {
    #[test]
    fn there_is_at_most_one_current_context_and_it_is_the_last_that_was_opened(
        requests in prop::collection::vec(request(), 0..40),
    ) {
        let mut session = Session::default();
        for request in &requests {
            let was_current = session.state.current().map(|open| open.ordinal);
            let is_accepted = session.post(request).is_ok();
            let current = session.state.current().map(|open| open.ordinal);
            if let (true, Request::Open { of, .. }) = (is_accepted, request) {
                prop_assert_eq!(session.state.current().unwrap().anchor.id.clone(), Some(of.id.to_string()), "FC-CTX-02");
            } else {
                prop_assert!(current.is_none() || current == was_current, "FC-CTX-02: no other becomes current");
            }
            let newest = session.state.opens().map(|open| open.ordinal).max();
            prop_assert!(current.is_none() || current == newest, "FC-CTX-02");
        }
    }

    #[test]
    fn versions_never_repeat(requests in prop::collection::vec(request(), 0..40)) {
        let mut session = Session::default();
        requests.iter().for_each(|request| drop(session.post(request)));
        let distinct: HashSet<&String> = session.versions.iter().collect();
        prop_assert_eq!(distinct.len(), session.versions.len(), "FC-CNT-01");
        let open: HashSet<&str> = session.state.opens().map(|open| open.version_id.as_str()).collect();
        prop_assert_eq!(open.len(), session.state.opens().count(), "FC-CNT-01: each has its own");
    }

    #[test]
    fn a_replay_of_the_log_gives_the_live_state(requests in prop::collection::vec(request(), 0..40)) {
        let mut session = Session::default();
        requests.iter().for_each(|request| drop(session.post(request)));
        let replayed = session.log.iter().map(|entry| Entry::from_json(&entry.to_json()).unwrap());
        let replayed = replayed.fold(SessionState::default(), |state, entry| state.evolve(&entry, RULES.max_open));
        prop_assert_eq!(replayed.to_fields(), session.state.to_fields());
        let stored = SessionState::from_fields(&session.state.to_fields()).unwrap();
        prop_assert_eq!(stored.to_fields(), session.state.to_fields(), "and so does the store");
    }

    #[test]
    fn a_rejected_request_changes_nothing(requests in prop::collection::vec(request(), 0..40)) {
        let mut session = Session::default();
        for request in &requests {
            let (state, content, entries) =
                (session.state.to_fields(), session.content.clone(), session.log.len());
            if session.post(request).is_err() {
                prop_assert_eq!(session.state.to_fields(), state, "FC-CNT-02, FC-CNT-03");
                prop_assert_eq!(&session.content, &content, "FC-CNT-03");
                prop_assert_eq!(session.log.len(), entries);
            }
        }
    }

    #[test]
    fn get_current_context_is_what_joiners_can_build(requests in prop::collection::vec(request(), 0..40)) {
        let mut session = Session::default();
        let mut early = EarlyJoiner::default();
        for request in &requests {
            if session.post(request).is_ok() {
                early.hear(session.log.last().unwrap().as_event().unwrap().message.get());
            }
            let answer = session.current_context();
            let Some(mut context) = answer["context"].as_array().cloned().filter(|context| !context.is_empty())
            else {
                prop_assert!(early.current.is_none(), "FC-CTX-03");
                continue;
            };
            let content = context.pop().unwrap();
            let sent = session.state.opens_for(SubscriptionId::random(0), &filter("*"));
            let last = render(sent.last().unwrap(), View::Source).unwrap();
            let last: serde_json::Value = serde_json::from_str(&last).unwrap();
            prop_assert_eq!(&last["event"]["context"], &serde_json::Value::from(context), "FC-CTX-01, FC-SUB-08");
            prop_assert_eq!(&last["event"]["context.versionId"], &answer["context.versionId"], "FC-CNT-01");
            let (_, kept) = early.opens.iter().find(|(key, _)| Some(key) == early.current.as_ref()).unwrap();
            let mut kept: Vec<serde_json::Value> =
                kept.values().map(|entry| serde_json::from_str(entry).unwrap()).collect();
            let mut shown = content["resource"]["entry"].as_array().unwrap().clone();
            for entries in [&mut kept, &mut shown] {
                entries.sort_by_cached_key(|entry| entry.to_string());
            }
            prop_assert_eq!(shown, kept, "FC-CTX-04, FC-CNT-03");
        }
        let open: usize = early.opens.iter().map(|(_, content)| content.len()).sum();
        let kept: usize = session.state.opens().map(|open| session.content.below(&open.resources()).count()).sum();
        prop_assert_eq!(kept, open, "FC-CNT-10: every open context has its own content");
        if early.opens.is_empty() {
            prop_assert!(session.content.is_empty(), "FC-CNT-07");
        }
    }

    #[test]
    fn whoever_may_read_patients_alone_is_shown_what_it_is_sent_of_the_current_context(
        requests in prop::collection::vec(request(), 0..40),
    ) {
        let (mut session, scopes) = (Session::default(), Scopes::parse(["fhircast/Patient-open.read"]));
        for request in &requests {
            let _ = session.post(request);
            let answer = session.current_context_for(&scopes);
            let mut context = answer["context"].as_array().cloned().unwrap();
            let content = context.pop();
            // Of the current context alone: the one that was opened last, if it is open.
            let mut alone = SessionState::default();
            alone.clone_current_of(&session.state);
            let sent = alone.opens_for(SubscriptionId::random(0), &filter("Patient-open"));
            let Some(sent) = sent.first().and_then(|sent| render(sent, View::Source)) else {
                prop_assert_eq!(&answer["context.type"], "", "FC-CTX-01, FC-SCO-03");
                prop_assert!(content.is_none(), "FC-SCO-03");
                continue;
            };
            let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(&answer["context.type"], "Patient", "FC-CTX-01");
            prop_assert_eq!(&sent["event"]["context"], &serde_json::Value::from(context), "FC-CTX-01, FC-NOT-07");
            prop_assert_eq!(&sent["event"]["context.versionId"], &answer["context.versionId"], "FC-CNT-01");
            let entries = content.unwrap()["resource"]["entry"].as_array().unwrap().len();
            prop_assert_eq!(entries, 0, "FC-SCO-03: it may not read the updates");
        }
    }

    #[test]
    fn whoever_asks_for_patients_alone_shows_the_patient_of_the_last_open(
        requests in prop::collection::vec(request(), 0..40),
    ) {
        let mut session = Session::default();
        let mut apps: Vec<PatientApp> = Vec::new();
        for request in &requests {
            apps.push(PatientApp::joining(&session));
            if session.post(request).is_err() {
                continue;
            }
            let entry = session.log.last().unwrap().clone();
            apps.iter_mut().for_each(|app| app.hear(&entry));
            let patient = match request {
                Request::Open { of: Resource { of_type: 0, id }, .. } => Some(*id),
                Request::Open { patient, .. } => *patient,
                _ => None,
            };
            if let Some(patient) = patient {
                for app in &apps {
                    prop_assert_eq!(app.patient.clone(), Some(patient.to_string()), "FC-NOT-07");
                }
                let late = PatientApp::joining(&session).patient;
                prop_assert_eq!(late, Some(patient.to_string()), "FC-NOT-07, FC-SUB-08");
            }
        }
    }
}
