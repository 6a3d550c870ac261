//! Was what was answered 202 delivered, once, in one order?
//!
//! One [`History`] is about one topic. It is told what was accepted and what each subscriber saw, and [`History::check`]
//! says what was lost, what came twice without a reason, and what can't be put into one total order with the rest
//! (FC-NOT-08, FC-SUB-11, FC-WHK-06, FC-WHK-07, FC-WSC-08). It relies on ids being used once: a sender that sends an
//! id again on purpose (FC-REQ-05) wants another judge.
//!
//! Order is judged by one total order of all events. If the log's own order is known it is that one; otherwise one is sought
//! that agrees with every subscriber and every sequential publisher. When none exists, the findings name those that
//! disagree with the nearest one, which follows whoever was told of first.

mod findings;

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;

use super::order::total_order;

pub use findings::{Finding, Findings};

/// What names an event.
pub trait Id: Clone + Eq + Hash + Debug {}
impl<T: Clone + Eq + Hash + Debug> Id for T {}

/// When a subscriber may see an event again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// A socket: at the start of a new connection, which goes on from a cursor at or before the last event seen.
    OnResume,
    /// A callback: at once after itself, as a retry of what was in flight. Its cursor is kept with the log, so it has one
    /// connection, unless the log's keeper went back to an older state: from there on it is another one.
    OnRetry,
}

/// What is known about one topic.
pub struct History<I> {
    accepted: Vec<I>,
    uncertain: HashSet<I>,
    orders: Vec<Vec<I>>,
    known_order: Option<Vec<I>>,
    subscribers: Vec<Subscriber<I>>,
}

struct Subscriber<I> {
    name: String,
    repeats: Repeats,
    connections: Vec<Vec<I>>,
    /// What it must have seen; `None`: all that was accepted.
    owed: Option<Vec<I>>,
}

impl<I: Id> Default for History<I> {
    fn default() -> Self {
        History {
            accepted: Vec::new(),
            uncertain: HashSet::new(),
            orders: Vec::new(),
            known_order: None,
            subscribers: Vec::new(),
        }
    }
}

impl<I: Id> History<I> {
    /// Events answered 202 whose publishers did not wait for one another.
    pub fn accepted(&mut self, ids: impl IntoIterator<Item = I>) {
        self.accepted.extend(ids);
    }

    /// Events answered 202 to one publisher that sent each after the answer to the one before: their order binds all.
    pub fn accepted_in_order(&mut self, ids: impl IntoIterator<Item = I>) {
        let ids: Vec<I> = ids.into_iter().collect();
        self.accepted.extend(ids.iter().cloned());
        self.orders.push(ids);
    }

    /// Events whose publisher got no answer, or a 5xx: they may be seen or not, but not twice and not in two orders.
    pub fn uncertain(&mut self, ids: impl IntoIterator<Item = I>) {
        self.uncertain.extend(ids);
    }

    /// The order of the topic's log, when it is known.
    pub fn total_order(&mut self, ids: impl IntoIterator<Item = I>) {
        self.known_order = Some(ids.into_iter().collect());
    }

    /// What a subscriber saw, a sequence for each of its connections (a callback has one).
    pub fn seen(&mut self, subscriber: &str, repeats: Repeats, connections: Vec<Vec<I>>) {
        let name = subscriber.to_owned();
        self.subscribers.push(Subscriber { name, repeats, connections, owed: None });
    }

    /// What a subscriber saw that asked for some of the events only, or for a part of the time: it must have seen `owed`.
    pub fn seen_of(
        &mut self,
        owed: impl IntoIterator<Item = I>,
        subscriber: &str,
        repeats: Repeats,
        connections: Vec<Vec<I>>,
    ) {
        let (name, owed) = (subscriber.to_owned(), Some(owed.into_iter().collect()));
        self.subscribers.push(Subscriber { name, repeats, connections, owed });
    }

    /// Judges.
    pub fn check(&self) -> Findings<I> {
        let mut findings = Findings::default();
        let accepted: HashSet<&I> = self.accepted.iter().collect();
        let mut chains: Vec<(String, Vec<I>)> = Vec::new();
        for subscriber in &self.subscribers {
            let sequence = subscriber.once_each(&mut findings);
            let seen: HashSet<&I> = sequence.iter().collect();
            let finding = |id: &I| Finding { who: subscriber.name.clone(), id: id.clone() };
            let owed = subscriber.owed.as_ref().unwrap_or(&self.accepted);
            findings.lost.extend(owed.iter().filter(|id| !seen.contains(id)).map(finding));
            let known = |id: &&I| accepted.contains(id) || self.uncertain.contains(*id);
            findings.unknown.extend(sequence.iter().filter(|id| !known(id)).map(finding));
            chains.push((subscriber.name.clone(), sequence));
        }
        for (number, order) in self.orders.iter().enumerate() {
            chains.push((format!("publisher {number}"), order.clone()));
        }
        if let Some(known) = &self.known_order {
            chains.insert(0, ("the log".to_owned(), known.clone()));
        }
        let position = total_order(&chains);
        for (name, chain) in &chains {
            for pair in chain.windows(2) {
                if position[&pair[0]] > position[&pair[1]] {
                    findings.out_of_order.push(Finding { who: name.clone(), id: pair[1].clone() });
                }
            }
        }
        findings
    }
}

impl<I: Id> Subscriber<I> {
    /// The sequence with each event at its first place; repeats go to `findings`, as defects or not.
    fn once_each(&self, findings: &mut Findings<I>) -> Vec<I> {
        let mut sequence: Vec<I> = Vec::new();
        let mut place: HashMap<I, usize> = HashMap::new();
        for (number, connection) in self.connections.iter().enumerate() {
            // Where in `sequence` a resumed connection is repeating; None once it has caught up.
            let mut resume_at = None;
            for (index, id) in connection.iter().enumerate() {
                let Some(&before) = place.get(id) else {
                    if resume_at.is_some_and(|at| at < sequence.len()) {
                        // It went back, and then left out events on its way to new ones.
                        findings.out_of_order.push(Finding { who: self.name.clone(), id: id.clone() });
                    }
                    place.insert(id.clone(), sequence.len());
                    sequence.push(id.clone());
                    resume_at = None;
                    continue;
                };
                let is_retry = self.repeats == Repeats::OnRetry && index > 0 && connection[index - 1] == *id;
                let is_resume = if index == 0 { number > 0 } else { resume_at == Some(before) };
                if is_retry {
                    findings.repeated += 1;
                } else if is_resume {
                    findings.repeated += 1;
                    resume_at = Some(before + 1);
                } else {
                    findings.duplicated.push(Finding { who: self.name.clone(), id: id.clone() });
                }
            }
        }
        sequence
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
