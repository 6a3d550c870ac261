//! Sealing anew, after another key has become the first one: a walk over everything that may be sealed, while hubs
//! and workers go on.
//!
//! A value is replaced if it is still the same, by one of the same meaning: no revision changes, and nobody notices.
//! An entry of a log cannot be replaced. It goes with its age (`limits.log_secs`); the walk drops what is older.
//!
//! One walk may miss what others write or move meanwhile. So it walks again until a walk finds nothing to do, and only
//! then says that a key is used no more. It remains true if no process that runs has another key as its first.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use redis::streams::StreamRangeReply;

use super::{
    RedisStore,
    connection::Target,
    keys::{self, Holder},
    reply::Reply,
    seal::{NotOpened, Place, key_id},
};
use crate::{
    protocol::TopicKey,
    session::Entry,
    settings::HostPort,
    store::{PAGE_BYTES, Position, Result},
};

/// Keys that one SCAN looks at.
const SCAN_COUNT: usize = 256;
/// Fields of a hash that are read and replaced in one go: each may have megabytes.
const FIELDS: usize = 8;
/// Entries of a log that are read in one go.
const ENTRIES: usize = 256;
/// Keys that are worked on at once.
const AT_ONCE: usize = 8;
/// Walks after which it is given up: somebody seals with another key all the time.
const MAX_WALKS: u32 = 5;

/// What a walk has found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// Fields of sessions, contents and subscriptions, by the key that seals them now; `None`: they are not sealed.
    pub values: BTreeMap<Option<String>, u64>,
    /// Events in the logs, likewise.
    pub entries: BTreeMap<Option<String>, u64>,
    /// How many values have been sealed anew, in all walks.
    pub resealed: u64,
    /// What cannot be read, by what is wrong with it.
    pub unreadable: BTreeMap<String, u64>,
    /// Keys of Redis that have been looked at.
    pub keys: u64,
    /// Values that others changed meanwhile: another walk has to look at them.
    contested: u64,
    /// Whether the last walk found nothing to do. If not, somebody may still seal with another key, and has been given
    /// up on.
    pub is_quiet: bool,
}

impl Walk {
    fn add(&mut self, other: Self) {
        for (into, from) in [(&mut self.values, other.values), (&mut self.entries, other.entries)] {
            for (key, count) in from {
                *into.entry(key).or_default() += count;
            }
        }
        for (problem, count) in other.unreadable {
            *self.unreadable.entry(problem).or_default() += count;
        }
        self.resealed += other.resealed;
        self.keys += other.keys;
        self.contested += other.contested;
    }

    /// How many of these another key than this seals.
    fn others(counts: &BTreeMap<Option<String>, u64>, key: Option<&str>) -> u64 {
        counts.iter().filter(|(known, _)| known.as_deref() != key).map(|(_, count)| count).sum()
    }

    /// Values that could not be sealed anew.
    pub fn other_values(&self, key: Option<&str>) -> u64 {
        Self::others(&self.values, key) + self.unreadable.values().sum::<u64>()
    }

    /// Events that go with their age.
    pub fn other_entries(&self, key: Option<&str>) -> u64 {
        Self::others(&self.entries, key)
    }
}

impl RedisStore {
    /// The key that seals; `None`: nothing is sealed.
    pub fn sealing(&self) -> Option<&str> {
        self.seal.sealing()
    }

    /// Seals anew what another key than the first one seals, or none. Says from time to time how far it has come.
    pub async fn reseal(&self, say: impl Fn(&Walk)) -> Result<Walk> {
        let mut resealed = 0;
        let mut walks = 0;
        let walk = loop {
            let primaries = self.connections.topology().primaries();
            let mut walk = Walk::default();
            for server in primaries.servers() {
                self.walk_server(server, &mut walk, &say).await?;
            }
            resealed += walk.resealed;
            walks += 1;
            let is_quiet =
                walk.resealed + walk.contested == 0 && *primaries == *self.connections.topology().primaries();
            if is_quiet || walks == MAX_WALKS {
                break Walk { resealed, is_quiet, ..walk };
            }
        };
        let key = self.sealing();
        if walk.is_quiet && walk.other_values(key) + walk.other_entries(key) == 0 {
            self.leave_mark().await?;
        }
        Ok(walk)
    }

