//! Subscribers by WebSocket: each stays with its subscription for as long as it can, on whichever hub.
//!
//! One whose socket closes or falls silent connects to the same endpoint at the next hub (FC-SUB-11, FC-WSC-08). One that
//! is told that its subscription is over subscribes anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use crate::chance::Chance;
use crate::client::App;
use crate::fault_lab::system::HEARTBEAT_SECS;
use crate::history::filter::Filter;
use crate::history::journal::{Journal, What};
use crate::history::verdict::LAST;
use crate::socket::{Incoming, Socket, upgrade_status};
use crate::wait;

/// A connection that says nothing for so long is dead: a heartbeat at least should have come.
const DEAD_AFTER: Duration = Duration::from_millis(HEARTBEAT_SECS * 1000 + 2500);
/// How long an upgrade or a request may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// Before the next try: half of this at least, all of it at most.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// Which versions events were given, as the subscriber has seen that the report's writer has.
#[derive(Clone, Default)]
pub struct Versions(Arc<watch::Sender<HashMap<String, String>>>);

impl Versions {
    /// The version that the event of this id was given, if it comes within so long.
    pub async fn of(&self, id: &str, within: Duration) -> Option<String> {
        wait::until(&self.0, within, "a version", |known| known.get(id).cloned()).await.ok()
    }

    fn learn(&self, message: &Value) {
        let (id, version) = (message["id"].as_str(), message["event"]["context.versionId"].as_str());
        if let (Some(id), Some(version)) = (id, version) {
            self.0.send_modify(|known| drop(known.insert(id.to_owned(), version.to_owned())));
        }
    }
}

/// What a subscriber is to do.
pub struct Plan {
    /// The session.
    pub topic: String,
    /// `subscriber.name`.
    pub name: String,
    /// `hub.events`.
    pub filter: Filter,
    /// Whether it answers notifications.
    pub answers: bool,
    /// The hubs.
    pub doors: Vec<String>,
    /// The one at which it begins.
    pub at: usize,
    /// It does not mind silence.
    pub is_patient: bool,
    /// Whom it tells of versions.
    pub versions: Option<Versions>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    connected: bool,
    has_last: bool,
}

/// A subscriber in a task of its own.
pub struct Subscriber {
    name: String,
    state: Arc<watch::Sender<State>>,
    journal: Journal,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Subscribes, and goes on.
    pub fn start(plan: Plan, chance: Chance, journal: Journal) -> Subscriber {
        let (name, state) = (plan.name.clone(), Arc::new(watch::Sender::default()));
        let life = Life { plan, chance, journal: journal.clone(), state: state.clone() };
        Subscriber { name, state, journal, task: tokio::spawn(life.lead()) }
    }

    /// `subscriber.name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until it is connected.
    pub async fn wait_connected(&self, within: Duration) -> Result<()> {
        let what = format!("a connection of {}", self.name);
        wait::until(&self.state, within, &what, |state| state.connected.then_some(())).await
    }

    /// Waits until it has the last event.
    pub async fn wait_last(&self, within: Duration) -> Result<()> {
        let what = format!("the last event at {}", self.name);
        wait::until(&self.state, within, &what, |state| state.has_last.then_some(())).await
    }

    /// Ends it; its journal is complete.
    pub async fn stop(self) {
        self.task.abort();
        // The socket is gone once the task is.
        let _ = self.task.await;
        self.journal.flush();
    }
}

struct Life {
    plan: Plan,
    chance: Chance,
    journal: Journal,
    state: Arc<watch::Sender<State>>,
}

/// How a connection ended.
enum End {
    /// It may come back.
    Dropped,
    /// The hub has ended the subscription.
    Denied,
}

impl Life {
    async fn lead(mut self) {
        loop {
            match self.subscribe().await {
                Ok(endpoint) => {
                    self.journal.write(What::Subscribed);
                    self.stay(&endpoint).await;
                }
                Err(_) => {
                    self.journal.write(What::Refused { hub: self.plan.at, status: None });
                    self.next_hub().await;
                }
            }
        }
    }

    async fn subscribe(&self) -> Result<String> {
        let app = App::within(&self.plan.doors[self.plan.at], ANSWERED_WITHIN)?;
        let name = [("subscriber.name", self.plan.name.as_str())];
        app.subscribe_websocket(&self.plan.topic, &self.plan.filter.0, &name).await
    }

    /// Connects to the endpoint, again and again, until the subscription is over.
    async fn stay(&mut self, endpoint: &str) {
        loop {
            let hub = self.plan.at;
            match self.connect(endpoint).await {
                Ok(mut socket) => {
                    self.journal.write(What::Connected { hub });
                    let end = self.listen(&mut socket).await;
                    self.state.send_modify(|state| state.connected = false);
                    if let End::Denied = end {
                        return;
                    }
                }
                Err(error) => {
                    let status = upgrade_status(&error);
                    self.journal.write(What::Refused { hub, status });
                    if status == Some(404) {
                        self.journal.write(What::Ended { how: "the endpoint is unknown".to_owned() });
                        return;
                    }
                }
            }
            self.next_hub().await;
        }
    }

    async fn connect(&self, endpoint: &str) -> Result<Socket> {
        let (mut there, here) = (Url::parse(endpoint)?, Url::parse(&self.plan.doors[self.plan.at])?);
        there.set_port(here.port()).ok().context("an endpoint without a port")?;
        let connecting = Socket::connect(there.as_str());
        timeout(ANSWERED_WITHIN, connecting).await.context("no answer to the upgrade")?
    }

    async fn listen(&mut self, socket: &mut Socket) -> End {
        let patience = if self.plan.is_patient { Duration::from_secs(3600) } else { DEAD_AFTER };
        loop {
            let text = match socket.next(patience).await {
                Ok(Incoming::Text(text)) => text,
                Ok(Incoming::Closed(code)) => {
                    self.journal.write(What::Closed { code });
                    return if code == Some(1000) { End::Denied } else { End::Dropped };
                }
                Err(_) => {
                    self.journal.write(What::Note { text: "nothing comes any more".to_owned() });
                    self.journal.write(What::Closed { code: None });
                    return End::Dropped;
                }
            };
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            // Written before it is answered: what the hub counts as delivered is in the journal.
            self.journal.write(What::Frame { text });
            if !self.state.borrow().connected {
                self.state.send_modify(|state| state.connected = true);
            }
            let Some(id) = message["id"].as_str() else { continue };
            if message["event"]["hub.event"] == LAST {
                self.state.send_modify(|state| state.has_last = true);
            }
            self.plan.versions.iter().for_each(|versions| versions.learn(&message));
            if self.plan.answers && socket.answer(id, 200).await.is_err() {
                self.journal.write(What::Closed { code: None });
                return End::Dropped;
            }
        }
    }

    async fn next_hub(&mut self) {
        self.plan.at = (self.plan.at + 1) % self.plan.doors.len();
        let half = TRY_AGAIN.as_millis() as u64 / 2;
        tokio::time::sleep(Duration::from_millis(half + self.chance.below(half))).await;
    }
}
