//! What can be broken: a row each in [`FAULTS`], and a room for each kind.
//!
//! A fault begins and ends; in between it is left alone for as long as its row says. What it chose and must make whole again
//! it keeps in [`Broken`].

mod callbacks;
mod clocks;
mod links;
mod processes;
mod redis;

use std::time::Duration;

use anyhow::{Context, Result};

use self::callbacks::Manner;
use self::links::{Harm, Link};
use self::processes::{Blow, Victim};
use self::redis::Trouble;
use super::options::{Options, Shape};
use super::system::{CLAIM_SECS, Site, Size};
use super::workload::callback::Manners;
use super::workload::{Cast, Load, Workload};
use crate::chance::Chance;
use crate::history::times::Times;

/// One thing that can be broken.
#[derive(Debug)]
pub struct Fault {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// The shapes of Redis in which there is something to break.
    pub shapes: &'static [Shape],
    /// What is broken.
    breaks: Break,
    /// For how many seconds.
    lasts_secs: u64,
    /// Whether it lasts as long as the command line says: what stands still does.
    is_stretchable: bool,
    /// Redis may lose by it what it acknowledged.
    pub rewinds: bool,
    /// Subscribers may be sent away for what they do meanwhile.
    pub may_expel: bool,
    /// Who is in the topics, and how many topics there are.
    cast: Cast,
    topics: usize,
    /// What it must not exceed.
    pub target: Option<Target>,
}

/// A promise in numbers.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it is about.
    pub of: &'static str,
    /// How long that took, in microseconds.
    pub measure: fn(&Times) -> u64,
    /// How long it may take at most.
    pub within: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Break {
    Nothing,
    Process(Victim, Blow),
    Link(Link, Harm),
    Redis(Trouble),
    Callbacks(Manner),
    Clocks,
}

const ALL: &[Shape] = &[Shape::Single, Shape::Sentinel, Shape::Cluster];
const SINGLE: &[Shape] = &[Shape::Single];
const REPLICATED: &[Shape] = &[Shape::Sentinel, Shape::Cluster];
const CLUSTER: &[Shape] = &[Shape::Cluster];

/// Topics of an experiment that says nothing else.
const TOPICS: usize = 4;

const fn fault(
    name: &'static str,
    shapes: &'static [Shape],
    breaks: Break,
    lasts_secs: u64,
    about: &'static str,
) -> Fault {
    Fault {
        name,
        about,
        shapes,
        breaks,
        lasts_secs,
        is_stretchable: false,
        rewinds: false,
        may_expel: false,
        cast: Cast::Full,
        topics: TOPICS,
        target: None,
    }
}

impl Fault {
    const fn stretchable(mut self) -> Fault {
        self.is_stretchable = true;
        self
    }

    const fn rewinding(mut self) -> Fault {
        self.rewinds = true;
        self
    }

    const fn expelling(mut self) -> Fault {
        self.may_expel = true;
        self
    }

    const fn with(mut self, cast: Cast, topics: usize) -> Fault {
        self.cast = cast;
        self.topics = topics;
        self
    }

    const fn within(mut self, of: &'static str, measure: fn(&Times) -> u64, within: Duration) -> Fault {
        self.target = Some(Target { of, measure, within });
        self
    }
}

