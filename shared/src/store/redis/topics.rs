//! Sessions, logs and content.

use std::collections::BTreeMap;

use redis::streams::StreamRangeReply;

use super::{
    RedisStore,
    reply::{Reply, corrupt, log_entries},
    seal::Place,
    shares::some,
};
use crate::{
    protocol::TopicKey,
    session::{ContentRefusal, ContentWrite},
    store::{
        Announced, Announcement, Commit, Committed, History, LogPage, Once, PAGE_BYTES, Position, Result,
        Revision, Snapshot,
    },
    telemetry::traces::{Span, SpanKind},
};

impl RedisStore {
    pub(super) async fn read_session(
        &self,
        topic: TopicKey,
        once: Option<&Once>,
    ) -> Result<(Snapshot, bool)> {
        let keys = self.topic(topic);
        let mut script = self.scripts.session.prepare_invoke();
        script.key(keys.session());
        if let Some(once) = once {
            script.key(keys.once(once));
        }
        let mut reply = Reply::new(self.invoke("session", keys.slot(), &script).await?)?;
        let (snapshot, is_known) = (reply.snapshot(&self.seal, topic)?, reply.value()?);
        if let Some(once) = once.filter(|_| is_known) {
            // The first time it may not have been confirmed.
            self.confirm(once, keys.partition(), reply.parsed()?).await?;
        }
        Ok((snapshot, is_known))
    }

    pub(super) async fn write_commit(&self, topic: TopicKey, commit: &Commit) -> Result<Committed> {
        let keys = self.topic(topic);
        let mut script = self.on_topic(&self.scripts.commit, &keys);
        script.key(keys.webhooks()).key(keys.due()).key(keys.due_bell()).key(keys.once(&commit.once));
        script.arg(topic.to_string()).arg(keys.partition());
        script.arg(commit.revision.map_or_else(String::new, |revision| revision.to_string()));
        let remembered = match commit.once {
            Once::Request(_) => self.retention.resend,
            Once::Cause(_) => self.retention.log,
        };
        script.arg(remembered.as_millis().max(1) as u64).arg(self.entry(topic, &commit.entry)?);
        script.arg(commit.max_content_bytes);
        let deleted = commit.writes.iter().filter(|(_, value)| value.is_none());
        let written = commit.writes.iter().filter_map(|(field, value)| Some((field, value.as_ref()?)));
        script.arg(deleted.clone().count()).arg(written.clone().count());
        for (field, _) in deleted {
            script.arg(field);
        }
        for (field, value) in written {
            script.arg(field).arg(self.seal.seal(Place::Session(topic, field), value)?);
        }
        for write in &commit.content {
            match write {
                ContentWrite::Keep { field, value, is_new } => {
                    let value = self.seal.seal(Place::Content(topic, field), value)?;
                    script.arg(if *is_new { "new" } else { "keep" }).arg(field).arg(value)
                }
                // The script goes by it.
                ContentWrite::Point { field, to } => script.arg("keep").arg(field).arg(to),
                ContentWrite::Remove { field } => script.arg("remove").arg(field),
                ContentWrite::RemoveNamed { field } => script.arg("remove named").arg(field),
                ContentWrite::Clear { prefix } => script.arg("clear").arg(prefix),
            };
        }
        let span = Span::part(SpanKind::Client, "commit");
        span.note(|| {
            [
                ("db.system.name", "redis".into()),
                ("db.operation.name", "EVALSHA".into()),
                ("db.stored_procedure.name", "commit".into()),
            ]
        });
        let answer = span.over(self.invoke("commit", keys.slot(), &script)).await;
        let answer = answer.inspect_err(|_| span.fail("unavailable"))?;
        drop(span);
        let mut reply = Reply::new(answer)?;
        match reply.text()?.as_str() {
            "committed" => {
                let (position, revision): (Position, _) = (reply.parsed()?, reply.parsed()?);
                self.confirm(&commit.once, keys.partition(), position.history).await?;
                Ok(Committed::At { position, revision })
            }
            "conflict" => Ok(Committed::Conflict(reply.snapshot(&self.seal, topic)?)),
            "duplicate" => {
                // The first time it may not have been confirmed.
                self.confirm(&commit.once, keys.partition(), reply.parsed()?).await?;
                Ok(Committed::Duplicate { head: reply.parsed()? })
            }
            "exists" => Ok(Committed::Refused(ContentRefusal::Exists)),
            "full" => Ok(Committed::Refused(ContentRefusal::Full)),
            other => Err(corrupt(format!("an unknown answer: {other}"))),
        }
    }

