//! What is checked before the first request: a Redis that is not what the hub needs, or that does
//! not let it in, is refused at the start, not found out when it forgets something.
//!
//! Later the same is an error like others: passwords and certificates are changed on both sides,
//! and not in the same moment.

use std::{error::Error, io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::{
    connection::{Connections, Target},
    keys,
    scripts::Scripts,
};
use crate::{
    settings::{HostPort, RedisUrl, Shape},
    store::{Result, StoreError},
};

/// The oldest Redis that has what the scripts use.
const MIN_MAJOR_VERSION: u32 = 7;

/// Checks version, eviction policy and the number of partitions, and says what AOF promises.
pub async fn check(connections: &Connections, url: &RedisUrl, partitions: u16) -> Result<()> {
    for server in connections.topology().primaries().servers() {
        check_server(connections, url, server).await?;
    }
    agree_on_partitions(connections, url, partitions).await
}

/// Why the primaries could not be found.
pub fn not_found(url: &RedisUrl, error: &RedisError) -> StoreError {
    let is_refused = error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError);
    if *url.shape() == Shape::Cluster && is_refused {
        return StoreError::Misconfigured(format!("redis.url: there is no cluster: {error}"));
    }
    let user = match url.shape() {
        Shape::Sentinel { .. } => "redis.sentinel_username, redis.sentinel_password",
        _ => USER,
    };
    explain("looking for Redis", url.is_tls(), user, error)
}

/// The settings that say who the hub is to Redis.
const USER: &str = "redis.username, redis.password";

/// An error that patience does not cure names the settings that do.
fn explain(operation: &str, is_tls: bool, user: &str, error: &RedisError) -> StoreError {
    let is_unknown = error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH");
    let is_forbidden = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    // A handshake that fails is the client's error; one that the server finds fault with afterwards
    // is an error of reading that is of no kind.
    let is_of_tls = error.kind() == ErrorKind::Client || io_kind(error) == Some(io::ErrorKind::Other);
    if is_unknown || is_forbidden {
        StoreError::Misconfigured(format!("{user}: Redis refuses them: {operation}: {error}"))
    } else if is_tls && is_of_tls {
        StoreError::Misconfigured(format!("redis.ca_file, redis.cert, redis.key: {operation}: {error}"))
    } else if is_tls && error.is_connection_dropped() && !error.is_connection_refusal() {
        // Often all that is seen of a server that wants a certificate.
        StoreError::Unavailable(format!("{operation}: {error} (redis.cert: is it one that Redis trusts?)"))
    } else {
        StoreError::Unavailable(format!("{operation}: {error}"))
    }
}

fn io_kind(error: &RedisError) -> Option<io::ErrorKind> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    cause.downcast_ref::<io::Error>().map(io::Error::kind)
}

async fn check_server(connections: &Connections, url: &RedisUrl, address: &HostPort) -> Result<()> {
    let info = |section: &'static str| async move {
        let ask =
            |mut wire| async move { redis::cmd("INFO").arg(section).query_async::<String>(&mut wire).await };
        let asked = connections.attempt("info", Target::Server(address), ask).await;
        asked.map_err(|error| explain(&format!("{address}: info"), url.is_tls(), USER, &error))
    };
    let (server, memory, persistence) =
        (info("server").await?, info("memory").await?, info("persistence").await?);

    let is_of_a_cluster = field(&server, "redis_mode") == Some("cluster");
    if is_of_a_cluster && *url.shape() != Shape::Cluster {
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
    if field(&persistence, "aof_enabled") == Some("0") {
        tracing::warn!(server = %address, "Redis has no append-only file: when it stops, accepted events are lost");
    }
    Ok(())
}

/// The first process writes the number of partitions; the others must have the same.
async fn agree_on_partitions(connections: &Connections, url: &RedisUrl, partitions: u16) -> Result<()> {
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
    let asked = connections.attempt("partitions", slot, ask).await;
    let (agreed,) = asked.map_err(|error| explain("partitions", url.is_tls(), USER, &error))?;
    if agreed != partitions {
        return Err(StoreError::Misconfigured(format!(
            "redis.partitions: it is {partitions} here and {agreed} in Redis; it cannot change while there are sessions"
        )));
    }
    Ok(())
}

/// Loads the scripts, so that the first publish is one round trip as well. A server that becomes a
/// primary later is sent each when it first needs it.
pub async fn load(connections: &Connections, url: &RedisUrl, scripts: &Scripts) -> Result<()> {
    for server in connections.topology().primaries().servers() {
        for script in scripts.all() {
            let ask = |mut wire| async move { script.load_async(&mut wire).await };
            let asked = connections.attempt::<String, _>("load", Target::Server(server), ask).await;
            asked.map_err(|error| explain(&format!("{server}: load"), url.is_tls(), USER, &error))?;
        }
    }
    Ok(())
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}
