//! The pool of connections to one server, for pages of logs and sweeps of the due sets.
//!
//! What its connections trust and show is fixed when a pool is made: when the certificates are others there is another
//! pool, and the one before it goes with the last of its connections that is at work.

use std::sync::{Arc, Mutex};

use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use redis::{Client, ErrorKind, RedisError, RedisResult};

use super::dial::{Dialer, Door};
use crate::lock::lock;

/// Connections for long answers, to each server.
const POOL_SIZE: usize = 4;

/// A connection that nobody else uses meanwhile.
pub type Lent = deadpool_redis::Connection;

/// The pool.
pub struct Bulk {
    door: Door,
    dialer: Dialer,
    made: Mutex<Option<Made>>,
}

/// The pool, and what it was made of.
struct Made {
    client: Arc<Client>,
    pool: Pool,
}

impl Bulk {
    /// Connects when there is something to ask.
    pub fn new(dialer: &Dialer, door: Door) -> Self {
        Self { door, dialer: dialer.clone(), made: Mutex::default() }
    }

    /// A connection, for as long as it is held.
    pub async fn get(&self) -> RedisResult<Lent> {
        self.pool()?.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            other => std::io::Error::new(std::io::ErrorKind::TimedOut, other.to_string()).into(),
        })
    }

    fn pool(&self) -> RedisResult<Pool> {
        let client = self.door.client()?;
        let mut made = lock(&self.made);
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.client, &client)
        {
            return Ok(made.pool.clone());
        }
        let pool = make(&self.dialer, &client)?;
        *made = Some(Made { client, pool: pool.clone() });
        Ok(pool)
    }
}

fn make(dialer: &Dialer, client: &Client) -> RedisResult<Pool> {
    let manager = Manager::new_with_config(client.get_connection_info().clone(), dialer.config())?;
    let pool = Pool::builder(manager)
        .max_size(POOL_SIZE)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(dialer.timeout()))
        .create_timeout(Some(dialer.connect_timeout()))
        .recycle_timeout(Some(dialer.connect_timeout()))
        .build();
    pool.map_err(|error| RedisError::from((ErrorKind::Client, "the pool cannot be built", error.to_string())))
}
