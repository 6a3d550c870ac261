//! The system under fault: Redis in a shape, hubs, workers and a callback server, and a proxy on each link between them.
//!
//! Everybody who uses a hub comes through its door. With one Redis, each hub and worker has its own link to it; behind
//! Sentinels and in a cluster the servers tell where they are to be reached, so there the proxy stands before each server, and
//! replicas and Sentinels go through it as well.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use url::Url;

use super::clock::SkewedClock;
use super::options::{Options, PRIMARY, Shape};
use crate::callback_server::CallbackServer;
use crate::redis_cluster::{ClusterOptions, ClusterRedis};
use crate::redis_sentinel::{SentinelOptions, SentinelRedis};
use crate::redis_server::{Durability, RedisServer};
use crate::redis_shape::Redis;
use crate::system::{Environment, Hub, Worker, borrowed};
use crate::tcp_proxy::TcpProxy;

/// Seconds for which a worker's claim holds.
pub const CLAIM_SECS: u64 = 4;
/// Seconds between two heartbeats: so that who listens on a dead connection finds out soon.
pub const HEARTBEAT_SECS: u64 = 4;
const SETTINGS: [(&str, &str); 5] = [
    ("retry.initial_secs", "0.2"),
    ("retry.max_secs", "2"),
    ("retry.max_attempts", "100"),
    ("log.level", "info"),
    ("drain_secs", "5"),
];

/// What is to be started.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Hubs.
    pub hubs: usize,
    /// Workers.
    pub workers: usize,
    /// Whether their clocks can be set.
    pub clocks: bool,
}

/// A hub and the links to it and from it.
pub struct HubSite {
    /// The process.
    pub hub: Hub,
    /// By which all come to it.
    pub door: TcpProxy,
    /// By which a subscriber comes that has a link of its own.
    pub side_door: TcpProxy,
    /// Its way to Redis, when there is one Redis.
    pub redis: Option<TcpProxy>,
    /// Its clock.
    pub clock: Option<SkewedClock>,
}

/// A worker and its links.
pub struct WorkerSite {
    /// The process.
    pub worker: Worker,
    /// Its way to Redis, when there is one Redis.
    pub redis: Option<TcpProxy>,
    /// Its clock.
    pub clock: Option<SkewedClock>,
}

/// All of it. Fields are dropped in their order: the programs end before the Redis that they need.
pub struct Site {
    /// The hubs.
    pub hubs: Vec<HubSite>,
    /// The workers.
    pub workers: Vec<WorkerSite>,
    /// The apps' callbacks.
    pub callbacks: Arc<CallbackServer>,
    /// The way of the workers to them.
    pub callback_link: TcpProxy,
    /// Redis.
    pub redis: Redis,
    /// The proxy before each of its servers, when it has several.
    pub redis_doors: Vec<Arc<TcpProxy>>,
    /// What processes have logged that run no more.
    pub old_logs: Vec<(String, Vec<String>)>,
}

impl Site {
    /// Starts it; files that it needs are in `directory`.
    pub async fn start(options: &Options, size: Size, directory: &Path) -> Result<Site> {
        let (redis, redis_doors) = start_redis(options).await?;
        let callbacks = Arc::new(CallbackServer::start()?);
        let callback_link = TcpProxy::start(address_of(&callbacks.url("/"))?)?;
        let mut site = Site {
            hubs: Vec::new(),
            workers: Vec::new(),
            callbacks,
            callback_link,
            redis,
            redis_doors,
            old_logs: Vec::new(),
        };
        for number in 0..size.hubs {
            let (redis, url) = site.link_to_redis()?;
            let (clock, environment) = clock_of(size, directory, &format!("hub-{number}"))?;
            let hub = Hub::start_in(&borrowed(&settings(options, &url)), environment).await?;
            let address = address_of(hub.url())?;
            let (door, side_door) = (TcpProxy::start(address)?, TcpProxy::start(address)?);
            site.hubs.push(HubSite { hub, door, side_door, redis, clock });
        }
        for number in 0..size.workers {
            let (redis, url) = site.link_to_redis()?;
            let (clock, environment) = clock_of(size, directory, &format!("worker-{number}"))?;
            let worker = Worker::start_in(&borrowed(&settings(options, &url)), environment).await?;
            site.workers.push(WorkerSite { worker, redis, clock });
        }
        Ok(site)
    }

    fn link_to_redis(&self) -> Result<(Option<TcpProxy>, String)> {
        let Redis::Single(server) = &self.redis else { return Ok((None, self.redis.url())) };
        let proxy = TcpProxy::start((Ipv4Addr::LOCALHOST, server.port()).into())?;
        let url = format!("redis://{}/", proxy.address());
        Ok((Some(proxy), url))
    }

