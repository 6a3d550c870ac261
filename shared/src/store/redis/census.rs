//! Counting what there is. It reads, partition by partition, from the sets that the scripts keep; nothing is written.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use redis::{RedisResult, Value, from_redis_value};

use super::{RedisStore, connection::Connections, keys, link::Wire, shares::some};
use crate::store::{
    Address, Census, Result,
    census::{Counted, Kind},
};

/// What is due is listed up to so many in a partition.
const MOST_LISTED: isize = 1000;
/// Subscriptions that are looked at in one call.
const AT_ONCE: usize = 5000;
/// Partitions that are counted in one call.
const PARTITIONS_AT_ONCE: usize = 32;

impl RedisStore {
    /// What one server cannot say now is left out.
    pub(super) async fn census_of(&self, partitions: &[u16]) -> Result<Vec<Census>> {
        of(&self.connections, partitions).await
    }
}

/// Counts in some partitions after the other: each call has a time-out.
pub async fn of(connections: &Connections, partitions: &[u16]) -> Result<Vec<Census>> {
    let mut census = Vec::new();
    let mut problem = None;
    for some_of_them in partitions.chunks(PARTITIONS_AT_ONCE) {
        match some(connections.ask_each("census", some_of_them, count).await) {
            Ok(counted) => census.extend(counted.into_iter().flatten()),
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(error) if census.is_empty() => Err(error),
        _ => Ok(census),
    }
}

/// Members of a sorted set with their scores.
type Scored = Vec<(String, f64)>;

async fn count(mut wire: Wire, partitions: Vec<u16>) -> RedisResult<Vec<Census>> {
    // Each server goes by its own clock.
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut wire).await?;
    let now = seconds * 1000 + micros / 1000;
    let mut all = redis::pipe();
    for partition in &partitions {
        let (due, leases) = (keys::due(*partition), keys::leases(*partition));
        all.zrangebyscore_limit_withscores(&due, "-inf", now, 0, MOST_LISTED);
        all.zcount(&due, format!("({now}"), "+inf");
        all.zrangebyscore_limit_withscores(&leases, "-inf", now, 0, MOST_LISTED);
        all.zcount(&leases, "-inf", now);
        all.zcount(&due, "-inf", now);
        all.zrange(&leases, 0, -1);
    }
    let answers: Vec<Value> = all.query_async(&mut wire).await?;
    let (mut census, mut members) = (Vec::new(), Vec::new());
    for (partition, answers) in partitions.into_iter().zip(answers.chunks(6)) {
        let read = Value::Array(answers.to_vec());
        let (due, later, over, overs, dues, all): (Scored, usize, Scored, usize, usize, Vec<String>) =
            from_redis_value(read)?;
        let listed = due.len() + over.len();
        let due = waiting(due, over, now);
        // Who is due and over is one; among more than are listed nobody looks.
        let due_count = if listed == dues + overs { due.len() } else { dues + overs };
        census.push(Census { partition, subscriptions: Vec::new(), due_count, due, later });
        members.extend(all.iter().filter_map(|member| Some((partition, keys::address(member)?))));
    }
    let mut counted: HashMap<u16, Vec<Counted>> = HashMap::new();
    for (partition, of_it) in kinds(&mut wire, &members).await? {
        counted.entry(partition).or_default().push(of_it);
    }
    for of_it in &mut census {
        of_it.subscriptions = counted.remove(&of_it.partition).unwrap_or_default();
    }
    Ok(census)
}

/// What is due, and whose lease is over: each once, longest first.
fn waiting(due: Scored, over: Scored, now: u64) -> Vec<(Address, Duration)> {
    let age = |(member, score): (String, f64)| {
        Some((keys::address(&member)?, Duration::from_millis(now.saturating_sub(score as u64))))
    };
    let mut waiting: Vec<_> = due.into_iter().chain(over).filter_map(age).collect();
    waiting.sort_by_key(|(_, age)| Reverse(*age));
    let mut seen = HashSet::new();
    waiting.retain(|(address, _)| seen.insert(*address));
    waiting
}

/// What each of these is. One that has gone meanwhile is left out.
async fn kinds(wire: &mut Wire, members: &[(u16, Address)]) -> RedisResult<Vec<(u16, Counted)>> {
    let mut counted = Vec::new();
    for some in members.chunks(AT_ONCE) {
        let mut all = redis::pipe();
        for (_, address) in some {
            all.cmd("HMGET").arg(keys::subscription(address.id)).arg(&["channel", "node"]);
        }
        let known: Vec<(Option<String>, Option<String>)> = all.query_async(wire).await?;
        counted.extend(some.iter().zip(known).filter_map(|((partition, address), known)| {
            let kind = match (known.0?.as_str(), known.1) {
                ("webhook", _) => Kind::Webhook,
                (_, Some(_)) => Kind::Connected,
                (_, None) => Kind::Away,
            };
            Some((*partition, Counted { address: *address, kind }))
        }));
    }
    Ok(counted)
}
