//! What a process costs: processor time and resident memory, from `/proc/PID/stat`.

use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// A process to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What the report calls it.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

impl FromStr for Watched {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Watched> {
        match text.split_once('=') {
            Some((name, pid)) if !name.is_empty() => {
                Ok(Watched { name: name.to_owned(), pid: pid.parse().context("the PID is no number")? })
            }
            _ => bail!("expected NAME=PID"),
        }
    }
}

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Processor time of all its threads so far, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub rss_bytes: u64,
}

/// Looks at each process once, in their order.
pub fn samples(watched: &[Watched]) -> Result<Vec<Sample>> {
    watched.iter().map(|process| sample(process.pid).with_context(|| process.name.clone())).collect()
}

/// Looks at one process.
pub fn sample(pid: u32) -> Result<Sample> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("no process {pid}"))?;
    parse(&stat, rustix::param::clock_ticks_per_second(), rustix::param::page_size() as u64)
        .with_context(|| format!("/proc/{pid}/stat is of an unknown form"))
}

/// Reads the fields 14 (utime), 15 (stime) and 24 (rss), counted as proc(5) does. The second field is the program's
/// name in brackets and may hold anything, so counting starts after its end.
fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<Sample> {
    let after_name: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| after_name.get(number - 3)?.parse::<u64>().ok();
    Some(Sample {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks_per_second as f64,
        rss_bytes: field(24)? * page_bytes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 99 1000000 25 18446744073709551615 1";
        let sample = parse(stat, 100, 4096).unwrap();
        assert_eq!(sample, Sample { cpu_seconds: 2.0, rss_bytes: 25 * 4096 });
        assert_eq!(parse("7 (short) S 1", 100, 4096), None);
    }

    #[test]
    fn this_process_can_be_watched_and_one_that_is_not_there_is_named() {
        let here = Watched { name: "here".to_owned(), pid: std::process::id() };
        assert!(samples(std::slice::from_ref(&here)).unwrap()[0].rss_bytes > 1024 * 1024);
        let gone = "gone=4294967295".parse().unwrap();
        assert!(samples(&[here, gone]).unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn a_watched_process_has_a_name_and_an_id() {
        assert_eq!("hub=12".parse::<Watched>().unwrap(), Watched { name: "hub".to_owned(), pid: 12 });
        for wrong in ["12", "=12", "hub=", "hub=x"] {
            assert!(wrong.parse::<Watched>().is_err(), "{wrong}");
        }
    }
}
