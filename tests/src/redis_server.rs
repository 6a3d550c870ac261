//! A real `redis-server` of the test's own: loopback, a port that the system chose, a directory that goes with it.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;

use crate::process::{Process, Signal};
use crate::wait;

/// How often another port is tried, when somebody took the chosen one before Redis could.
const PORT_TRIES: usize = 5;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Whether what was written survives the end of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// An append-only file, flushed every second.
    Aof,
    /// Nothing is kept.
    None,
}

/// A running (or stopped) Redis. Dropping it kills the server and removes its directory.
pub struct RedisServer {
    port: u16,
    durability: Durability,
    directory: TempDir,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start(durability: Durability) -> Result<RedisServer> {
        for _ in 0..PORT_TRIES {
            let mut server = RedisServer {
                port: free_port()?,
                durability,
                directory: tempfile::tempdir()?,
                process: None,
            };
            match server.start_again().await {
                Err(error) if error.to_string().contains("Address already in use") => continue,
                Err(error) => return Err(error),
                Ok(()) => return Ok(server),
            }
        }
        bail!("no free port for redis-server in {PORT_TRIES} tries")
    }

    /// Starts a stopped server again: same port, same directory.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("redis-server runs already");
        }
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.args(["--appendonly", if self.durability == Durability::Aof { "yes" } else { "no" }]);
        command.args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]);
        command.arg("--dir").arg(self.directory.path());
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
            redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
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

    /// Where it listens, as the setting `redis.url` wants it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The server's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// A connection of its own, for looking on.
    pub async fn connection(&self) -> Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }
}

/// A port that nobody has just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
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
            durability: Durability::None,
            directory: tempfile::tempdir().unwrap(),
            process: None,
        };
        let error = server.start_again().await.unwrap_err().to_string();
        assert!(error.contains("Address already in use"), "{error}");
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
