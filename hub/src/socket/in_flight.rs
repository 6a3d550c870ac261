//! What is on its way to one subscriber, and from where it would have to be sent again.
//!
//! A notification is confirmed when the subscriber has answered it. Some viewers in the field
//! never answer; for them a pong that follows the notification has to do: it shows that all
//! before it has been read from the socket. So has it for an answer that is long overdue, or the
//! cursor would stand still for ever.
//!
//! What nobody confirmed within the ack time-out is overdue: the subscriber has not followed, or has
//! not even read it (FC-NOT-04). Of one that has never answered the second alone is held against it,
//! unless the hub is strict.
//!
//! The cursor is the entry before the first unconfirmed one: who comes back may get something
//! twice, with the same id, and never misses anything (FC-WSC-08).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use shared::store::{LogEntry, Position};

/// The notifications that have been handed to the socket and not been confirmed.
#[derive(Default)]
pub struct InFlight {
    notifications: VecDeque<Notification>,
    /// The number of the last notification.
    last: u64,
    /// Bytes that wait for the socket to take them.
    unsent_bytes: usize,
    /// Has the subscriber ever answered?
    answers: bool,
    /// Notifications in a row that became overdue.
    overdue_in_a_row: u32,
}

struct Notification {
    number: u64,
    /// What an answer names.
    id: ByteString,
    entry: Arc<LogEntry>,
    since: Instant,
    state: State,
    is_overdue: bool,
}

impl Notification {
    fn awaited(&self) -> Awaited {
        Awaited { entry: self.entry.clone(), since: self.since }
    }

    /// Is it to be told about when nobody confirms it, and has not been yet?
    fn is_watched(&self) -> bool {
        self.state == State::Sent
            && !self.is_overdue
            && self.entry.entry.as_event().is_some_and(|notice| notice.is_reported())
    }
}

/// A notification for whose answer was waited.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// Its entry.
    pub entry: Arc<LogEntry>,
    /// When it was handed to the socket.
    pub since: Instant,
}

/// Notifications that were not confirmed in time.
#[derive(Debug, Default)]
pub struct Overdue {
    /// Each only once.
    pub notifications: Vec<Awaited>,
    /// How many were overdue in a row, with these.
    pub in_a_row: u32,
}

#[derive(PartialEq, Eq)]
enum State {
    Sent,
    /// The subscriber refused it, and the others have not been told yet.
    Refused,
    Confirmed,
}

impl InFlight {
    /// For a subscriber that has answered before, on another connection, or has not.
    pub fn new(answers: bool) -> Self {
        Self { answers, ..Self::default() }
    }

    /// Has the subscriber ever answered?
    pub fn answers(&self) -> bool {
        self.answers
    }

    /// Takes note of a notification that is being handed to the socket, and numbers it. `id` is
    /// the one that this subscriber sees.
    pub fn push(&mut self, entry: Arc<LogEntry>, id: ByteString, bytes: usize, now: Instant) -> u64 {
        self.last += 1;
        self.unsent_bytes += bytes;
        let (number, state, is_overdue) = (self.last, State::Sent, false);
        self.notifications.push_back(Notification { number, id, entry, since: now, state, is_overdue });
        number
    }

    /// The socket has taken all that was handed to it.
    pub fn sent(&mut self) {
        self.unsent_bytes = 0;
    }

    /// The subscriber answered the notification with this id, if it waited for that.
    pub fn answer(&mut self, id: &str) -> Option<Awaited> {
        self.set(id, State::Confirmed)
    }

    /// The subscriber refused the notification with this id, if it waited for an answer. It stays
    /// unconfirmed until the others have been [told](Self::reported).
    pub fn refuse(&mut self, id: &str) -> Option<Awaited> {
        self.set(id, State::Refused)
    }

    fn set(&mut self, id: &str, state: State) -> Option<Awaited> {
        let is_it = |sent: &&mut Notification| sent.state == State::Sent && sent.id == id;
        let answered = self.notifications.iter_mut().find(is_it)?;
        answered.state = state;
        // What was not sent cannot be answered, and shows nothing.
        self.answers = true;
        self.overdue_in_a_row = 0;
        let awaited = answered.awaited();
        self.trim();
        Some(awaited)
    }

    /// The others have been told that the subscriber refused this entry.
    pub fn reported(&mut self, position: Position) {
        let refused = self.notifications.iter_mut().filter(|sent| sent.state == State::Refused);
        refused.filter(|sent| sent.entry.position == position).for_each(|sent| sent.state = State::Confirmed);
        self.trim();
    }

