//! Redis Cluster: masters that share the slots, each with its replicas.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use redis::aio::MultiplexedConnection;

use crate::certs::Certificates;
use crate::process::Signal;
use crate::redis_server::{Durability, RedisServer, ServerOptions, field_of};
use crate::tcp_proxy::TcpProxy;
use crate::wait;

const SLOTS: u16 = 16_384;
/// By then a cluster has formed, or has got over the loss of a master.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);
/// Keys that are moved at once.
const KEYS_AT_ONCE: usize = 10;

/// What it is to consist of.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Whether the servers keep an append-only file.
    pub durability: Durability,
    /// How many masters; three at least, or none could be replaced.
    pub masters: usize,
    /// How many replicas each master has.
    pub replicas: usize,
    /// After how long without an answer a node is taken for dead.
    pub node_timeout: Duration,
    /// Proxies by which the servers are to be reached, in their order, the masters first. A server that has none here is
    /// reached without. The nodes talk to each other about the cluster without them.
    pub proxies: Vec<Arc<TcpProxy>>,
    /// All of them speak TLS to each other and to their clients with these, and ask clients for a certificate.
    pub certificates: Option<Arc<Certificates>>,
}

impl From<Durability> for ClusterOptions {
    fn from(durability: Durability) -> Self {
        let node_timeout = Duration::from_millis(1500);
        Self { durability, masters: 3, replicas: 1, node_timeout, proxies: Vec::new(), certificates: None }
    }
}

/// The servers. Dropping it ends all of them.
pub struct ClusterRedis {
    servers: Vec<RedisServer>,
    ids: Vec<String>,
    options: ClusterOptions,
}

/// A line of CLUSTER NODES.
struct Node {
    id: String,
    flags: Vec<String>,
    /// Whose replica it is.
    of: String,
    slots: Vec<(u16, u16)>,
}

impl ClusterRedis {
    /// Starts the servers, makes a cluster of them, and waits until it is healthy. The first servers are the masters.
    pub async fn start(options: impl Into<ClusterOptions>) -> Result<ClusterRedis> {
        let options = options.into();
        let mut servers = Vec::new();
        let mut ids = Vec::new();
        for number in 0..options.masters * (1 + options.replicas) {
            let mut server = ServerOptions::from(options.durability);
            server.proxy = options.proxies.get(number).cloned();
            server.certificates = options.certificates.clone();
            server.node_timeout = Some(options.node_timeout);
            let server = RedisServer::start(server).await?;
            ids.push(server.ask(&["CLUSTER", "MYID"]).await?);
            servers.push(server);
        }
        let cluster = ClusterRedis { servers, ids, options };
        cluster.form().await?;
        cluster.wait_healthy().await?;
        Ok(cluster)
    }

