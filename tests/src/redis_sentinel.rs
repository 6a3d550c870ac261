//! Redis as Sentinels keep it: a primary, its replicas, and three Sentinels that put a replica in its place.
//!
//! The Sentinels are told of each other and of the replicas from the start, so nobody waits for them to find out.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use crate::certs::Certificates;
use crate::orphans::Directory;
use crate::process::{Process, Signal};
use crate::redis_server::{
    Durability, RedisServer, START_TIMEOUT, ServerOptions, free_ports, with_free_ports,
};
use crate::tcp_proxy::TcpProxy;
use crate::wait;

/// The name under which the Sentinels know the primary.
pub const SERVICE: &str = "fhircast";
const SENTINELS: usize = 3;
const QUORUM: usize = 2;
/// By then a failover is over, and a server that was started again follows the new primary (Sentinel leaves it alone
/// for its first 8 s).
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// What it is to consist of.
#[derive(Debug, Clone)]
pub struct SentinelOptions {
    /// Whether the servers keep an append-only file.
    pub durability: Durability,
    /// How many replicas.
    pub replicas: usize,
    /// After how long without an answer a Sentinel takes a server for dead.
    pub down_after: Duration,
    /// After how long a failover that does not get on is given up.
    pub failover_timeout: Duration,
    /// Proxies by which the servers are to be reached, in their order, the first primary first. A server that has none
    /// here is reached without.
    pub proxies: Vec<Arc<TcpProxy>>,
    /// All of them speak TLS to each other and to their clients with these, and ask clients for a certificate.
    pub certificates: Option<Arc<Certificates>>,
}

impl From<Durability> for SentinelOptions {
    fn from(durability: Durability) -> Self {
        Self {
            durability,
            replicas: 1,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(3),
            proxies: Vec::new(),
            certificates: None,
        }
    }
}

/// One Sentinel.
struct Sentinel {
    /// For looking on.
    port: u16,
    /// Where clients and the other Sentinels reach it: the same, or where it takes TLS.
    peer_port: u16,
    id: String,
    directory: Directory,
    process: Option<Process>,
}

/// The servers and their Sentinels. Dropping it ends all of them.
pub struct SentinelRedis {
    sentinels: Vec<Sentinel>,
    servers: Vec<RedisServer>,
    options: SentinelOptions,
}

impl SentinelRedis {
    /// Starts all of them, and waits until the replicas are in sync. The first server is the primary.
    pub async fn start(options: impl Into<SentinelOptions>) -> Result<SentinelRedis> {
        let options = options.into();
        let mut servers = Vec::new();
        for number in 0..=options.replicas {
            let mut server = ServerOptions::from(options.durability);
            server.proxy = options.proxies.get(number).cloned();
            server.certificates = options.certificates.clone();
            servers.push(RedisServer::start(server).await?);
        }
        let primary = servers[0].public_port().to_string();
        for replica in &servers[1..] {
            replica.ask::<()>(&["REPLICAOF", "127.0.0.1", &primary]).await?;
        }
        let sentinels = with_free_ports(async || {
            let ports = free_ports::<{ 2 * SENTINELS }>()?;
            let mut sentinels = Vec::new();
            for pair in ports.chunks_exact(2) {
                let (port, tls_port) = (pair[0], pair[1]);
                let id = format!("{:0>40}", Uuid::new_v4().simple().to_string());
                let peer_port = if options.certificates.is_some() { tls_port } else { port };
                sentinels.push(Sentinel { port, peer_port, id, directory: Directory::new()?, process: None });
            }
            for sentinel in &sentinels {
                let configuration = sentinel.configuration(&options, &sentinels, &servers);
                std::fs::write(sentinel.directory.file("sentinel.conf"), configuration)?;
            }
            for sentinel in &mut sentinels {
                sentinel.start().await?;
            }
            Ok(sentinels)
        })
        .await?;
        let redis = SentinelRedis { sentinels, servers, options };
        redis.wait_healthy().await?;
        Ok(redis)
    }

