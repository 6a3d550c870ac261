//! What was said between a check and the hub, in its order: the evidence in the report.
//!
//! A token is never in it: the `Authorization` header is not written down, and where a hub echoes a token,
//! [`Secrets`] hides it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Characters kept of one message.
const KEPT_CHARS: usize = 4000;
/// No character takes more.
const MAX_CHAR_BYTES: usize = 4;
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
        let text = self.secrets.hide_in_excerpt(text, KEPT_CHARS);
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
    // No more characters than bytes: a text of megabytes is not counted through.
    if text.len() <= chars || text.char_indices().nth(chars).is_none() {
        return text.to_owned();
    }
    let (head, tail) = (chars * 3 / 4, chars / 4);
    let start = text.char_indices().nth(head).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().rev().nth(tail.saturating_sub(1)).map_or(0, |(at, _)| at);
    format!("{} […{} bytes…] {}", &text[..start], end - start, &text[end..])
}

/// The first place at or after `at` where the text can be cut.
fn boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
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

    /// The text [`shortened`] to `chars` characters, without a secret. What is left out is not searched: a text may have
    /// megabytes, and nothing else goes on meanwhile.
    fn hide_in_excerpt(&self, text: &str, chars: usize) -> String {
        let longest = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(String::len).max();
        // Of this much at each end all is left out that could be the part of a secret.
        let margin = longest.unwrap_or(0) + MAX_CHAR_BYTES;
        let kept = 4 * chars + margin;
        if text.len() <= 2 * kept {
            return shortened(&self.hide(text), chars);
        }
        let (head, rest) = text.split_at(boundary(text, kept));
        let (_, tail) = rest.split_at(boundary(rest, rest.len() - kept));
        let (head, tail) = (self.hide(head), self.hide(tail));
        let head = &head[..boundary(&head, head.len().saturating_sub(margin))];
        let tail = &tail[boundary(&tail, margin)..];
        shortened(&format!("{head} […{} bytes…] {tail}", text.len() - head.len() - tail.len()), chars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("äbc", 3), "äbc");
        assert_eq!(shortened("abcdefghij", 4), "abc […6 bytes…] j");
        assert_eq!(shortened("ääääää", 4), "äää […4 bytes…] ä");
        assert_eq!(shortened("äääää", 5), "äääää");
    }

    #[test]
    fn every_secret_is_hidden_wherever_it_stands() {
        let secrets = Secrets::default();
        ["one", "", "two"].into_iter().for_each(|secret| secrets.add(secret));
        assert_eq!(secrets.hide("one, two and tone"), "[token], [token] and t[token]");
    }

    #[test]
    fn no_part_of_a_secret_is_left_where_a_giant_text_is_cut() {
        let secrets = Secrets::default();
        secrets.add("SECRET");
        for shift in 0..80 {
            let giant = format!("{}{}", "é".repeat(shift), "SECRET-".repeat(1000));
            let shown = secrets.hide_in_excerpt(&giant, 10);
            let without = shown.replace("[token]", "").replace("bytes", "");
            assert!(!without.contains(|letter: char| letter.is_ascii_uppercase()), "{shift}: {shown}");
            assert!(shown.len() < 200, "{shift}: {shown}");
        }
    }
}
