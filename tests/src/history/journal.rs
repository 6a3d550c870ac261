//! Journals: what each participant of a run sent and saw, a JSON line each, in files of one directory.
//!
//! A [`Journal`] is one participant's own. It is written when it has grown and when it is dropped; [`read_all`] reads a
//! directory back. Times are microseconds since the run began, by one clock for all.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::filter::Filter;

/// Bytes that a journal keeps before it writes them to its file.
const SPILL_BYTES: usize = 64 * 1024;
const ENDING: &str = "jsonl";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When, in microseconds since the run began.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// A publisher's request to publish has ended; it was sent `took` microseconds before.
    Attempt {
        /// The session.
        topic: String,
        /// The event's id.
        id: String,
        /// The event's name.
        event: String,
        /// The hub that was asked, by its number.
        hub: usize,
        /// Microseconds from the request to its end.
        took: u64,
        /// The status of the answer; `None`: there was none.
        status: Option<u16>,
    },
    /// Whose journal this is, when it is a subscriber's.
    Reader {
        /// The session.
        topic: String,
        /// `subscriber.name`.
        name: String,
        /// `hub.events`.
        filter: Filter,
        /// How it is told.
        channel: Channel,
    },
    /// It has subscribed. What came before was another subscription's.
    Subscribed,
    /// A socket is connected to the endpoint.
    Connected {
        /// At the hub of this number.
        hub: usize,
    },
    /// A text frame came.
    Frame {
        /// As it came.
        text: String,
    },
    /// The socket is closed: with this code, or broken.
    Closed {
        /// The code of the Close frame.
        code: Option<u16>,
    },
    /// To subscribe or to connect was refused, or nobody answered.
    Refused {
        /// By the hub of this number.
        hub: usize,
        /// The status of the answer.
        status: Option<u16>,
    },
    /// The subscription has ended, as the subscriber was told.
    Ended {
        /// By what it was told.
        how: String,
    },
    /// A notification came to a callback.
    Request {
        /// Its body.
        text: String,
        /// Whether the signature is that of the body with the subscription's secret.
        signed: bool,
        /// What is answered; `None`: nothing.
        answer: Option<u16>,
    },
    /// A fault begins.
    FaultBegins {
        /// Its name.
        fault: String,
        /// Redis may lose by it what it acknowledged, and with that the cursors of callbacks.
        rewinds: bool,
    },
    /// What the fault broke has been made whole.
    FaultEnds {
        /// Its name.
        fault: String,
    },
    /// Get Current Context, when all is over.
    CurrentContext {
        /// The session.
        topic: String,
        /// The hub that was asked.
        hub: usize,
        /// The answer.
        body: String,
    },
    /// Something that a reader of the journal may want to know.
    Note {
        /// In words.
        text: String,
    },
}

/// How a subscriber is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Over a WebSocket.
    Websocket,
    /// By requests to its callback.
    Webhook,
}

/// The directory and the clock of a run.
#[derive(Clone)]
pub struct Journals {
    directory: PathBuf,
    began: Instant,
}

impl Journals {
    /// Journals in this directory, which is made; the run begins now.
    pub fn begin(directory: &Path) -> Result<Journals> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Journals { directory: directory.to_owned(), began: Instant::now() })
    }

    /// The journal of one participant.
    pub fn open(&self, name: &str) -> Journal {
        let path = self.directory.join(name).with_extension(ENDING);
        Journal(Arc::new(Inner { path, began: self.began, buffer: Mutex::default() }))
    }

    /// Where they stand.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Microseconds since the run began.
    pub fn now(&self) -> u64 {
        micros(self.began.elapsed())
    }
}

/// As journals count time.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One participant's journal; clones write to the same one.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    path: PathBuf,
    began: Instant,
    buffer: Mutex<String>,
}

impl Journal {
    /// Writes a line with the present time.
    pub fn write(&self, what: What) {
        let line = Line { at: micros(self.0.began.elapsed()), what };
        let mut buffer = self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::to_string(&line) {
            Ok(text) => buffer.push_str(&text),
            // Not a line that can be read back, so that whoever judges does not believe that nothing happened.
            Err(error) => drop(write!(buffer, "unwritable: {error}")),
        }
        buffer.push('\n');
        if buffer.len() > SPILL_BYTES {
            self.0.spill(&mut buffer);
        }
    }

    /// Writes what is not in the file yet.
    pub fn flush(&self) {
        self.0.spill(&mut self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Inner {
    fn spill(&self, buffer: &mut String) {
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        // Kept and tried again: a reader that is owed more than its journal holds is found by the judge.
        if opened.and_then(|mut file| file.write_all(buffer.as_bytes())).is_ok() {
            buffer.clear();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut *self.buffer.lock().unwrap_or_else(PoisonError::into_inner));
        self.spill(&mut buffer);
    }
}

/// A journal that was read back: who wrote it, and its lines.
#[derive(Debug, Clone)]
pub struct Read {
    /// The participant.
    pub name: String,
    /// What it wrote.
    pub lines: Vec<Line>,
}

/// Reads every journal of a directory, in the order of their names.
pub fn read_all(directory: &Path) -> Result<Vec<Read>> {
    let mut journals = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let read = |line: std::io::Result<String>| -> Result<Line> { Ok(serde_json::from_str(&line?)?) };
        let lines: Result<Vec<Line>> = BufReader::new(File::open(&path)?).lines().map(read).collect();
        journals
            .push(Read { lines: lines.with_context(|| format!("{} cannot be read", path.display()))?, name });
    }
    journals.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(journals)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_was_written_is_read_back_by_participant_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let journals = Journals::begin(directory.path()).unwrap();
        let (one, other) = (journals.open("one"), journals.open("another"));
        let long = "x".repeat(SPILL_BYTES);
        one.write(What::Frame { text: long.clone() });
        one.write(What::Closed { code: None });
        other.write(What::Attempt {
            topic: "t".to_owned(),
            id: "e".to_owned(),
            event: "Patient-open".to_owned(),
            hub: 1,
            took: 5,
            status: Some(202),
        });
        drop((one, other));
        let read = read_all(directory.path()).unwrap();
        assert_eq!(read.iter().map(|journal| journal.name.as_str()).collect::<Vec<_>>(), ["another", "one"]);
        assert_eq!(read[1].lines[0].what, What::Frame { text: long });
        assert_eq!(read[1].lines[1].what, What::Closed { code: None });
        assert!(matches!(&read[0].lines[0].what, What::Attempt { status: Some(202), hub: 1, .. }));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("bad.jsonl"), "{\n").unwrap();
        assert!(read_all(directory.path()).unwrap_err().to_string().contains("bad.jsonl"));
    }
}
