//! Looking at sessions, and at how far their subscriptions have come: a few calls to each server, however many there are.

use std::{cmp::Reverse, collections::HashMap};

use redis::{RedisResult, Value, from_redis_value, streams::StreamRangeReply};

use super::{
    super::{
        connection::Connections,
        keys::{self, TopicKeys},
        link::Wire,
        shares::some,
    },
    Session, Undelivered,
};
use crate::{
    protocol::TopicKey,
    session::OPEN_PREFIX,
    store::{
        Address, Census, Result,
        census::{Counted, Kind},
    },
};

/// Sessions or subscriptions that are looked at in one call.
const AT_ONCE: usize = 1000;

/// What the census has counted, by session; and which of it is behind.
pub async fn look(
    connections: &Connections,
    partitions: u16,
    census: &[Census],
) -> Result<(Vec<Session>, Vec<Undelivered>)> {
    let counted: HashMap<u16, &[Counted]> =
        census.iter().map(|of| (of.partition, of.subscriptions.as_slice())).collect();
    let with_some: Vec<u16> =
        census.iter().filter(|of| !of.subscriptions.is_empty()).map(|of| of.partition).collect();
    let counted = &counted;
    let ask = |wire, share: Vec<u16>| async move {
        let here = share.into_iter().filter_map(|partition| Some((partition, *counted.get(&partition)?)));
        Share::new(wire, partitions, here).await?.look().await
    };
    let (mut sessions, mut undelivered) = (Vec::new(), Vec::new());
    for (some_sessions, some_undelivered) in some(connections.ask_each("sessions", &with_some, ask).await)? {
        sessions.extend(some_sessions);
        undelivered.extend(some_undelivered);
    }
    sessions.sort_by_key(|session| (Reverse(session.subscriptions()), session.topic.to_string()));
    undelivered.sort_by_key(|behind| Reverse(behind.oldest_ms));
    Ok((sessions, undelivered))
}

/// What one server has.
struct Share {
    wire: Wire,
    /// Its clock, in milliseconds since 1970.
    now: u64,
    partitions: u16,
    subscriptions: Vec<Counted>,
    sessions: Vec<Session>,
    /// The last entry of each log, as Redis writes it.
    heads: HashMap<TopicKey, String>,
}

/// What is kept of one subscription: cursor, failed attempts, when the next may be.
type Progress = (Option<String>, Option<u32>, Option<u64>);

impl Share {
    async fn new<'c>(
        mut wire: Wire,
        partitions: u16,
        counted: impl Iterator<Item = (u16, &'c [Counted])>,
    ) -> RedisResult<Self> {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut wire).await?;
        let (mut sessions, mut subscriptions) = (HashMap::new(), Vec::new());
        for (partition, of_it) in counted {
            for Counted { address, kind } in of_it {
                let session = sessions
                    .entry(address.topic)
                    .or_insert_with(|| Session::unknown(address.topic, partition));
                match kind {
                    Kind::Connected => session.connected += 1,
                    Kind::Away => session.away += 1,
                    Kind::Webhook => session.webhooks += 1,
                }
            }
            subscriptions.extend_from_slice(of_it);
        }
        let (sessions, heads) = (sessions.into_values().collect(), HashMap::new());
        Ok(Self { wire, now: seconds * 1000 + micros / 1000, partitions, subscriptions, sessions, heads })
    }

    async fn look(mut self) -> RedisResult<(Vec<Session>, Vec<Undelivered>)> {
        self.look_at_sessions().await?;
        let mut undelivered = Vec::new();
        for some in self.subscriptions.clone().chunks(AT_ONCE) {
            undelivered.extend(self.those_behind(some).await?);
        }
        Ok((self.sessions, undelivered))
    }

    async fn look_at_sessions(&mut self) -> RedisResult<()> {
        for some in self.sessions.chunks_mut(AT_ONCE) {
            let mut all = redis::pipe();
            for session in some.iter() {
                let keys = TopicKeys::new(session.topic, self.partitions);
                all.hkeys(keys.session()).hget(keys.session(), ".head").xlen(keys.log());
            }
            let answers: Vec<Value> = all.query_async(&mut self.wire).await?;
            for (session, answers) in some.iter_mut().zip(answers.chunks(3)) {
                let read = Value::Array(answers.to_vec());
                let (fields, head, length): (Vec<String>, Option<String>, u64) = from_redis_value(read)?;
                session.open_contexts = fields.iter().filter(|field| field.starts_with(OPEN_PREFIX)).count();
                session.log_entries = length;
                let Some(head) = head else { continue };
                session.last_entry_ms = age(&head, self.now);
                self.heads.insert(session.topic, head);
            }
        }
        Ok(())
    }

    /// Those whose cursor is not at the end of the log. Each waits for the entry behind its cursor.
    async fn those_behind(&mut self, some: &[Counted]) -> RedisResult<Vec<Undelivered>> {
        let mut all = redis::pipe();
        for Counted { address, .. } in some {
            let fields = &["cursor", "attempts", "retry_at"];
            all.cmd("HMGET").arg(keys::subscription(address.id)).arg(fields);
        }
        let progress: Vec<Progress> = all.query_async(&mut self.wire).await?;
        let mut all = redis::pipe();
        let mut behind = Vec::new();
        for (Counted { address: Address { id, topic }, kind }, progress) in some.iter().zip(progress) {
            let (Some(cursor), attempts, retry_at) = progress else { continue };
            if self.heads.get(topic).is_none_or(|head| *head == cursor) {
                continue;
            }
            let after = format!("({}", cursor.split('@').next().unwrap_or_default());
            all.xrange_count(TopicKeys::new(*topic, self.partitions).log(), after, "+", 1);
            behind.push(Undelivered {
                subscription: *id,
                topic: *topic,
                kind: *kind,
                oldest_ms: 0,
                attempts: attempts.unwrap_or_default(),
                retry_in_ms: retry_at.and_then(|at| at.checked_sub(self.now)).filter(|left| *left > 0),
            });
        }
        if behind.is_empty() {
            return Ok(behind);
        }
        let next: Vec<StreamRangeReply> = all.query_async(&mut self.wire).await?;
        let waiting = behind.into_iter().zip(next).filter_map(|(behind, next)| {
            let oldest_ms = age(&next.ids.first()?.id, self.now)?;
            Some(Undelivered { oldest_ms, ..behind })
        });
        Ok(waiting.collect())
    }
}

/// How long ago an entry was accepted, by its position or its id in the stream.
fn age(position: &str, now: u64) -> Option<u64> {
    let millis: u64 = position.split('-').next()?.parse().ok()?;
    (millis > 0).then(|| now.saturating_sub(millis))
}