    /// A pong came that was sent after notification number `number` had been read. It is no answer:
    /// of who answers, or has to, it only lets the cursor go on after the time for the answer.
    pub fn pong(&mut self, number: u64, now: Instant, ack_timeout: Duration, is_strict: bool) {
        let must_answer = self.answers || is_strict;
        for sent in self.notifications.iter_mut().take_while(|sent| sent.number <= number) {
            let is_late = now.duration_since(sent.since) >= ack_timeout;
            let suffices = !must_answer || is_late && !sent.is_watched();
            if suffices && sent.state == State::Sent {
                sent.state = State::Confirmed;
            }
        }
        self.trim();
    }

    /// Is anything overdue that has not been [taken](Self::take_overdue)?
    pub fn has_overdue(&self, now: Instant, ack_timeout: Duration) -> bool {
        let old = self.notifications.iter().take_while(|sent| now.duration_since(sent.since) >= ack_timeout);
        old.into_iter().any(Notification::is_watched)
    }

    /// What has become overdue since this was asked last.
    pub fn take_overdue(&mut self, now: Instant, ack_timeout: Duration) -> Overdue {
        let old = self.notifications.iter_mut();
        let old = old.take_while(|sent| now.duration_since(sent.since) >= ack_timeout);
        let mut notifications = Vec::new();
        for sent in old.filter(|sent| sent.is_watched()) {
            sent.is_overdue = true;
            notifications.push(sent.awaited());
        }
        self.overdue_in_a_row += u32::try_from(notifications.len()).unwrap_or(u32::MAX);
        Overdue { notifications, in_a_row: self.overdue_in_a_row }
    }

    /// When the first of those that would be told about was accepted, in milliseconds since 1970.
    pub fn first_watched(&self) -> Option<u64> {
        self.notifications.iter().find(|sent| sent.is_watched()).map(|sent| sent.entry.position.millis)
    }

    fn trim(&mut self) {
        while self.notifications.front().is_some_and(|first| first.state == State::Confirmed) {
            self.notifications.pop_front();
        }
    }

    /// Has all been confirmed up to notification number `number`?
    pub fn is_confirmed_up_to(&self, number: u64) -> bool {
        self.notifications.front().is_none_or(|first| first.number > number)
    }

    /// How many notifications wait for their confirmation.
    pub fn unconfirmed(&self) -> usize {
        self.notifications.len()
    }

