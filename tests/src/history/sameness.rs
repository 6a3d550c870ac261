//! One event is the same bytes for every subscriber, on both channels (FC-NOT-01, FC-TRN-05), and its id bears no other.

use std::collections::HashMap;

use super::accounts::Account;
use super::finding::{Defect, RunFinding};
use super::topic::Topic;
use super::verdict::new;

pub(super) fn findings(topic: &Topic, accounts: &[Account]) -> Vec<RunFinding> {
    let mut found = Vec::new();
    let mut first: HashMap<&str, (&str, &Account)> = HashMap::new();
    for account in accounts {
        for sighting in account.connections.iter().flatten() {
            let (text, by) = *first.entry(&sighting.id).or_insert((&sighting.text, account));
            if text == sighting.text {
                continue;
            }
            // In two histories one event may have two versions; who saw the first of them was told.
            let sent = topic.published.get(&sighting.id).map(|published| published.sent());
            let is_of_two_histories = !topic.rewinds.is_empty()
                && sent.is_some_and(|sent| [by, account].iter().any(|account| account.was_told_after(sent)));
            if !is_of_two_histories {
                let detail = format!("{} was sent other bytes", by.name());
                found.push(new(topic, Defect::Different, &account.name(), &sighting.id, detail));
            }
        }
    }
    found
}
