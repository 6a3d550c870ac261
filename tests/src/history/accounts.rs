//! What of a subscriber's sightings is judged, and what of it has an explanation.
//!
//! An account is one life's sightings without those that are no part of the log's order as this subscriber saw it:
//! - what was published before the life began is what is open, sent to who joins late (FC-SUB-08);
//! - after a loss was announced, the current contexts come again, perhaps from several who noticed it;
//! - an event that was sent again, and was not known again since too long had passed (FC-REQ-05), is twice in the log;
//! - SyncErrors about the subscriber itself, and announcements of loss, are not in the log for others.

use std::collections::{HashMap, HashSet};

use super::journal::Channel;
use super::topic::{KNOWN_AGAIN, Life, Reader, Sighting, Topic};

/// How much sooner than [`KNOWN_AGAIN`] the second of two notifications may come: the first one may have been on its way
/// for longer.
const LENIENCE: u64 = 1_000_000;

/// Within so long of each other all subscribers of a topic are told of a loss.
const TOLD_WITHIN: u64 = 3_000_000;

/// When a subscriber was told, in one life, that events are lost.
fn announcements(reader: &Reader, life: &Life) -> Vec<u64> {
    let all = life.connections.iter().flatten();
    let announces = |sighting: &&Sighting| {
        sighting.sync_error.as_ref().is_some_and(|sync| sync.announces_loss(&reader.name))
    };
    all.filter(announces).map(|sighting| sighting.at).collect()
}

/// One life, sorted out.
pub struct Account<'a> {
    /// The subscriber.
    pub reader: &'a Reader,
    /// The life.
    pub life: &'a Life,
    /// Its number, from 0.
    pub number: usize,
    /// What is judged, by connection.
    pub connections: Vec<Vec<&'a Sighting>>,
    /// When it was told that events are lost; of one who does not ask for SyncErrors: when others of the topic were.
    pub announced: Vec<u64>,
    /// How much earlier or later it may have been told than that.
    lenience: u64,
    /// What it has seen whose place in the order is not known.
    pub anywhere: HashSet<&'a str>,
    /// Sightings of what it had seen before, with one of the explanations above.
    pub explained: usize,
}

