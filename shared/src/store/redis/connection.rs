//! The connections of one process: a multiplexed one for the hot path, and a small pool for pages
//! of logs and sweeps of the due sets, so that no publish waits behind those.
//!
//! Every call has a time-out. A call that failed because the connection had dropped is made once
//! more: all that the store asks may be asked twice. (The second answer to an end may be that
//! there is nothing to end.)

use std::{future::Future, time::Duration};

use deadpool_redis::{Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use crate::{settings::Redis as RedisSettings, store::StoreError, telemetry::metrics::METRICS};

/// A connection on which nothing is heard for this long is asked by the kernel, every second.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// TCP as the hub needs it: no waiting for larger packets, and an end to a connection whose other
/// side has silently gone.
pub fn tcp(settings: &RedisSettings) -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(Duration::from_secs(1));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(2 * settings.timeout())
}

/// Connections for long answers, a process.
const POOL_SIZE: usize = 4;

pub struct Connections {
    hot: ConnectionManager,
    bulk: Pool,
    timeout: Duration,
}

impl Connections {
    /// Sets up the connections; the first call opens them.
    pub fn new(client: &Client, settings: &RedisSettings) -> Result<Self, RedisError> {
        let (timeout, connect_timeout) = (settings.timeout(), settings.connect_timeout());
        let hot = ConnectionManagerConfig::new()
            .set_response_timeout(Some(timeout))
            .set_connection_timeout(Some(connect_timeout))
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500));
        let bulk = AsyncConnectionConfig::new()
            .set_response_timeout(Some(timeout))
            .set_connection_timeout(Some(connect_timeout));
        let manager = Manager::new_with_config(client.get_connection_info().clone(), bulk)?;
        let bulk = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(timeout))
            .create_timeout(Some(connect_timeout))
            .recycle_timeout(Some(timeout))
            .build()
            .map_err(|error| {
                RedisError::from((redis::ErrorKind::Client, "the pool cannot be built", error.to_string()))
            })?;
        Ok(Self { hot: client.get_connection_manager_lazy(hot)?, bulk, timeout })
    }

    /// Makes a call on the multiplexed connection.
    pub async fn call<T, F>(
        &self,
        operation: &'static str,
        ask: impl Fn(ConnectionManager) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        METRICS.redis_call(operation);
        let twice = async {
            match ask(self.hot.clone()).await {
                Err(error) if error.is_connection_dropped() || error.is_io_error() && !error.is_timeout() => {
                    ask(self.hot.clone()).await
                }
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(self.timeout, twice).await;
        unavailable(
            operation,
            answer.map_err(|_| "no answer in time".to_owned()).and_then(|answer| answer.map_err(text)),
        )
    }

    /// Takes a connection for a long answer.
    pub async fn bulk(&self, operation: &'static str) -> Result<deadpool_redis::Connection, StoreError> {
        METRICS.redis_call(operation);
        unavailable(operation, self.bulk.get().await.map_err(|error| error.to_string()))
    }
}

/// Counts and types what went wrong with a call.
pub fn unavailable<T>(operation: &'static str, answer: Result<T, String>) -> Result<T, StoreError> {
    answer.map_err(|problem| {
        METRICS.redis_error(operation);
        StoreError::Unavailable(format!("{operation}: {problem}"))
    })
}

pub fn text(error: RedisError) -> String {
    error.to_string()
}
