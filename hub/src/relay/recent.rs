//! The last entries of a topic, each with what has been rendered of it.
//!
//! Sockets that come back together (after the death of a node) are served from here, not from one
//! read of the log each.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytestring::ByteString;
use shared::{
    session::{View, id, render},
    store::{LogEntry, Position},
    telemetry::metrics::METRICS,
};

/// Entries, and bytes of them, that a topic's relay keeps.
const MAX_ENTRIES: usize = 256;
const MAX_BYTES: usize = 1 << 20;

/// An entry and its renderings, one for each view that somebody has had of it.
pub struct Rendered {
    pub entry: Arc<LogEntry>,
    views: Mutex<Vec<(View, Frame)>>,
}

/// A notification as it goes over a socket.
#[derive(Clone)]
pub struct Frame {
    /// The frame.
    pub text: ByteString,
    /// The `id` in it, which an answer names.
    pub id: ByteString,
}

impl Rendered {
    pub fn new(entry: Arc<LogEntry>) -> Self {
        Self { entry, views: Mutex::default() }
    }

    /// The frame of a view: rendered the first time it is asked for.
    pub fn frame(&self, view: View) -> Option<Frame> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = views.iter().find(|(known, _)| *known == view) {
            return Some(frame.clone());
        }
        let id = id(self.entry.entry.as_event()?, view).into();
        let frame = Frame { text: render(&self.entry.entry, view)?, id };
        METRICS.renderings.inc();
        views.push((view, frame.clone()));
        Some(frame)
    }

    fn bytes(&self) -> usize {
        self.entry.entry.as_event().map_or(0, |notice| notice.message.get().len()) + 200
    }
}

/// A piece of the log without a hole.
#[derive(Default)]
pub struct Recent {
    entries: VecDeque<Arc<Rendered>>,
    bytes: usize,
}

impl Recent {
    /// Adds the entry that follows. One that does not begins a new piece.
    pub fn push(&mut self, rendered: Arc<Rendered>) {
        if self.entries.back().is_some_and(|last| last.entry.position != rendered.entry.previous) {
            *self = Self::default();
        }
        self.bytes += rendered.bytes();
        self.entries.push_back(rendered);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES && self.entries.len() > 1 {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.bytes();
            }
        }
    }

    /// All entries after a position, if the piece reaches back to it.
    pub fn after(&self, position: Position) -> Option<Vec<Arc<Rendered>>> {
        let first = self.entries.iter().position(|rendered| rendered.entry.previous == position)?;
        Some(self.entries.iter().skip(first).cloned().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::value::RawValue;
    use shared::{
        session::{Audience, Entry, Notice},
        store::Revision,
    };

    use super::*;

    fn at(sequence: u64) -> Position {
        Position { millis: 7, sequence, ..Position::START }
    }

    fn rendered(sequence: u64) -> Arc<Rendered> {
        let message = RawValue::from_string("{}".into()).unwrap();
        let name = "syncerror".parse().unwrap();
        let notice = Notice::new(sequence.to_string(), name, Audience::Everyone, message);
        let entry = LogEntry {
            position: at(sequence),
            previous: at(sequence - 1),
            revision: Revision::NONE,
            entry: Entry::event(notice),
        };
        Arc::new(Rendered::new(Arc::new(entry)))
    }

    fn positions(recent: &Recent, after: u64) -> Option<Vec<u64>> {
        Some(recent.after(at(after))?.iter().map(|rendered| rendered.entry.position.sequence).collect())
    }

    #[test]
    fn the_piece_answers_for_as_far_as_it_reaches_back() {
        let mut recent = Recent::default();
        (5..=7).for_each(|sequence| recent.push(rendered(sequence)));
        assert_eq!(positions(&recent, 4), Some(vec![5, 6, 7]));
        assert_eq!(positions(&recent, 6), Some(vec![7]));
        assert_eq!(positions(&recent, 3), None, "it does not know what came after 3");
        recent.push(rendered(9));
        assert_eq!(positions(&recent, 8), Some(vec![9]));
        assert_eq!(positions(&recent, 4), None, "a hole begins a new piece");
    }

    #[test]
    fn the_piece_is_bounded() {
        let mut recent = Recent::default();
        (1..=1000).for_each(|sequence| recent.push(rendered(sequence)));
        assert_eq!(recent.entries.len(), MAX_ENTRIES);
        assert_eq!(recent.bytes, recent.entries.iter().map(|rendered| rendered.bytes()).sum::<usize>());
    }

    #[test]
    fn a_view_is_rendered_once() {
        let rendered = rendered(1);
        let frames = [rendered.frame(View::Source).unwrap(), rendered.frame(View::Source).unwrap()];
        assert_eq!(frames[0].text.as_ptr(), frames[1].text.as_ptr(), "the same bytes, not equal ones");
    }
}
