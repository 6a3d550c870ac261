//! What was said between a check and the hub, in its order: the evidence in the report.
//!
//! A token is never in it: the `Authorization` header is not written down, and where a hub echoes a token,
//! [`Secrets`] hides it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Characters kept of one message.
const KEPT_CHARS: usize = 4000;
/// Messages kept of one check; those after them are not.
const KEPT_LINES: usize = 500;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The suite, to the hub.
    Sent,
    /// The hub, to the suite.
    Came,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Milliseconds after the check began.
    pub at_ms: u64,
    /// Who spoke.
    pub direction: Direction,
    /// What.
    pub text: String,
}

/// The messages of one check so far; clones share them.
#[derive(Debug, Clone)]
pub struct Trace {
    began: Instant,
    secrets: Secrets,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Trace {
    /// Begins; `secrets` will not be in it.
    pub fn begin(secrets: &Secrets) -> Trace {
        Trace { began: Instant::now(), secrets: secrets.clone(), lines: Arc::default() }
    }

    /// Another that begins now, and hides the same.
    pub fn restarted(&self) -> Trace {
        Trace::begin(&self.secrets)
    }

    /// The suite said this.
    pub fn sent(&self, text: impl AsRef<str>) {
        self.push(Direction::Sent, text.as_ref());
    }

    /// The hub said this.
    pub fn came(&self, text: impl AsRef<str>) {
        self.push(Direction::Came, text.as_ref());
    }

    fn push(&self, direction: Direction, text: &str) {
        let at_ms = self.began.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        // Hidden before it is cut: half a secret would not be found.
        let text = shortened(&self.secrets.hide(text), KEPT_CHARS);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < KEPT_LINES {
            lines.push(Line { at_ms, direction, text });
        }
    }

    /// What has been said.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The text if it has at most `chars` characters, else its beginning and end.
pub fn shortened(text: &str, chars: usize) -> String {
    let length = text.chars().count();
    if length <= chars {
        return text.to_owned();
    }
    let (head, tail) = (chars * 3 / 4, chars / 4);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start} […{} characters…] {end}", length - head - tail)
}

/// What must not be printed.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    /// From now on `secret` is hidden.
    pub fn add(&self, secret: &str) {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !secret.is_empty() && !secrets.iter().any(|known| known == secret) {
            secrets.push(secret.to_owned());
        }
    }

    /// The text with `[token]` in the place of every secret.
    pub fn hide(&self, text: &str) -> String {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[token]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("äbc", 3), "äbc");
        assert_eq!(shortened("abcdefghij", 4), "abc […6 characters…] j");
    }

    #[test]
    fn every_secret_is_hidden_wherever_it_stands() {
        let secrets = Secrets::default();
        ["one", "", "two"].into_iter().for_each(|secret| secrets.add(secret));
        assert_eq!(secrets.hide("one, two and tone"), "[token], [token] and t[token]");
    }
}
