//! Publishers: each sends one event after the other, and again what was not accepted, the same bytes, for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Counter;
use super::events::{self, Event};
use super::subscriber::Versions;
use crate::chance::Chance;
use crate::client::App;
use crate::history::journal::{Journal, What, micros};

/// How long a publisher waits for an answer.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(2500);
/// Before it sends again what was not accepted.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// For so long it sends an event again: less than the 5 s for which the hub knows it again (FC-REQ-07), so that
/// what comes twice all the same had waited in between.
const RESEND_FOR: Duration = Duration::from_secs(3);
/// Answers that say "not now" after which it goes to the next hub.
const REFUSALS: usize = 3;
/// The report's writer waits so long for the version that its last event was given.
const VERSION_WITHIN: Duration = Duration::from_secs(4);
const UPDATES_EACH: usize = 5;

/// What a publisher does, over and over.
#[derive(Clone)]
pub enum Script {
    /// Opens a patient, and closes it.
    Patients {
        /// The session.
        topic: String,
        /// What its ids are told from another's by.
        by: String,
    },
    /// Opens a report, selects in it and updates it, and closes it.
    Reports {
        /// The session.
        topic: String,
        /// Where the versions are told that events were given.
        versions: Versions,
    },
}

/// One who publishes, in a task of its own.
pub struct Publisher {
    accepted: Counter,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Option<Event>>,
}

impl Publisher {
    /// Begins, at the hub of the number `at`.
    pub fn start(
        name: &str,
        script: Script,
        doors: &[String],
        at: usize,
        pace: Duration,
        mut chance: Chance,
        journal: Journal,
    ) -> Result<Publisher> {
        let mut sender = Sender::new(doors, at, journal)?;
        let (accepted, stop) = (sender.accepted.clone(), sender.stop.clone());
        sender.prefix = name.to_owned();
        let offset = Duration::from_micros(chance.below(micros(pace).max(1)));
        let task = tokio::spawn(async move {
            tokio::time::sleep(offset).await;
            sender.ticks = Some(ticks(pace));
            match script {
                Script::Patients { topic, by } => sender.patients(&topic, &by).await,
                Script::Reports { topic, versions } => sender.reports(&topic, &versions).await,
            }
        });
        Ok(Publisher { accepted, stop, task })
    }

    /// How many events have been accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.get()
    }

    /// Ends after the event that is under way. Answers with what opens anew the report that is open.
    pub async fn stop(self) -> Option<Event> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.ok().flatten()
    }
}

fn ticks(pace: Duration) -> Interval {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The hands of a publisher.
pub struct Sender {
    apps: Vec<App>,
    at: usize,
    journal: Journal,
    prefix: String,
    number: usize,
    refusals: usize,
    ticks: Option<Interval>,
    accepted: Counter,
    stop: Arc<AtomicBool>,
}

impl Sender {
    /// One who sends to these hubs, first to the one of the number `at`.
    pub fn new(doors: &[String], at: usize, journal: Journal) -> Result<Sender> {
        let apps = doors.iter().map(|door| App::within(door, ANSWERED_WITHIN)).collect::<Result<_>>()?;
        Ok(Sender {
            apps,
            at,
            journal,
            prefix: String::new(),
            number: 0,
            refusals: 0,
            ticks: None,
            accepted: Counter::default(),
            stop: Arc::default(),
        })
    }

    async fn patients(mut self, topic: &str, by: &str) -> Option<Event> {
        for number in 0.. {
            let patient = format!("{by}-{number}");
            for open in [true, false] {
                let id = self.next_id();
                let event = if open { events::patient_open } else { events::patient_close };
                self.step(event(topic, &id, &patient)).await?;
            }
        }
        None
    }

    async fn reports(mut self, topic: &str, versions: &Versions) -> Option<Event> {
        for number in 0.. {
            let report = format!("r-{number}");
            let open = events::report_open(topic, &self.next_id(), &report);
            let opened = self.report(topic, &report, open, versions).await;
            if opened.is_none() {
                return Some(events::report_open(topic, &format!("{topic}-reopened"), &report));
            }
        }
        None
    }

    /// One report; given up when an event is not accepted or its version is not told. `None`: it is to stop.
    async fn report(&mut self, topic: &str, report: &str, open: Event, versions: &Versions) -> Option<()> {
        let mut before = open.id.clone();
        if !self.step(open).await? {
            return Some(());
        }
        for number in 0..UPDATES_EACH {
            let id = self.next_id();
            self.step(events::report_select(topic, &id, report)).await?;
            let Some(version) = versions.of(&before, VERSION_WITHIN).await else { return Some(()) };
            let update = events::report_update(topic, &self.next_id(), report, &version, number);
            before = update.id.clone();
            if !self.step(update).await? {
                return Some(());
            }
        }
        let id = self.next_id();
        self.step(events::report_close(topic, &id, report)).await.map(|_| ())
    }

    fn next_id(&mut self) -> String {
        self.number += 1;
        format!("{}-{}", self.prefix, self.number)
    }

    /// Sends an event when it is time for it; was it accepted? `None`: it is to stop, and was not sent.
    async fn step(&mut self, event: Event) -> Option<bool> {
        if let Some(ticks) = &mut self.ticks {
            ticks.tick().await;
        }
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.send(&event, RESEND_FOR).await)
    }

    /// Sends an event until it is accepted, for a minute.
    pub async fn send_surely(&mut self, event: &Event) -> Result<()> {
        if !self.send(event, Duration::from_secs(60)).await {
            bail!("the event {} is not accepted", event.id);
        }
        Ok(())
    }

    /// Sends an event, again and again for so long, until it is accepted or refused for good.
    async fn send(&mut self, event: &Event, resend_for: Duration) -> bool {
        let first = Instant::now();
        loop {
            let (hub, sent) = (self.at, Instant::now());
            let answer = self.apps[hub].publish(&event.text).await;
            let status = answer.ok().map(|answer| answer.status);
            self.journal.write(What::Attempt {
                topic: event.topic.clone(),
                id: event.id.clone(),
                event: event.name.clone(),
                hub,
                took: micros(sent.elapsed()),
                status,
            });
            match status {
                Some(202) => {
                    self.refusals = 0;
                    self.accepted.add();
                    return true;
                }
                Some(..500) => return false,
                Some(_) => self.refusals += 1,
                None => self.refusals = REFUSALS,
            }
            let gives_up = first.elapsed() + TRY_AGAIN > resend_for;
            if gives_up || self.refusals >= REFUSALS {
                (self.at, self.refusals) = ((self.at + 1) % self.apps.len(), 0);
            }
            if gives_up {
                return false;
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}
