//! A client of good will that keeps asking while others attack.
//!
//! It publishes an event, waits until its own socket has it, reads the current context, and begins again. It runs on a
//! thread of its own, so that what it measures is the hub's time and not that of the attack in the same program.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use uuid::Uuid;

use super::machine::Machine;
use crate::client::App;
use crate::socket::{Incoming, Socket};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(10);
/// After which something does not come.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The client, at work until it is stopped.
pub struct Legitimate {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Felt>>>,
}

/// What it felt, but for the time in which the machine stood still.
#[derive(Debug, Clone, Default)]
pub struct Felt {
    /// Times from a publish to the frame on the client's own socket, in their order.
    pub deliveries: Vec<Duration>,
    /// The longest time to any answer or delivery.
    pub worst: Duration,
}

impl Felt {
    /// The median and the 99th percentile of the deliveries.
    pub fn percentiles(&self) -> (Duration, Duration) {
        let mut sorted = self.deliveries.clone();
        sorted.sort();
        let at = |part: usize| sorted.get(sorted.len() * part / 100).copied().unwrap_or_default();
        (at(50), at(99))
    }
}

impl Legitimate {
    /// Begins, at a hub with or without TLS.
    pub fn start(hub_url: &str, ca: Option<PathBuf>) -> Legitimate {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (url, stopped) = (hub_url.to_owned(), is_stopped.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(&url, ca, &stopped))
        });
        Legitimate { is_stopped, thread: Some(thread) }
    }

    /// Ends, and says what it felt. That anything was refused or did not come is an error.
    pub async fn stop(mut self) -> Result<Felt> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it has been stopped")?;
        tokio::task::spawn_blocking(|| thread.join()).await?.map_err(|_| anyhow!("the client has failed"))?
    }
}

impl Drop for Legitimate {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

async fn ask(url: &str, ca: Option<PathBuf>, is_stopped: &AtomicBool) -> Result<Felt> {
    let app = match &ca {
        Some(ca) => App::trusting(url, ca)?,
        None => App::within(url, TIMEOUT)?,
    };
    let topic = Uuid::new_v4().to_string();
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await?;
    let mut socket = match &ca {
        Some(ca) => Socket::connect_trusting(&endpoint, ca).await?,
        None => Socket::connect(&endpoint).await?,
    };
    socket.next_json(TIMEOUT).await.context("no confirmation")?;
    let (mut felt, machine) = (Felt::default(), Machine::watch());
    // One round at least, however short the attack is.
    loop {
        let id = Uuid::new_v4().to_string();
        let event = format!(
            r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"{id}","event":{{"hub.topic":"{topic}","hub.event":"Patient-open","context":[{{"key":"patient","resource":{{"resourceType":"Patient","id":"{id}"}}}}]}}}}"#
        );
        let wait = machine.begin();
        app.publish(&event).await.context("its publish is not answered")?.expect_status(202)?;
        felt.worst = felt.worst.max(wait.so_far());
        delivered(&mut socket, &id).await?;
        felt.deliveries.push(wait.so_far());
        felt.worst = felt.worst.max(wait.so_far());
        let wait = machine.begin();
        app.current_context(&topic).await.context("its question is not answered")?.expect_status(200)?;
        felt.worst = felt.worst.max(wait.so_far());
        if is_stopped.load(Ordering::Relaxed) {
            return Ok(felt);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn delivered(socket: &mut Socket, id: &str) -> Result<()> {
    loop {
        match socket.next(TIMEOUT).await.context("its event does not come")? {
            Incoming::Text(text) if text.contains(id) => return socket.answer(id, 200).await,
            Incoming::Text(_) => {}
            Incoming::Closed(code) => bail!("its socket is closed: {code:?}"),
        }
    }
}
