//! What is checked before the first request: a Redis that is not what the hub needs, or that does
//! not let it in, is refused at the start, not found out when it forgets something. What it and the
//! settings can promise is said in the log.

use super::{
    agreement::Agreement,
    connection::{Connections, Target},
    promise::{Facts, promise},
    refusal::Asker,
    scripts::Scripts,
    seal::Seal,
};
use crate::{
    format::Format,
    settings::{Durability, HostPort, Redis as Settings, RedisUrl, Shape},
    store::{Result, StoreError},
};

/// The oldest Redis that has what the scripts use.
const MIN_MAJOR_VERSION: u32 = 7;

/// Checks version, eviction policy and the number of partitions, and says what can be promised.
pub async fn check(connections: &Connections, settings: &Settings, seal: &Seal) -> Result<Format> {
    let asker = Asker::at_the_start(connections, settings);
    for server in connections.topology().primaries().servers() {
        let facts = check_server(asker, server).await?;
        say_promise(server, settings.durability, &facts);
    }
    Agreement(asker).reach(seal, settings.newest_format()).await.map(|(format, _)| format)
}

fn say_promise(server: &HostPort, durability: Durability, facts: &Facts) {
    let promise = promise(durability, facts);
    if promise.is_weak {
        tracing::warn!(%server, %durability, "{}", promise.text);
    } else {
        tracing::info!(%server, %durability, "{}", promise.text);
    }
}

async fn check_server(asker: Asker<'_>, address: &HostPort) -> Result<Facts> {
    let info = |section: &'static str| async move {
        let info =
            |mut wire| async move { redis::cmd("INFO").arg(section).query_async::<String>(&mut wire).await };
        asker.ask("info", Target::Server(address), info).await
    };
    let (server, memory) = (info("server").await?, info("memory").await?);
    let (persistence, replication) = (info("persistence").await?, info("replication").await?);

    let is_to_be_one = asker.settings.url.as_ref().map(RedisUrl::shape) == Some(&Shape::Cluster);
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
    let appendfsync = if has_aof { appendfsync(asker.connections, address).await } else { None };
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

/// Loads the scripts, so that the first publish is one round trip as well. A server that becomes a
/// primary later is sent each when it first needs it.
pub async fn load(connections: &Connections, settings: &Settings, scripts: &Scripts) -> Result<()> {
    let asker = Asker::at_the_start(connections, settings);
    for server in connections.topology().primaries().servers() {
        for script in scripts.all() {
            let load = |mut wire| async move { script.load_async(&mut wire).await };
            asker.ask::<String, _>("load", Target::Server(server), load).await?;
        }
    }
    Ok(())
}

/// A field of what INFO says.
pub fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
