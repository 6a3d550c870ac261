//! One topic: its session, its log, its bell, and what has been committed lately.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::broadcast;

use super::{
    super::{
        Announced, Announcement, BELL_CAPACITY, Commit, Committed, Gap, History, LogEntry, LogPage, Once,
        PAGE_BYTES, Position, Retention, Revision, Rung, Snapshot,
    },
    end_of, millis,
};
use crate::{
    protocol::SubscriptionId,
    session::{Content, Entry, Fields},
};

/// A memory has one: when it ends, so does all that knows of it.
const HISTORY: History = History(0);

/// What is kept of a topic.
#[derive(Default)]
pub(super) struct TopicState {
    revision: Revision,
    fields: Fields,
    content: Content,
    head: Position,
    log: VecDeque<Arc<LogEntry>>,
    /// Bytes of its messages.
    log_bytes: usize,
    /// What has been committed, and until when it is remembered.
    committed: HashMap<String, u64>,
    /// How far which cause has been announced, and until when that is remembered.
    announced: HashMap<String, Told>,
    bell: Option<broadcast::Sender<Rung>>,
    /// When it was last written to.
    touched: u64,
    /// The WebSocket subscriptions that read it.
    pub sockets: HashSet<SubscriptionId>,
    /// The webhook subscriptions that read it, or ask to.
    pub webhooks: HashSet<SubscriptionId>,
}

/// Bytes of the message of an entry.
fn size(entry: &LogEntry) -> usize {
    entry.entry.as_event().map_or(0, |notice| notice.message.get().len())
}

/// An announcement that has been made.
struct Told {
    up_to: Position,
    from: Position,
    until: u64,
}

