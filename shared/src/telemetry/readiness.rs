//! Whether a program is ready for requests, part by part.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use super::metrics::METRICS;
use crate::lock::lock;

/// The parts that a program needs, each of which says how it is. Clones share their state.
///
/// The program is ready when every part is: a part that has not spoken yet is not.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Mutex<Vec<Part>>>);

#[derive(Debug)]
struct Part {
    name: &'static str,
    ok: bool,
    text: Cow<'static, str>,
}

impl Readiness {
    /// A program that needs `parts`.
    pub fn new(parts: impl IntoIterator<Item = &'static str>) -> Self {
        let parts = parts.into_iter().map(|name| Part { name, ok: false, text: Cow::Borrowed("starting") });
        Self(Arc::new(Mutex::new(parts.collect())))
    }

    /// Says how the part `name` is, in a word or a line, which names no secret. A part that [`Readiness::new`] did not name is added.
    pub fn set(&self, name: &'static str, ok: bool, text: impl Into<Cow<'static, str>>) {
        let text = text.into();
        let mut parts = self.parts();
        match parts.iter_mut().find(|part| part.name == name) {
            Some(part) => (part.ok, part.text) = (ok, text),
            None => parts.push(Part { name, ok, text }),
        }
    }

    /// Whether every part is well.
    pub fn is_ready(&self) -> bool {
        self.parts().iter().all(|part| part.ok)
    }

    /// Shows in the metrics how it is.
    pub fn expose(&self) {
        let parts = self.parts();
        for part in parts.iter() {
            METRICS.ready_part(part.name, part.ok);
        }
        METRICS.ready.set(parts.iter().all(|part| part.ok).into());
    }

    /// Whether every part is well, and a line for each: `redis: ok`.
    pub fn report(&self) -> (bool, String) {
        let parts = self.parts();
        let mut lines = String::new();
        for part in parts.iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}: {}", part.name, part.text);
        }
        (parts.iter().all(|part| part.ok), lines)
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Part>> {
        // A part is replaced in one step, so a panic elsewhere leaves nothing half done.
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_once_every_part_has_said_so() {
        let readiness = Readiness::new(["redis", "draining"]);
        readiness.set("draining", true, "no");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.report(), (false, "redis: starting\ndraining: no\n".to_owned()));

        readiness.clone().set("redis", true, "ok");
        assert!(readiness.is_ready());
        assert_eq!(readiness.report(), (true, "redis: ok\ndraining: no\n".to_owned()));
    }

    #[test]
    fn one_part_that_is_not_well_is_enough_to_be_not_ready() {
        let readiness = Readiness::new(["redis"]);
        readiness.set("redis", true, "ok");
        readiness.set("draining", false, format!("{} s left", 7));
        assert!(!readiness.is_ready());
        readiness.set("draining", true, "no");
        assert!(readiness.is_ready());
    }
}
