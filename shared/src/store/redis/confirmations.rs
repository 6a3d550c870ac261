//! Waiting until enough replicas have what was written (`redis.durability`).
//!
//! One WAIT covers all that its server has written before. So those who wait for the same server
//! wait together, on a connection of their own, which WAIT blocks: while one group waits the next
//! one gathers.
//!
//! What was written by a server that another has taken over from meanwhile is not confirmed, whatever
//! the other's replicas have: the histories differ.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    dial::{Dialer, Door},
    keys,
    topology::{Topology, is_elsewhere, timed_out, within},
};
use crate::{
    lock::lock,
    settings::{CONFIRMATION_MARGIN as MARGIN, Durability, HostPort, Redis as Settings},
    store::{History, Result, StoreError},
    telemetry::metrics::{METRICS, RedisConnection},
};

/// Writers that wait for one server: far more than publishes may be in flight.
const MAX_WAITING: usize = 16_384;
/// Partitions by which a server is asked, if the slots of the first ones are on the move.
const MOST_TRIED: usize = 4;
/// The pause before another try of one that waits.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Waits for replicas, if the settings ask for it.
pub struct Confirmations {
    replicas: u32,
    patience: Duration,
    dialer: Dialer,
    script: Arc<Script>,
    groups: Mutex<HashMap<HostPort, mpsc::Sender<Waiting>>>,
}

/// Somebody who has written in a partition.
struct Waiting {
    partition: u16,
    confirmed: oneshot::Sender<Outcome>,
}

/// What came of a WAIT: the history of the server, and how many replicas have it.
type Outcome = std::result::Result<(History, u32), String>;

impl Confirmations {
    pub fn new(settings: &Settings, dialer: &Dialer, script: Script) -> Self {
        let replicas = match settings.durability {
            Durability::Primary => 0,
            Durability::Replicas(replicas) => replicas,
        };
        let patience = Duration::from_millis(settings.durability_timeout_ms);
        Self {
            replicas,
            patience,
            dialer: dialer.clone(),
            script: Arc::new(script),
            groups: Mutex::default(),
        }
    }

    /// Waits until enough replicas have all that the server of a partition has written so far. What
    /// it has written must be of `history`.
    pub async fn wait(&self, topology: &Topology, partition: u16, history: History) -> Result<()> {
        if self.replicas == 0 {
            return Ok(());
        }
        METRICS.redis_call("confirm");
        let begun = Instant::now();
        let confirmed = self.try_until_answered(topology, partition, history).await;
        METRICS.redis_answered("confirm", begun.elapsed());
        confirmed.map_err(|why| {
            METRICS.redis_error("confirm");
            StoreError::Unconfirmed(why)
        })
    }

    async fn try_until_answered(
        &self,
        topology: &Topology,
        partition: u16,
        history: History,
    ) -> std::result::Result<(), String> {
        let end = Instant::now() + self.patience + MARGIN;
        loop {
            let why = match self.try_once(topology, partition).await {
                Ok((of, replicas)) if of == history => {
                    // The server that has written it has been asked, and the replicas had their time.
                    let (wanted, after) = (self.replicas, self.patience.as_millis());
                    let too_few = || format!("{replicas} of {wanted} replicas had it after {after} ms");
                    return if replicas >= wanted { Ok(()) } else { Err(too_few()) };
                }
                Ok(_) => "another server has taken over".to_owned(),
                Err(why) => why,
            };
            // Perhaps another has the slot, and this process does not know yet.
            topology.doubt();
            if Instant::now() + TRY_AGAIN >= end {
                return Err(why);
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn try_once(&self, topology: &Topology, partition: u16) -> Outcome {
        let primaries = topology.primaries();
        let server = primaries.of(keys::slot_of(partition)).ok_or("nobody knows the primary")?;
        let (confirmed, is_confirmed) = oneshot::channel();
        let asked = self.group(server, topology);
        let waiting = Waiting { partition, confirmed };
        asked.try_send(waiting).map_err(|_| "too many wait for the replicas")?;
        // The group before this one may have just begun.
        let outcome = tokio::time::timeout(2 * (self.patience + MARGIN), is_confirmed).await;
        outcome.map_err(|_| "no answer in time")?.map_err(|_| "the connection has ended")?
    }

    /// The task that waits for the replicas of a server.
    fn group(&self, server: &HostPort, topology: &Topology) -> mpsc::Sender<Waiting> {
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get(server) {
            return group.clone();
        }
        let primaries = topology.primaries();
        groups.retain(|known, _| primaries.servers().contains(known));
        let (sender, waiting) = mpsc::channel(MAX_WAITING);
        let group = Group {
            door: self.dialer.redis(server, RedisConnection::Confirmations),
            dialer: self.dialer.clone(),
            script: self.script.clone(),
            replicas: self.replicas,
            patience: self.patience,
            connection: None,
        };
        tokio::spawn(group.run(waiting));
        groups.insert(server.clone(), sender.clone());
        sender
    }
}

/// Those who wait for one server.
struct Group {
    door: Door,
    dialer: Dialer,
    script: Arc<Script>,
    replicas: u32,
    patience: Duration,
    connection: Option<MultiplexedConnection>,
}

impl Group {
    /// Serves one group after the other, until nobody can ask any more.
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        while let Some(first) = waiting.recv().await {
            let mut all = vec![first];
            while let Ok(another) = waiting.try_recv() {
                all.push(another);
            }
            let outcome = self.ask_for(&all).await.map_err(|error| error.to_string());
            for each in all {
                // Who no longer waits has been told that it is not confirmed.
                let _ = each.confirmed.send(outcome.clone());
            }
        }
    }

    /// Asks by a key of one of those who wait; by another's, if that slot is on the move.
    async fn ask_for(&mut self, all: &[Waiting]) -> RedisResult<(History, u32)> {
        let mut partitions: Vec<u16> = all.iter().map(|each| each.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions.truncate(MOST_TRIED);
        let mut outcome = Err(timed_out());
        for partition in partitions {
            outcome = self.ask(partition).await;
            if !outcome.as_ref().is_err_and(is_elsewhere) {
                break;
            }
        }
        outcome
    }

    async fn ask(&mut self, partition: u16) -> RedisResult<(History, u32)> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let config = self.dialer.config().set_response_timeout(Some(self.patience + MARGIN));
                let opening = self.door.open(&config);
                within(self.dialer.connect_timeout(), opening).await?
            }
        };
        let mut answer = self.wait_on(&mut connection, partition).await;
        if answer.as_ref().is_err_and(is_no_script) {
            self.script.load_async(&mut connection).await?;
            answer = self.wait_on(&mut connection, partition).await;
        }
        // After an error the next group has a new connection: what is late must not answer for it.
        let (history, replicas) = answer?;
        self.connection = Some(connection);
        let history = history.parse().map_err(|_| {
            RedisError::from((ErrorKind::UnexpectedReturnType, "a server without a replication id"))
        })?;
        Ok((history, replicas))
    }

    async fn wait_on(
        &self,
        connection: &mut MultiplexedConnection,
        partition: u16,
    ) -> RedisResult<(String, u32)> {
        let mut both = redis::pipe();
        both.cmd("EVALSHA").arg(self.script.get_hash()).arg(1).arg(keys::confirmation(partition));
        both.cmd("WAIT").arg(self.replicas).arg(self.patience.as_millis() as u64);
        both.query_async(connection).await
    }
}

fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
