//! By how much the machine itself is late, with whatever else it has to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(5);

/// Watches by how much timers are late, on a thread of its own that does nothing else: while the machine does not get to
/// those, nobody can be served in time.
pub struct Machine(Arc<AtomicU64>);

impl Machine {
    /// Watches from now on, until it is dropped.
    pub fn watch() -> Machine {
        let late = Arc::new(AtomicU64::new(0));
        let watched = Arc::downgrade(&late);
        std::thread::spawn(move || {
            while let Some(late) = watched.upgrade() {
                let begun = Instant::now();
                std::thread::sleep(TICK);
                let micros = begun.elapsed().saturating_sub(TICK).as_micros();
                late.fetch_add(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Machine(late)
    }

    /// Begins to measure a wait.
    pub fn begin(&self) -> Wait<'_> {
        Wait { machine: self, begun: Instant::now(), stood_still: self.stood_still() }
    }

    fn stood_still(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A wait that is measured.
pub struct Wait<'a> {
    machine: &'a Machine,
    begun: Instant,
    stood_still: Duration,
}

impl Wait<'_> {
    /// How long it has been, but for the time in which the machine stood still.
    pub fn so_far(&self) -> Duration {
        self.begun.elapsed().saturating_sub(self.machine.stood_still() - self.stood_still)
    }
}