    async fn form(&self) -> Result<()> {
        let masters = self.options.masters;
        for (number, server) in self.servers.iter().enumerate() {
            server.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await?;
            if number < masters {
                let first = usize::from(SLOTS) * number / masters;
                let last = usize::from(SLOTS) * (number + 1) / masters - 1;
                let (first, last) = (first.to_string(), last.to_string());
                server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
            }
        }
        // Each is introduced to each: gossip would take its time.
        for (number, server) in self.servers.iter().enumerate() {
            for other in &self.servers[number + 1..] {
                let (port, bus) = (other.peer_port().to_string(), other.bus_port().to_string());
                server.ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await?;
            }
        }
        for (number, server) in self.servers.iter().enumerate().skip(masters) {
            let master = &self.ids[number % masters];
            // It must have heard of its master.
            let waited = wait::eventually(SETTLED_WITHIN, "a node that knows its master", || async {
                server.ask::<()>(&["CLUSTER", "REPLICATE", master]).await.ok()
            });
            waited.await.map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// Where it is, as the setting `redis.url` wants it: three of its nodes.
    pub fn url(&self) -> String {
        let hosts = self.servers.iter().take(3).map(|server| format!("127.0.0.1:{}", server.public_port()));
        let scheme = if self.options.certificates.is_some() { "rediss" } else { "redis" };
        format!("{scheme}+cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// After how long without an answer a node is taken for dead.
    pub fn node_timeout(&self) -> Duration {
        self.options.node_timeout
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

    /// The slot of a key, or of what stands in its braces.
    pub async fn slot(&self, key: &str) -> Result<u16> {
        self.a_server()?.ask(&["CLUSTER", "KEYSLOT", key]).await
    }

    fn a_server(&self) -> Result<&RedisServer> {
        self.servers.iter().find(|server| server.is_running()).context("no server runs")
    }

    /// The numbers of the masters that have slots, as the first server that runs sees it.
    pub async fn masters(&self) -> Result<Vec<usize>> {
        let nodes = self.nodes(self.a_server()?).await?;
        let masters = nodes.iter().filter(|node| node.is("master") && !node.slots.is_empty());
        masters.map(|node| self.number(&node.id)).collect()
    }

    /// The number of the master that has a slot: the one that most servers name.
    pub async fn master_of(&self, slot: u16) -> Result<usize> {
        let mut votes: HashMap<usize, usize> = HashMap::new();
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let nodes = self.nodes(server).await?;
            let owner = nodes.iter().find(|node| node.has(slot));
            *votes.entry(self.number(&owner.context("a slot without a master")?.id)?).or_default() += 1;
        }
        let chosen = votes.into_iter().max_by_key(|(_, votes)| *votes);
        Ok(chosen.context("no server runs")?.0)
    }

    fn number(&self, id: &str) -> Result<usize> {
        self.ids.iter().position(|known| known == id).with_context(|| format!("a stranger: {id}"))
    }

    async fn nodes(&self, server: &RedisServer) -> Result<Vec<Node>> {
        let text: String = server.ask(&["CLUSTER", "NODES"]).await?;
        text.lines().map(Node::read).collect()
    }

    /// A connection to the master that has a slot, for looking on.
    pub async fn connection(&self, slot: u16) -> Result<MultiplexedConnection> {
        self.servers[self.master_of(slot).await?].connection().await
    }

    /// `kill -9` of the master that has a slot; answers with its number.
    pub async fn kill_master_of(&mut self, slot: u16) -> Result<usize> {
        let master = self.master_of(slot).await?;
        self.servers[master].kill()?;
        Ok(master)
    }

    /// Starts a server again: it finds the others, and follows whoever has replaced it.
    pub async fn start_again(&mut self, number: usize) -> Result<()> {
        self.servers[number].start_again().await
    }

    /// Sends a signal to a server, for example `STOP` and `CONT`.
    pub fn signal(&mut self, number: usize, signal: Signal) -> Result<()> {
        self.servers[number].signal(signal)
    }

    /// Has a replica take the place of its master, which lives.
    pub async fn fail_over(&self, slot: u16) -> Result<()> {
        let master = &self.ids[self.master_of(slot).await?];
        let nodes = self.nodes(self.a_server()?).await?;
        let replica = nodes.iter().find(|node| node.of == *master).context("no replica")?;
        self.servers[self.number(&replica.id)?].ask(&["CLUSTER", "FAILOVER"]).await
    }

    /// Waits until another server than this one is the master of a slot, and the cluster works; answers with its number.
    pub async fn wait_failed_over(&self, slot: u16, from: usize) -> Result<usize> {
        let waited = wait::eventually(SETTLED_WITHIN, "another master", || async {
            for server in self.servers.iter().filter(|server| server.is_running()) {
                is_ok(server).await.ok()?.then_some(())?;
            }
            self.master_of(slot).await.ok().filter(|master| *master != from)
        });
        waited.await.map_err(|error| self.explain(error))
    }

    /// Moves a slot, with all that is in it, to another master, while the cluster goes on working.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<()> {
        let from = self.begin_move(slot, to).await?;
        self.finish_move(slot, from, to).await
    }

    /// Begins it: the keys that are there have moved, and the slot has not. Answers with the number of its master.
    pub async fn begin_move(&self, slot: u16, to: usize) -> Result<usize> {
        let from = self.master_of(slot).await?;
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let number = slot.to_string();
        target.ask::<()>(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.ids[from]]).await?;
        source.ask::<()>(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.ids[to]]).await?;
        self.move_keys(slot, from, to).await?;
        Ok(from)
    }

    /// Finishes it.
    pub async fn finish_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        self.move_keys(slot, from, to).await?;
        // The new owner first: whoever is sent to it must not be sent back.
        let others = self.masters().await?.into_iter().filter(|other| ![from, to].contains(other));
        for number in [to, from].into_iter().chain(others) {
            let server = &self.servers[number];
            server.ask::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &self.ids[to]]).await?;
        }
        Ok(())
    }

    async fn move_keys(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (slot, at_once) = (slot.to_string(), KEYS_AT_ONCE.to_string());
        let (source, port) = (&self.servers[from], self.servers[to].peer_port().to_string());
        loop {
            let keys: Vec<String> = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, &at_once]).await?;
            if keys.is_empty() {
                return Ok(());
            }
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            source.ask::<String>(&[&migrate[..], &keys].concat()).await?;
        }
    }

    /// Waits until all servers run and know each other, all slots have a master, and all replicas are in sync.
    pub async fn wait_healthy(&self) -> Result<()> {
        let waited = wait::eventually(SETTLED_WITHIN, "a healthy cluster", || async {
            self.is_healthy().await.ok()?.then_some(())
        });
        waited.await.map_err(|error| self.explain(error))
    }

    /// Waits until every replica has what its master has.
    pub async fn wait_in_sync(&self) -> Result<()> {
        let waited = wait::eventually(SETTLED_WITHIN, "replicas that are in sync", || async {
            self.is_in_sync().await.ok()?.then_some(())
        });
        waited.await.map_err(|error| self.explain(error))
    }

    async fn is_healthy(&self) -> Result<bool> {
        let mut seen: Option<Vec<_>> = None;
        for server in &self.servers {
            if !server.is_running() || !is_ok(server).await? {
                return Ok(false);
            }
            let nodes = self.nodes(server).await?;
            let is_well = |node: &Node| !node.is_any(&["fail", "fail?", "handshake", "noaddr"]);
            if nodes.len() != self.servers.len() || !nodes.iter().all(is_well) {
                return Ok(false);
            }
            let mut view: Vec<_> = nodes.into_iter().map(|node| (node.id, node.of, node.slots)).collect();
            view.sort();
            if seen.get_or_insert_with(|| view.clone()) != &view {
                return Ok(false);
            }
        }
        let replicas = self.servers.len() - self.options.masters;
        let known = seen.unwrap_or_default().iter().filter(|(_, of, _)| of != "-").count();
        Ok(known == replicas && self.is_in_sync().await?)
    }

    async fn is_in_sync(&self) -> Result<bool> {
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let replication: String = server.ask(&["INFO", "replication"]).await?;
            let field = |field| field_of(&replication, field).unwrap_or_default();
            if field("role") == "master" {
                continue;
            }
            let master =
                self.servers.iter().find(|other| other.public_port().to_string() == field("master_port"));
            let Some(master) = master.filter(|master| master.is_running()) else { return Ok(false) };
            let offset: u64 = master.info("replication", "master_repl_offset").await?.parse()?;
            let own: u64 = server.info("replication", "slave_repl_offset").await?.parse()?;
            if field("master_link_status") != "up" || own < offset {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let tails: Vec<String> = self.servers.iter().map(RedisServer::log_tail).collect();
        anyhow!("{error}; the logs end:\n{}", tails.join("---\n"))
    }
}

