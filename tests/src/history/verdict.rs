//! The verdict on a run: its findings, and what was counted.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::accounts::Account;
use super::delivery::{History, Repeats};
use super::finding::{Defect, RunFinding};
use super::journal::{self, Channel, Read, What};
use super::topic::{SyncError, Topic, topics};
use super::{contexts, sameness, sync_errors, versions};

/// The last event of each topic, which everybody asks for.
pub const LAST: &str = "org.example.last";
/// How long before a fault begins an event may have been accepted that it costs: replication lags.
const LAG: u64 = 2_000_000;

/// What a run has shown.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// What is wrong.
    pub findings: Vec<RunFinding>,
    /// Events that were answered 202.
    pub accepted: usize,
    /// Notifications that came.
    pub notifications: usize,
    /// Events that a subscriber that may see them did not get, and was told of (each for each subscriber).
    pub announced: usize,
    /// Notifications that came again with a reason.
    pub repeated: usize,
    /// SyncErrors of the hub, each counted once.
    pub sync_errors: usize,
    /// Connections that sockets made after their first one.
    pub reconnects: usize,
}

impl Verdict {
    /// How many findings are of this kind.
    pub fn count(&self, defect: Defect) -> usize {
        self.findings.iter().filter(|finding| finding.defect == defect).count()
    }
}

/// Judges the journals of a directory.
pub fn judge_directory(directory: &Path) -> Result<Verdict> {
    Ok(judge(&journal::read_all(directory)?))
}

/// Judges.
pub fn judge(journals: &[Read]) -> Verdict {
    let began = |line: &journal::Line| matches!(line.what, What::FaultBegins { .. }).then_some(line.at);
    let faults_from = journals.iter().flat_map(|journal| &journal.lines).filter_map(began).min();
    let mut verdict = Verdict::default();
    for topic in topics(journals) {
        judge_topic(&topic, faults_from.map_or(0, |at| at.saturating_sub(LAG)), &mut verdict);
    }
    verdict
}

fn judge_topic(topic: &Topic, faults_from: u64, verdict: &mut Verdict) {
    let accounts: Vec<Account> = topic
        .readers
        .iter()
        .flat_map(|reader| reader.lives.iter().enumerate().map(move |(number, life)| (reader, number, life)))
        .map(|(reader, number, life)| Account::of(topic, reader, number, life))
        .collect();
    verdict.accepted += topic.orders.iter().map(Vec::len).sum::<usize>();
    let sightings = |account: &Account| account.life.connections.iter().map(Vec::len).sum::<usize>();
    verdict.notifications += accounts.iter().map(sightings).sum::<usize>();
    let connections = |account: &Account| account.life.connections.len().saturating_sub(1);
    verdict.reconnects += accounts.iter().map(connections).sum::<usize>();
    let sync_errors = accounts.iter().flat_map(|account| account.life.connections.iter().flatten());
    let sync_errors = sync_errors.filter(|sighting| sighting.sync_error.is_some());
    verdict.sync_errors += sync_errors.map(|sighting| &sighting.id).collect::<HashSet<_>>().len();

    deliveries(topic, &accounts, faults_from, verdict);
    retries(topic, &accounts, verdict);
    endings(topic, &accounts, verdict);
    refusals(topic, &accounts, verdict);
    verdict.findings.extend(sync_errors::findings(topic, &accounts));
    verdict.findings.extend(versions::findings(topic, &accounts));
    verdict.findings.extend(sameness::findings(topic, &accounts));
    verdict.findings.extend(contexts::findings(topic, &accounts));
}

