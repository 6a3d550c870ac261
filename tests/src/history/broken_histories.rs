//! Hand-made histories: a sound one, which must be found sound, and one for each kind of defect, which must be found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::filter::Filter;
use super::finding::Defect::{self, *};
use super::journal::{Channel, Line, Read, What};
use super::verdict::{LAST, Verdict, judge};

const SECOND: u64 = 1_000_000;
const FAULT: u64 = 10 * SECOND;

/// The log: what is published, in its order, at 11 s, 12 s, and so on.
const LOG: [(&str, &str, &str); 7] = [
    ("p", "e1", "Patient-open"),
    ("q", "r1", "DiagnosticReport-open"),
    ("q", "r2", "DiagnosticReport-update"),
    ("p", "e2", "Patient-close"),
    ("q", "r3", "DiagnosticReport-select"),
    ("q", "r4", "DiagnosticReport-update"),
    ("p", "last", LAST),
];

/// When the event of this id is sent.
fn time(id: &str) -> u64 {
    let place = LOG.iter().position(|(_, known, _)| *known == id).unwrap() as u64;
    FAULT + (place + 1) * SECOND
}

fn notification(id: &str) -> Value {
    let (_, _, event) = LOG.iter().find(|(_, known, _)| *known == id).unwrap();
    let (kind, _) = event.split_once('-').unwrap_or((event, ""));
    let mut context = vec![json!({"key": "anchor", "resource": {"resourceType": kind, "id": "1"}})];
    if event.ends_with("-update") {
        let resource = json!({"resourceType": "Observation", "id": id});
        let entry = json!({"request": {"method": "PUT"}, "resource": resource});
        context.push(json!({"key": "updates", "resource": {"resourceType": "Bundle", "entry": [entry]}}));
    }
    let (version, prior) = match id {
        "e1" => (Some("v1"), None),
        "r1" => (Some("v2"), None),
        "r2" => (Some("v3"), Some("v2")),
        "r4" => (Some("v4"), Some("v3")),
        _ => (None, None),
    };
    let event = json!({
        "hub.event": event, "context": context, "context.versionId": version, "context.priorVersionId": prior,
    });
    json!({"id": id, "timestamp": "T", "event": event})
}

fn sync_error(id: &str, about: &str, event: &str, diagnostics: &str) -> Value {
    let coding = |kind: &str, code: &str| json!({"system": format!("https://fhircast.hl7.org/events/syncerror/{kind}"), "code": code});
    let issue = json!({"diagnostics": diagnostics, "details": {"coding": [coding("eventid", event), coding("subscriber", about)]}});
    let context = json!([{"key": "operationoutcome", "resource": {"resourceType": "OperationOutcome", "issue": [issue]}}]);
    json!({"id": id, "timestamp": "T", "event": {"hub.event": "syncerror", "context": context}})
}

fn attempt(at: u64, id: &str, event: &str, status: Option<u16>) -> Line {
    let (topic, id, event) = ("t".to_owned(), id.to_owned(), event.to_owned());
    Line { at: at + 1000, what: What::Attempt { topic, id, event, hub: 0, took: 1000, status } }
}

fn reader(name: &str, filter: &str, channel: Channel, mut rest: Vec<Line>) -> Read {
    let filter = Filter(filter.to_owned());
    let who = What::Reader { topic: "t".to_owned(), name: name.to_owned(), filter, channel };
    let mut lines = vec![Line { at: 0, what: who }, Line { at: SECOND, what: What::Subscribed }];
    lines.append(&mut rest);
    Read { name: name.to_owned(), lines }
}

fn connected(at: u64) -> [Line; 2] {
    let text = json!({"hub.mode": "subscribe"}).to_string();
    [Line { at, what: What::Connected { hub: 0 } }, Line { at: at + 1, what: What::Frame { text } }]
}

fn frame(at: u64, message: &Value) -> Line {
    Line { at, what: What::Frame { text: message.to_string() } }
}

fn request(at: u64, message: &Value) -> Line {
    Line { at, what: What::Request { text: message.to_string(), signed: true, answer: Some(200) } }
}

