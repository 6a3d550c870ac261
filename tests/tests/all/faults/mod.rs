//! What the hub promises when something fails: nothing that was answered 202 is lost, each subscriber sees its topic's
//! log in order, and an event comes again only after a resume or as the retry of what was in flight.
//!
//! Each test breaks one thing under load, in the real processes, and lets [`harness::history`] judge what every
//! subscriber saw. A room for each thing that fails; `load` is what they share.

mod bells;
mod failover;
mod hubs;
mod load;
mod moved_slots;
mod overload;
mod redis_away;
mod workers;