/// Nothing lost, nothing twice, one order; and webhooks and sockets agree, since each is owed what the other saw.
fn deliveries(topic: &Topic, accounts: &[Account], faults_from: u64, verdict: &mut Verdict) {
    let in_log = in_the_log(topic, accounts);
    let mut history: History<String> = History::default();
    for order in &topic.orders {
        history.accepted_in_order(order.iter().cloned());
    }
    let uncertain = topic.published.iter().filter(|(_, published)| published.is_uncertain());
    history.uncertain(uncertain.map(|(id, _)| id.clone()));
    for account in accounts {
        let sync_errors =
            account.connections.iter().flatten().filter(|sighting| sighting.sync_error.is_some());
        history.uncertain(sync_errors.map(|sighting| sighting.id.clone()));
    }
    let mut names = HashMap::new();
    for account in accounts {
        let repeats = match account.reader.channel {
            Channel::Websocket => Repeats::OnResume,
            Channel::Webhook => Repeats::OnRetry,
        };
        verdict.repeated += account.explained;
        names.insert(account.name(), account);
        history.seen_of(owed(topic, account, &in_log), &account.name(), repeats, account.ids());
    }
    let found = history.check();
    verdict.repeated += found.repeated;
    for finding in &found.lost {
        let published = topic.published.get(&finding.id);
        let sent = published.map_or(u64::MAX, |published| published.sent());
        let told = names.get(&finding.who).is_some_and(|account| {
            published.is_some() && sent >= faults_from && account.was_told_after(sent)
        });
        if told {
            verdict.announced += 1;
            continue;
        }
        let (defect, detail) = match published.and_then(|published| published.accepted()) {
            Some(at) => (Defect::Lost, format!("accepted at {}, and not seen", seconds(at))),
            None => {
                let by = in_log.get(finding.id.as_str()).copied().unwrap_or("nobody");
                (Defect::Disagreed, format!("not accepted, but seen by {by}"))
            }
        };
        verdict.findings.push(new(topic, defect, &finding.who, &finding.id, detail));
    }
    let others = [
        (Defect::Duplicated, &found.duplicated, "seen again without a reason"),
        (Defect::Disordered, &found.out_of_order, "seen after an event that it comes before"),
        (Defect::Unknown, &found.unknown, "nobody published it, or it was refused"),
    ];
    for (defect, findings, detail) in others {
        for finding in findings {
            let account = names.get(&finding.who).filter(|_| !topic.rewinds.is_empty());
            if account.is_some_and(|account| is_of_two_histories(topic, account, defect, &finding.id)) {
                verdict.repeated += 1;
                continue;
            }
            verdict.findings.push(new(topic, defect, &finding.who, &finding.id, detail.to_owned()));
        }
    }
}

/// Where Redis went back, is a finding explained by what this subscriber was told?
fn is_of_two_histories(topic: &Topic, account: &Account, defect: Defect, id: &str) -> bool {
    match (defect, topic.published.get(id)) {
        // A hub that gets no answer from a primary that is being replaced asks the new one, which may refuse.
        (Defect::Unknown, Some(published)) => account.was_told_after(published.sent()),
        (Defect::Unknown, None) => false,
        _ => account.is_of_two_workers(id),
    }
}

/// A callback that has answered with success is not asked again, unless something broke.
fn retries(topic: &Topic, accounts: &[Account], verdict: &mut Verdict) {
    for account in accounts.iter().filter(|account| account.reader.channel == Channel::Webhook) {
        for pair in account.connections.iter().flat_map(|connection| connection.windows(2)) {
            let has_answered = pair[0].answer.is_some_and(|status| (200..300).contains(&status));
            let is_broken = topic.faults.iter().any(|began| *began <= pair[1].at);
            if pair[0].id == pair[1].id && has_answered && !is_broken {
                let detail = "sent again, though it had been answered with success".to_owned();
                verdict.findings.push(new(topic, Defect::Duplicated, &account.name(), &pair[1].id, detail));
            }
        }
    }
}

/// The ids that are in the log before the last event, as far as anybody has seen it, and who has.
fn in_the_log<'a>(topic: &'a Topic, accounts: &[Account<'a>]) -> HashMap<&'a str, &'a str> {
    let mut seen = HashMap::new();
    for account in accounts {
        let all: Vec<_> = account.connections.iter().flatten().collect();
        let last = all.iter().position(|sighting| sighting.event == LAST).unwrap_or(0);
        for sighting in &all[..last] {
            let judged = topic.published.contains_key(&sighting.id) || sighting.sync_error.is_some();
            if judged {
                seen.entry(sighting.id.as_str()).or_insert(account.reader.name.as_str());
            }
        }
    }
    seen
}

