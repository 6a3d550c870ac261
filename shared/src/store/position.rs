//! A place in a topic's log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of a log entry: when the store accepted it, in milliseconds since 1970 by the store's
/// clock, and a counter within the millisecond. Positions grow along the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    /// Milliseconds since 1970, by the store's clock.
    pub millis: u64,
    /// The number of the entry within that millisecond.
    pub sequence: u64,
}

impl Position {
    /// Before the first entry of any log.
    pub const START: Self = Self { millis: 0, sequence: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// The text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position in a log")]
pub struct NotAPosition;

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let (millis, sequence) = text.split_once('-').ok_or(NotAPosition)?;
        let number = |digits: &str| digits.parse().map_err(|_| NotAPosition);
        Ok(Self { millis: number(millis)?, sequence: number(sequence)? })
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
        let (early, late): (Position, Position) = ("9-10".parse().unwrap(), "10-2".parse().unwrap());
        assert!(Position::START < early && early < late);
        assert_eq!(late.to_string(), "10-2");
        for text in ["", "1", "1-", "-1", "a-b", "1-2-3"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