    pub(super) async fn append_announcement(
        &self,
        topic: TopicKey,
        announcement: &Announcement,
    ) -> Result<Announced> {
        let keys = self.topic(topic);
        let mut script = self.on_topic(&self.scripts.announce, &keys);
        script.key(keys.webhooks()).key(keys.due()).key(keys.due_bell());
        script.key(keys.announced(&announcement.cause));
        script.arg(topic.to_string()).arg(keys.partition());
        script.arg(announcement.revision.to_string()).arg(announcement.up_to.to_string());
        for entry in &announcement.entries {
            script.arg(self.entry(topic, entry)?);
        }
        let mut reply = Reply::new(self.invoke("announce", keys.slot(), &script).await?)?;
        match reply.text()?.as_str() {
            "done" => Ok(Announced::Now { from: reply.parsed()? }),
            "before" => Ok(Announced::Before { from: reply.parsed()? }),
            "conflict" => Ok(Announced::Conflict),
            other => Err(corrupt(format!("an unknown answer: {other}"))),
        }
    }

    /// Waits until enough replicas have what a client is about to be promised, if that is asked for.
    /// Nobody is promised a SyncError of the hub.
    async fn confirm(&self, once: &Once, partition: u16, history: History) -> Result<()> {
        match once {
            Once::Request(_) => {
                self.confirmations.wait(self.connections.topology(), partition, history).await
            }
            Once::Cause(_) => Ok(()),
        }
    }

    pub(super) async fn read_content(
        &self,
        topic: TopicKey,
        prefix: &str,
        revision: Revision,
    ) -> Result<Option<Vec<String>>> {
        let keys = self.topic(topic);
        let mut script = self.scripts.content.prepare_invoke();
        script.key(keys.session()).key(keys.content()).key(keys.content_names());
        script.arg(prefix).arg(revision.to_string());
        let answer: Option<Vec<(String, Vec<u8>)>> =
            self.invoke_long("content", keys.slot(), &script).await?;
        let Some(found) = answer else { return Ok(None) };
        // What names another field is not sealed, and is not asked for.
        let open = |(field, value): (String, Vec<u8>)| {
            let opened = self.seal.open(Place::Content(topic, &field), value);
            opened.map_err(|problem| corrupt(format!("a field of the content: {problem}")))
        };
        found.into_iter().map(open).collect::<Result<_>>().map(Some)
    }

    /// Each server is asked once, for all that it has.
    pub(super) async fn read_heads(&self, topics: &[TopicKey]) -> Result<Vec<Option<Position>>> {
        let mut asked: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, topic) in topics.iter().enumerate() {
            asked.entry(self.topic(*topic).partition()).or_default().push(place);
        }
        let partitions: Vec<u16> = asked.keys().copied().collect();
        let ask = |mut wire, share: Vec<u16>| {
            let places: Vec<usize> = share.iter().flat_map(|partition| &asked[partition]).copied().collect();
            let mut all = redis::pipe();
            for place in &places {
                all.hget(self.topic(topics[*place]).session(), ".head");
            }
            async move {
                let heads = all.query_async::<Vec<Option<String>>>(&mut wire).await?;
                Ok(places.into_iter().zip(heads).collect::<Vec<_>>())
            }
        };
        let mut heads = vec![None; topics.len()];
        for (place, head) in
            some(self.connections.ask_each("heads", &partitions, ask).await)?.into_iter().flatten()
        {
            heads[place] = Some(head.map_or(Ok(Position::START), |head| head.parse().map_err(corrupt))?);
        }
        Ok(heads)
    }

    pub(super) async fn read_log(&self, topic: TopicKey, after: Position, limit: usize) -> Result<LogPage> {
        let keys = self.topic(topic);
        let mut script = self.scripts.log.prepare_invoke();
        script.key(keys.session()).key(keys.log()).arg(after.to_string()).arg(limit).arg(PAGE_BYTES);
        let mut reply = Reply::new(self.invoke_long("log", keys.slot(), &script).await?)?;
        let (head, gap, has_more) = (reply.parsed()?, reply.gap()?, reply.value()?);
        let entries = log_entries(reply.value::<StreamRangeReply>()?.ids, &self.seal, topic)?;
        Ok(LogPage { entries, head, gap, has_more })
    }
}
