//! One SyncError a cause (FC-NOT-02, FC-NOT-04): its id comes to nobody twice without a resume, which the rule of
//! repeats finds, and one cause has one id, which is found here. Where nothing is broken there is no cause.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::Account;
use super::finding::{Defect, RunFinding};
use super::topic::{LOST, SyncError, Topic};
use super::verdict::new;

/// SyncErrors about one loss: a primary that is cut off may lose more after the first one was told, and each hub or worker
/// may know of more than those before.
const LOSSES_TOLD: usize = 4;

pub(super) fn findings(topic: &Topic, accounts: &[Account]) -> Vec<RunFinding> {
    let mut found = Vec::new();
    for account in accounts {
        let mut ids: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
        for sighting in account.life.connections.iter().flatten() {
            if let Some(sync) = &sighting.sync_error {
                let cause = (sync.subscriber.as_str(), sync.event.as_str(), sync.kind());
                ids.entry(cause).or_default().insert(&sighting.id);
            }
        }
        for ((subscriber, event, kind), ids) in ids {
            if ids.len() > may_be_told(topic, subscriber, event, kind) {
                let detail = format!("{} SyncErrors that {subscriber:?} {kind:?}: {ids:?}", ids.len());
                found.push(new(topic, Defect::DoubleSyncError, &account.name(), event, detail));
            }
        }
        found.extend(own_ones_twice(topic, account));
        found.extend(unfounded(topic, account));
    }
    found
}

/// SyncErrors where nothing was broken, and losses where nothing can have been lost.
fn unfounded(topic: &Topic, account: &Account) -> Vec<RunFinding> {
    let all = account.life.connections.iter().flatten();
    let all = all.filter_map(|sighting| Some((&sighting.id, sighting.sync_error.as_ref()?)));
    let unfounded = all.filter(|(_, sync)| {
        topic.faults.is_empty() || (topic.rewinds.is_empty() && sync.announces_loss(&account.reader.name))
    });
    let finding = |(id, sync): (&String, &SyncError)| {
        let detail = format!("what was broken is no cause of it: {}", sync.diagnostics);
        new(topic, Defect::Unfounded, &account.name(), id, detail)
    };
    unfounded.map(finding).collect()
}

/// How many SyncErrors of one kind there may be about a subscriber and an event, or about the subscriber as a whole.
fn may_be_told(topic: &Topic, subscriber: &str, event: &str, kind: &str) -> usize {
    if kind == LOST && event.is_empty() {
        return LOSSES_TOLD * topic.rewinds.len().max(1);
    }
    match topic.published.get(event) {
        // What was sent again may be twice in the log, and may fail again.
        Some(published) => published.attempts.len(),
        None => {
            // Each absence is one cause: there are no more of them than connections that ended, and the last one.
            let reader = topic.readers.iter().find(|reader| reader.name == subscriber);
            let connections = reader.into_iter().flat_map(|reader| &reader.lives);
            connections.map(|life| life.connections.len()).sum::<usize>().max(1)
        }
    }
}

/// What is about the subscriber itself is left out of the log's order, so its repeats are looked for here.
fn own_ones_twice(topic: &Topic, account: &Account) -> Vec<RunFinding> {
    let mut found = Vec::new();
    let name = &account.reader.name;
    for connection in &account.life.connections {
        let mut seen = BTreeSet::new();
        for sighting in connection {
            let Some(sync) = &sighting.sync_error else { continue };
            let is_own = sync.subscriber == *name || sync.announces_loss(name);
            if is_own && !seen.insert(&sighting.id) {
                let detail = "the same SyncError twice on one connection".to_owned();
                found.push(new(topic, Defect::DoubleSyncError, &account.name(), &sighting.id, detail));
            }
        }
    }
    found
}