/// What this life must have seen.
fn owed(topic: &Topic, account: &Account, in_log: &HashMap<&str, &str>) -> Vec<String> {
    let (reader, life) = (account.reader, account.life);
    let Some(since) = life.since else { return Vec::new() };
    // Who was told that it is over is owed what had been accepted before the last event was sent that it got.
    let last = account.connections.iter().flatten().rev().find_map(|last| topic.published.get(&last.id));
    let last = last.map_or(0, |last| last.sent());
    let is_owed = |id: &str| match topic.published.get(id) {
        Some(published) => {
            let accepted = published.accepted();
            let in_time = life.ended.is_none() || accepted.is_some_and(|at| at < last);
            reader.filter.matches(&published.event) && published.sent() > since && in_time
        }
        None => {
            let is_about = |reader: &str| sync_error(topic, id).is_some_and(|sync| sync.subscriber == reader);
            account.number == 0
                && life.ended.is_none()
                && reader.filter.matches("syncerror")
                && !is_about(&reader.name)
        }
    };
    let accepted = topic.orders.iter().flatten().map(String::as_str);
    let uncertain = in_log
        .keys()
        .copied()
        .filter(|id| topic.published.get(*id).is_none_or(|published| published.accepted().is_none()));
    accepted
        .chain(uncertain)
        .filter(|id| is_owed(id) && !account.anywhere.contains(id))
        .map(str::to_owned)
        .collect()
}

/// The SyncError of this id, wherever it was seen.
fn sync_error<'a>(topic: &'a Topic, id: &str) -> Option<&'a SyncError> {
    let sightings = topic.readers.iter().flat_map(|reader| &reader.lives).flat_map(|life| &life.connections);
    sightings.flatten().find(|sighting| sighting.id == id).and_then(|sighting| sighting.sync_error.as_ref())
}

/// Subscriptions that ended, subscribers that did not get the last event, and signatures.
fn endings(topic: &Topic, accounts: &[Account], verdict: &mut Verdict) {
    let has_last = topic.published.values().any(|published| published.event == LAST);
    for account in accounts {
        let sightings = || account.life.connections.iter().flatten();
        let unsigned = sightings().filter(|sighting| !sighting.signed);
        let unsigned =
            unsigned.map(|it| new(topic, Defect::Unsigned, &account.name(), &it.id, String::new()));
        verdict.findings.extend(unsigned);
        let name = account.name();
        if let Some(ended) = account.life.ended {
            let detail = format!("its subscription was ended at {}", seconds(ended));
            verdict.findings.push(new(topic, Defect::Expelled, &name, "", detail));
        }
        let is_last_life = account.number + 1 == account.reader.lives.len();
        if has_last && is_last_life && !sightings().any(|sighting| sighting.event == LAST) {
            let detail = "it never got the last event".to_owned();
            verdict.findings.push(new(topic, Defect::Stuck, &name, "", detail));
        }
    }
}

/// Events of the lab are well formed, and each update names the version before it: what is refused all the same must have
/// been sent before, or follow something that was lost.
fn refusals(topic: &Topic, accounts: &[Account], verdict: &mut Verdict) {
    let is_lossy = accounts.iter().any(|account| !account.announced.is_empty());
    for (id, published) in &topic.published {
        let refused = published.attempts.iter().filter_map(|attempt| attempt.status);
        for status in refused.filter(|status| (400..500).contains(status)) {
            if status != 409 || !(published.is_resent() || is_lossy) {
                let detail = format!("{} was answered {status}", published.event);
                verdict.findings.push(new(topic, Defect::Refused, &published.by, id, detail));
            }
        }
    }
}

/// A finding in this topic.
pub(super) fn new(topic: &Topic, defect: Defect, who: &str, event: &str, detail: String) -> RunFinding {
    let (topic, who, event) = (topic.name.clone(), who.to_owned(), event.to_owned());
    RunFinding { defect, topic, who, event, detail }
}

/// A time of a journal, for people.
pub(super) fn seconds(micros: u64) -> String {
    format!("{:.3} s", micros as f64 / 1e6)
}
