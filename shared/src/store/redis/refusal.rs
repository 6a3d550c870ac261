//! Why Redis does not let the hub in, told by the settings that are wrong.
//!
//! It is only told at the start, or to whoever looks from outside. Later the same is an error like others ([`Asker`]).

use std::{error::Error, future::Future, io, sync::Arc};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::{
    connection::{Connections, Target, told},
    link::Wire,
};
use crate::{
    settings::{Redis as Settings, RedisUrl, Shape},
    store::{Result, StoreError},
};

/// The primaries could not be found.
pub fn of_who_knows_them(settings: &Settings, error: &RedisError) -> StoreError {
    let shape = settings.url.as_ref().map(RedisUrl::shape);
    let is_refused = error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError);
    match shape {
        Some(Shape::Cluster) if is_refused => {
            StoreError::Misconfigured(format!("redis.url: there is no cluster: {}", told(error)))
        }
        Some(Shape::Sentinel { .. }) => {
            let user = "redis.sentinel_username, redis.sentinel_password";
            explain(settings, user, "looking for the primary", error)
        }
        _ => of_a_server(settings, "looking for the primaries", error),
    }
}

/// A Redis server has not done what it was asked for.
pub fn of_a_server(settings: &Settings, operation: &str, error: &RedisError) -> StoreError {
    explain(settings, "redis.username, redis.password", operation, error)
}

fn explain(settings: &Settings, user: &str, operation: &str, error: &RedisError) -> StoreError {
    let is_tls = settings.url.as_ref().is_some_and(RedisUrl::is_tls);
    let is_unknown = error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH");
    let is_forbidden = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
    let text = told(error);
    // A handshake that fails is the client's error; what the server finds fault with afterwards is
    // an error of reading that is of no kind.
    let is_of_tls = error.kind() == ErrorKind::Client || io_kind(error) == Some(io::ErrorKind::Other);
    if is_unknown || is_forbidden {
        StoreError::Misconfigured(format!("{user}: Redis refuses them: {operation}: {text}"))
    } else if is_tls && is_of_tls {
        StoreError::Misconfigured(format!("redis.ca_file, redis.cert, redis.key: {operation}: {text}"))
    } else if is_tls && error.is_connection_dropped() && !error.is_connection_refusal() {
        // Often all that is seen of a server that wants a certificate.
        StoreError::Unavailable(format!("{operation}: {text} (redis.cert: is it one that Redis trusts?)"))
    } else {
        StoreError::Unavailable(format!("{operation}: {text}"))
    }
}

fn io_kind(error: &RedisError) -> Option<io::ErrorKind> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    cause.downcast_ref::<io::Error>().map(io::Error::kind)
}

/// Asks, and tells errors as what they are.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub connections: &'a Connections,
    pub settings: &'a Settings,
    tell: fn(&Settings, &'static str, &RedisError) -> StoreError,
}

impl<'a> Asker<'a> {
    /// At the start: an error names the settings that are wrong, if one is.
    pub fn at_the_start(connections: &'a Connections, settings: &'a Settings) -> Self {
        Self { connections, settings, tell: of_a_server }
    }

    /// While a program runs: passwords and certificates are changed on both sides, and not in the same moment.
    pub fn later(connections: &'a Connections, settings: &'a Settings) -> Self {
        let tell = |_: &Settings, operation: &'static str, error: &RedisError| {
            StoreError::Unavailable(format!("{operation}: {}", told(error)))
        };
        Self { connections, settings, tell }
    }

    pub async fn ask<T, F>(
        &self,
        operation: &'static str,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
    ) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let answer = self.connections.attempt(operation, target, ask).await;
        answer.map_err(|error| (self.tell)(self.settings, operation, &error))
    }
}
