//! Which past a log belongs to.
//!
//! Redis replicates asynchronously and flushes its file once a second: a server that takes over, or
//! comes back, may lack the last of what was accepted. Then the log goes on from an older entry, and
//! with the clock of another machine: the same place in it could be given to two events, and what
//! was lost could go unnoticed. So each server writes a history of its own, which is part of every
//! position and of every revision. Two that differ in it are never equal.

use std::{fmt, num::ParseIntError, str::FromStr};

/// The history that one server writes, from its start or promotion until it ends or is demoted: the
/// first 32 bits of its replication id.
///
/// A log may have entries of several histories, one after the other. That alone is no loss (a primary
/// that has its first replica, or has had none for long, begins another too): what was lost is told
/// by the predecessors ([`LogEntry::previous`](super::LogEntry::previous)).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History(pub u32);

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for History {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u32::from_str_radix(text, 16).map(Self)
    }
}

/// A state of a session: how often its fields have changed, and in which history they did so last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Revision {
    /// How often the fields have changed.
    pub number: u64,
    /// The history of the last change.
    pub history: History,
}

impl Revision {
    /// The session that nobody has written to.
    pub const NONE: Self = Self { number: 0, history: History(0) };

    /// The revision after a change in `history`.
    pub fn next_in(self, history: History) -> Self {
        Self { number: self.number + 1, history }
    }

    /// Is this one known to be earlier than the other, and of the same history?
    pub fn is_before(self, other: Self) -> bool {
        self.history == other.history && self.number < other.number
    }

    /// Does `next` follow without another in between? Of another history, nobody can tell.
    pub fn is_followed_by(self, next: Self) -> bool {
        next == self.next_in(self.history)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.history)
    }
}

/// The text is no revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a revision of a session")]
pub struct NotARevision;

impl FromStr for Revision {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let (number, history) = text.split_once('@').ok_or(NotARevision)?;
        let (number, history) = (number.parse(), history.parse());
        // After the last number there is none for the next.
        let number = number.ok().filter(|number| *number < u64::MAX).ok_or(NotARevision)?;
        Ok(Self { number, history: history.map_err(|_| NotARevision)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn revisions_survive_their_text() {
        let revision = Revision { number: 12, history: History(0xab) };
        assert_eq!(revision.to_string(), "12@000000ab");
        assert_eq!(revision.to_string().parse(), Ok(revision));
        for text in ["", "12", "12@", "@ab", "x@ab", "1@xyz", "1@123456789", "18446744073709551615@0"] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
    }

    #[test]
    fn revisions_of_two_histories_neither_follow_nor_precede_each_other() {
        let (one, other) = (History(1), History(2));
        let first = Revision { number: 5, history: one };
        assert!(first.is_followed_by(first.next_in(one)) && first.is_before(first.next_in(one)));
        let after = first.next_in(other);
        assert!(!first.is_followed_by(after) && !first.is_before(after) && first.next_in(one) != after);
    }
}
