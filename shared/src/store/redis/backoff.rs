//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// Pauses that double from the shortest to the longest, each made a little longer or shorter by
/// chance, so that the processes of a cluster do not all come back in the same moment.
pub struct Backoff {
    next: Duration,
    shortest: Duration,
    longest: Duration,
}

/// The part of a pause by which chance makes it longer or shorter.
const JITTER: f64 = 0.3;

impl Backoff {
    /// Nothing has failed yet.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { next: shortest, shortest, longest }
    }

    /// It has failed (once more): the pause before the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * rand::random::<f64>())
    }

    /// It has worked.
    pub fn reset(&mut self) {
        self.next = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for expected in [100.0, 200.0, 400.0, 400.0] {
            let pause = backoff.pause().as_secs_f64() * 1000.0;
            assert!((0.69..=1.31).contains(&(pause / expected)), "{pause} for {expected}");
        }
        backoff.reset();
        assert!(backoff.pause() < Duration::from_millis(140));
    }
}