fn set_answer(request: &mut Line, status: u16) {
    if let What::Request { answer, .. } = &mut request.what {
        *answer = Some(status);
    }
}

fn frames(from: u64, ids: &[&str]) -> Vec<Line> {
    ids.iter().map(|id| frame(from.max(time(id) + 10_000), &notification(id))).collect()
}

/// A run in which nothing is wrong: two sockets, of which one resumes, and a callback, which is tried twice.
struct Run(Vec<Read>);

impl Run {
    fn sound() -> Run {
        let published = |by: &str| {
            let own = LOG.iter().filter(|(publisher, _, _)| *publisher == by);
            let lines = own.map(|(_, id, event)| attempt(time(id), id, event, Some(202))).collect();
            Read { name: by.to_owned(), lines }
        };
        let mut all = connected(2 * SECOND).to_vec();
        all.extend(frames(0, &["e1", "r1", "r2"]));
        all.push(Line { at: time("r2") + 20_000, what: What::Closed { code: None } });
        all.extend(connected(time("r2") + 30_000));
        all.extend(frames(time("r2") + 40_000, &["r2", "e2", "r3", "r4", "last"]));
        let mut reports = connected(2 * SECOND).to_vec();
        reports.extend(frames(0, &["r1", "r2", "r3", "r4", "last"]));
        let called = ["e1", "r1", "r2", "r2", "e2", "r3", "r4", "last"];
        let mut called = called.map(|id| request(time(id) + 15_000, &notification(id))).to_vec();
        set_answer(&mut called[2], 503);
        let resource = |id: &str| json!({"resource": {"resourceType": "Observation", "id": id}});
        let content = json!({"key": "content", "resource": {"resourceType": "Bundle", "entry": [resource("r2"), resource("r4")]}});
        let context =
            json!({"context.type": "DiagnosticReport", "context.versionId": "v4", "context": [content]});
        let at_end = |hub| {
            let (topic, body) = ("t".to_owned(), context.to_string());
            Line { at: 100 * SECOND, what: What::CurrentContext { topic, hub, body } }
        };
        let began = Line { at: FAULT, what: What::FaultBegins { fault: "f".to_owned(), rewinds: false } };
        Run(vec![
            published("p"),
            published("q"),
            reader("all", "*,heartbeat", Channel::Websocket, all),
            reader("reports", &format!("DiagnosticReport-*,syncerror,{LAST}"), Channel::Websocket, reports),
            reader("called", "*", Channel::Webhook, called),
            Read { name: "lab".to_owned(), lines: vec![began, at_end(0), at_end(1)] },
        ])
    }

    fn lines(&mut self, who: &str) -> &mut Vec<Line> {
        &mut self.0.iter_mut().find(|journal| journal.name == who).unwrap().lines
    }

    /// The places at which `who` saw `id`.
    fn places(&mut self, who: &str, id: &str) -> Vec<usize> {
        let is_it = |line: &Line| match &line.what {
            What::Frame { text } | What::Request { text, .. } => {
                serde_json::from_str::<Value>(text).unwrap()["id"] == id
            }
            What::Attempt { id: known, .. } => known == id,
            _ => false,
        };
        let lines = self.lines(who).iter().enumerate();
        lines.filter(|(_, line)| is_it(line)).map(|(place, _)| place).collect()
    }

    fn without(mut self, who: &str, id: &str) -> Run {
        for place in self.places(who, id).into_iter().rev() {
            self.lines(who).remove(place);
        }
        self
    }

    /// `who` gets this message, in the way in which it got `after`, right after that.
    fn with(mut self, who: &str, after: &str, message: &Value) -> Run {
        let place = *self.places(who, after).last().unwrap();
        let mut line = self.lines(who)[place].clone();
        match &mut line.what {
            What::Frame { text } | What::Request { text, .. } => *text = message.to_string(),
            _ => panic!("{after} is no notification at {who}"),
        }
        line.at += 1;
        self.lines(who).insert(place + 1, line);
        self
    }

    fn with_everywhere(self, after: &str, message: &Value) -> Run {
        ["all", "reports", "called"].iter().fold(self, |run, who| run.with(who, after, message))
    }

