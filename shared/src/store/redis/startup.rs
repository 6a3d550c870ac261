//! What is checked before the first request: a Redis that is not what the hub needs is refused
//! at the start, not found out when it forgets something.

use super::{
    connection::{Connections, Target},
    keys,
    scripts::Scripts,
};
use crate::{
    settings::HostPort,
    store::{Result, StoreError},
};

/// The oldest Redis that has what the scripts use.
const MIN_MAJOR_VERSION: u32 = 7;

/// Checks version, eviction policy and the number of partitions, and says what AOF promises.
pub async fn check(connections: &Connections, partitions: u16) -> Result<()> {
    for server in connections.topology().primaries().servers() {
        check_server(connections, server).await?;
    }
    agree_on_partitions(connections, partitions).await
}

async fn check_server(connections: &Connections, address: &HostPort) -> Result<()> {
    let info = |section: &'static str| async move {
        let ask =
            |mut wire| async move { redis::cmd("INFO").arg(section).query_async::<String>(&mut wire).await };
        connections.call("info", Target::Server(address), ask).await
    };
    let (server, memory, persistence) =
        (info("server").await?, info("memory").await?, info("persistence").await?);

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
    if field(&persistence, "aof_enabled") == Some("0") {
        tracing::warn!(server = %address, "Redis has no append-only file: when it stops, accepted events are lost");
    }
    Ok(())
}

/// The first process writes the number of partitions; the others must have the same.
async fn agree_on_partitions(connections: &Connections, partitions: u16) -> Result<()> {
    let ask = |mut wire| async move {
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
    let (agreed,) = connections.call("partitions", slot, ask).await?;
    if agreed != partitions {
        return Err(StoreError::Misconfigured(format!(
            "redis.partitions: it is {partitions} here and {agreed} in Redis; it cannot change while there are sessions"
        )));
    }
    Ok(())
}

/// Loads the scripts, so that the first publish is one round trip as well.
pub async fn load(connections: &Connections, scripts: &Scripts) -> Result<()> {
    for server in connections.topology().primaries().servers() {
        for script in scripts.all() {
            let ask = |mut wire| async move { script.load_async(&mut wire).await };
            connections.call::<String, _>("load", Target::Server(server), ask).await?;
        }
    }
    Ok(())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