    /// How many bytes wait for the socket to take them.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// The last entry that need not be sent again, when `followed` is the last that was handled.
    pub fn cursor(&self, followed: Position) -> Position {
        self.notifications.front().map_or(followed, |first| first.entry.previous)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::value::RawValue;
    use shared::{
        session::{Audience, Entry, Notice},
        store::Revision,
    };

    use super::*;

    const ACK: Duration = Duration::from_secs(10);

    fn at(sequence: u64) -> Position {
        Position { millis: 1, sequence, ..Position::START }
    }

    fn entry(sequence: u64) -> Arc<LogEntry> {
        let message = RawValue::from_string("{}".into()).unwrap();
        let name = "Patient-open".parse().unwrap();
        let notice = Notice::new(format!("e{sequence}"), name, Audience::Everyone, message);
        Arc::new(LogEntry {
            position: at(sequence),
            previous: at(sequence - 1),
            revision: Revision::NONE,
            entry: Entry::event(notice),
        })
    }

    fn in_flight(now: Instant) -> InFlight {
        let mut in_flight = InFlight::default();
        for sequence in 1..=3 {
            in_flight.push(entry(sequence), format!("e{sequence}").into(), 10, now);
        }
        in_flight
    }

    #[test]
    fn the_cursor_stays_before_the_first_notification_without_an_answer() {
        let mut in_flight = in_flight(Instant::now());
        assert_eq!(in_flight.cursor(at(9)), at(0), "FC-WSC-08");
        assert_eq!(in_flight.answer("e2").unwrap().entry.position, at(2));
        assert_eq!(in_flight.cursor(at(9)), at(0), "FC-WSC-08: the first is still unanswered");
        in_flight.answer("e1").unwrap();
        assert_eq!(in_flight.cursor(at(9)), at(2), "FC-WSC-08");
        in_flight.answer("e3").unwrap();
        assert_eq!(in_flight.cursor(at(9)), at(9), "FC-WSC-08: what was not for it is passed");
        assert!(in_flight.answer("e3").is_none() && in_flight.answer("never").is_none());
    }

    #[test]
    fn a_pong_confirms_for_who_never_answers() {
        let now = Instant::now();
        let mut silent = in_flight(now);
        assert!(!silent.is_confirmed_up_to(2));
        silent.pong(2, now, ACK, false);
        assert!(silent.is_confirmed_up_to(2) && !silent.is_confirmed_up_to(3));
        assert_eq!((silent.cursor(at(9)), silent.unconfirmed()), (at(2), 1), "FC-WSC-08");
    }

    #[test]
    fn who_answers_is_held_to_it_until_the_time_is_over() {
        let now = Instant::now();
        let mut answering = in_flight(now);
        answering.answer("e2");
        answering.pong(3, now, ACK, false);
        assert_eq!(answering.cursor(at(9)), at(0), "FC-WSC-08");
        answering.pong(3, now + ACK, ACK, false);
        assert_eq!(answering.cursor(at(9)), at(0), "FC-NOT-04: not before it has been taken note of");
        assert_eq!(answering.take_overdue(now + ACK, ACK).notifications.len(), 2);
        answering.pong(3, now + ACK, ACK, false);
        assert_eq!(answering.cursor(at(9)), at(9), "FC-WSC-08");
    }

    #[test]
    fn a_refusal_is_confirmed_when_the_others_have_been_told() {
        let now = Instant::now();
        let mut in_flight = in_flight(now);
        assert_eq!(in_flight.refuse("e1").unwrap().entry.position, at(1));
        assert!(in_flight.refuse("e1").is_none(), "FC-NOT-02: one SyncError a refusal");
        in_flight.take_overdue(now + ACK, ACK);
        in_flight.pong(3, now + ACK, ACK, false);
        assert_eq!(in_flight.cursor(at(9)), at(0), "who takes over is refused again, and tells them");
        in_flight.reported(at(1));
        assert_eq!(in_flight.cursor(at(9)), at(9));
    }

    #[test]
    fn what_is_not_answered_in_time_is_overdue_once_and_counted_in_a_row() {
        let now = Instant::now();
        let mut answering = in_flight(now);
        answering.answer("e1");
        assert!(!answering.has_overdue(now + ACK / 2, ACK) && answering.has_overdue(now + ACK, ACK));
        let overdue = answering.take_overdue(now + ACK, ACK);
        let positions: Vec<_> = overdue.notifications.iter().map(|awaited| awaited.entry.position).collect();
        assert_eq!((positions, overdue.in_a_row), (vec![at(2), at(3)], 2), "FC-NOT-04");
        assert!(!answering.has_overdue(now + ACK, ACK), "FC-NOT-04: each once");
        answering.push(entry(4), "e4".into(), 1, now);
        assert_eq!(answering.take_overdue(now + ACK, ACK).in_a_row, 3, "FC-NOT-06");
        assert!(answering.answer("never").is_none());
        assert_eq!(answering.take_overdue(now + ACK, ACK).in_a_row, 3, "FC-NOT-06: it answers nothing");
        answering.push(entry(5), "e5".into(), 1, now);
        answering.answer("e4");
        assert_eq!(answering.take_overdue(now + ACK, ACK).in_a_row, 1, "FC-NOT-06: an answer ends the row");
    }

    #[test]
    fn who_never_answers_is_only_expected_to_read() {
        let now = Instant::now();
        let mut silent = in_flight(now);
        silent.pong(2, now, ACK, false);
        assert_eq!(
            silent.take_overdue(now + ACK, ACK).notifications.len(),
            1,
            "FC-NOT-04: the third was not read"
        );
        let mut strict = in_flight(now);
        strict.pong(3, now, ACK, true);
        assert_eq!(
            strict.take_overdue(now + ACK, ACK).notifications.len(),
            3,
            "FC-NOT-04: strict applies to all"
        );
        let mut known = InFlight::new(true);
        known.push(entry(1), "e1".into(), 1, now);
        known.pong(1, now, ACK, false);
        assert_eq!(known.take_overdue(now + ACK, ACK).notifications.len(), 1, "it has answered before");
    }

    #[test]
    fn nothing_is_told_about_a_sync_error() {
        let now = Instant::now();
        let mut in_flight = InFlight::new(true);
        let mut error = LogEntry::clone(&entry(1));
        let mut notice = error.entry.as_event().unwrap().clone();
        notice.name = "syncerror".parse().unwrap();
        error.entry = Entry::event(notice);
        in_flight.push(Arc::new(error), "e1".into(), 1, now);
        assert_eq!(in_flight.take_overdue(now + ACK, ACK).in_a_row, 0, "FC-NOT-05");
        in_flight.pong(1, now + ACK, ACK, false);
        assert_eq!(in_flight.unconfirmed(), 0);
    }

    #[test]
    fn unsent_bytes_are_counted_until_the_socket_takes_them() {
        let mut in_flight = in_flight(Instant::now());
        assert_eq!(in_flight.unsent_bytes(), 30);
        in_flight.sent();
        assert_eq!(in_flight.unsent_bytes(), 0);
        assert_eq!(in_flight.push(entry(4), "e4".into(), 10, Instant::now()), 4, "they are numbered");
    }
}