impl TopicState {
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { revision: self.revision, head: self.head, fields: self.fields.clone() }
    }

    pub fn head(&self) -> Position {
        self.head
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn touch(&mut self, now: u64) {
        self.touched = now;
    }

    /// Has the same been committed before?
    pub fn remembers(&self, once: &Once, now: u64) -> bool {
        self.committed.get(&name_of(once)).is_some_and(|until| *until > now)
    }

    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.committed.len()
    }

    /// Writes a change, unless it has been written before or was decided on another revision.
    pub fn commit(&mut self, commit: &Commit, now: u64, retention: &Retention) -> Committed {
        if self.remembers(&commit.once, now) {
            return Committed::Duplicate { head: self.head };
        }
        if commit.revision.is_some_and(|revision| revision != self.revision) {
            return Committed::Conflict(self.snapshot());
        }
        if let Err(refusal) = self.content.apply(&commit.content, commit.max_content_bytes) {
            return Committed::Refused(refusal);
        }
        for (field, value) in &commit.writes {
            match value {
                Some(value) => self.fields.insert(field.clone(), value.clone()),
                None => self.fields.remove(field),
            };
        }
        if !commit.writes.is_empty() || !commit.content.is_empty() {
            self.revision = self.revision.next_in(HISTORY);
        }
        let kept = match commit.once {
            Once::Request(_) => retention.resend,
            Once::Cause(_) => retention.log,
        };
        self.committed.insert(name_of(&commit.once), end_of(kept, now));
        let position = self.append(commit.entry.clone(), now, retention);
        Committed::At { position, revision: self.revision }
    }

    /// Appends what has not been told that far.
    pub fn announce(&mut self, announcement: &Announcement, now: u64, retention: &Retention) -> Announced {
        let told = self.announced.get(&announcement.cause).filter(|told| told.until > now);
        if let Some(told) = told.filter(|told| announcement.up_to <= told.up_to) {
            return Announced::Before { from: told.from };
        }
        if announcement.revision != self.revision {
            return Announced::Conflict;
        }
        let (from, until) = (self.head, end_of(retention.log, now));
        self.announced.insert(announcement.cause.clone(), Told { up_to: announcement.up_to, from, until });
        for entry in &announcement.entries {
            self.append(entry.clone(), now, retention);
        }
        Announced::Now { from }
    }

    /// The values of the content below a name; nothing when the revision is another.
    pub fn content(&self, prefix: &str, revision: Revision) -> Option<Vec<String>> {
        let values = || self.content.below(prefix).map(|(_, value)| value.clone()).collect();
        (revision == self.revision).then(values)
    }

    /// Puts an entry at the end of the log and rings the bell with it.
    pub fn append(&mut self, entry: Entry, now: u64, retention: &Retention) -> Position {
        let position = following(self.head, now);
        let entry = Arc::new(LogEntry { position, previous: self.head, revision: self.revision, entry });
        self.head = position;
        self.log_bytes += size(&entry);
        self.log.push_back(entry.clone());
        self.touch(now);
        self.trim(now, retention);
        if let Some(bell) = &self.bell {
            // Nobody may be listening.
            let _ = bell.send(Rung::Entry(entry));
        }
        position
    }

    fn trim(&mut self, now: u64, retention: &Retention) {
        let oldest = now.saturating_sub(millis(retention.log));
        while self.log.len() > retention.log_entries
            || self.log.front().is_some_and(|e| e.position.millis < oldest)
        {
            self.drop_oldest();
        }
        if self.log_bytes > retention.log_bytes {
            while self.log_bytes > retention.log_bytes / 4 * 3 && self.log.len() > 1 {
                self.drop_oldest();
            }
        }
    }

    fn drop_oldest(&mut self) {
        self.log_bytes -= self.log.pop_front().map_or(0, |entry| size(&entry));
    }

    /// At most `limit` entries after a position, fewer if they are large; and whether there may be
    /// more.
    fn entries(&self, after: Position, limit: usize) -> (Vec<Arc<LogEntry>>, bool) {
        let start = self.log.partition_point(|entry| entry.position <= after);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for entry in self.log.range(start..).take(limit) {
            if bytes >= PAGE_BYTES {
                break;
            }
            bytes += size(entry);
            entries.push(entry.clone());
        }
        let has_more = entries.len() == limit || bytes >= PAGE_BYTES;
        (entries, has_more)
    }

    pub fn page(&self, after: Position, limit: usize) -> LogPage {
        let (entries, has_more) = self.entries(after, limit);
        let follows = entries.first().map_or(self.head, |first| first.previous);
        // Nothing is ever lost here but with the process.
        let gap = (follows != after).then_some(Gap::Trimmed);
        LogPage { entries, head: self.head, gap, has_more }
    }

    pub fn listen(&mut self) -> broadcast::Receiver<Rung> {
        self.bell.get_or_insert_with(|| broadcast::channel(BELL_CAPACITY).0).subscribe()
    }

    /// Throws away what nobody will ask for. `false` when that is all of it.
    pub fn is_kept(&mut self, now: u64, retention: &Retention) -> bool {
        self.committed.retain(|_, until| *until > now);
        self.announced.retain(|_, told| told.until > now);
        self.trim(now, retention);
        if self.bell.as_ref().is_some_and(|bell| bell.receiver_count() == 0) {
            self.bell = None;
        }
        let has_readers = self.bell.is_some() || !self.sockets.is_empty() || !self.webhooks.is_empty();
        has_readers || end_of(retention.session.max(retention.log), self.touched) > now
    }
}

/// A request and a cause of the same name are two things.
fn name_of(once: &Once) -> String {
    match once {
        Once::Request(name) => format!("request:{name}"),
        Once::Cause(name) => format!("cause:{name}"),
    }
}

/// The position of an entry that is appended now, even if the clock has gone back.
fn following(head: Position, now: u64) -> Position {
    if now > head.millis {
        Position { millis: now, sequence: 0, history: HISTORY }
    } else {
        Position { millis: head.millis, sequence: head.sequence + 1, history: HISTORY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_grow_within_a_millisecond_and_when_the_clock_goes_back() {
        let at = |millis, sequence| Position { millis, sequence, history: HISTORY };
        assert_eq!(following(Position::START, 7), at(7, 0));
        assert_eq!(following(at(7, 0), 7), at(7, 1));
        assert_eq!(following(at(7, 1), 6), at(7, 2));
        assert_eq!(following(at(7, 2), 8), at(8, 0));
        assert!(following(Position::START, 0) > Position::START, "the start is before every entry");
    }
}
