//! Redis in the shapes in which it is run.

use anyhow::{Result, bail};
use redis::aio::MultiplexedConnection;

use crate::redis_cluster::ClusterRedis;
use crate::redis_sentinel::SentinelRedis;
use crate::redis_server::{Durability, RedisServer};

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One server.
    Single,
    /// A primary and a replica, watched by Sentinels.
    Sentinel,
    /// Redis Cluster: three masters, each with a replica.
    Cluster,
}

/// Redis, running.
pub enum Redis {
    /// One server.
    Single(RedisServer),
    /// A primary and its replicas, watched by Sentinels.
    Sentinel(SentinelRedis),
    /// Redis Cluster.
    Cluster(ClusterRedis),
}

impl Redis {
    /// Starts it as it is usually run in this shape, and waits until it is healthy.
    pub async fn start(shape: Shape, durability: Durability) -> Result<Redis> {
        Ok(match shape {
            Shape::Single => RedisServer::start(durability).await?.into(),
            Shape::Sentinel => SentinelRedis::start(durability).await?.into(),
            Shape::Cluster => ClusterRedis::start(durability).await?.into(),
        })
    }

    /// Where it is, as the setting `redis.url` wants it.
    pub fn url(&self) -> String {
        match self {
            Redis::Single(server) => server.url(),
            Redis::Sentinel(sentinel) => sentinel.url(),
            Redis::Cluster(cluster) => cluster.url(),
        }
    }

    /// The one server. Panics in another shape.
    pub fn single(&mut self) -> &mut RedisServer {
        match self {
            Redis::Single(server) => server,
            _ => panic!("this Redis is no single server"),
        }
    }

    /// The servers and their Sentinels. Panics in another shape.
    pub fn sentinel(&mut self) -> &mut SentinelRedis {
        match self {
            Redis::Sentinel(sentinel) => sentinel,
            _ => panic!("this Redis has no Sentinels"),
        }
    }

    /// The servers of the cluster. Panics in another shape.
    pub fn cluster(&mut self) -> &mut ClusterRedis {
        match self {
            Redis::Cluster(cluster) => cluster,
            _ => panic!("this Redis is no cluster"),
        }
    }

    /// The servers, of whatever role.
    pub fn servers(&self) -> &[RedisServer] {
        match self {
            Redis::Single(server) => std::slice::from_ref(server),
            Redis::Sentinel(sentinel) => sentinel.servers(),
            Redis::Cluster(cluster) => cluster.servers(),
        }
    }

    /// A connection to the server that has everything, for looking on.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        match self {
            Redis::Single(server) => server.connection().await,
            Redis::Sentinel(sentinel) => sentinel.connection().await,
            Redis::Cluster(_) => bail!("no server of a cluster has everything"),
        }
    }

    /// Waits until every replica that runs has what its primary has.
    pub async fn wait_in_sync(&self) -> Result<()> {
        match self {
            Redis::Single(_) => Ok(()),
            Redis::Sentinel(sentinel) => sentinel.wait_in_sync().await,
            Redis::Cluster(cluster) => cluster.wait_in_sync().await,
        }
    }

    /// Forgets everything that it holds.
    pub async fn flush(&self) -> Result<()> {
        match self {
            Redis::Single(server) => server.ask(&["FLUSHALL"]).await,
            Redis::Sentinel(sentinel) => {
                sentinel.servers()[sentinel.primary().await?].ask(&["FLUSHALL"]).await
            }
            Redis::Cluster(cluster) => {
                for master in cluster.masters().await? {
                    cluster.servers()[master].ask::<()>(&["FLUSHALL"]).await?;
                }
                Ok(())
            }
        }
    }
}

impl From<RedisServer> for Redis {
    fn from(server: RedisServer) -> Redis {
        Redis::Single(server)
    }
}

impl From<SentinelRedis> for Redis {
    fn from(sentinel: SentinelRedis) -> Redis {
        Redis::Sentinel(sentinel)
    }
}

impl From<ClusterRedis> for Redis {
    fn from(cluster: ClusterRedis) -> Redis {
        Redis::Cluster(cluster)
    }
}