    /// Where it is, as the setting `redis.url` wants it.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.peer_port)).collect();
        let scheme = if self.options.certificates.is_some() { "rediss" } else { "redis" };
        format!("{scheme}+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// After how long without an answer a Sentinel takes a server for dead.
    pub fn down_after(&self) -> Duration {
        self.options.down_after
    }

    /// The servers, by their numbers.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// One of the servers.
    pub fn server(&mut self, number: usize) -> &mut RedisServer {
        &mut self.servers[number]
    }

    /// Asks every server the same, such as to know a user.
    pub async fn ask_servers(&self, command: &[&str]) -> Result<()> {
        for server in &self.servers {
            server.ask::<()>(command).await?;
        }
        Ok(())
    }

    /// Asks every Sentinel the same.
    pub async fn ask_sentinels(&self, command: &[&str]) -> Result<()> {
        for sentinel in &self.sentinels {
            sentinel.ask_anything::<()>(command).await?;
        }
        Ok(())
    }

    /// The number of the server that most Sentinels take for the primary.
    pub async fn primary(&self) -> Result<usize> {
        let mut votes = vec![0; self.servers.len()];
        for sentinel in &self.sentinels {
            if let Ok(server) = self.named_by(sentinel).await {
                votes[server] += 1;
            }
        }
        let chosen = votes.iter().position(|votes| *votes >= QUORUM);
        chosen.with_context(|| format!("the Sentinels do not agree on a primary: {votes:?}"))
    }

    async fn named_by(&self, sentinel: &Sentinel) -> Result<usize> {
        let (_, port): (String, u16) = sentinel.ask(&["GET-MASTER-ADDR-BY-NAME", SERVICE]).await?;
        let named = self.servers.iter().position(|server| server.public_port() == port);
        named.with_context(|| format!("a Sentinel names a stranger at {port}"))
    }

    /// A connection to the primary, for looking on.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        self.servers[self.primary().await?].connection().await
    }

    /// `kill -9` of the primary; answers with its number.
    pub async fn kill_primary(&mut self) -> Result<usize> {
        let primary = self.primary().await?;
        self.servers[primary].kill()?;
        Ok(primary)
    }

    /// Starts a server again. It does not know that it may have been replaced: the Sentinels tell it.
    pub async fn start_again(&mut self, number: usize) -> Result<()> {
        self.servers[number].start_again().await
    }

    /// Sends a signal to a server, for example `STOP` and `CONT`.
    pub fn signal(&mut self, number: usize, signal: Signal) -> Result<()> {
        self.servers[number].signal(signal)
    }

    /// Asks the Sentinels to put a replica in the place of a primary that lives.
    pub async fn fail_over(&self) -> Result<()> {
        self.sentinels[0].ask(&["FAILOVER", SERVICE]).await
    }

    /// Waits until all Sentinels name another primary than this server, and it says so too; answers with its number.
    pub async fn wait_failed_over(&self, from: usize) -> Result<usize> {
        let waited = wait::eventually(SETTLED_WITHIN, "another primary", || async {
            let primary = self.agreed().await.ok()?;
            let is_primary = self.servers[primary].info("replication", "role").await.ok()? == "master";
            (primary != from && is_primary).then_some(primary)
        });
        waited.await.map_err(|error| self.explain(error))
    }

    /// The primary that all Sentinels name.
    async fn agreed(&self) -> Result<usize> {
        let named = try_join_all(self.sentinels.iter().map(|sentinel| self.named_by(sentinel))).await?;
        if named.iter().any(|server| *server != named[0]) {
            bail!("the Sentinels name {named:?}");
        }
        Ok(named[0])
    }

    /// Waits until every server that runs is the primary, or has all that the primary has.
    pub async fn wait_in_sync(&self) -> Result<()> {
        let waited = wait::eventually(SETTLED_WITHIN, "replicas that are in sync", || async {
            self.is_in_sync().await.ok()?.then_some(())
        });
        waited.await.map_err(|error| self.explain(error))
    }

