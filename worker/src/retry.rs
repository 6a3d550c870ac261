//! How long to wait before something is tried again: a pure function, with chance passed in.

use std::time::Duration;

/// The pauses of one kind of retry.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Before the second attempt.
    pub initial: Duration,
    /// At most, before chance makes it longer.
    pub max: Duration,
    /// The part of a pause, from 0 to 1, by which chance makes it longer or shorter.
    pub jitter: f64,
}

impl Backoff {
    /// The pause after so many failed attempts in a row: doubled with each, up to the most.
    /// `random` is from 0 to 1.
    pub fn after(&self, attempts: u32, random: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(1000);
        let seconds = (self.initial.as_secs_f64() * 2f64.powi(doublings as i32)).min(self.max.as_secs_f64());
        let factor = 1.0 + self.jitter * (2.0 * random - 1.0);
        Duration::try_from_secs_f64(seconds * factor).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(initial: f64, max: f64, jitter: f64) -> Backoff {
        Backoff { initial: Duration::from_secs_f64(initial), max: Duration::from_secs_f64(max), jitter }
    }

    #[test]
    fn pauses_double_up_to_the_most() {
        let backoff = seconds(1.0, 30.0, 0.2);
        let pauses: Vec<u64> = (1..=7).map(|attempts| backoff.after(attempts, 0.5).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30], "FC-WHK-04");
    }

    proptest! {
        #[test]
        fn a_pause_is_within_its_jitter(attempts in 0u32..2000, initial in 0.001f64..100.0, max in 0.001f64..1000.0, jitter in 0.0f64..=1.0, random in 0.0f64..=1.0) {
            let middle = seconds(initial, max, 0.0).after(attempts, random).as_secs_f64();
            let pause = seconds(initial, max, jitter).after(attempts, random).as_secs_f64();
            prop_assert!(middle <= max + 1e-6);
            prop_assert!(pause >= middle * (1.0 - jitter) - 1e-6 && pause <= middle * (1.0 + jitter) + 1e-6);
        }

        #[test]
        fn without_chance_no_pause_is_shorter_than_the_one_before(attempts in 1u32..2000, initial in 0.001f64..100.0, max in 0.001f64..1000.0) {
            let backoff = seconds(initial, max, 0.0);
            prop_assert!(backoff.after(attempts + 1, 0.5) >= backoff.after(attempts, 0.5));
        }
    }
}
