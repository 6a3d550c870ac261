//! The form of what Redis keeps, so that old and new programs can share one Redis while they are replaced.
//!
//! Every entry of a log and every record of a subscription says in which format it is. A program reads all formats up to
//! its own newest; what is newer is an error that says so, and is not passed over: who is upgraded reads it. All programs
//! write the format that has been agreed on in Redis ([`crate::store`]), however new they are. The first program to use a
//! Redis agrees on its own newest; for those that come later it is raised by hand, when no older program is left, and
//! until then everybody can go back.
//!
//! | format | since then |
//! |---|---|
//! | 1 | |
//! | 2 | records say which format they have; events carry the trace that they are of |

use std::fmt;

use serde::{Deserialize, Serialize};

/// A format of what Redis keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Format(u8);

/// What is written in a format that this program does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has format {0}, and this program reads up to {newest}: upgrade it", newest = Format::NEWEST)]
pub struct Newer(pub Format);

impl Format {
    /// That of a Redis in which nothing has been agreed on.
    pub const OLDEST: Self = Self(1);
    /// The newest that this program reads and writes.
    pub const NEWEST: Self = Self(2);
    /// The first in which records say which one they have.
    const OF_RECORDS: Self = Self(2);
    /// The first in which events carry a trace.
    const OF_TRACES: Self = Self(2);

    /// The format of this number, whether this program knows it or not.
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Do records say which format they have?
    pub fn marks_records(self) -> bool {
        self >= Self::OF_RECORDS
    }

    /// Do events carry the trace that they are of?
    pub fn carries_traces(self) -> bool {
        self >= Self::OF_TRACES
    }

    /// An error when this program cannot read it.
    pub fn known(self) -> Result<Self, Newer> {
        if self > Self::NEWEST { Err(Newer(self)) } else { Ok(self) }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_an_error_that_says_what_to_do() {
        assert_eq!(Format::OLDEST.known(), Ok(Format::OLDEST));
        assert_eq!(Format::NEWEST.known(), Ok(Format::NEWEST));
        let newer = Format::new(Format::NEWEST.number() + 1).known().map_err(|newer| newer.to_string());
        assert_eq!(newer, Err("it has format 3, and this program reads up to 2: upgrade it".to_owned()));
    }
}
