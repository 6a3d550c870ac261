//! What can be broken: a row each in [`FAULTS`], and a room for each kind.
//!
//! A fault begins and ends; in between it is left alone for as long as its row says. What it chose and must make whole again
//! it keeps in [`Broken`].

mod callbacks;
mod clocks;
mod links;
mod processes;
mod redis;
mod table;
mod upgrade;

use std::time::Duration;

use anyhow::{Context, Result};

use self::callbacks::Manner;
use self::links::{Harm, Link};
use self::processes::{Blow, Victim};
use self::redis::Trouble;
pub use self::table::FAULTS;
use super::options::{Options, Shape};
use super::system::{Site, Size};
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
    /// How long it may take at most, in this shape of Redis.
    pub within: fn(Shape) -> Duration,
}

#[derive(Debug, Clone, Copy)]
enum Break {
    Nothing,
    Process(Victim, Blow),
    Link(Link, Harm),
    Redis(Trouble),
    Callbacks(Manner),
    Clocks,
    Programs,
}

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
        topics: table::TOPICS,
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

    const fn within(
        mut self,
        of: &'static str,
        measure: fn(&Times) -> u64,
        within: fn(Shape) -> Duration,
    ) -> Fault {
        self.target = Some(Target { of, measure, within });
        self
    }
}

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

    /// Settings of every program at the start, besides those of the site.
    pub fn settings(&self) -> &'static [(&'static str, &'static str)] {
        if let Break::Programs = self.breaks { &[upgrade::OLD] } else { &[] }
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

    /// Is it Redis that is broken, or the way to it?
    pub fn concerns_redis(&self) -> bool {
        matches!(
            self.breaks,
            Break::Redis(_)
                | Break::Process(Victim::Redis, _)
                | Break::Link(Link::HubRedis | Link::WorkerRedis, _)
        )
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
            Break::Programs => upgrade::roll(site).await?,
        }
        Ok(broken)
    }

    /// Makes it whole again.
    pub async fn end(&self, site: &mut Site, workload: &Workload, broken: Broken) -> Result<()> {
        match self.breaks {
            Break::Nothing | Break::Programs => Ok(()),
            Break::Process(victim, blow) => processes::end(site, victim, blow, &broken).await,
            Break::Link(link, harm) => links::end(site, link, harm, &broken).await,
            Break::Redis(trouble) => redis::end(site, trouble, &broken).await,
            Break::Callbacks(manner) => callbacks::end(site, workload, manner),
            Break::Clocks => clocks::end(site),
        }
    }
}
