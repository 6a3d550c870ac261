//! The connections of one process: to each primary a multiplexed one for the hot path, and a small
//! pool for pages of logs and sweeps of the due sets, so that no publish waits behind those.
//!
//! Every call has a time-out, and within it as many tries as it needs: a server that has died, was
//! demoted or is loading, a slot that has moved or is moving, is not the caller's affair. So
//! whatever the store asks may be asked twice. (The second answer to an end may be that there is
//! nothing to end.)
//!
//! A server that is no primary any more is let go of at once, with what is under way and with the
//! connections that are idle: if it is one again later, by then it has another past.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    backoff::Backoff,
    bulk::Bulk,
    dial::Dialer,
    link::{Link, Wire},
    topology::{Primaries, Slot, Topology, timed_out},
};
use crate::{
    lock::lock,
    settings::HostPort,
    store::StoreError,
    telemetry::metrics::{METRICS, RedisConnection},
};

/// The pauses between two tries of one call.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The part of a call's time that one try may take: a connection that is open and dead leaves
/// time for another.
const TRIES: u32 = 2;
/// Redirections that are followed without a pause.
const QUICK_REDIRECTIONS: u32 = 3;

pub struct Connections {
    dialer: Dialer,
    topology: Topology,
    servers: Arc<Servers>,
    /// When each server has last answered what was asked of all ([`super::shares`]).
    pub(super) answered: Mutex<HashMap<HostPort, Instant>>,
    keeper: JoinHandle<()>,
}

type Servers = Mutex<HashMap<HostPort, Arc<Server>>>;

/// What there is to one server.
struct Server {
    hot: Link,
    bulk: Bulk,
}

/// Who is asked.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Whichever server is the primary of this slot.
    Slot(Slot),
    /// This primary, for what it has of all slots.
    Server(&'a HostPort),
}

/// Which connection a call is made on.
#[derive(Clone, Copy)]
enum On {
    /// The one that all share.
    Hot,
    /// One of the pool.
    Bulk,
}

impl Connections {
    /// Connects when there is something to ask.
    pub fn new(dialer: Dialer, topology: Topology) -> Self {
        let servers = Arc::new(Servers::default());
        let keeper = tokio::spawn(keep_to_primaries(servers.clone(), topology.changes()));
        Self { dialer, topology, servers, answered: Mutex::default(), keeper }
    }

    /// Who answers for what.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Makes a short call.
    pub async fn call<T, F>(
        &self,
        operation: &'static str,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.attempt(operation, target, ask).await.map_err(|error| unavailable(operation, error))
    }

    /// Makes a short call, and tells what was wrong in Redis's own terms.
    pub async fn attempt<T, F>(
        &self,
        operation: &'static str,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.make(operation, On::Hot, target, ask).await
    }

    /// Makes a call with a long answer.
    pub async fn call_long<T, F>(
        &self,
        operation: &'static str,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.make(operation, On::Bulk, target, ask).await.map_err(|error| unavailable(operation, error))
    }