async fn is_ok(server: &RedisServer) -> Result<bool> {
    let info: String = server.ask(&["CLUSTER", "INFO"]).await?;
    Ok(field_of(&info, "cluster_state") == Some("ok"))
}

impl Node {
    fn read(line: &str) -> Result<Node> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [id, _, flags, of, _, _, _, _, slots @ ..] = fields.as_slice() else {
            bail!("CLUSTER NODES says {line:?}");
        };
        // A slot on the move stands in brackets.
        let slots = slots.iter().filter(|slots| !slots.starts_with('[')).map(|run| {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            Ok((first.parse()?, last.parse()?))
        });
        Ok(Node {
            id: (*id).to_owned(),
            flags: flags.split(',').map(str::to_owned).collect(),
            of: (*of).to_owned(),
            slots: slots.collect::<Result<_>>()?,
        })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    fn is_any(&self, flags: &[&str]) -> bool {
        flags.iter().any(|flag| self.is(flag))
    }

    fn has(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use redis::AsyncCommands;

    #[tokio::test]
    async fn a_killed_master_is_replaced_and_a_slot_moves_with_what_is_in_it() {
        let mut cluster = ClusterRedis::start(Durability::None).await.unwrap();
        let slot = cluster.slot("{a}key").await.unwrap();
        let _: () = cluster.connection(slot).await.unwrap().set("{a}key", "kept").await.unwrap();
        let from = cluster.master_of(slot).await.unwrap();
        let to = cluster.masters().await.unwrap().into_iter().find(|master| *master != from).unwrap();
        cluster.move_slot(slot, to).await.unwrap();
        assert_eq!(cluster.master_of(slot).await.unwrap(), to);
        cluster.wait_healthy().await.unwrap();

        let killed = cluster.kill_master_of(slot).await.unwrap();
        assert_eq!(killed, to);
        let master = cluster.wait_failed_over(slot, killed).await.unwrap();
        let kept: String = cluster.connection(slot).await.unwrap().get("{a}key").await.unwrap();
        assert_eq!(kept, "kept");
        cluster.start_again(killed).await.unwrap();
        cluster.wait_healthy().await.unwrap();
        cluster.fail_over(slot).await.unwrap();
        assert_eq!(cluster.wait_failed_over(slot, master).await.unwrap(), killed);
    }
}
