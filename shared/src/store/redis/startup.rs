//! What is checked before the first request: a Redis that is not what the hub needs, or that does
//! not let it in, is refused at the start, not found out when it forgets something. What it and the
//! settings can promise is said in the log.

use redis::RedisResult;

use super::{
    connection::{Connections, Target},
    keys,
    link::Wire,
    promise::{Facts, promise},
    refusal,
    scripts::Scripts,
    seal::{Place, Seal},
};
use crate::{
    format::Format,
    settings::{Durability, HostPort, Redis as Settings, RedisUrl, Shape},
    store::{Result, StoreError},
};

/// What the mark says.
const MARK_TEXT: &str = "fhircast";

/// The oldest Redis that has what the scripts use.
const MIN_MAJOR_VERSION: u32 = 7;

/// Checks version, eviction policy and the number of partitions, and says what can be promised.
pub async fn check(connections: &Connections, settings: &Settings, seal: &Seal) -> Result<Format> {
    for server in connections.topology().primaries().servers() {
        let facts = check_server(connections, settings, server).await?;
        say_promise(server, settings.durability, &facts);
    }
    agree(connections, settings, seal, settings.newest_format()).await
}

/// Whether this process and the others mean the same: the format, which is answered, the number of partitions, and the
/// data keys. Who finds nothing agreed, in a Redis that is new or has lost everything, says what it means.
pub async fn agree(
    connections: &Connections,
    settings: &Settings,
    seal: &Seal,
    own: Format,
) -> Result<Format> {
    let format = agree_on_format(connections, settings, own).await?;
    agree_on_partitions(connections, settings).await?;
    agree_on_keys(connections, settings, seal).await?;
    Ok(format)
}

/// The first process writes the newest format that it knows; a Redis that was used when nobody agreed on one has the
/// oldest. All others write the same, and who does not know it is too old.
async fn agree_on_format(connections: &Connections, settings: &Settings, own: Format) -> Result<Format> {
    let partitions = |mut wire| async move {
        redis::cmd("EXISTS").arg(keys::PARTITIONS).query_async::<bool>(&mut wire).await
    };
    let is_used =
        ask(connections, settings, "format", Target::Slot(keys::slot(keys::PARTITIONS)), partitions);
    let first = if is_used.await? { Format::OLDEST } else { own };
    let agree = |mut wire| async move {
        let mut both = redis::pipe();
        both.cmd("SET").arg(keys::FORMAT).arg(first.number()).arg("NX").ignore().get(keys::FORMAT);
        both.query_async::<(u8,)>(&mut wire).await
    };
    let slot = Target::Slot(keys::slot(keys::FORMAT));
    let agreed = Format::new(ask(connections, settings, "format", slot, agree).await?.0);
    let newest = settings.newest_format();
    if agreed > newest {
        return Err(StoreError::Misconfigured(format!(
            "redis.url: what this Redis keeps has format {agreed}, and this program reads and writes up to {newest}: it is older than the others, upgrade it"
        )));
    }
    Ok(agreed)
}

/// Has all processes write the newest format that this program knows. Who does not know it says so, and is not ready.
/// Answers which it was before.
pub async fn raise_format(connections: &Connections, settings: &Settings) -> Result<(Format, Format)> {
    let newest = settings.newest_format();
    let before = agree_on_format(connections, settings, newest).await?;
    let raise = |mut wire| async move {
        redis::cmd("SET").arg(keys::FORMAT).arg(newest.number()).query_async::<()>(&mut wire).await
    };
    ask(connections, settings, "format", Target::Slot(keys::slot(keys::FORMAT)), raise).await?;
    Ok((before, newest))
}

/// Asks, and names the settings that are wrong if one is.
async fn ask<T, F>(
    connections: &Connections,
    settings: &Settings,
    operation: &'static str,
    target: Target<'_>,
    ask: impl Fn(Wire) -> F,
) -> Result<T>
where
    F: Future<Output = RedisResult<T>>,
{
    let answer = connections.attempt(operation, target, ask).await;
    answer.map_err(|error| refusal::of_a_server(settings, operation, &error))
}

fn say_promise(server: &HostPort, durability: Durability, facts: &Facts) {
    let promise = promise(durability, facts);
    if promise.is_weak {
        tracing::warn!(%server, %durability, "{}", promise.text);
    } else {
        tracing::info!(%server, %durability, "{}", promise.text);
    }
}