impl<'a> Account<'a> {
    /// Sorts a life out.
    pub fn of(topic: &'a Topic, reader: &'a Reader, number: usize, life: &'a Life) -> Account<'a> {
        let mut account = Account {
            reader,
            life,
            number,
            connections: Vec::new(),
            announced: Vec::new(),
            lenience: 0,
            anywhere: HashSet::new(),
            explained: 0,
        };
        let is_own = |sighting: &Sighting| {
            let sync_error = sighting.sync_error.as_ref();
            sync_error.is_some_and(|sync| sync.subscriber == reader.name || sync.announces_loss(&reader.name))
        };
        account.announced = announcements(reader, life);
        if !reader.filter.matches("syncerror") {
            // It can't be told so, and is sent what is open like the others, some moments before them or after.
            let others =
                topic.readers.iter().flat_map(|other| other.lives.iter().map(move |life| (other, life)));
            account.announced = others.flat_map(|(other, life)| announcements(other, life)).collect();
            account.lenience = TOLD_WITHIN;
        }
        account.find_those_anywhere(topic);
        let mut first_seen: HashMap<&str, u64> = HashMap::new();
        for connection in &life.connections {
            let mut judged: Vec<&Sighting> = Vec::new();
            for sighting in connection {
                // From there on it reads a history in which other events may be missing.
                let before = judged.last().map_or(sighting.at, |last| last.at);
                if account.was_told_between(before + 1, sighting.at) {
                    account.connections.push(std::mem::take(&mut judged));
                }
                if is_own(sighting) || account.anywhere.contains(sighting.id.as_str()) {
                    continue;
                }
                let published = topic.published.get(&sighting.id);
                let is_of_before = published.is_some_and(|known| Some(known.sent()) < life.since);
                if is_of_before {
                    continue;
                }
                let first = *first_seen.entry(&sighting.id).or_insert(sighting.at);
                let is_resent = published.is_some_and(|known| known.is_resent())
                    && sighting.at >= first + KNOWN_AGAIN - LENIENCE;
                let a_while_ago = sighting.at.saturating_sub(TOLD_WITHIN);
                let is_replayed = sighting.at > first
                    && sighting.is_open()
                    && account.was_told_between(a_while_ago, sighting.at);
                if is_resent || is_replayed {
                    account.explained += 1;
                    continue;
                }
                judged.push(sighting);
            }
            account.connections.push(judged);
        }
        if reader.channel == Channel::Webhook {
            account.begin_again_where_redis_went_back(&topic.rewinds);
        }
        account
    }

    /// The cursor of a callback is in Redis. When that went back, the callback is served from an older one: once for
    /// each time, and as a socket that resumes.
    fn begin_again_where_redis_went_back(&mut self, rewinds: &[u64]) {
        for rewind in rewinds {
            let mut seen = HashSet::new();
            let mut went_back = None;
            for (number, connection) in self.connections.iter().enumerate() {
                for (place, sighting) in connection.iter().enumerate() {
                    let is_new = seen.insert(sighting.id.as_str());
                    let is_retry = place > 0 && connection[place - 1].id == sighting.id;
                    if !is_new && !is_retry && sighting.at > *rewind {
                        went_back = went_back.or(Some((number, place)));
                    }
                }
            }
            if let Some((number, place)) = went_back {
                let rest = self.connections[number].split_off(place);
                self.connections.insert(number + 1, rest);
            }
        }
    }

    /// What it calls itself, life by life.
    pub fn name(&self) -> String {
        match self.number {
            0 => self.reader.name.clone(),
            number => format!("{} (subscription {})", self.reader.name, number + 1),
        }
    }

    /// A callback's claims are in Redis as well: while there are two primaries, two workers may serve it from two histories,
    /// until one of them is told of the loss. Was this event seen so shortly before that?
    pub fn is_of_two_workers(&self, id: &str) -> bool {
        let all = self.life.connections.iter().flatten();
        let last = all.filter(|sighting| sighting.id == id).map(|sighting| sighting.at).max();
        let is_close = last.is_some_and(|at| self.was_told_between(at, at.saturating_add(TOLD_WITHIN)));
        self.reader.channel == Channel::Webhook && is_close
    }

    /// Was it told, at this time or later, that events are lost?
    pub fn was_told_after(&self, time: u64) -> bool {
        self.was_told_between(time, u64::MAX)
    }

    fn was_told_between(&self, from: u64, to: u64) -> bool {
        let is_between = |at: &u64| at + self.lenience >= from && at.saturating_sub(self.lenience) <= to;
        self.announced.iter().any(is_between)
    }

    /// An event that was seen both before and after an announcement was committed in two histories, by a publisher that sent
    /// it again, or by a hub that did so when its primary was replaced: where it belongs can't be told.
    fn find_those_anywhere(&mut self, topic: &Topic) {
        let mut seen: HashMap<&str, Vec<u64>> = HashMap::new();
        for sighting in self.life.connections.iter().flatten() {
            seen.entry(&sighting.id).or_default().push(sighting.at);
        }
        let may_be_twice = |id: &str| {
            let is_resent = topic.published.get(id).is_some_and(|known| known.is_resent());
            is_resent || !topic.rewinds.is_empty()
        };
        for (id, times) in seen {
            let told = times.windows(2).any(|pair| self.was_told_between(pair[0], pair[1]));
            if told && may_be_twice(id) {
                self.explained += times.len() - 1;
                self.anywhere.insert(id);
            }
        }
    }

    /// The judged ids, by connection.
    pub fn ids(&self) -> Vec<Vec<String>> {
        let of =
            |connection: &Vec<&Sighting>| connection.iter().map(|sighting| sighting.id.clone()).collect();
        self.connections.iter().map(of).collect()
    }
}