    /// Makes a call with a long answer about several slots. `None`: this server does not have all
    /// of them, or not any more.
    pub async fn call_share<T, F>(
        &self,
        operation: &'static str,
        server: &HostPort,
        ask: impl Fn(Wire) -> F,
    ) -> Result<Option<T>, StoreError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        match self.make(operation, On::Bulk, Target::Server(server), ask).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if matches!(remedy(&error), Remedy::Redistribute) => Ok(None),
            Err(error) => Err(unavailable(operation, error)),
        }
    }

    async fn make<T, F>(
        &self,
        operation: &'static str,
        on: On,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut asked = Asked::new(operation);
        let deadline = asked.begun + self.dialer.timeout();
        let mut last_error = None;
        let tries = self.try_until_answered(on, target, ask, &mut last_error);
        let answer = match timeout_at(deadline, tries).await {
            Ok(answer) => answer,
            Err(_) => Err(last_error.unwrap_or_else(timed_out)),
        };
        asked.is_answered = answer.is_ok();
        answer
    }

    async fn try_until_answered<T, F>(
        &self,
        on: On,
        target: Target<'_>,
        ask: impl Fn(Wire) -> F,
        last_error: &mut Option<RedisError>,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut redirected: Option<(HostPort, bool)> = None;
        let mut redirections = 0;
        let mut changes = self.topology.changes();
        loop {
            changes.mark_unchanged();
            let tried = match redirected.take() {
                Some((server, is_asking)) => self.try_once(on, &server, is_asking, &ask).await,
                None => self.try_primary(on, target, &ask).await,
            };
            let error = match tried {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let remedy = remedy(&error);
            if matches!(
                remedy,
                Remedy::LookAgain | Remedy::Redistribute | Remedy::GoTo { is_asking: false, .. }
            ) {
                self.topology.doubt();
            }
            match (remedy, target) {
                (Remedy::None, _) => return Err(error),
                // Whoever asks one server asks others as well, which must not wait for this one.
                (Remedy::Redistribute, Target::Server(_)) => return Err(error),
                (Remedy::LookAgain, Target::Server(_)) if last_error.is_some() => return Err(error),
                (Remedy::GoTo { server, is_asking }, Target::Slot(_)) => {
                    redirected = Some((server, is_asking));
                    redirections += 1;
                }
                _ => {}
            }
            *last_error = Some(error);
            if redirected.is_none() || redirections > QUICK_REDIRECTIONS {
                // Until the pause is over, or somebody else is asked.
                let _ = timeout(backoff.pause(), changes.changed()).await;
            }
        }
    }

    /// Asks the primary, for as long as it is one.
    async fn try_primary<T, F>(&self, on: On, target: Target<'_>, ask: impl Fn(Wire) -> F) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut primaries = self.topology.changes();
        let server = find(&primaries.borrow_and_update(), target).ok_or_else(nobody)?;
        let other = async {
            let is_other = |known: &Arc<Primaries>| find(known, target).as_ref() != Some(&server);
            if primaries.wait_for(is_other).await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            tried = self.try_once(on, &server, false, ask) => tried,
            () = other => Err(nobody()),
        }
    }

    async fn try_once<T, F>(
        &self,
        on: On,
        server: &HostPort,
        is_asking: bool,
        ask: impl Fn(Wire) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let server = self.server(server);
        let (wire, held) = match on {
            On::Hot => {
                let held = server.hot.get().await?;
                (Wire::shared(held.connection.clone(), is_asking), Some(held))
            }
            On::Bulk => (Wire::own(server.bulk.get().await?, is_asking), None),
        };
        let end = Instant::now() + self.dialer.timeout() / TRIES;
        let answer = timeout_at(end, ask(wire)).await.unwrap_or_else(|_| Err(timed_out()));
        if let (Err(error), Some(held)) = (&answer, held)
            && makes_useless(error)
        {
            server.hot.give_up(&held);
        }
        answer
    }

    fn server(&self, address: &HostPort) -> Arc<Server> {
        let mut servers = lock(&self.servers);
        let new = || Arc::new(Server::new(&self.dialer, address));
        servers.entry(address.clone()).or_insert_with(new).clone()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Lets go of the servers that are no primaries any more.
async fn keep_to_primaries(servers: Arc<Servers>, mut primaries: watch::Receiver<Arc<Primaries>>) {
    while primaries.changed().await.is_ok() {
        let known = primaries.borrow_and_update().clone();
        let mut servers = lock(&servers);
        servers.retain(|server, _| known.servers().contains(server));
    }
}

/// Counts a call when it is over, also when nobody waits for its answer any more: then it has failed.
struct Asked {
    operation: &'static str,
    begun: Instant,
    is_answered: bool,
}

impl Asked {
    fn new(operation: &'static str) -> Self {
        METRICS.redis_call(operation);
        Self { operation, begun: Instant::now(), is_answered: false }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        METRICS.redis_answered(self.operation, self.begun.elapsed());
        if !self.is_answered {
            METRICS.redis_error(self.operation);
        }
    }
}

fn find(primaries: &Primaries, target: Target<'_>) -> Option<HostPort> {
    match target {
        Target::Slot(slot) => primaries.of(slot).cloned(),
        // It is asked only as long as it is a primary.
        Target::Server(server) => primaries.servers().contains(server).then(|| server.clone()),
    }
}

fn unavailable(operation: &str, error: RedisError) -> StoreError {
    StoreError::Unavailable(format!("{operation}: {}", told(&error)))
}

/// An error as it may be logged. Of a command that it does not know, Redis repeats the arguments: here those are
/// sessions, entries and tickets.
pub fn told(error: &RedisError) -> String {
    let text = error.to_string();
    text.split_once(", with args beginning with").map_or(text.as_str(), |(told, _)| told).to_owned()
}

fn nobody() -> RedisError {
    (ErrorKind::ClusterConnectionNotFound, "nobody knows which server is the primary").into()
}

impl Server {
    fn new(dialer: &Dialer, address: &HostPort) -> Self {
        let door = || dialer.redis(address, RedisConnection::Calls);
        Self { hot: Link::new(door(), dialer.config()), bulk: Bulk::new(dialer, door()) }
    }
}

/// What helps against an error.
enum Remedy {
    /// Nothing.
    None,
    /// To try again in a moment.
    Wait,
    /// To look where the primary is, and try again.
    LookAgain,
    /// To look where each part of what was asked is: not all of it is on this server.
    Redistribute,
    /// To ask the server that it names.
    GoTo { server: HostPort, is_asking: bool },
}

fn remedy(error: &RedisError) -> Remedy {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            let is_asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            // That of a pipeline names no server, and it must not: of a slot on the move, what one
            // command is about may have moved, and what another is about not yet.
            let server = error.redirect_node().and_then(|(address, _)| host_port(address));
            server.map_or(Remedy::Redistribute, |server| Remedy::GoTo { server, is_asking })
        }
        ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::BusyLoading) => Remedy::Wait,
        ErrorKind::ClusterConnectionNotFound => Remedy::Redistribute,
        ErrorKind::Server(
            ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown | ServerErrorKind::ReadOnly,
        )
        | ErrorKind::Io => Remedy::LookAgain,
        _ if error.is_connection_dropped() || error.is_io_error() => Remedy::LookAgain,
        _ => Remedy::None,
    }
}

/// Is the connection of no use after this error? One to a server that is no primary any more is
/// not, even if it is a primary again later: by then it has another past.
fn makes_useless(error: &RedisError) -> bool {
    let is_demoted =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    is_demoted || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error()
}

fn host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return None;
    }
    Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use redis::ServerErrorKind;

    use super::*;

    #[test]
    fn what_redis_repeats_of_a_command_is_not_told() {
        let detail = "unknown command 'SPUBLISH', with args beginning with: 'John Smith' 'ticket'".to_owned();
        let error = RedisError::from((ErrorKind::Server(ServerErrorKind::ResponseError), "ERR", detail));
        let text = told(&error);
        assert!(text.contains("SPUBLISH") && !text.contains("Smith") && !text.contains("ticket"), "{text}");
    }
}
