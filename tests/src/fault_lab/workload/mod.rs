//! The workload: topics, each with publishers, sockets and callbacks, of which each writes a journal.
//!
//! A topic has two who open and close patients and one who writes a report; the report's writer is an app that listens as well,
//! for only so does it know the version that its next update must name. Sockets begin at different hubs, ask for different
//! events, and go to the next hub when theirs is lost. Callbacks are signed.

pub mod callback;
pub mod events;
pub mod publisher;
pub mod subscriber;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use self::callback::{Callback, Manners};
use self::publisher::{Publisher, Script};
use self::subscriber::{Subscriber, Versions};
use super::system::Site;
use crate::chance::Chance;
use crate::history::filter::Filter;
use crate::history::journal::{Channel, Journal, Journals, What};
use crate::wait;

/// Until then every subscriber must be in service, and every publisher accepted.
const IN_SERVICE_WITHIN: Duration = Duration::from_secs(40);

/// How much of it there is.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Topics.
    pub topics: usize,
    /// Who is in each of them.
    pub cast: Cast,
    /// Events a second, over all topics.
    pub events_per_second: f64,
}

/// Who is in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cast {
    /// Three publishers, five sockets, two callbacks.
    Full,
    /// The same, and a socket that has a link of its own to each hub.
    WithSlowReader,
    /// One publisher, at the last hub, and so many sockets, all of them at the first.
    Crowd(usize),
}

/// What the sockets of [`Cast::Full`] ask for, and whether they answer. The third gives the report's writer its versions.
const SOCKETS: [(&str, bool); 5] = [
    ("*,heartbeat", true),
    ("*,heartbeat", true),
    ("DiagnosticReport-*,syncerror,org.example.last,heartbeat", true),
    ("Patient-*,syncerror,org.example.last,heartbeat", true),
    ("*-open,org.example.last,heartbeat", false),
];
const WRITERS_SOCKET: usize = 2;
const CALLBACKS: [&str; 2] = ["*", "DiagnosticReport-*,syncerror,org.example.last"];

/// Who is at work.
pub struct Workload {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    callbacks: Vec<Callback>,
    topics: Vec<String>,
    doors: Vec<String>,
    finisher: Journal,
    /// How the first callback of each topic answers.
    pub manners: Arc<watch::Sender<Manners>>,
}

impl Workload {
    /// Subscribes all, waits until they are in service, and begins to publish.
    pub async fn start(site: &Site, load: Load, chance: &Chance, journals: &Journals) -> Result<Workload> {
        let doors = site.doors()?;
        let manners = Arc::new(watch::Sender::new(Manners::Good));
        let mut workload = Workload {
            publishers: Vec::new(),
            subscribers: Vec::new(),
            callbacks: Vec::new(),
            topics: (0..load.topics).map(|number| format!("topic-{number}")).collect(),
            doors: doors.clone(),
            finisher: journals.open("finisher"),
            manners,
        };
        let mut scripts = Vec::new();
        for (number, topic) in workload.topics.clone().iter().enumerate() {
            let versions = Versions::default();
            workload
                .subscribers
                .extend(sockets(site, load.cast, number, topic, &versions, chance, journals)?);
            if !matches!(load.cast, Cast::Crowd(_)) {
                for (callback, filter) in CALLBACKS.iter().enumerate() {
                    let name = format!("{topic}-callback-{callback}");
                    let manners = (callback == 0).then(|| workload.manners.clone());
                    let journal = journals.open(&name);
                    workload.callbacks.push(Callback::new(site, topic, &name, filter, journal, manners)?);
                }
            }
            scripts.extend(publishers_of(load.cast, number, topic, &versions));
        }
        try_join_all(
            workload.subscribers.iter().map(|subscriber| subscriber.wait_connected(IN_SERVICE_WITHIN)),
        )
        .await?;
        for callback in &workload.callbacks {
            callback.subscribe(&doors[0]).await?;
        }
        let pace = Duration::from_secs_f64(scripts.len() as f64 / load.events_per_second);
        for (number, (name, at, script)) in scripts.into_iter().enumerate() {
            let journal = journals.open(&name);
            let at = at.unwrap_or(doors.len() - 1);
            let chance = chance.part(1000 + number as u64);
            workload.publishers.push(Publisher::start(&name, script, &doors, at, pace, chance, journal)?);
        }
        Ok(workload)
    }

    /// Waits until every publisher has had so many more events accepted, and every socket is connected.
    pub async fn wait_served(&self, more: usize) -> Result<()> {
        let wanted: Vec<usize> =
            self.publishers.iter().map(|publisher| publisher.accepted() + more).collect();
        let connected = self.subscribers.iter().map(|one| one.wait_connected(IN_SERVICE_WITHIN));
        try_join_all(connected).await?;
        wait::eventually(IN_SERVICE_WITHIN, "publishers that are served", || async {
            let mut publishers = self.publishers.iter().zip(&wanted);
            publishers.all(|(publisher, wanted)| publisher.accepted() >= *wanted).then_some(())
        })
        .await
    }