    /// `hub.url` of each hub, through its door.
    pub fn doors(&self) -> Result<Vec<String>> {
        self.hubs.iter().map(|site| through(site.hub.url(), &site.door)).collect()
    }

    /// The same through the side doors.
    pub fn side_doors(&self) -> Result<Vec<String>> {
        self.hubs.iter().map(|site| through(site.hub.url(), &site.side_door)).collect()
    }

    /// The URL of a callback, through the link to the callbacks.
    pub fn callback(&self, path: &str) -> Result<String> {
        through(&self.callbacks.url(path), &self.callback_link)
    }

    /// Keeps the log of a process that is about to be replaced.
    pub fn keep_log(&mut self, name: String, lines: Vec<String>) {
        self.old_logs.push((name, lines));
    }

    /// Writes what every process has logged to files of this directory.
    pub fn write_logs(&mut self, directory: &Path) -> Result<()> {
        let mut logs = std::mem::take(&mut self.old_logs);
        for (number, site) in self.hubs.iter_mut().enumerate() {
            logs.push((format!("hub-{number}"), site.hub.process().log_lines()));
        }
        for (number, site) in self.workers.iter_mut().enumerate() {
            logs.push((format!("worker-{number}"), site.worker.process().log_lines()));
        }
        for (number, server) in self.redis.servers().iter().enumerate() {
            logs.push((format!("redis-{number}"), vec![server.log_tail()]));
        }
        for (number, (name, lines)) in logs.into_iter().enumerate() {
            std::fs::write(directory.join(format!("{number:02}-{name}.log")), lines.join("\n") + "\n")?;
        }
        Ok(())
    }
}

/// One that takes over, and beside it as many as must have an event: or nothing is accepted after a failover.
fn replicas(options: &Options) -> usize {
    let confirming = options.durability.strip_prefix("replicas=").and_then(|count| count.parse().ok());
    1 + confirming.unwrap_or(0)
}

async fn start_redis(options: &Options) -> Result<(Redis, Vec<Arc<TcpProxy>>)> {
    let doors = |count: usize| -> Result<Vec<Arc<TcpProxy>>> {
        (0..count).map(|_| Ok(Arc::new(TcpProxy::unconnected()?))).collect()
    };
    Ok(match options.shape {
        Shape::Single => (RedisServer::start(Durability::Aof).await?.into(), Vec::new()),
        Shape::Sentinel => {
            let mut sentinel = SentinelOptions::from(Durability::Aof);
            sentinel.replicas = replicas(options);
            sentinel.proxies = doors(1 + sentinel.replicas)?;
            let proxies = sentinel.proxies.clone();
            (SentinelRedis::start(sentinel).await?.into(), proxies)
        }
        Shape::Cluster => {
            let mut cluster = ClusterOptions::from(Durability::Aof);
            cluster.replicas = replicas(options);
            cluster.proxies = doors(cluster.masters * (1 + cluster.replicas))?;
            let proxies = cluster.proxies.clone();
            (ClusterRedis::start(cluster).await?.into(), proxies)
        }
    })
}

fn settings(options: &Options, redis_url: &str) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> =
        SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    settings.push(("redis.url".to_owned(), redis_url.to_owned()));
    settings.push(("retry.claim_secs".to_owned(), CLAIM_SECS.to_string()));
    settings.push(("heartbeat_secs".to_owned(), HEARTBEAT_SECS.to_string()));
    if options.durability != PRIMARY {
        settings.push(("redis.durability".to_owned(), options.durability.clone()));
    }
    settings.extend(options.settings.iter().cloned());
    settings
}

fn clock_of(size: Size, directory: &Path, name: &str) -> Result<(Option<SkewedClock>, Environment)> {
    if !size.clocks {
        return Ok((None, Environment::new()));
    }
    let clock = SkewedClock::new(directory, name)?;
    let environment = clock.environment();
    Ok((Some(clock), environment))
}

/// The address that a URL of loopback names.
pub fn address_of(url: &str) -> Result<SocketAddr> {
    let parsed = Url::parse(url)?;
    let port = parsed.port_or_known_default().with_context(|| format!("no port in {url}"))?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

/// The same URL, by way of a proxy.
fn through(url: &str, proxy: &TcpProxy) -> Result<String> {
    let mut url = Url::parse(url)?;
    let port = Some(proxy.address().port());
    url.set_port(port).map_err(|()| anyhow::anyhow!("{url} can't have a port"))?;
    Ok(url.to_string().trim_end_matches('/').to_owned())
}
