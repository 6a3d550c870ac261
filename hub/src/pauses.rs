//! Whether this process stood still a moment ago: it was stopped, or its machine had no time for it.
//!
//! What a process that wakes finds waiting may be old: see [`crate::listener::has_left`].

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How often it is looked whether time goes on.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A pause: long enough that a client may have turned to another hub meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long what is found waiting may be from before it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The pauses of this process.
pub struct Pauses {
    begun: Instant,
    /// The last look, in milliseconds since then.
    looked: AtomicU64,
    /// The end of the last pause; 0: there was none.
    woke: AtomicU64,
}

impl Pauses {
    /// Looks out for them, on a thread of its own that no work keeps busy.
    pub fn watch() -> std::io::Result<Arc<Self>> {
        let pauses =
            Arc::new(Self { begun: Instant::now(), looked: AtomicU64::new(0), woke: AtomicU64::new(0) });
        let watched = Arc::downgrade(&pauses);
        thread::Builder::new().name("pauses".to_owned()).spawn(move || look_on(&watched))?;
        Ok(pauses)
    }

    /// Does it stand still, or did it a moment ago?
    pub fn stood_still(&self) -> bool {
        self.stood_still_at(self.now())
    }

    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    fn stood_still_at(&self, now: u64) -> bool {
        let woke = self.woke.load(Ordering::Relaxed);
        now.saturating_sub(self.looked.load(Ordering::Relaxed)) > millis(PAUSE)
            || (woke > 0 && now.saturating_sub(woke) < millis(AFTERMATH))
    }

    fn look(&self, now: u64) {
        // Before the look is noted: else there would be a moment in which neither tells of the pause.
        if now.saturating_sub(self.looked.load(Ordering::Relaxed)) > millis(PAUSE) {
            self.woke.store(now, Ordering::Relaxed);
        }
        self.looked.store(now, Ordering::Release);
    }
}

fn look_on(watched: &Weak<Pauses>) {
    while let Some(pauses) = watched.upgrade() {
        pauses.look(pauses.now());
        drop(pauses);
        thread::sleep(LOOK_EVERY);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_known_at_once_and_for_a_while() {
        let pauses = Pauses { begun: Instant::now(), looked: AtomicU64::new(0), woke: AtomicU64::new(0) };
        for now in (100..2000).step_by(100) {
            pauses.look(now);
            assert!(!pauses.stood_still_at(now + 500), "time goes on");
        }
        assert!(pauses.stood_still_at(9000), "nobody has looked yet");
        pauses.look(9000);
        for now in (9000..13_900).step_by(100) {
            pauses.look(now);
            assert!(pauses.stood_still_at(now));
        }
        pauses.look(14_100);
        assert!(!pauses.stood_still_at(14_100), "what was found then is done with");
    }
}
