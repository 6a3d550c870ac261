//! What a check is, and how it says that something is not as it should be.
//!
//! A check is an `async fn(Probe) -> Outcome` that proves one rule; it is named in the list of its group by
//! [`check!`](crate::conformance::check). It ends with `?` at the first thing that is wrong. Three ways to end:
//! `Ok(())`; [`fail`] (or an `expect…` that does not hold, or a time-out, or a connection that breaks); [`skip`], when
//! the hub does not claim to have what the check is about.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::hub::Timing;
use super::probe::Probe;

/// How a check ends.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Why a check ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The hub does something else than the rule says.
    Failed(Failure),
    /// What the check is about is not there, and need not be; the reason.
    Skipped(String),
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What the rule asks for.
    pub expected: String,
    /// What came instead.
    pub came: String,
}

/// Whatever the harness could not do is a failure of the hub that it was done to.
impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Stop {
        fail("the exchange to work", format!("{error:#}"))
    }
}

/// The end of a check: not as it should be.
pub fn fail(expected: impl Into<String>, came: impl Display) -> Stop {
    Stop::Failed(Failure { expected: expected.into(), came: came.to_string() })
}

/// The end of a check: not applicable here.
pub fn skip(reason: impl Into<String>) -> Stop {
    Stop::Skipped(reason.into())
}

/// Holds if `condition` does; `expected` says in words what should be, `came` is shown if it is not.
pub fn expect(condition: bool, expected: impl Into<String>, came: impl Display) -> Outcome {
    if condition { Ok(()) } else { Err(fail(expected, came)) }
}

/// Holds if both are the same JSON: strings, numbers, options (`null`), lists and [`Value`]s compare with one another.
/// `what` names the thing that is compared. Numbers compare by value; compare texts where `1.10` is not `1.1`.
pub fn expect_eq(what: &str, expected: impl Serialize, came: impl Serialize) -> Outcome {
    let (expected, came) = (json(expected)?, json(came)?);
    expect(expected == came, format!("{what} to be {expected}"), came)
}

fn json(value: impl Serialize) -> Outcome<Value> {
    serde_json::to_value(value).map_err(|error| anyhow::Error::from(error).into())
}

/// What a check waits for beyond the answers of the hub. Those that wait run beside all others, and have more time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// Nothing.
    No,
    /// The hub's ack time-out.
    AckTimeout,
    /// The hub's reconnect grace (and its ack time-out).
    Grace,
    /// So many seconds: a heartbeat, a lease, a transport retry's window.
    Secs(u64),
}

impl Waits {
    /// After how long the check has failed, whatever it is doing.
    pub fn bound(self, timing: &Timing) -> Duration {
        let waited = match self {
            Waits::No => Duration::ZERO,
            Waits::AckTimeout => timing.ack_timeout,
            Waits::Grace => timing.grace + timing.ack_timeout,
            Waits::Secs(secs) => Duration::from_secs(secs),
        };
        // Several things may each take nearly as long as they may.
        waited + 4 * timing.timeout
    }
}

/// A running check.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A check: the proof of one rule, or of a part of it.
#[derive(Clone, Copy)]
pub struct Check {
    /// The id of its rule.
    pub rule: &'static str,
    /// Its name, a sentence: `the_requester_gets_its_own_event`.
    pub name: &'static str,
    /// What it waits for.
    pub waits: Waits,
    /// Starts it.
    pub run: fn(Probe) -> Running,
}

/// A [`Check`] from the id of its rule and the `async fn(Probe) -> Outcome` that it is; if it waits for a time-out,
/// also what for: `check!("FC-NOT-04", silence_is_reported, Waits::AckTimeout)`.
macro_rules! check {
    ($rule:literal, $function:ident) => {
        $crate::conformance::check::check!($rule, $function, $crate::conformance::check::Waits::No)
    };
    ($rule:literal, $function:ident, $waits:expr) => {
        $crate::conformance::check::Check {
            rule: $rule,
            name: stringify!($function),
            waits: $waits,
            run: |probe| Box::pin($function(probe)),
        }
    };
}
pub(crate) use check;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_numbers_and_values_compare_as_json() {
        expect_eq("a status", 202, json!(202)).unwrap();
        expect_eq("a name", "a", json!({"name": "a"})["name"].clone()).unwrap();
        expect_eq("nothing", Value::Null, None::<&str>).unwrap();
        let stop = expect_eq("hub.mode", "denied", json!({})["hub.mode"].clone()).unwrap_err();
        assert_eq!(stop, fail("hub.mode to be \"denied\"", "null"));
    }

    #[test]
    fn a_check_that_waits_has_more_time() {
        let timing = Timing::default();
        let bounds = [Waits::No, Waits::AckTimeout, Waits::Grace].map(|waits| waits.bound(&timing).as_secs());
        assert_eq!(bounds, [20, 30, 60]);
    }
}
