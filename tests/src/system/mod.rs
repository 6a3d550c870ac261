//! The programs, started as an operator starts them: by environment variables, found by their first log line.
//!
//! [`Hub`] and [`Worker`] are single processes, each a [`Program`]; [`System`] is Redis with some of each. Every setting
//! that a test gives goes over the harness's own; variables of the developer's shell never reach the programs.

mod hub;
mod program;
mod worker;

use anyhow::{Result, bail};

use crate::redis_server::Durability;
use crate::redis_shape::{Redis, Shape};

pub use hub::Hub;
use program::with;
pub use program::{Environment, Program, run, variable};
pub use worker::Worker;

/// Redis, hubs and workers that belong together.
///
/// Fields are dropped in their order: the programs end before the Redis that they need.
pub struct System {
    /// The gateways.
    pub hubs: Vec<Hub>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Their Redis.
    pub redis: Redis,
    settings: Vec<(String, String)>,
}

impl System {
    /// One hub and one worker, one Redis with an append-only file; change it before [`SystemBuilder::start`].
    pub fn builder() -> SystemBuilder {
        let (shape, durability) = (Shape::Single, Durability::Aof);
        SystemBuilder { hubs: 1, workers: 1, shape, durability, redis: None, settings: Vec::new() }
    }

    /// Starts one more hub.
    pub async fn add_hub(&mut self) -> Result<()> {
        self.hubs.push(Hub::start(&borrowed(&self.settings)).await?);
        Ok(())
    }

    /// Starts one more worker.
    pub async fn add_worker(&mut self) -> Result<()> {
        self.workers.push(Worker::start(&borrowed(&self.settings)).await?);
        Ok(())
    }
}

/// What a [`System`] is to consist of.
pub struct SystemBuilder {
    hubs: usize,
    workers: usize,
    shape: Shape,
    durability: Durability,
    redis: Option<Redis>,
    settings: Vec<(String, String)>,
}

impl SystemBuilder {
    /// How many hubs.
    pub fn hubs(mut self, hubs: usize) -> Self {
        self.hubs = hubs;
        self
    }

    /// How many workers.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How Redis is run.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// A Redis that runs already, in place of one that is started as usual.
    pub fn redis(mut self, redis: impl Into<Redis>) -> Self {
        self.redis = Some(redis.into());
        self
    }

    /// Whether Redis keeps an append-only file.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A setting of every hub and worker.
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings = with(&self.settings, &[(name, &value.to_string())]);
        self
    }

    /// Starts all of it: Redis first, then the programs.
    pub async fn start(self) -> Result<System> {
        let redis = match self.redis {
            Some(redis) => redis,
            None => Redis::start(self.shape, self.durability).await?,
        };
        if self.settings.iter().any(|(name, _)| name == "redis.url") {
            bail!("redis.url is the system's own");
        }
        let settings = with(&self.settings, &[("redis.url", &redis.url())]);
        let mut system = System { hubs: Vec::new(), workers: Vec::new(), redis, settings };
        for _ in 0..self.hubs {
            system.add_hub().await?;
        }
        for _ in 0..self.workers {
            system.add_worker().await?;
        }
        Ok(system)
    }
}

/// Settings, as they are given.
pub fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
