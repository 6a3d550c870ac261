//! A place in a topic's log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::History;

/// The id of a log entry: when the store accepted it, in milliseconds since 1970 by the store's
/// clock, a counter within the millisecond, and the history that it belongs to.
///
/// Positions grow along a log. Of one that the log has lost and one that took its place neither is
/// the later, whatever their numbers say: ask whether they are equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// Milliseconds since 1970, by the store's clock.
    pub millis: u64,
    /// The number of the entry within that millisecond.
    pub sequence: u64,
    /// Who wrote it.
    pub history: History,
}

impl Position {
    /// Before the first entry of any log.
    pub const START: Self = Self { millis: 0, sequence: 0, history: History(0) };

    /// Is the other one of the same history, and not later? Then who is here has had it.
    pub fn covers(&self, other: Self) -> bool {
        self.history == other.history && other <= *self
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.millis, self.sequence, self.history)
    }
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position in a log")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (place, history) = text.split_once('@').ok_or(NotAPosition)?;
        let (millis, sequence) = place.split_once('-').ok_or(NotAPosition)?;
        let number = |digits: &str| digits.parse().map_err(|_| NotAPosition);
        let history = history.parse().map_err(|_| NotAPosition)?;
        Ok(Self { millis: number(millis)?, sequence: number(sequence)?, history })
    }
}

impl TryFrom<String> for Position {
    type Error = NotAPosition;
    fn try_from(text: String) -> Result<Self, NotAPosition> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_as_numbers_and_survive_their_text() {
        let (early, late): (Position, Position) = ("9-10@0".parse().unwrap(), "10-2@0".parse().unwrap());
        assert!(Position::START < early && early < late);
        assert_eq!(late.to_string(), "10-2@00000000");
        assert_eq!(late.to_string().parse(), Ok(late));
        for text in ["", "1", "1-2", "1-@0", "-1@0", "a-b@0", "1-2-3@0", "1-2@g"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_place_in_two_histories_is_two_positions() {
        let (lost, new): (Position, Position) = ("9-1@1".parse().unwrap(), "9-1@2".parse().unwrap());
        assert_ne!(lost, new);
        assert!(!lost.covers(new) && !new.covers(lost) && new.covers(new));
        assert!(new.covers("9-0@2".parse().unwrap()) && !new.covers("9-2@2".parse().unwrap()));
    }
}