    fn exchanged(mut self, who: &str, one: &str, other: &str) -> Run {
        let (one, other) = (self.places(who, one)[0], self.places(who, other)[0]);
        let lines = self.lines(who);
        let what = lines[one].what.clone();
        lines[one].what = std::mem::replace(&mut lines[other].what, what);
        self
    }

    fn changed(mut self, who: &str, id: &str, from: &str, to: &str) -> Run {
        for place in self.places(who, id) {
            match &mut self.lines(who)[place].what {
                What::Frame { text } | What::Request { text, .. } => {
                    assert!(text.contains(from), "{text}");
                    *text = text.replace(from, to);
                }
                _ => panic!("{id} is no notification at {who}"),
            }
        }
        self
    }

    fn answered(mut self, by: &str, id: &str, answer: Option<u16>) -> Run {
        let place = self.places(by, id)[0];
        match &mut self.lines(by)[place].what {
            What::Attempt { status, .. } => *status = answer,
            _ => panic!("{by} publishes nothing"),
        }
        self
    }

    /// The same event was sent before, and not answered.
    fn sent_before(mut self, by: &str, id: &str, how_long: u64) -> Run {
        let place = self.places(by, id)[0];
        let mut line = self.lines(by)[place].clone();
        line.at -= how_long;
        if let What::Attempt { status, .. } = &mut line.what {
            *status = None;
        }
        self.lines(by).insert(place, line);
        self
    }

    fn context(mut self, hub: usize, from: &str, to: &str) -> Run {
        for line in self.lines("lab") {
            if let What::CurrentContext { hub: known, body, .. } = &mut line.what
                && *known == hub
            {
                assert!(body.contains(from), "{body}");
                *body = body.replace(from, to);
            }
        }
        self
    }

    fn verdict(&self) -> Verdict {
        judge(&self.0)
    }

