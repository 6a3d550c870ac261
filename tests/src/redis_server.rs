//! A real `redis-server` of the test's own: loopback, a port that the system chose, a directory that goes with it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::certs::Certificates;
use crate::orphans::Directory;
use crate::process::{Process, Signal};
use crate::tcp_proxy::TcpProxy;
use crate::wait;

/// How often another port is tried, when somebody took the chosen one before Redis could.
const PORT_TRIES: usize = 5;
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether what was written survives the end of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// An append-only file, flushed every second.
    Aof,
    /// Nothing is kept.
    None,
}

/// How a server is to be run.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Whether it keeps an append-only file.
    pub durability: Durability,
    /// The proxy by which it tells others to reach it, and which is led to it.
    pub proxy: Option<Arc<TcpProxy>>,
    /// It takes TLS as well, on a port of its own, with these and from clients that have a certificate; other servers
    /// reach it there alone. The plain port is for looking on.
    pub certificates: Option<Arc<Certificates>>,
    /// It is a node of a cluster, with this `cluster-node-timeout`.
    pub node_timeout: Option<Duration>,
    /// Further arguments of `redis-server`.
    pub arguments: Vec<String>,
}

impl From<Durability> for ServerOptions {
    fn from(durability: Durability) -> Self {
        Self { durability, proxy: None, certificates: None, node_timeout: None, arguments: Vec::new() }
    }
}

/// A running (or stopped) Redis. Dropping it kills the server and removes its directory.
pub struct RedisServer {
    port: u16,
    bus_port: u16,
    tls_port: u16,
    options: ServerOptions,
    directory: Directory,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start(options: impl Into<ServerOptions>) -> Result<RedisServer> {
        let options = options.into();
        with_free_ports(async || {
            let [port, bus_port, tls_port] = free_ports()?;
            let (directory, options) = (Directory::new()?, options.clone());
            let mut server = RedisServer { port, bus_port, tls_port, options, directory, process: None };
            server.start_again().await?;
            Ok(server)
        })
        .await
    }

    /// Starts a stopped server again: same port, same directory.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("redis-server runs already");
        }
        if let Some(proxy) = &self.options.proxy {
            proxy.lead_to((Ipv4Addr::LOCALHOST, self.peer_port()).into());
        }
        // Or the signal would end it when its disk is full: [`RedisServer::fill_disk`].
        let mut command = Command::new("env");
        command.args(["--ignore-signal=XFSZ", "redis-server"]);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.args(["--appendonly", if self.options.durability == Durability::Aof { "yes" } else { "no" }]);
        command.args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]);
        command.arg("--dir").arg(self.directory.path());
        // Replicas that come and go are to be in sync soon.
        command.args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]);
        let (announced, own) = (self.public_port().to_string(), self.port.to_string());
        match self.options.node_timeout {
            None => {
                command.args(["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", &announced]);
            }
            Some(timeout) => {
                let (timeout, bus) = (timeout.as_millis().to_string(), self.bus_port.to_string());
                command.args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
                command.args(["--cluster-node-timeout", &timeout, "--cluster-port", &bus]);
                let plain = if self.options.certificates.is_some() { &own } else { &announced };
                command.args(["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", plain]);
                command.args(["--cluster-announce-bus-port", &bus]);
            }
        }
        if let Some(certificates) = &self.options.certificates {
            command.args(["--tls-port", &self.tls_port.to_string(), "--tls-auth-clients", "yes"]);
            command.arg("--tls-ca-cert-file").arg(certificates.ca());
            command.arg("--tls-cert-file").arg(certificates.cert());
            command.arg("--tls-key-file").arg(certificates.key());
            command.args(["--tls-replication", "yes"]);
            if self.options.node_timeout.is_some() {
                command.args(["--tls-cluster", "yes", "--cluster-announce-tls-port", &announced]);
            }
        }
        command.args(&self.options.arguments);
        let process = Process::start("redis-server", command).context("is redis-server installed?")?;
        // The log tells of *this* server; a PING alone might be answered by whoever took the port.
        process
            .wait_for_log(START_TIMEOUT, "that it accepts connections", |line| {
                line.contains("Ready to accept connections").then_some(())
            })
            .await?;
        self.process = Some(process);
        wait::eventually(START_TIMEOUT, "redis-server answers PING", || async {
            let mut connection = self.connection().await.ok()?;
            let answer = redis::cmd("PING").query_async::<String>(&mut connection).await;
            // One that loads its file, or is a replica without its primary, answers as well.
            answer.map_or_else(|error| error.code().map(|_| ()), |_| Some(()))
        })
        .await?;
        Ok(())
    }

    /// Stops it as an operator does (SIGTERM: what is to be kept is flushed).
    pub async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().ok_or_else(|| anyhow!("redis-server does not run"))?;
        process.signal(Signal::TERM)?;
        process.wait_exit(START_TIMEOUT).await?;
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().ok_or_else(|| anyhow!("redis-server does not run"))?.kill()
    }

    /// Sends a signal, for example `STOP`, which leaves connections open and unanswered, and `CONT`.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.as_mut().ok_or_else(|| anyhow!("redis-server does not run"))?.signal(signal)
    }

    /// From now on it can write no byte to its files, as when the disk is full, until [`RedisServer::free_disk`].
    pub fn fill_disk(&self) -> Result<()> {
        self.limit_files(Some(0))
    }

    /// Its files may grow again.
    pub fn free_disk(&self) -> Result<()> {
        self.limit_files(None)
    }

    /// Only the soft limit moves: nobody needs a privilege to raise it again.
    fn limit_files(&self, current: Option<u64>) -> Result<()> {
        let pid = i32::try_from(self.pid().context("redis-server does not run")?)?;
        let limit = Rlimit { current, maximum: None };
        prlimit(Pid::from_raw(pid), Resource::Fsize, limit)
            .context("cannot limit the files of redis-server")?;
        Ok(())
    }

    /// Where it listens, as the setting `redis.url` wants it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port at which others are told to reach it.
    pub fn public_port(&self) -> u16 {
        self.options.proxy.as_ref().map_or(self.peer_port(), |proxy| proxy.address().port())
    }

    /// The port on which it takes others.
    pub fn peer_port(&self) -> u16 {
        if self.options.certificates.is_some() { self.tls_port } else { self.port }
    }

    /// The port on which it takes TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The port of its cluster bus.
    pub fn bus_port(&self) -> u16 {
        self.bus_port
    }

    /// Whether it has been started and not been stopped or killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The end of its log, while it runs.
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// A connection of its own, for looking on.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        Ok(redis::Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }

    /// Asks it one thing.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> Result<T> {
        let (name, arguments) = command.split_first().context("no command")?;
        let mut connection = self.connection().await?;
        let asked = redis::cmd(name).arg(arguments).query_async(&mut connection).await;
        asked.with_context(|| format!("redis-server at {}: {}", self.port, command.join(" ")))
    }

    /// A field of a section of its INFO.
    pub async fn info(&self, section: &str, field: &str) -> Result<String> {
        let info: String = self.ask(&["INFO", section]).await?;
        field_of(&info, field).map(str::to_owned).with_context(|| format!("INFO {section} has no {field}"))
    }
}

