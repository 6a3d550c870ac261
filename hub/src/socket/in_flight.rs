//! What is on its way to one subscriber, and from where it would have to be sent again.
//!
//! A notification is confirmed when the subscriber has answered it. Some viewers in the field
//! never answer; for them a pong that follows the notification has to do: it shows that all
//! before it has been read from the socket. So has it for an answer that is long overdue, or the
//! cursor would stand still for ever.
//!
//! The cursor is the entry before the first unconfirmed one: who comes back may get something
//! twice, with the same id, and never misses anything (FC-WSC-08).

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

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
}

struct Notification {
    number: u64,
    entry: Arc<LogEntry>,
    since: Instant,
    is_confirmed: bool,
}

impl InFlight {
    /// Takes note of a notification that is being handed to the socket.
    pub fn push(&mut self, entry: Arc<LogEntry>, bytes: usize, now: Instant) {
        self.last += 1;
        self.unsent_bytes += bytes;
        self.notifications.push_back(Notification {
            number: self.last,
            entry,
            since: now,
            is_confirmed: false,
        });
    }

    /// The socket has taken all that was handed to it.
    pub fn sent(&mut self) {
        self.unsent_bytes = 0;
    }

    /// The subscriber answered the notification with this id: its entry, if it was on its way.
    pub fn answer(&mut self, id: &str) -> Option<Arc<LogEntry>> {
        self.answers = true;
        let is_it = |notification: &&mut Notification| {
            !notification.is_confirmed
                && notification.entry.entry.as_event().is_some_and(|notice| notice.id == id)
        };
        let answered = self.notifications.iter_mut().find(is_it)?;
        answered.is_confirmed = true;
        let entry = answered.entry.clone();
        self.trim();
        Some(entry)
    }

    /// A pong came that was sent after notification number `number` had been read.
    pub fn pong(&mut self, number: u64, now: Instant, ack_timeout: Duration) {
        for notification in
            self.notifications.iter_mut().take_while(|notification| notification.number <= number)
        {
            notification.is_confirmed |=
                !self.answers || now.duration_since(notification.since) >= ack_timeout;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.notifications.front().is_some_and(|first| first.is_confirmed) {
            self.notifications.pop_front();
        }
    }

    /// The number of the last notification, for the ping after it.
    pub fn last(&self) -> u64 {
        self.last
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
    use shared::session::{Audience, Entry, Notice};

    use super::*;

    const ACK: Duration = Duration::from_secs(10);

    fn at(sequence: u64) -> Position {
        Position { millis: 1, sequence }
    }

    fn entry(sequence: u64) -> Arc<LogEntry> {
        let notice = Notice {
            id: format!("e{sequence}"),
            name: "Patient-open".parse().unwrap(),
            audience: Audience::Everyone,
            message: RawValue::from_string("{}".into()).unwrap(),
        };
        Arc::new(LogEntry {
            position: at(sequence),
            previous: at(sequence - 1),
            revision: sequence,
            entry: Entry::event(notice),
        })
    }

    fn in_flight(now: Instant) -> InFlight {
        let mut in_flight = InFlight::default();
        for sequence in 1..=3 {
            in_flight.push(entry(sequence), 10, now);
        }
        in_flight
    }

    #[test]
    fn the_cursor_stays_before_the_first_notification_without_an_answer() {
        let mut in_flight = in_flight(Instant::now());
        assert_eq!(in_flight.cursor(at(9)), at(0), "FC-WSC-08");
        assert_eq!(in_flight.answer("e2").unwrap().position, at(2));
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
        silent.pong(2, now, ACK);
        assert_eq!((silent.cursor(at(9)), silent.unconfirmed()), (at(2), 1), "FC-WSC-08");
    }

    #[test]
    fn who_answers_is_held_to_it_until_the_time_is_over() {
        let now = Instant::now();
        let mut answering = in_flight(now);
        answering.answer("e2");
        answering.pong(3, now, ACK);
        assert_eq!(answering.cursor(at(9)), at(0), "FC-WSC-08");
        answering.pong(3, now + ACK, ACK);
        assert_eq!(answering.cursor(at(9)), at(9), "FC-WSC-08");
    }

    #[test]
    fn unsent_bytes_are_counted_until_the_socket_takes_them() {
        let mut in_flight = in_flight(Instant::now());
        assert_eq!(in_flight.unsent_bytes(), 30);
        in_flight.sent();
        assert_eq!((in_flight.unsent_bytes(), in_flight.last()), (0, 3));
    }
}
