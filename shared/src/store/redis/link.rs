//! A multiplexed connection to one server that all of a process share.
//!
//! It is made when it is first needed, and made again after it has failed: by one caller at a
//! time, while the others wait for it, and with growing pauses, in which nobody waits: whoever
//! asks has the error of the last try, and may look elsewhere.

use std::sync::{PoisonError, RwLock};

use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::{sync::Mutex, time::Instant};

use super::{backoff::Backoff, bulk::Lent, dial::Door};
use std::time::Duration;

/// The first and the longest pause before a server is connected to again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A connection that heals.
pub struct Link {
    door: Door,
    config: AsyncConnectionConfig,
    current: RwLock<Option<Held>>,
    making: Mutex<Making>,
}

/// A connection, and how many there were before it.
#[derive(Clone)]
pub struct Held {
    number: u64,
    /// The connection.
    pub connection: MultiplexedConnection,
}

struct Making {
    made: u64,
    backoff: Backoff,
    /// Why the last try failed, and when there may be another.
    failed: Option<(RedisError, Instant)>,
}

impl Link {
    /// A link that connects at its first use.
    pub fn new(door: Door, config: AsyncConnectionConfig) -> Self {
        let backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        let making = Mutex::new(Making { made: 0, backoff, failed: None });
        Self { door, config, current: RwLock::new(None), making }
    }

    /// The connection. Waits for one that is being made; an error may be that of the last try.
    pub async fn get(&self) -> RedisResult<Held> {
        if let Some(held) = self.held() {
            return Ok(held);
        }
        let mut making = self.making.lock().await;
        if let Some(held) = self.held() {
            return Ok(held);
        }
        if let Some((error, not_before)) = &making.failed
            && Instant::now() < *not_before
        {
            return Err(error.clone());
        }
        match self.door.open(&self.config).await {
            Ok(connection) => {
                making.made += 1;
                making.backoff.reset();
                making.failed = None;
                let held = Held { number: making.made, connection };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(held.clone());
                Ok(held)
            }
            Err(error) => {
                making.failed = Some((error.clone(), Instant::now() + making.backoff.pause()));
                Err(error)
            }
        }
    }

    /// This connection has failed: the next caller gets another.
    pub fn give_up(&self, failed: &Held) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|held| held.number == failed.number) {
            *current = None;
        }
    }

    fn held(&self) -> Option<Held> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a call is made on: the shared connection, or one of the pool; after a redirection with
/// ASK, every command is preceded by ASKING.
pub struct Wire {
    connection: Kind,
    is_asking: bool,
}

enum Kind {
    Shared(MultiplexedConnection),
    Own(Lent),
}

impl Wire {
    pub fn shared(connection: MultiplexedConnection, is_asking: bool) -> Self {
        Self { connection: Kind::Shared(connection), is_asking }
    }

    pub fn own(connection: Lent, is_asking: bool) -> Self {
        Self { connection: Kind::Own(connection), is_asking }
    }

    fn inner(&mut self) -> &mut MultiplexedConnection {
        match &mut self.connection {
            Kind::Shared(connection) => connection,
            Kind::Own(connection) => connection,
        }
    }
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        if !self.is_asking {
            return self.inner().req_packed_command(command);
        }
        Box::pin(async move {
            let mut both = redis::pipe();
            both.cmd("ASKING").ignore().add_command(command.clone());
            let (answer,) = both.query_async(self.inner()).await?;
            Ok(answer)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        if !self.is_asking {
            return self.inner().req_packed_commands(pipeline, offset, count);
        }
        Box::pin(async move {
            let mut all = redis::pipe();
            for command in pipeline.cmd_iter() {
                all.cmd("ASKING").ignore().add_command(command.clone());
            }
            all.query_async(self.inner()).await
        })
    }

    fn get_db(&self) -> i64 {
        match &self.connection {
            Kind::Shared(connection) => connection.get_db(),
            Kind::Own(connection) => connection.get_db(),
        }
    }
}