/// Every fault.
pub const FAULTS: &[Fault] = &[
    fault("none", ALL, Break::Nothing, 3, "nothing is broken: what the others are compared with"),
    fault(
        "hub-killed",
        ALL,
        Break::Process(Victim::Hub, Blow::Kill),
        3,
        "kill -9 of a hub, which is started again",
    ),
    fault(
        "worker-killed",
        ALL,
        Break::Process(Victim::Worker, Blow::Kill),
        CLAIM_SECS + 3,
        "kill -9 of a worker, which is started again",
    )
    .within("callbacks go on", |times| times.callbacks, Duration::from_secs(CLAIM_SECS + 1)),
    fault(
        "redis-killed",
        SINGLE,
        Break::Process(Victim::Redis, Blow::Kill),
        2,
        "kill -9 of Redis, which is started again",
    )
    .rewinding(),
    fault(
        "hub-stopped",
        ALL,
        Break::Process(Victim::Hub, Blow::Stop),
        15,
        "a hub stands still (SIGSTOP), and wakes",
    )
    .stretchable(),
    fault(
        "worker-stopped",
        ALL,
        Break::Process(Victim::Worker, Blow::Stop),
        15,
        "a worker stands still, and wakes",
    )
    .stretchable(),
    fault(
        "redis-stopped",
        SINGLE,
        Break::Process(Victim::Redis, Blow::Stop),
        15,
        "Redis stands still, and wakes",
    )
    .stretchable(),
    fault(
        "hub-redis-cut",
        SINGLE,
        Break::Link(Link::HubRedis, Harm::Cut),
        5,
        "a hub's connections to Redis are reset, and refused",
    ),
    fault(
        "hub-redis-silent",
        SINGLE,
        Break::Link(Link::HubRedis, Harm::Silent),
        12,
        "a hub's connections to Redis stay open, and nothing passes",
    )
    .stretchable(),
    fault(
        "hub-redis-slow",
        SINGLE,
        Break::Link(Link::HubRedis, Harm::Slow),
        6,
        "between a hub and Redis each byte takes 300 ms longer",
    ),
    fault(
        "hub-redis-narrow",
        SINGLE,
        Break::Link(Link::HubRedis, Harm::Narrow),
        6,
        "between a hub and Redis 4 kB/s pass",
    ),
    fault(
        "worker-redis-cut",
        SINGLE,
        Break::Link(Link::WorkerRedis, Harm::Cut),
        5,
        "a worker's connections to Redis are reset, and refused",
    ),
    fault(
        "worker-redis-silent",
        SINGLE,
        Break::Link(Link::WorkerRedis, Harm::Silent),
        12,
        "a worker's connections to Redis stay open, and nothing passes",
    )
    .stretchable(),
    fault(
        "worker-redis-slow",
        SINGLE,
        Break::Link(Link::WorkerRedis, Harm::Slow),
        6,
        "between a worker and Redis each byte takes 300 ms longer",
    ),
    fault(
        "worker-redis-narrow",
        SINGLE,
        Break::Link(Link::WorkerRedis, Harm::Narrow),
        6,
        "between a worker and Redis 4 kB/s pass",
    ),
    fault(
        "apps-hub-cut",
        ALL,
        Break::Link(Link::AppsHub, Harm::Cut),
        5,
        "all apps' connections to a hub are reset, and refused",
    ),
    fault(
        "apps-hub-silent",
        ALL,
        Break::Link(Link::AppsHub, Harm::Silent),
        12,
        "all apps' connections to a hub stay open, and nothing passes",
    )
    .stretchable(),
    fault(
        "apps-hub-slow",
        ALL,
        Break::Link(Link::AppsHub, Harm::Slow),
        6,
        "between the apps and a hub each byte takes 300 ms longer",
    ),
    fault(
        "apps-hub-narrow",
        ALL,
        Break::Link(Link::AppsHub, Harm::Narrow),
        6,
        "between the apps and a hub 4 kB/s pass on each connection",
    ),
    fault(
        "worker-callback-cut",
        ALL,
        Break::Link(Link::WorkerCallbacks, Harm::Cut),
        5,
        "connections to the callbacks are reset, and refused",
    ),
    fault(
        "worker-callback-silent",
        ALL,
        Break::Link(Link::WorkerCallbacks, Harm::Silent),
        12,
        "connections to the callbacks stay open, and nothing passes",
    )
    .stretchable(),
    fault(
        "worker-callback-slow",
        ALL,
        Break::Link(Link::WorkerCallbacks, Harm::Slow),
        6,
        "to the callbacks each byte takes 300 ms longer",
    ),
    fault(
        "worker-callback-narrow",
        ALL,
        Break::Link(Link::WorkerCallbacks, Harm::Narrow),
        6,
        "to the callbacks 4 kB/s pass on each connection",
    ),
    fault(
        "callback-hangs",
        ALL,
        Break::Callbacks(Manner::Hangs),
        12,
        "a callback takes requests and does not answer",
    ),
    fault(
        "callback-redirects",
        ALL,
        Break::Callbacks(Manner::Redirects),
        4,
        "a callback answers with a redirect",
    ),
    fault("callback-fails", ALL, Break::Callbacks(Manner::Fails), 5, "a callback answers 503"),
    fault("callback-late", ALL, Break::Callbacks(Manner::Late), 10, "a callback answers after 4 s"),
    fault(
        "callback-resets",
        ALL,
        Break::Callbacks(Manner::Resets),
        5,
        "callbacks accept connections and reset them",
    ),
    fault(
        "slow-reader",
        ALL,
        Break::Link(Link::SlowReader, Harm::Trickle),
        15,
        "a subscriber reads 1 byte a second",
    )
    .expelling()
    .with(Cast::WithSlowReader, TOPICS),
    fault(
        "disk-full",
        ALL,
        Break::Redis(Trouble::DiskFull),
        6,
        "Redis can write nothing to its append-only file",
    ),
    fault(
        "clocks-skewed",
        ALL,
        Break::Clocks,
        12,
        "the clocks of hubs and workers are set 5 minutes ahead and behind",
    ),
    fault(
        "primary-killed",
        REPLICATED,
        Break::Redis(Trouble::PrimaryKilled),
        12,
        "kill -9 of a primary, which is replaced and started again",
    )
    .rewinding()
    .within("publishing again", |times| times.publishing, Duration::from_millis(4500)),
    fault(
        "primary-stopped",
        REPLICATED,
        Break::Redis(Trouble::PrimaryStopped),
        15,
        "a primary stands still, is replaced, and wakes",
    )
    .rewinding()
    .stretchable(),
    fault(
        "primary-cut",
        REPLICATED,
        Break::Redis(Trouble::PrimaryLink(Harm::Cut)),
        6,
        "a primary's connections are reset, and refused",
    )
    .rewinding(),
    fault(
        "primary-silent",
        REPLICATED,
        Break::Redis(Trouble::PrimaryLink(Harm::Silent)),
        10,
        "a primary's connections stay open, and nothing passes",
    )
    .rewinding()
    .stretchable(),
    fault(
        "failover",
        REPLICATED,
        Break::Redis(Trouble::Failover),
        6,
        "a replica takes the place of its primary, as commanded",
    )
    .rewinding(),
    fault(
        "slots-moved",
        CLUSTER,
        Break::Redis(Trouble::SlotsMoved),
        4,
        "the slots of the topics are moved to another master, under load",
    ),
    fault(
        "hub-killed-2000",
        ALL,
        Break::Process(Victim::FirstHub, Blow::Kill),
        6,
        "kill -9 of a hub with 2,000 sockets",
    )
    .with(Cast::Crowd(20), 100)
    .within("sockets resumed", |times| times.sockets, Duration::from_secs(3)),
];

