//! The clock of one process, set wrong: libfaketime in the process, and a file that says by how much.
//!
//! Only the time of day is wrong, which is what wanders between machines; what measures durations is left alone. No privilege is
//! needed: a time namespace would need one, and could not move the time of day at all.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::system::Environment;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be set while its process runs.
pub struct SkewedClock {
    file: PathBuf,
    environment: Environment,
}

impl SkewedClock {
    /// A clock that is right, with its file in this directory.
    pub fn new(directory: &std::path::Path, name: &str) -> Result<SkewedClock> {
        let file = directory.join(format!("{name}.clock"));
        let library = library().context("libfaketime is missing: apt-get install libfaketime")?;
        let environment = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let clock = SkewedClock { file, environment };
        clock.set(0)?;
        Ok(clock)
    }

    /// What the process must be started with.
    pub fn environment(&self) -> Environment {
        self.environment.clone()
    }

    /// From the next second on the process's clock is wrong by so many seconds.
    pub fn set(&self, seconds: i64) -> Result<()> {
        std::fs::write(&self.file, format!("{seconds:+}\n")).context("cannot set a clock")
    }
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|folder| folder.path());
    folders.map(|folder| folder.join(LIBRARY)).find(|library| library.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_sees_the_time_that_its_clock_says_and_measures_durations_rightly() {
        let directory = tempfile::tempdir().unwrap();
        let clock = SkewedClock::new(directory.path(), "one").unwrap();
        let wrong_by = || {
            let date = Command::new("date").arg("+%s").envs(clock.environment()).output().unwrap();
            let there: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
            there - i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
        };
        for seconds in [0, 300, -300] {
            clock.set(seconds).unwrap();
            assert!((wrong_by() - seconds).abs() <= 2, "{seconds}");
        }
    }
}
