//! Versions (FC-CNT-01, FC-CNT-04): each is one event's alone, and an update names the one before it.

use std::collections::HashMap;

use super::accounts::Account;
use super::finding::{Defect, RunFinding};
use super::topic::{Sighting, Topic};
use super::verdict::new;

pub(super) fn findings(topic: &Topic, accounts: &[Account]) -> Vec<RunFinding> {
    let mut found = Vec::new();
    let mut bearers: HashMap<&str, &str> = HashMap::new();
    for account in accounts {
        let mut find = |event: &str, detail: String| {
            found.push(new(topic, Defect::Version, &account.name(), event, detail));
        };
        let mut chain = Chain::default();
        let mut announced = account.announced.iter().peekable();
        for sighting in account.connections.iter().flatten().filter(|sighting| gives_version(sighting)) {
            if announced.next_if(|at| **at <= sighting.at).is_some() {
                // What is open was told anew, perhaps at another version.
                chain = Chain::default();
            }
            let Some(version) = &sighting.version else {
                find(&sighting.id, format!("{} without context.versionId", sighting.event));
                continue;
            };
            let bearer = bearers.entry(version).or_insert(&sighting.id);
            if *bearer != sighting.id {
                find(&sighting.id, format!("its version {version} is that of {bearer}"));
            }
            if let Some(detail) = chain.follow(sighting, version) {
                find(&sighting.id, detail);
            }
        }
    }
    found
}

fn gives_version(sighting: &Sighting) -> bool {
    sighting.is_open() || sighting.is_update()
}

/// The present version of each anchor, as one subscriber knows it.
#[derive(Default)]
struct Chain<'a> {
    present: HashMap<&'a str, &'a str>,
    of_event: HashMap<&'a str, &'a str>,
}

impl<'a> Chain<'a> {
    /// What is wrong with the next sighting, if anything is.
    fn follow(&mut self, sighting: &'a Sighting, version: &'a str) -> Option<String> {
        if let Some(before) = self.of_event.insert(&sighting.id, version) {
            // Seen before: a resume goes back, and the present version does not.
            return (before != version).then(|| format!("its version was {before} and is {version}"));
        }
        let anchor = sighting.anchor.as_deref()?;
        let before = self.present.insert(anchor, version);
        let prior = sighting.prior.as_deref();
        match before {
            Some(before) if sighting.is_update() && prior != Some(before) => {
                Some(format!("it follows version {prior:?} of {anchor}, the one before was {before}"))
            }
            _ => None,
        }
    }
}
