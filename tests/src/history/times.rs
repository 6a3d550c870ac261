//! How long a fault was felt, in microseconds from its beginning.

use serde::Serialize;

use super::journal::{Channel, Line, Read, What};

/// What the participants felt of a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Until the first request that failed, or connection that ended. `None`: nobody felt it.
    pub detected: Option<u64>,
    /// Until every publisher was accepted again after the last of its failures; 0 when none failed.
    pub publishing: u64,
    /// Until every socket that was lost was resumed; 0 when none was.
    pub sockets: u64,
    /// The longest that a callback was left without a request.
    pub callbacks: u64,
}

impl Times {
    /// Until all were served again that were not.
    pub fn served(&self) -> u64 {
        self.publishing.max(self.sockets)
    }
}

/// The times of the first fault in these journals. `None`: there was none.
pub fn times(journals: &[Read]) -> Option<Times> {
    let lines = journals.iter().flat_map(|journal| &journal.lines);
    let begins = lines.filter(|line| matches!(line.what, What::FaultBegins { .. }));
    let began = begins.map(|line| line.at).min()?;
    let mut times = Times::default();
    for journal in journals {
        let after: Vec<&Line> = journal.lines.iter().filter(|line| line.at > began).collect();
        let felt = after.iter().find(|line| is_failure(&line.what)).map(|line| line.at - began);
        times.detected = [times.detected, felt].into_iter().flatten().min();
        times.publishing = times.publishing.max(publishing(&after).map_or(0, |at| at - began));
        times.sockets = times.sockets.max(resumed(&after).map_or(0, |at| at - began));
        let channel = journal.lines.first().and_then(|line| match &line.what {
            What::Reader { channel, .. } => Some(*channel),
            _ => None,
        });
        if channel == Some(Channel::Webhook) {
            times.callbacks = times.callbacks.max(longest_pause(&after, began));
        }
    }
    Some(times)
}

fn is_failure(what: &What) -> bool {
    match what {
        What::Attempt { status, .. } => is_failed(*status),
        What::Closed { .. } | What::Refused { .. } | What::Ended { .. } => true,
        _ => false,
    }
}

/// No answer, or one that says that the hub can't.
fn is_failed(status: Option<u16>) -> bool {
    status.is_none_or(|status| status >= 500)
}

/// When a publisher was accepted after the last of its failures.
fn publishing(lines: &[&Line]) -> Option<u64> {
    let status = |line: &&&Line| match line.what {
        What::Attempt { status, .. } => Some(status),
        _ => None,
    };
    let failed = lines.iter().rposition(|line| status(&line).is_some_and(is_failed))?;
    let accepted = lines[failed..].iter().find(|line| status(line) == Some(Some(202)));
    // Never again, as far as the journal goes.
    Some(accepted.or(lines.last())?.at)
}

/// When the first frame came over the last connection of a socket, if it is not its first.
fn resumed(lines: &[&Line]) -> Option<u64> {
    let last = lines.iter().rposition(|line| matches!(line.what, What::Connected { .. }))?;
    let first_frame = lines[last..].iter().find(|line| matches!(line.what, What::Frame { .. }));
    Some(first_frame.or(lines.last())?.at)
}

fn longest_pause(lines: &[&Line], began: u64) -> u64 {
    let requests = lines.iter().filter(|line| matches!(line.what, What::Request { .. })).map(|line| line.at);
    let (mut before, mut longest) = (began, 0);
    for at in requests {
        longest = longest.max(at - before);
        before = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::history::filter::Filter;

    fn journal(lines: &[(u64, What)]) -> Read {
        let lines = lines.iter().map(|(at, what)| Line { at: *at, what: what.clone() }).collect();
        Read { name: "one".to_owned(), lines }
    }

    fn attempt(status: Option<u16>) -> What {
        let (topic, id, event) = ("t".to_owned(), "e".to_owned(), "Patient-open".to_owned());
        What::Attempt { topic, id, event, hub: 0, took: 0, status }
    }

    fn fault() -> Read {
        journal(&[(1000, What::FaultBegins { fault: "f".to_owned(), rewinds: false })])
    }

    #[test]
    fn a_fault_that_nobody_felt_has_no_times() {
        assert_eq!(times(&[journal(&[(5, attempt(Some(202)))])]), None);
        let felt = times(&[fault(), journal(&[(900, attempt(None)), (1100, attempt(Some(202)))])]);
        assert_eq!(felt, Some(Times::default()));
    }

    #[test]
    fn publishing_is_back_when_the_slowest_publisher_is_accepted_after_its_last_failure() {
        let one = [
            (1200, attempt(Some(503))),
            (1300, attempt(Some(202))),
            (1400, attempt(None)),
            (1700, attempt(Some(202))),
        ];
        let other = [(1100, attempt(Some(202))), (1150, attempt(None)), (1500, attempt(Some(202)))];
        let felt = times(&[fault(), journal(&one), journal(&other)]).unwrap();
        assert_eq!((felt.detected, felt.publishing, felt.sockets), (Some(150), 700, 0));
    }

    #[test]
    fn sockets_are_back_when_the_last_of_them_hears_something_over_its_new_connection() {
        let reader = [
            (100, What::Connected { hub: 0 }),
            (1300, What::Closed { code: None }),
            (1400, What::Connected { hub: 1 }),
            (1450, What::Frame { text: String::new() }),
            (1900, What::Frame { text: String::new() }),
        ];
        let felt = times(&[fault(), journal(&reader)]).unwrap();
        assert_eq!((felt.detected, felt.served()), (Some(300), 450));
    }

    #[test]
    fn a_callback_that_waits_is_found_by_its_longest_pause() {
        let name = What::Reader {
            topic: "t".to_owned(),
            name: "w".to_owned(),
            filter: Filter("*".to_owned()),
            channel: Channel::Webhook,
        };
        let request = || What::Request { text: String::new(), signed: true, answer: Some(200) };
        let reader = [(0, name), (900, request()), (1100, request()), (1700, request()), (1800, request())];
        assert_eq!(times(&[fault(), journal(&reader)]).unwrap().callbacks, 600);
    }
}
