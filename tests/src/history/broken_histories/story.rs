//! The sound history, and the ways to break it.

pub use serde_json::{Value, json};

use crate::history::filter::Filter;
pub use crate::history::finding::Defect::{self, *};
use crate::history::journal::Read;
pub use crate::history::journal::{Channel, Line, What};
pub use crate::history::verdict::LAST;
use crate::history::verdict::{Verdict, judge};

pub const SECOND: u64 = 1_000_000;
pub const FAULT: u64 = 10 * SECOND;

/// The log: what is published, in its order, at 11 s, 12 s, and so on.
pub const LOG: [(&str, &str, &str); 7] = [
    ("p", "e1", "Patient-open"),
    ("q", "r1", "DiagnosticReport-open"),
    ("q", "r2", "DiagnosticReport-update"),
    ("p", "e2", "Patient-close"),
    ("q", "r3", "DiagnosticReport-select"),
    ("q", "r4", "DiagnosticReport-update"),
    ("p", "last", LAST),
];

/// When the event of this id is sent.
pub fn time(id: &str) -> u64 {
    let place = LOG.iter().position(|(_, known, _)| *known == id).unwrap() as u64;
    FAULT + (place + 1) * SECOND
}

pub fn notification(id: &str) -> Value {
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

pub fn sync_error(id: &str, about: &str, event: &str, diagnostics: &str) -> Value {
    let coding = |kind: &str, code: &str| json!({"system": format!("https://fhircast.hl7.org/events/syncerror/{kind}"), "code": code});
    let issue = json!({"diagnostics": diagnostics, "details": {"coding": [coding("eventid", event), coding("subscriber", about)]}});
    let context = json!([{"key": "operationoutcome", "resource": {"resourceType": "OperationOutcome", "issue": [issue]}}]);
    json!({"id": id, "timestamp": "T", "event": {"hub.event": "syncerror", "context": context}})
}

pub fn attempt(at: u64, id: &str, event: &str, status: Option<u16>) -> Line {
    let (topic, id, event) = ("t".to_owned(), id.to_owned(), event.to_owned());
    Line { at: at + 1000, what: What::Attempt { topic, id, event, hub: 0, took: 1000, status } }
}

pub fn reader(name: &str, filter: &str, channel: Channel, mut rest: Vec<Line>) -> Read {
    let filter = Filter(filter.to_owned());
    let who = What::Reader { topic: "t".to_owned(), name: name.to_owned(), filter, channel };
    let mut lines = vec![Line { at: 0, what: who }, Line { at: SECOND, what: What::Subscribed }];
    lines.append(&mut rest);
    Read { name: name.to_owned(), lines }
}

pub fn connected(at: u64) -> [Line; 2] {
    let text = json!({"hub.mode": "subscribe"}).to_string();
    [Line { at, what: What::Connected { hub: 0 } }, Line { at: at + 1, what: What::Frame { text } }]
}

pub fn frame(at: u64, message: &Value) -> Line {
    Line { at, what: What::Frame { text: message.to_string() } }
}

pub fn request(at: u64, message: &Value) -> Line {
    Line { at, what: What::Request { text: message.to_string(), signed: true, answer: Some(200) } }
}

pub fn set_answer(request: &mut Line, status: u16) {
    if let What::Request { answer, .. } = &mut request.what {
        *answer = Some(status);
    }
}

pub fn frames(from: u64, ids: &[&str]) -> Vec<Line> {
    ids.iter().map(|id| frame(from.max(time(id) + 10_000), &notification(id))).collect()
}

/// A run in which nothing is wrong: two sockets, of which one resumes, and a callback, which is tried twice.
pub struct Run(pub Vec<Read>);

impl Run {
    pub fn sound() -> Run {
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

    /// By what was broken Redis may lose what it acknowledged.
    pub fn rewinding(mut self) -> Run {
        self.lines("lab")[0].what = What::FaultBegins { fault: "f".to_owned(), rewinds: true };
        self
    }

    pub fn lines(&mut self, who: &str) -> &mut Vec<Line> {
        &mut self.0.iter_mut().find(|journal| journal.name == who).unwrap().lines
    }

    /// The places at which `who` saw `id`.
    pub fn places(&mut self, who: &str, id: &str) -> Vec<usize> {
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

    pub fn without(mut self, who: &str, id: &str) -> Run {
        for place in self.places(who, id).into_iter().rev() {
            self.lines(who).remove(place);
        }
        self
    }

    /// `who` gets this message, in the way in which it got `after`, right after that.
    pub fn with(mut self, who: &str, after: &str, message: &Value) -> Run {
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

    pub fn with_everywhere(self, after: &str, message: &Value) -> Run {
        ["all", "reports", "called"].iter().fold(self, |run, who| run.with(who, after, message))
    }

    pub fn exchanged(mut self, who: &str, one: &str, other: &str) -> Run {
        let (one, other) = (self.places(who, one)[0], self.places(who, other)[0]);
        let lines = self.lines(who);
        let what = lines[one].what.clone();
        lines[one].what = std::mem::replace(&mut lines[other].what, what);
        self
    }

    pub fn changed(mut self, who: &str, id: &str, from: &str, to: &str) -> Run {
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

    pub fn answered(mut self, by: &str, id: &str, answer: Option<u16>) -> Run {
        let place = self.places(by, id)[0];
        match &mut self.lines(by)[place].what {
            What::Attempt { status, .. } => *status = answer,
            _ => panic!("{by} publishes nothing"),
        }
        self
    }

    /// The same event was sent before, and not answered.
    pub fn sent_before(mut self, by: &str, id: &str, how_long: u64) -> Run {
        let place = self.places(by, id)[0];
        let mut line = self.lines(by)[place].clone();
        line.at -= how_long;
        if let What::Attempt { status, .. } = &mut line.what {
            *status = None;
        }
        self.lines(by).insert(place, line);
        self
    }

    pub fn context(mut self, hub: usize, from: &str, to: &str) -> Run {
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

    pub fn verdict(&self) -> Verdict {
        judge(&self.0)
    }

    /// Fails unless exactly these defects are found.
    pub fn shows(&self, expected: &[(Defect, &str, &str)]) -> Verdict {
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

pub fn lost(id: &str) -> Value {
    sync_error(id, "the hub", "", "accepted events were lost in a failover")
}
