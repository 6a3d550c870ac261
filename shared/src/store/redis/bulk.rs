//! The pool of connections to one server, for pages of logs and sweeps of the due sets.

use deadpool::{
    Runtime,
    managed::{Metrics, Object, PoolError, RecycleError, RecycleResult},
};
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection};

use super::dial::{Dialer, Door};

/// Connections for long answers, to each server.
const POOL_SIZE: usize = 4;

/// A connection that nobody else uses meanwhile.
pub type Lent = Object<Manager>;

/// The pool.
pub struct Bulk(deadpool::managed::Pool<Manager>);

/// Opens connections, and asks those that have been idle whether they are still there.
pub struct Manager {
    door: Door,
    config: AsyncConnectionConfig,
}

impl deadpool::managed::Manager for Manager {
    type Type = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> RedisResult<MultiplexedConnection> {
        self.door.open(&self.config).await
    }

    async fn recycle(
        &self,
        connection: &mut MultiplexedConnection,
        metrics: &Metrics,
    ) -> RecycleResult<RedisError> {
        // What is late must not answer for it.
        let sent = metrics.recycle_count.to_string();
        let echoed: String = redis::cmd("PING").arg(&sent).query_async(connection).await?;
        if echoed == sent { Ok(()) } else { Err(RecycleError::message("another answer than that to PING")) }
    }
}

impl Bulk {
    /// Connects when there is something to ask.
    pub fn new(dialer: &Dialer, door: Door) -> RedisResult<Self> {
        let manager = Manager { door, config: dialer.config() };
        let pool = deadpool::managed::Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(dialer.timeout()))
            .create_timeout(Some(dialer.connect_timeout()))
            .recycle_timeout(Some(dialer.connect_timeout()))
            .build();
        let failed = |error: deadpool::managed::BuildError| {
            RedisError::from((ErrorKind::Client, "the pool cannot be built", error.to_string()))
        };
        pool.map(Self).map_err(failed)
    }

    /// A connection, for as long as it is held.
    pub async fn get(&self) -> RedisResult<Lent> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            other => std::io::Error::new(std::io::ErrorKind::TimedOut, other.to_string()).into(),
        })
    }
}