    async fn walk_server(&self, server: &HostPort, walk: &mut Walk, say: &impl Fn(&Walk)) -> Result<()> {
        let mut cursor = 0_u64;
        loop {
            let scan = |mut wire| async move {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg("fhircast:*").arg("COUNT").arg(SCAN_COUNT);
                scan.query_async::<(u64, Vec<String>)>(&mut wire).await
            };
            let (next, found) = self.connections.call_long("scan", Target::Server(server), scan).await?;
            let mut looked = stream::iter(&found).map(|key| self.walk_key(key)).buffer_unordered(AT_ONCE);
            while let Some(part) = looked.next().await {
                walk.add(part?);
            }
            say(walk);
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    async fn walk_key(&self, key: &str) -> Result<Walk> {
        let mut walk = Walk { keys: 1, ..Walk::default() };
        match keys::holder(key) {
            Some(Holder::Log(topic)) => self.walk_log(topic, &mut walk).await?,
            Some(holder) => self.walk_hash(key, holder, &mut walk).await?,
            None => {}
        }
        Ok(walk)
    }

    async fn walk_hash(&self, key: &str, holder: Holder, walk: &mut Walk) -> Result<()> {
        let slot = Target::Slot(keys::slot_of_key(key));
        let mut cursor = 0_u64;
        loop {
            let scan = |mut wire| async move {
                let mut scan = redis::cmd("HSCAN");
                scan.arg(key).arg(cursor).arg("COUNT").arg(FIELDS);
                scan.query_async::<(u64, Vec<(String, Vec<u8>)>)>(&mut wire).await
            };
            let (next, fields) = self.connections.call_long("hscan", slot, scan).await?;
            for some in fields.chunks(FIELDS) {
                self.reseal_fields(key, holder, some, walk).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    async fn reseal_fields(
        &self,
        key: &str,
        holder: Holder,
        fields: &[(String, Vec<u8>)],
        walk: &mut Walk,
    ) -> Result<()> {
        let mut script = self.scripts.reseal.prepare_invoke();
        script.key(key);
        let mut asked = 0;
        for (field, value) in fields {
            let Some(place) = place(holder, field, value) else { continue };
            let problem = match key_id(value) {
                Ok(known) if known == self.sealing() => {
                    *walk.values.entry(known.map(str::to_owned)).or_default() += 1;
                    continue;
                }
                Ok(_) => match self.seal.read(place, value.clone()) {
                    Ok(text) => {
                        script.arg(field).arg(value).arg(self.seal.seal(place, &text)?);
                        asked += 1;
                        continue;
                    }
                    Err(problem) => problem,
                },
                Err(problem) => problem,
            };
            note(walk, &problem);
        }
        if asked > 0 {
            let replaced: u64 = self.invoke_long("reseal", keys::slot_of_key(key), &script).await?;
            *walk.values.entry(self.sealing().map(str::to_owned)).or_default() += replaced;
            walk.resealed += replaced;
            walk.contested += asked - replaced.min(asked);
        }
        Ok(())
    }

    async fn walk_log(&self, topic: TopicKey, walk: &mut Walk) -> Result<()> {
        let names = self.topic(topic);
        let mut trim = self.scripts.trim.prepare_invoke();
        trim.key(names.log()).arg(self.retention.log.as_millis() as u64);
        self.invoke::<u64>("trim", names.slot(), &trim).await?;
        let mut after = Position::START.to_string();
        loop {
            let mut script = self.scripts.log.prepare_invoke();
            script.key(names.session()).key(names.log()).arg(&after).arg(ENTRIES).arg(PAGE_BYTES);
            let mut reply = Reply::new(self.invoke_long("log", names.slot(), &script).await?)?;
            let (_head, _gap) = (reply.text()?, reply.text()?);
            let has_more: bool = reply.value()?;
            let entries = reply.value::<StreamRangeReply>()?.ids;
            for entry in &entries {
                let value: Vec<u8> = entry.get("e").unwrap_or_default();
                match key_id(&value) {
                    Ok(None) if !is_event(&value) => {}
                    Ok(key) => *walk.entries.entry(key.map(str::to_owned)).or_default() += 1,
                    Err(problem) => note(walk, &problem),
                }
            }
            match entries.last() {
                // Only the number counts here.
                Some(last) if has_more => after = format!("{}@00000000", last.id),
                _ => return Ok(()),
            }
        }
    }

    /// What all is sealed with now, so is the mark: who has not that key is not let in any more.
    async fn leave_mark(&self) -> Result<()> {
        let mark = self.sealing().map(|_| super::agreement::mark(&self.seal)).transpose()?;
        let mark = mark.as_deref();
        let leave = |mut wire| async move {
            match mark {
                Some(mark) => redis::cmd("SET").arg(keys::MARK).arg(mark).query_async::<()>(&mut wire).await,
                None => redis::cmd("DEL").arg(keys::MARK).query_async::<()>(&mut wire).await,
            }
        };
        self.connections.call("mark", Target::Slot(keys::slot(keys::MARK)), leave).await
    }
}

/// Where a field's value is, if it is one that is sealed.
fn place<'f>(holder: Holder, field: &'f str, value: &[u8]) -> Option<Place<'f>> {
    match (holder, field) {
        (Holder::Session(_) | Holder::Content(_), own) if own.starts_with('.') => None,
        (Holder::Session(topic), field) => Some(Place::Session(topic, field)),
        // What is kept of an update is an object; what is text and none is the name of another field.
        (Holder::Content(_), _) if value.first().is_some_and(u8::is_ascii_digit) => None,
        (Holder::Content(topic), field) => Some(Place::Content(topic, field)),
        (Holder::Subscription(id), "record") => Some(Place::Record(id)),
        (Holder::Subscription(id), "request") => Some(Place::Request(id)),
        (Holder::Subscription(_) | Holder::Log(_), _) => None,
    }
}

fn is_event(entry: &[u8]) -> bool {
    let read = std::str::from_utf8(entry).ok().and_then(|text| Entry::from_json(text).ok());
    // What cannot be read is not to be overlooked.
    read.is_none_or(|entry| entry.as_event().is_some())
}

fn note(walk: &mut Walk, problem: &NotOpened) {
    *walk.unreadable.entry(problem.to_string()).or_default() += 1;
}
