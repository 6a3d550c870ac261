//! The store's clock, as far as this node knows it.
//!
//! The clocks of nodes may be minutes apart; what is due, and how old an event is, goes by the
//! store's. The node asks for it once a second and counts on by its own steady clock, which nobody
//! sets.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// See the module.
pub struct StoreClock {
    started: Instant,
    /// The store's milliseconds since 1970, less those since `started`.
    offset: AtomicI64,
}

impl StoreClock {
    /// Until the store has said what time it is, this machine's clock has to do.
    pub fn new() -> Self {
        let clock = Self { started: Instant::now(), offset: AtomicI64::new(0) };
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        clock.set(millis(here));
        clock
    }

    /// It is so late now: milliseconds since 1970 by the store's clock.
    pub fn set(&self, now: u64) {
        let offset = now.cast_signed().saturating_sub(millis(self.started.elapsed()).cast_signed());
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// How long ago that was, by the store's clock; zero if it is yet to come.
    pub fn since(&self, millis_since_1970: u64) -> Duration {
        let elapsed = millis(self.started.elapsed());
        let now = elapsed.saturating_add_signed(self.offset.load(Ordering::Relaxed));
        Duration::from_millis(now.saturating_sub(millis_since_1970))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_by_what_the_store_says_however_far_off_that_is() {
        let clock = StoreClock::new();
        for now in [5_000, 4_000_000_000_000, 7_000] {
            clock.set(now);
            let since = clock.since(now - 3_000);
            assert!((3_000..4_000).contains(&(since.as_millis() as u64)), "{since:?} at {now}");
            assert_eq!(clock.since(now + 60_000), Duration::ZERO);
        }
    }
}