    async fn is_in_sync(&self) -> Result<bool> {
        let primary = self.agreed().await?;
        if self.servers[primary].info("replication", "role").await? != "master" {
            return Ok(false);
        }
        let port = self.servers[primary].public_port().to_string();
        let offset: u64 = self.servers[primary].info("replication", "master_repl_offset").await?.parse()?;
        for (number, server) in self.servers.iter().enumerate() {
            let is_it = number == primary || !server.is_running();
            if !is_it && (!follows(server, &port).await? || replicated(server).await? < offset) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the Sentinels know the servers and each other, and the replicas are in sync.
    pub async fn wait_healthy(&self) -> Result<()> {
        let waited = wait::eventually(SETTLED_WITHIN, "Sentinels that could fail over", || async {
            for sentinel in &self.sentinels {
                sentinel.ask::<String>(&["CKQUORUM", SERVICE]).await.ok()?;
                let known: Vec<std::collections::HashMap<String, String>> =
                    sentinel.ask(&["REPLICAS", SERVICE]).await.ok()?;
                let living =
                    known.iter().filter(|replica| replica.get("flags").is_some_and(|f| f == "slave"));
                let running = self.servers.iter().filter(|server| server.is_running()).count();
                if living.count() + 1 < running {
                    return None;
                }
            }
            self.is_in_sync().await.ok()?.then_some(())
        });
        waited.await.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let tails =
            self.sentinels.iter().filter_map(|sentinel| sentinel.process.as_ref()).map(Process::log_tail);
        let tails: Vec<String> = tails.chain(self.servers.iter().map(RedisServer::log_tail)).collect();
        anyhow!("{error}; the logs end:\n{}", tails.join("---\n"))
    }
}

async fn follows(server: &RedisServer, port: &str) -> Result<bool> {
    let info: String = server.ask(&["INFO", "replication"]).await?;
    let is = |field, value| crate::redis_server::field_of(&info, field) == Some(value);
    Ok(is("role", "slave") && is("master_link_status", "up") && is("master_port", port))
}

async fn replicated(server: &RedisServer) -> Result<u64> {
    Ok(server.info("replication", "slave_repl_offset").await?.parse()?)
}

impl Sentinel {
    fn configuration(&self, options: &SentinelOptions, all: &[Sentinel], servers: &[RedisServer]) -> String {
        let primary = servers[0].public_port();
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {}", self.port),
            format!("dir {}", self.directory.path().display()),
            format!("sentinel myid {}", self.id),
            format!("sentinel monitor {SERVICE} 127.0.0.1 {primary} {QUORUM}"),
            format!("sentinel down-after-milliseconds {SERVICE} {}", options.down_after.as_millis()),
            format!("sentinel failover-timeout {SERVICE} {}", options.failover_timeout.as_millis()),
        ];
        for replica in &servers[1..] {
            lines.push(format!("sentinel known-replica {SERVICE} 127.0.0.1 {}", replica.public_port()));
        }
        for other in all.iter().filter(|other| other.id != self.id) {
            lines.push(format!(
                "sentinel known-sentinel {SERVICE} 127.0.0.1 {} {}",
                other.peer_port, other.id
            ));
        }
        if let Some(certificates) = &options.certificates {
            lines.push(format!("tls-port {}", self.peer_port));
            lines.push("tls-auth-clients yes".to_owned());
            lines.push("tls-replication yes".to_owned());
            lines.push(format!("tls-ca-cert-file {}", certificates.ca().display()));
            lines.push(format!("tls-cert-file {}", certificates.cert().display()));
            lines.push(format!("tls-key-file {}", certificates.key().display()));
        }
        lines.join("\n") + "\n"
    }

    async fn start(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.arg(self.directory.file("sentinel.conf")).arg("--sentinel");
        let process = Process::start("redis-sentinel", command).context("is redis-server installed?")?;
        process
            .wait_for_log(START_TIMEOUT, "what it watches", |line| line.contains("+monitor").then_some(()))
            .await?;
        self.process = Some(process);
        Ok(())
    }

    async fn ask<T: redis::FromRedisValue>(&self, arguments: &[&str]) -> Result<T> {
        self.ask_anything(&[&["SENTINEL"], arguments].concat()).await
    }

    async fn ask_anything<T: redis::FromRedisValue>(&self, command: &[&str]) -> Result<T> {
        let (name, arguments) = command.split_first().context("no command")?;
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(redis::cmd(name).arg(arguments).query_async(&mut connection).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use redis::AsyncCommands;

    #[tokio::test]
    async fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
        let mut redis = SentinelRedis::start(Durability::None).await.unwrap();
        assert_eq!(redis.primary().await.unwrap(), 0);
        let _: () = redis.connection().await.unwrap().set("key", "kept").await.unwrap();
        redis.wait_in_sync().await.unwrap();
        let killed = redis.kill_primary().await.unwrap();
        let primary = redis.wait_failed_over(killed).await.unwrap();
        assert_ne!(primary, killed);
        let kept: String = redis.connection().await.unwrap().get("key").await.unwrap();
        assert_eq!(kept, "kept");
        redis.start_again(killed).await.unwrap();
        redis.wait_healthy().await.unwrap();
        assert_eq!(redis.servers()[killed].info("replication", "role").await.unwrap(), "slave");
    }
}
