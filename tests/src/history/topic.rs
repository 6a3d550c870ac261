//! One topic's history, as the journals tell it: what was published, and what each subscriber saw in each of its lives.
//!
//! A life is one subscription of a subscriber: it begins with the confirmation (or a callback's first event), may have
//! many connections, and ends when the subscriber is told so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::filter::Filter;
use super::journal::{Channel, Line, Read, What};

/// Events by which the harness finds out that a callback is in force; nobody judges them.
pub const PROBE: &str = "org.example.probe";
/// What a SyncError says of events that Redis has lost: its kind.
pub const LOST: &str = "lost";
/// Within this long after it was accepted the hub knows a request again (FC-REQ-07).
pub const KNOWN_AGAIN: u64 = 5_000_000;

/// All that is known of one topic.
#[derive(Debug, Default)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What was published, by id.
    pub published: BTreeMap<String, Published>,
    /// For each publisher, the ids that were accepted, in its order.
    pub orders: Vec<Vec<String>>,
    /// The subscribers.
    pub readers: Vec<Reader>,
    /// Get Current Context at the end: the hub and its answer.
    pub contexts: Vec<(usize, String)>,
    /// When something was broken.
    pub faults: Vec<u64>,
    /// When Redis may have begun to go back to an older state.
    pub rewinds: Vec<u64>,
}

/// One event that somebody published.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its name.
    pub event: String,
    /// The publisher.
    pub by: String,
    /// The attempts.
    pub attempts: Vec<Attempt>,
}

/// One request to publish.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When it was sent.
    pub sent: u64,
    /// When it ended.
    pub ended: u64,
    /// How.
    pub status: Option<u16>,
}

impl Published {
    /// When it was first sent.
    pub fn sent(&self) -> u64 {
        self.attempts.iter().map(|attempt| attempt.sent).min().unwrap_or_default()
    }

    /// When it was answered 202.
    pub fn accepted(&self) -> Option<u64> {
        self.attempts.iter().find(|attempt| attempt.status == Some(202)).map(|attempt| attempt.ended)
    }

    /// Might it be in the log without having been accepted?
    pub fn is_uncertain(&self) -> bool {
        self.accepted().is_none()
            && self.attempts.iter().any(|attempt| attempt.status.is_none_or(|status| status >= 500))
    }

    /// Was it sent more than once? Then it may be in the log more than once: [`KNOWN_AGAIN`].
    pub fn is_resent(&self) -> bool {
        self.attempts.len() > 1
    }
}

/// A subscriber.
#[derive(Debug)]
pub struct Reader {
    /// `subscriber.name`.
    pub name: String,
    /// `hub.events`.
    pub filter: Filter,
    /// How it is told.
    pub channel: Channel,
    /// Its subscriptions, one after the other.
    pub lives: Vec<Life>,
}

/// One subscription.
#[derive(Debug, Default)]
pub struct Life {
    /// From when on it is in force: the confirmation, or the first event at a callback.
    pub since: Option<u64>,
    /// When the subscriber was told that it is over.
    pub ended: Option<u64>,
    /// What came over each connection; a callback has one.
    pub connections: Vec<Vec<Sighting>>,
}

/// A notification that came to a subscriber. Heartbeats and probes are none here.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// When.
    pub at: u64,
    /// The event's id.
    pub id: String,
    /// Its name.
    pub event: String,
    /// Its bytes.
    pub text: String,
    /// `context.versionId`.
    pub version: Option<String>,
    /// `context.priorVersionId`.
    pub prior: Option<String>,
    /// The resource that it is about, as `Type/id`.
    pub anchor: Option<String>,
    /// What a SyncError says.
    pub sync_error: Option<SyncError>,
    /// The signature was right, or there is none on this channel.
    pub signed: bool,
    /// What a callback answered; `None`: nothing, or this is a socket.
    pub answer: Option<u16>,
}

/// What a SyncError says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SyncError {
    /// The subscriber that it is about.
    pub subscriber: String,
    /// The id of the event that it is about; empty when it is about none.
    pub event: String,
    /// In words.
    pub diagnostics: String,
}

impl SyncError {
    /// Does it say to who gets it that events that were accepted are lost, or can't be had any more?
    pub fn announces_loss(&self, to: &str) -> bool {
        let text = self.diagnostics.to_ascii_lowercase();
        // Who has "lost its connection" has lost no event.
        let lost = text.contains(LOST) && !text.contains("lost its connection");
        lost || (self.subscriber == to && text.contains("missed events"))
    }

    /// What happened, without names: two of one kind about one event and subscriber are one too many.
    pub fn kind(&self) -> &'static str {
        let kinds =
            ["refused", "could not be delivered", "did not answer", "lost its connection", "missed", LOST];
        kinds.into_iter().find(|kind| self.diagnostics.contains(kind)).unwrap_or("other")
    }
}