    /// Fails unless exactly these defects are found.
    fn shows(&self, expected: &[(Defect, &str, &str)]) -> Verdict {
        let verdict = self.verdict();
        let found = verdict.findings.iter();
        let mut found: Vec<_> =
            found.map(|finding| (finding.defect, finding.who.as_str(), finding.event.as_str())).collect();
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{:#?}", verdict.findings);
        verdict
    }
}

fn lost(id: &str) -> Value {
    sync_error(id, "the hub", "", "accepted events were lost in a failover")
}

#[test]
fn a_sound_history_is_found_sound() {
    let verdict = Run::sound().shows(&[]);
    assert_eq!((verdict.accepted, verdict.reconnects, verdict.repeated), (7, 1, 2));
}

#[test]
fn an_accepted_event_that_one_did_not_see_is_lost() {
    Run::sound().without("called", "e2").shows(&[(Lost, "called", "e2")]);
    Run::sound().without("all", "e1").shows(&[(Lost, "all", "e1")]);
}

#[test]
fn who_did_not_ask_for_an_event_is_not_owed_it() {
    assert!(Run::sound().places("reports", "e1").is_empty());
}

#[test]
fn what_all_have_lost_is_lost_for_each() {
    let run = Run::sound().without("all", "r3").without("reports", "r3").without("called", "r3");
    run.shows(&[(Lost, "all", "r3"), (Lost, "reports", "r3"), (Lost, "called", "r3")]);
}

#[test]
fn a_loss_is_announced_only_to_who_was_told_of_it() {
    let gone = || Run::sound().without("all", "r3").without("reports", "r3");
    let verdict = gone().with("all", "r4", &lost("l1")).shows(&[(Lost, "reports", "r3")]);
    assert_eq!(verdict.announced, 1);
    let verdict = gone().with("all", "r4", &lost("l1")).with("reports", "r4", &lost("l2")).shows(&[]);
    assert_eq!(verdict.announced, 2);
}

#[test]
fn an_announcement_excuses_nothing_that_was_sent_after_it_or_long_before_the_fault() {
    let early = Run::sound().with("all", "e1", &lost("l1")).without("all", "r3");
    early.shows(&[(Lost, "all", "r3")]);
    let mut late = Run::sound().with("all", "r4", &lost("l1")).without("all", "r3");
    late.lines("lab")[0].at = time("r3") + 3 * SECOND;
    late.shows(&[(Lost, "all", "r3")]);
}

#[test]
fn who_has_lost_its_connection_has_announced_nothing() {
    let gone = sync_error("s1", "Acme", "", "Acme has lost its connection and did not come back");
    Run::sound().with_everywhere("r4", &gone).without("all", "r3").shows(&[(Lost, "all", "r3")]);
}

#[test]
fn an_event_without_an_answer_may_be_seen_by_all_or_by_none_and_not_by_some() {
    let uncertain = || Run::sound().answered("q", "r3", None);
    uncertain().shows(&[]);
    uncertain().without("all", "r3").without("reports", "r3").without("called", "r3").shows(&[]);
    uncertain().without("called", "r3").shows(&[(Disagreed, "called", "r3")]);
}

#[test]
fn a_refused_event_that_is_seen_is_unknown_only_if_nobody_sent_it() {
    let nobodys =
        json!({"id": "x", "timestamp": "T", "event": {"hub.event": "org.example.x", "context": []}});
    Run::sound().with("reports", "r4", &nobodys).shows(&[(Unknown, "reports", "x")]);
}

#[test]
fn two_orders_are_found() {
    Run::sound().exchanged("called", "e1", "r1").shows(&[(Disordered, "called", "e1")]);
}

#[test]
fn the_order_of_a_publisher_binds_though_all_saw_another_one() {
    let run =
        ["all", "reports", "called"].iter().fold(Run::sound(), |run, who| run.exchanged(who, "r3", "r4"));
    assert!(run.verdict().count(Disordered) > 0);
}

#[test]
fn an_event_that_comes_again_without_a_resume_is_a_duplicate() {
    Run::sound().with("reports", "r4", &notification("r3")).shows(&[(Duplicated, "reports", "r3")]);
    Run::sound().with("called", "r4", &notification("r2")).shows(&[(Duplicated, "called", "r2")]);
}

#[test]
fn a_callback_is_tried_again_only_when_it_has_not_answered_or_something_broke() {
    let unbroken = || {
        let mut run = Run::sound();
        run.lines("lab").remove(0);
        run
    };
    unbroken().shows(&[]);
    let successful = |mut run: Run| {
        let place = run.places("called", "r2")[0];
        set_answer(&mut run.lines("called")[place], 200);
        run
    };
    successful(unbroken()).shows(&[(Duplicated, "called", "r2")]);
    successful(Run::sound()).shows(&[]);
}

#[test]
fn a_callbacks_cursor_may_go_back_with_redis_and_only_then() {
    let with_redis = |mut run: Run| {
        run.lines("lab")[0].what = What::FaultBegins { fault: "f".to_owned(), rewinds: true };
        run
    };
    let again = |id: &str| Run::sound().with("called", "e2", &notification(id));
    let rewound = || again("r2").with("called", "r2", &notification("e2"));
    rewound().shows(&[(Duplicated, "called", "r2"), (Duplicated, "called", "e2")]);
    let verdict = with_redis(rewound()).shows(&[]);
    assert_eq!(verdict.repeated, 4);
    with_redis(again("r2")).shows(&[(Disordered, "called", "r3")]);
    let twice = rewound().with("called", "r4", &notification("r3"));
    with_redis(twice).shows(&[(Duplicated, "called", "r3")]);
    let socket = Run::sound().with("reports", "r4", &notification("r3"));
    with_redis(socket).shows(&[(Duplicated, "reports", "r3")]);
}

#[test]
fn what_was_sent_again_after_it_had_been_forgotten_may_come_again() {
    let verdict = Run::sound().sent_before("p", "e1", 100).with("all", "r4", &notification("e1")).shows(&[]);
    assert_eq!(verdict.repeated, 3);
    let too_soon = Run::sound().sent_before("p", "e1", 100).with("all", "r2", &notification("e1"));
    too_soon.shows(&[(Duplicated, "all", "e1")]);
}

#[test]
fn what_is_open_may_come_again_after_a_loss_was_announced() {
    let replay = || Run::sound().with("reports", "r3", &notification("r1"));
    replay().shows(&[(Duplicated, "reports", "r1")]);
    replay().with("reports", "r2", &lost("l1")).shows(&[]);
    let no_open = Run::sound().with("reports", "r3", &notification("r2")).with("reports", "r2", &lost("l1"));
    no_open.shows(&[(Duplicated, "reports", "r2")]);
}

#[test]
fn who_asks_for_no_sync_errors_is_judged_by_what_the_others_were_told() {
    let deaf = |mut run: Run| {
        let lines = [connected(2 * SECOND).to_vec(), frames(0, &["e1", "r1", "last"])].concat();
        run.0.push(reader("deaf", &format!("*-open,{LAST}"), Channel::Websocket, lines));
        run
    };
    deaf(Run::sound()).shows(&[]);
    let replayed = || deaf(Run::sound()).with("deaf", "r1", &notification("e1"));
    replayed().shows(&[(Duplicated, "deaf", "e1")]);
    replayed().with("all", "r2", &lost("l1")).shows(&[]);
    deaf(Run::sound()).without("deaf", "r1").shows(&[(Lost, "deaf", "r1")]);
    deaf(Run::sound()).without("deaf", "r1").with("all", "r2", &lost("l1")).shows(&[]);
}

#[test]
fn a_refusal_needs_a_reason() {
    let gone = || Run::sound().without("all", "e2").without("called", "e2");
    gone().answered("p", "e2", Some(409)).shows(&[(Refused, "p", "e2")]);
    gone().answered("p", "e2", Some(400)).shows(&[(Refused, "p", "e2")]);
    gone().sent_before("p", "e2", 100).shows(&[(Lost, "all", "e2"), (Lost, "called", "e2")]);
    let mut resent = gone().sent_before("p", "e2", 100);
    let places = resent.places("p", "e2");
    if let What::Attempt { status, .. } = &mut resent.lines("p")[places[1]].what {
        *status = Some(409);
    }
    resent.shows(&[]);
}

#[test]
fn one_cause_has_one_sync_error() {
    let about =
        |id: &str| sync_error(id, "Acme", "r2", "Acme did not answer DiagnosticReport-update in time");
    Run::sound().with_everywhere("r2", &about("s1")).shows(&[]);
    let twice = Run::sound().with_everywhere("r2", &about("s1")).with_everywhere("r4", &about("s2"));
    let each = ["all", "reports", "called"].map(|who| (DoubleSyncError, who, "r2"));
    twice.shows(&each);
    let two_causes = Run::sound().with_everywhere("r2", &about("s1"));
    let other = sync_error("s2", "Acme", "r4", "Acme did not answer DiagnosticReport-update in time");
    two_causes.with_everywhere("r4", &other).shows(&[]);
}

#[test]
fn a_sync_error_has_a_cause() {
    let about = sync_error("s1", "Acme", "r2", "Acme did not answer DiagnosticReport-update in time");
    let mut run = Run::sound().with_everywhere("r2", &about);
    run.lines("lab").remove(0);
    run.shows(&["all", "reports", "called"].map(|who| (Unfounded, who, "s1")));
}

#[test]
fn a_sync_error_that_comes_twice_is_a_duplicate() {
    let about = sync_error("s1", "Acme", "r2", "Acme refused it with status 409");
    let run = Run::sound().with_everywhere("r2", &about).with("reports", "r4", &about);
    run.shows(&[(Duplicated, "reports", "s1")]);
    let own = sync_error("s2", "reports", "", "reports has missed events that are no longer kept");
    let run = Run::sound().with("reports", "r4", &own).with("reports", "r4", &own);
    run.shows(&[(DoubleSyncError, "reports", "s2")]);
}

#[test]
fn a_sync_error_is_owed_to_all_but_the_one_that_it_is_about() {
    let about = |who: &str| sync_error("s1", who, "r2", "it refused an event with status 409");
    let run = Run::sound().with("all", "r2", &about("Acme")).with("called", "r2", &about("Acme"));
    run.shows(&[(Disagreed, "reports", "s1")]);
    let run = Run::sound().with("all", "r2", &about("reports")).with("called", "r2", &about("reports"));
    run.shows(&[]);
}

#[test]
fn a_version_is_one_events_alone() {
    let run = ["all", "reports", "called"]
        .iter()
        .fold(Run::sound(), |run, who| run.changed(who, "r1", "\"v2\"", "\"v1\""));
    assert!(run.verdict().count(Version) > 0);
}

#[test]
fn an_update_names_the_version_before_it() {
    let run = ["all", "reports", "called"]
        .iter()
        .fold(Run::sound(), |run, who| run.changed(who, "r4", "\"v3\"", "\"v2\""));
    run.shows(&["all", "reports", "called"].map(|who| (Version, who, "r4")));
}

#[test]
fn one_event_has_one_version_on_every_connection() {
    let mut run = Run::sound();
    let again = run.places("all", "r2")[1];
    if let What::Frame { text } = &mut run.lines("all")[again].what {
        *text = text.replace("\"v3\"", "\"v9\"");
    }
    run.shows(&[(Version, "all", "r2"), (Different, "all", "r2")]);
}

#[test]
fn an_open_without_a_version_is_found() {
    let run =
        ["all", "called"].iter().fold(Run::sound(), |run, who| run.changed(who, "e1", "\"v1\"", "null"));
    run.shows(&[(Version, "all", "e1"), (Version, "called", "e1")]);
}

#[test]
fn two_subscribers_that_were_sent_different_bytes_are_found() {
    Run::sound().changed("called", "r3", "\"T\"", "\"t\"").shows(&[(Different, "called", "r3")]);
}

#[test]
fn the_hubs_must_agree_on_the_current_context() {
    Run::sound().context(1, "v4", "v3").shows(&[(Context, "hub 1", "")]);
}

#[test]
fn the_current_context_is_what_the_events_imply() {
    let both = |from: &str, to: &str| Run::sound().context(0, from, to).context(1, from, to);
    for (from, to) in [("v4", "v3"), ("DiagnosticReport", "Patient"), ("\"r2\"", "\"r9\"")] {
        both(from, to).shows(&[(Context, "hub 0", "")]);
    }
}

#[test]
fn a_notification_that_is_not_signed_as_agreed_is_found() {
    let mut run = Run::sound();
    let place = run.places("called", "r3")[0];
    if let What::Request { signed, .. } = &mut run.lines("called")[place].what {
        *signed = false;
    }
    run.shows(&[(Unsigned, "called", "r3")]);
}

#[test]
fn a_subscription_that_was_ended_is_found_and_owed_nothing_more() {
    let mut run = Run::sound();
    let place = run.places("reports", "r3")[0];
    run.lines("reports").truncate(place + 1);
    let denied = json!({"hub.mode": "denied", "hub.topic": "t", "hub.reason": "because"});
    run.lines("reports").push(frame(time("r3") + 20_000, &denied));
    run.shows(&[(Expelled, "reports", ""), (Stuck, "reports", "")]);
    let run = run.without("reports", "r2");
    run.shows(&[(Expelled, "reports", ""), (Stuck, "reports", ""), (Lost, "reports", "r2")]);
}

#[test]
fn a_second_subscription_is_owed_what_is_sent_after_its_confirmation_and_may_be_sent_what_is_open() {
    let mut run = Run::sound();
    let place = run.places("reports", "r3")[0];
    let ended = Line { at: time("r2") + 20_000, what: What::Ended { how: "404".to_owned() } };
    let again = Line { at: time("r2") + 30_000, what: What::Subscribed };
    let [connected, confirmed] = connected(time("r2") + 40_000);
    let replay = frame(time("r2") + 50_000, &notification("r1"));
    run.lines("reports").splice(place..place, [ended, again, connected, confirmed, replay]);
    run.shows(&[(Expelled, "reports", "")]);
    let run = run.without("reports", "r3");
    run.shows(&[(Expelled, "reports", ""), (Lost, "reports (subscription 2)", "r3")]);
}

#[test]
fn who_never_got_the_last_event_is_stuck() {
    let run = Run::sound().without("reports", "last");
    run.shows(&[(Lost, "reports", "last"), (Stuck, "reports", "")]);
}