    /// Ends the publishers, opens each report once more, and sends everybody the last event.
    pub async fn finish(&mut self) -> Result<()> {
        let reports = join_all(self.publishers.drain(..).map(Publisher::stop)).await;
        for report in reports.into_iter().flatten() {
            let mut publisher = publisher::Sender::new(&self.doors, 0, self.finisher.clone())?;
            publisher.send_surely(&report).await?;
        }
        for topic in &self.topics {
            let mut publisher = publisher::Sender::new(&self.doors, 0, self.finisher.clone())?;
            publisher.send_surely(&events::last(topic)).await?;
        }
        Ok(())
    }

    /// Waits until everybody has got the last event; answers with the names of those who have not.
    pub async fn wait_last(&self, within: Duration) -> Vec<String> {
        let sockets = self
            .subscribers
            .iter()
            .map(|one| async { one.wait_last(within).await.err().map(|_| one.name().to_owned()) });
        let callbacks = self
            .callbacks
            .iter()
            .map(|one| async { one.wait_last(within).await.err().map(|_| one.name().to_owned()) });
        let (sockets, callbacks) = tokio::join!(join_all(sockets), join_all(callbacks));
        sockets.into_iter().chain(callbacks).flatten().collect()
    }

    /// Asks every hub for the current context of every topic.
    pub async fn read_contexts(&self, journal: &Journal) -> Result<()> {
        for topic in &self.topics {
            for (hub, door) in self.doors.iter().enumerate() {
                let app = crate::client::App::within(door, publisher::ANSWERED_WITHIN)?;
                let body = wait::eventually(IN_SERVICE_WITHIN, "a current context", || async {
                    app.current_context(topic).await.ok().filter(|answer| answer.status == 200)
                });
                let body = body.await?.body;
                journal.write(What::CurrentContext { topic: topic.clone(), hub, body });
            }
        }
        Ok(())
    }

    /// Ends the subscribers; their journals are complete.
    pub async fn stop(self) {
        join_all(self.subscribers.into_iter().map(Subscriber::stop)).await;
        self.callbacks.into_iter().for_each(|callback| callback.flush());
    }
}

fn sockets(
    site: &Site,
    cast: Cast,
    topic_number: usize,
    topic: &str,
    versions: &Versions,
    chance: &Chance,
    journals: &Journals,
) -> Result<Vec<Subscriber>> {
    let doors = site.doors()?;
    let mut plans: Vec<(Filter, bool, usize, bool)> = Vec::new();
    match cast {
        Cast::Full | Cast::WithSlowReader => {
            for (number, (filter, answers)) in SOCKETS.iter().enumerate() {
                let at = (number + topic_number) % doors.len();
                plans.push((Filter((*filter).to_owned()), *answers, at, false));
            }
            if cast == Cast::WithSlowReader {
                plans.push((Filter("*".to_owned()), true, topic_number % doors.len(), true));
            }
        }
        Cast::Crowd(count) => {
            plans.extend((0..count).map(|_| (Filter("*,heartbeat".to_owned()), true, 0, false)));
        }
    }
    let mut sockets = Vec::new();
    for (number, (filter, answers, at, has_own_link)) in plans.into_iter().enumerate() {
        let name = format!("{topic}-socket-{number}");
        let journal = journals.open(&name);
        journal.write(What::Reader {
            topic: topic.to_owned(),
            name: name.clone(),
            filter: filter.clone(),
            channel: Channel::Websocket,
        });
        let plan = subscriber::Plan {
            topic: topic.to_owned(),
            name,
            filter,
            answers,
            doors: if has_own_link { site.side_doors()? } else { doors.clone() },
            at,
            is_patient: has_own_link,
            versions: (number == WRITERS_SOCKET).then(|| versions.clone()),
        };
        let seed = (topic_number * 100_000 + number) as u64;
        sockets.push(Subscriber::start(plan, chance.part(seed), journal));
    }
    Ok(sockets)
}

type Planned = (String, Option<usize>, Script);

/// The publishers of a topic: their names, the hubs at which they begin (`None`: the last), and what they do.
fn publishers_of(cast: Cast, number: usize, topic: &str, versions: &Versions) -> Vec<Planned> {
    let patients = |name: &str| Script::Patients { topic: topic.to_owned(), by: name.to_owned() };
    if let Cast::Crowd(_) = cast {
        return vec![(format!("{topic}-publisher"), None, patients("only"))];
    }
    let report = Script::Reports { topic: topic.to_owned(), versions: versions.clone() };
    let at = |place: usize| (number + place).is_multiple_of(2).then_some(0);
    vec![
        (format!("{topic}-publisher-a"), at(0), patients("a")),
        (format!("{topic}-publisher-b"), at(1), patients("b")),
        (format!("{topic}-publisher-r"), at(0), report),
    ]
}

/// Counts what a task has achieved, for others to wait on.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