/// A field of INFO or CLUSTER INFO.
pub(crate) fn field_of<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim_end().strip_prefix(field)?.strip_prefix(':'))
}

/// Ports that nobody has just now.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All at once, or one might be given twice.
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Starts something again, on other ports, when somebody took one before it could.
pub(crate) async fn with_free_ports<T>(mut start: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    for _ in 0..PORT_TRIES {
        match start().await {
            Err(error) if error.to_string().contains("Address already in use") => continue,
            started => return started,
        }
    }
    bail!("no free ports in {PORT_TRIES} tries")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use redis::AsyncCommands;

    #[tokio::test]
    async fn a_stopped_server_comes_back_on_its_port_with_its_data() {
        let mut server = RedisServer::start(Durability::Aof).await.unwrap();
        let url = server.url();
        let _: () = server.connection().await.unwrap().set("key", "kept").await.unwrap();
        server.stop().await.unwrap();
        assert!(server.connection().await.is_err());
        server.start_again().await.unwrap();
        assert_eq!(server.url(), url);
        let kept: String = server.connection().await.unwrap().get("key").await.unwrap();
        assert_eq!(kept, "kept");
    }

    #[tokio::test]
    async fn a_taken_port_is_reported_as_such_so_that_start_takes_another() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = RedisServer {
            port: taken.local_addr().unwrap().port(),
            bus_port: 0,
            tls_port: 0,
            options: Durability::None.into(),
            directory: Directory::new().unwrap(),
            process: None,
        };
        let error = server.start_again().await.unwrap_err().to_string();
        assert!(error.contains("Address already in use"), "{error}");
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_until_there_is_room_again() {
        let server = RedisServer::start(Durability::Aof).await.unwrap();
        server.ask::<()>(&["SET", "key", "before"]).await.unwrap();
        server.fill_disk().unwrap();
        let refused = wait::eventually(wait::PATIENCE, "a refusal", || async {
            server.ask::<()>(&["SET", "key", "meanwhile"]).await.err()
        });
        let refused = format!("{:?}", refused.await.unwrap());
        assert!(refused.contains("MISCONF"), "{refused}");
        server.free_disk().unwrap();
        wait::eventually(wait::PATIENCE, "a write", || async {
            server.ask::<()>(&["SET", "key", "after"]).await.ok()
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn dropping_it_ends_it_and_removes_its_directory() {
        let server = RedisServer::start(Durability::Aof).await.unwrap();
        let (pid, directory) = (server.pid().unwrap(), server.directory.path().to_owned());
        drop(server);
        assert!(!directory.exists());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