async fn check_server(connections: &Connections, settings: &Settings, address: &HostPort) -> Result<Facts> {
    let info = |section: &'static str| async move {
        let info =
            |mut wire| async move { redis::cmd("INFO").arg(section).query_async::<String>(&mut wire).await };
        ask(connections, settings, "info", Target::Server(address), info).await
    };
    let (server, memory) = (info("server").await?, info("memory").await?);
    let (persistence, replication) = (info("persistence").await?, info("replication").await?);

    let is_to_be_one = settings.url.as_ref().map(RedisUrl::shape) == Some(&Shape::Cluster);
    if field(&server, "redis_mode") == Some("cluster") && !is_to_be_one {
        return Err(StoreError::Misconfigured(format!(
            "redis.url: {address} is a node of a cluster; say so with redis+cluster"
        )));
    }
    let version = field(&server, "redis_version").unwrap_or("unknown");
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_some_and(|major| major < MIN_MAJOR_VERSION) {
        return Err(StoreError::Misconfigured(format!(
            "redis.url: Redis {version} at {address} is too old, 7.0 is needed"
        )));
    }
    if let Some(policy) = field(&memory, "maxmemory_policy").filter(|policy| *policy != "noeviction") {
        return Err(StoreError::Misconfigured(format!(
            "redis.url: maxmemory-policy of {address} is {policy}; it must be noeviction, or Redis drops sessions when memory is short"
        )));
    }
    let has_aof = field(&persistence, "aof_enabled") == Some("1");
    let replicas = field(&replication, "connected_slaves").and_then(|replicas| replicas.parse().ok());
    let appendfsync = if has_aof { appendfsync(connections, address).await } else { None };
    Ok(Facts { has_aof, appendfsync, replicas: replicas.unwrap_or_default() })
}

/// Those who sell Redis as a service may not let it be asked for.
async fn appendfsync(connections: &Connections, address: &HostPort) -> Option<String> {
    let ask = |mut wire| async move {
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("appendfsync").query_async::<(String, String)>(&mut wire).await
    };
    connections.call("config", Target::Server(address), ask).await.ok().map(|(_, value)| value)
}

/// The first process writes the number of partitions; the others must have the same.
async fn agree_on_partitions(connections: &Connections, settings: &Settings) -> Result<()> {
    let partitions = settings.partitions;
    let agree = |mut wire| async move {
        redis::pipe()
            .cmd("SET")
            .arg(keys::PARTITIONS)
            .arg(partitions)
            .arg("NX")
            .ignore()
            .get(keys::PARTITIONS)
            .query_async::<(u16,)>(&mut wire)
            .await
    };
    let slot = Target::Slot(keys::slot(keys::PARTITIONS));
    let (agreed,) = ask(connections, settings, "partitions", slot, agree).await?;
    if agreed != partitions {
        return Err(StoreError::Misconfigured(format!(
            "redis.partitions: it is {partitions} here and {agreed} in Redis; it cannot change while there are sessions"
        )));
    }
    Ok(())
}

/// Something sealed, by which the others find out whether they have the same keys.
pub fn mark(seal: &Seal) -> Result<Vec<u8>> {
    seal.seal(Place::Mark, MARK_TEXT)
}

/// The first process that seals leaves a mark; whoever cannot open it has not the keys for what else is sealed, and
/// would write what the others cannot open.
async fn agree_on_keys(connections: &Connections, settings: &Settings, seal: &Seal) -> Result<()> {
    let own = seal.sealing().map(|_| mark(seal)).transpose()?;
    let own = own.as_deref();
    let agree = |mut wire| async move {
        let mut both = redis::pipe();
        if let Some(own) = own {
            both.cmd("SET").arg(keys::MARK).arg(own).arg("NX").ignore();
        }
        both.get(keys::MARK).query_async::<(Option<Vec<u8>>,)>(&mut wire).await
    };
    let slot = Target::Slot(keys::slot(keys::MARK));
    let (mark,) = ask(connections, settings, "data keys", slot, agree).await?;
    let Some(mark) = mark else { return Ok(()) };
    // Of one that is not sealed nothing can be told.
    match seal.read(Place::Mark, mark) {
        Ok(_) => Ok(()),
        Err(problem) => {
            let problem = format!("data_keys: they are not those of what Redis holds: {problem}");
            Err(StoreError::Misconfigured(problem))
        }
    }
}

/// Loads the scripts, so that the first publish is one round trip as well. A server that becomes a
/// primary later is sent each when it first needs it.
pub async fn load(connections: &Connections, settings: &Settings, scripts: &Scripts) -> Result<()> {
    for server in connections.topology().primaries().servers() {
        for script in scripts.all() {
            let load = |mut wire| async move { script.load_async(&mut wire).await };
            ask::<String, _>(connections, settings, "load", Target::Server(server), load).await?;
        }
    }
    Ok(())
}

/// A field of what INFO says.
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
