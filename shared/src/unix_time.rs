//! The time of day as certificates and tokens count it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970. By a clock that is set before that, everything has expired: it believes nothing.
pub fn now_secs() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(i64::MAX, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}
