//! What is answered to who is over a limit.

use std::{fmt, time::Duration};

use shared::telemetry::metrics::{Label, Limit};

/// When what is held now may be free.
const HELD_FOR_SECS: u64 = 5;

/// A limit has been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.{}: {whose} has reached it; again in {retry_after_secs} s", limit.as_str())]
pub struct Refused {
    /// Which.
    pub limit: Limit,
    /// Whose.
    pub whose: Whose,
    /// The same may succeed after so many seconds; at least 1.
    pub retry_after_secs: u64,
}

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The owner of the token.
    Caller,
    /// The address that the request came from.
    Address,
    /// The topic.
    Topic,
    /// That of all together.
    Hub,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller",
            Self::Address => "the caller's address",
            Self::Topic => "the topic",
            Self::Hub => "the hub",
        })
    }
}

impl Refused {
    /// A rate, which allows one more after `wait`.
    pub fn for_rate(limit: Limit, whose: Whose, wait: Duration) -> Self {
        let started = u64::from(wait.subsec_nanos() > 0);
        Self { limit, whose, retry_after_secs: (wait.as_secs() + started).max(1) }
    }

    /// A number of things, which go when their owner lets them go.
    pub fn for_number(limit: Limit, whose: Whose) -> Self {
        Self { limit, whose, retry_after_secs: HELD_FOR_SECS }
    }
}
