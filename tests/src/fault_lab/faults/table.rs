//! The faults: their names, where there is something to break, what is broken, for how many seconds.

use std::time::Duration;

use super::callbacks::Manner;
use super::links::{Harm, Link};
use super::processes::{Blow, Victim};
use super::redis::{Trouble, noticed_after};
use super::{Break, Fault, fault};
use crate::fault_lab::options::Shape;
use crate::fault_lab::system::CLAIM_SECS;
use crate::fault_lab::workload::Cast;

const ALL: &[Shape] = &[Shape::Single, Shape::Sentinel, Shape::Cluster];
const SINGLE: &[Shape] = &[Shape::Single];
const REPLICATED: &[Shape] = &[Shape::Sentinel, Shape::Cluster];
const CLUSTER: &[Shape] = &[Shape::Cluster];

/// Topics of an experiment that says nothing else.
pub(super) const TOPICS: usize = 4;

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
        "all-upgraded",
        ALL,
        Break::Programs,
        1,
        "hubs and workers are stopped and replaced by newer ones, one after the other, and then all write the newer format",
    ),
    fault(
        "worker-killed",
        ALL,
        Break::Process(Victim::Worker, Blow::Kill),
        CLAIM_SECS + 3,
        "kill -9 of a worker, which is started again",
    )
    .within("callbacks go on", |times| times.callbacks, |_| Duration::from_secs(CLAIM_SECS + 1)),
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
    .within(
        "publishing again",
        |times| times.publishing,
        |shape| noticed_after(shape) + Duration::from_secs(3),
    ),
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
    .within("sockets resumed", |times| times.sockets, |_| Duration::from_secs(3)),
];
