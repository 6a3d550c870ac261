//! A model of how events are delivered, and a checker that tries every order of steps and faults.
//!
//! Two hubs, each with a client that publishes; two readers, of which one may be a webhook with two
//! workers; three events; a primary Redis and its replica. At every step each process may go on, or one of
//! the faults in [`setup::fault`] may happen. [`promises`] says what must hold. Each of the [`setup::Cures`]
//! can be left out, and then the checker finds a promise broken: so none is there in vain, and the checker
//! can fail.
//!
//! # What stands for what
//!
//! | here | in the code |
//! |---|---|
//! | `Step::append`, `Step::publish` | `commit.lua`; the publisher, its `once`, its witness |
//! | `Step::tell_of_loss` | `announce.lua`, which appends the SyncError and what is open in one step |
//! | `Store::gap_after` | the function of that name in `prelude.lua` |
//! | `Step::begin_anew` | `activate.lua` with a restart; after a loss, reading on from the announcement |
//! | `Step::ring`, `Step::read` | the relay: the bell, the catching up, the periodic look at the head |
//! | `Step::save`, `Step::attach` | `save_cursors.lua`, `attach.lua` |
//! | `Step::claim`, `Step::post`, `Step::settle` | `claim.lua`, the worker's delivery, `settle.lua` |
//! | `Step::fail_over` | a replica that lacks the last entries, and the state that goes with them, is promoted |
//!
//! # What it leaves out
//!
//! - **One topic, and nothing in it.** There are no filters, sessions, conflicts, contents, versions; what is
//!   open is "all that the log says up to here".
//! - **A script is one step**, and the state that it writes is replicated whole. So is a read of the log, of
//!   one entry at a time.
//! - **A subscriber answers what it receives, and receives what is sent,** until the connection ends. That
//!   answers may come late is the same as that cursors are written late, which is here. Refused, unanswered
//!   and undelivered notifications, retries with pauses, leases, graces and unsubscribing are not.
//! - **Time** is only that anything may take any time. What bounds it in the code is a fault here
//!   (a claim whose holder still works is over; a resend comes when it is forgotten; an entry is trimmed
//!   before it was read).
//! - **A position is a number and a history.** After a failover the numbers either go on from what is left,
//!   so that they are given twice, or are later than all that are lost.
//! - **One failover a run**, after which the replica is in step. A second one could take the contexts from a
//!   reader that has just begun anew.
//! - **Whoever knows of a loss lives.** An event of which only its hub knew is lost in silence when both the
//!   primary and the hub die ([`checks`] shows it); with `redis.durability` it is not lost. Nor is the log
//!   trimmed in the same run: a loss is looked for within seconds, and entries stay for an hour.
//! - **A primary that lives on** beside the one that replaced it still serves the hubs that have not noticed.
//!   The workers have: otherwise two of them would make requests to one callback, each with a valid claim.
//! - **A subscriber knows a notification again by its id**, as it must: what comes again changes nothing.
//! - Sharded logs are one log: nothing is promised between topics.

mod checks;
mod faults;
mod hubs;
mod promises;
mod reduction;
mod setup;
mod steps;
mod store;
mod system;
mod workers;

use stateright::{Model, Property};

use self::{
    setup::Setup,
    steps::{Action, Step},
    system::System,
};

impl Model for Setup {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(self)]
    }

    fn actions(&self, now: &System, actions: &mut Vec<Action>) {
        self.steps(now, actions);
        if let Some(next) = self.of_no_consequence(now, actions) {
            *actions = vec![next];
        }
        self.faults(now, actions);
    }

    fn next_state(&self, last: &System, action: Action) -> Option<System> {
        let mut step = Step { setup: self, now: last.clone() };
        step.take(action);
        Some(step.now)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.promises()
    }
}