/// The topics of a run.
pub fn topics(journals: &[Read]) -> Vec<Topic> {
    let mut topics: BTreeMap<String, Topic> = BTreeMap::new();
    for journal in journals {
        read_publisher(journal, &mut topics);
        if let Some(Line { what: What::Reader { topic, name, filter, channel }, .. }) = journal.lines.first()
        {
            let lives = lives(&journal.lines[1..], *channel);
            let reader = Reader { name: name.clone(), filter: filter.clone(), channel: *channel, lives };
            named(&mut topics, topic).readers.push(reader);
        }
        for line in &journal.lines {
            if let What::CurrentContext { topic, hub, body } = &line.what {
                named(&mut topics, topic).contexts.push((*hub, body.clone()));
            }
        }
    }
    let begun = |only_rewinds: bool| -> Vec<u64> {
        let lines = journals.iter().flat_map(|journal| &journal.lines);
        let is_it =
            |line: &&Line| matches!(line.what, What::FaultBegins { rewinds, .. } if rewinds || !only_rewinds);
        lines.filter(is_it).map(|line| line.at).collect()
    };
    let (faults, rewinds) = (begun(false), begun(true));
    let with_faults = |topic| Topic { faults: faults.clone(), rewinds: rewinds.clone(), ..topic };
    topics.into_values().map(with_faults).collect()
}

fn named<'a>(topics: &'a mut BTreeMap<String, Topic>, name: &str) -> &'a mut Topic {
    topics.entry(name.to_owned()).or_insert_with(|| Topic { name: name.to_owned(), ..Topic::default() })
}

/// A publisher has one topic or several; its order binds in each.
fn read_publisher(journal: &Read, topics: &mut BTreeMap<String, Topic>) {
    let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in &journal.lines {
        let What::Attempt { topic, id, event, took, status, .. } = &line.what else { continue };
        let published = &mut named(topics, topic).published;
        let known = published.entry(id.clone()).or_insert_with(|| Published {
            event: event.clone(),
            by: journal.name.clone(),
            attempts: Vec::new(),
        });
        known.attempts.push(Attempt { sent: line.at.saturating_sub(*took), ended: line.at, status: *status });
        if *status == Some(202) && event != PROBE {
            orders.entry(topic.clone()).or_default().push(id.clone());
        }
    }
    for (topic, order) in orders {
        named(topics, &topic).orders.push(order);
    }
}

fn lives(lines: &[Line], channel: Channel) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    for line in lines {
        if line.what == What::Subscribed {
            let webhook = channel == Channel::Webhook;
            lives.push(Life {
                since: webhook.then_some(line.at),
                ended: None,
                connections: if webhook { vec![Vec::new()] } else { Vec::new() },
            });
            continue;
        }
        let Some(life) = lives.last_mut() else { continue };
        match &line.what {
            What::Connected { .. } => life.connections.push(Vec::new()),
            What::Ended { .. } => life.ended = Some(line.at),
            What::Frame { text } => match Sighting::read(line.at, text, true, None) {
                Some(sighting) => {
                    life.connections.last_mut().into_iter().for_each(|last| last.extend(sighting.clone()))
                }
                None if text.contains("\"denied\"") => life.ended = Some(line.at),
                None => life.since = life.since.or(Some(line.at)),
            },
            What::Request { text, signed, answer } => {
                let sighting = Sighting::read(line.at, text, *signed, *answer).flatten();
                life.connections.last_mut().into_iter().for_each(|last| last.extend(sighting.clone()));
            }
            _ => {}
        }
    }
    lives
}

impl Sighting {
    /// Reads a message. `None`: it is no notification. `Some(None)`: one that nobody judges.
    fn read(at: u64, text: &str, signed: bool, answer: Option<u16>) -> Option<Option<Sighting>> {
        let message: Value = serde_json::from_str(text).ok()?;
        let id = message["id"].as_str()?.to_owned();
        let event = message["event"]["hub.event"].as_str()?.to_owned();
        if event == "heartbeat" || event == PROBE {
            return Some(None);
        }
        let string = |name: &str| message["event"][name].as_str().map(str::to_owned);
        let sync_error = (event == "syncerror").then(|| read_sync_error(&message));
        Some(Some(Sighting {
            at,
            id,
            text: text.to_owned(),
            version: string("context.versionId"),
            prior: string("context.priorVersionId"),
            anchor: read_anchor(&message, &event),
            sync_error,
            signed,
            answer,
            event,
        }))
    }

    /// Does the event open its anchor?
    pub fn is_open(&self) -> bool {
        self.event.to_ascii_lowercase().ends_with("-open") && self.anchor.is_some()
    }

    /// Does the event close its anchor?
    pub fn is_close(&self) -> bool {
        self.event.to_ascii_lowercase().ends_with("-close")
    }

    /// Does the event change the content of its anchor?
    pub fn is_update(&self) -> bool {
        self.event.to_ascii_lowercase().ends_with("-update")
    }
}

/// The resource of the type that the event is named after.
fn read_anchor(message: &Value, event: &str) -> Option<String> {
    let (kind, _) = event.split_once('-')?;
    message["event"]["context"].as_array()?.iter().map(|element| &element["resource"]).find_map(|resource| {
        let is_it = resource["resourceType"].as_str()?.eq_ignore_ascii_case(kind);
        is_it.then(|| format!("{kind}/{}", resource["id"].as_str().unwrap_or_default()))
    })
}

fn read_sync_error(message: &Value) -> SyncError {
    let issue = &message["event"]["context"][0]["resource"]["issue"][0];
    let code = |kind: &str| {
        let codings = issue["details"]["coding"].as_array().into_iter().flatten();
        let mut of_kind = codings.filter(|coding| {
            let system = coding["system"].as_str().unwrap_or_default();
            system.rsplit('/').next() == Some(kind)
        });
        of_kind.next().and_then(|coding| coding["code"].as_str()).unwrap_or_default().to_owned()
    };
    SyncError {
        subscriber: code("subscriber"),
        event: code("eventid"),
        diagnostics: issue["diagnostics"].as_str().unwrap_or_default().to_owned(),
    }
}