/// The fault of this name.
pub fn named(name: &str) -> Result<&'static Fault> {
    FAULTS
        .iter()
        .find(|fault| fault.name == name)
        .with_context(|| format!("no fault is named {name:?}: --list names them"))
}

/// What a fault has broken.
#[derive(Debug, Default)]
pub struct Broken {
    /// The hub or worker that was chosen.
    process: usize,
    /// The server of Redis that was chosen.
    server: usize,
}

impl Fault {
    /// What is to be started for it.
    pub fn size(&self) -> Size {
        Size { hubs: 2, workers: 2, clocks: matches!(self.breaks, Break::Clocks) }
    }

    /// The load under which it happens.
    pub fn load(&self, options: &Options) -> Load {
        Load { topics: self.topics, cast: self.cast, events_per_second: options.events_per_second }
    }

    /// How long it lasts.
    pub fn lasts(&self, options: &Options) -> Duration {
        let secs = options.hold_secs.filter(|_| self.is_stretchable).unwrap_or(self.lasts_secs);
        Duration::from_secs(secs)
    }

    /// Is anything broken at all?
    pub fn breaks_anything(&self) -> bool {
        !matches!(self.breaks, Break::Nothing)
    }

    /// What is to be so for a while before it begins.
    pub fn prepare(&self, workload: &Workload) {
        // A worker that has nothing in flight is not missed.
        let is_workers = matches!(
            self.breaks,
            Break::Process(Victim::Worker, _) | Break::Link(Link::WorkerRedis | Link::WorkerCallbacks, _)
        );
        if is_workers {
            workload.manners.send_replace(Manners::Busy);
        }
    }

    /// Breaks it.
    pub async fn begin(&self, site: &mut Site, workload: &Workload, chance: &mut Chance) -> Result<Broken> {
        let mut broken = Broken::default();
        match self.breaks {
            Break::Nothing => {}
            Break::Process(victim, blow) => processes::begin(site, victim, blow, chance, &mut broken)?,
            Break::Link(link, harm) => links::begin(site, link, harm, chance, &mut broken),
            Break::Redis(trouble) => redis::begin(site, trouble, chance, &mut broken).await?,
            Break::Callbacks(manner) => callbacks::begin(site, workload, manner)?,
            Break::Clocks => clocks::begin(site)?,
        }
        Ok(broken)
    }

    /// Makes it whole again.
    pub async fn end(&self, site: &mut Site, workload: &Workload, broken: Broken) -> Result<()> {
        match self.breaks {
            Break::Nothing => Ok(()),
            Break::Process(victim, blow) => processes::end(site, victim, blow, &broken).await,
            Break::Link(link, harm) => links::end(site, link, harm, &broken).await,
            Break::Redis(trouble) => redis::end(site, trouble, &broken).await,
            Break::Callbacks(manner) => callbacks::end(site, workload, manner),
            Break::Clocks => clocks::end(site),
        }
    }
}
