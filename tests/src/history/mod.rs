//! The checker of histories: what was sent, what each subscriber saw, and whether the one is what the other demands.
//!
//! [`delivery`] judges sequences of ids, whoever made them. The rest judges a whole run by its journals, the files of
//! lines that every participant writes ([`journal`]): [`topic`] reads a topic's part of them, [`verdict`] applies the
//! rules, of which each has a room, and [`times`] says how long a fault was felt. Nothing but the journals is asked, so that a
//! run that was kept can be judged again.

mod accounts;
#[cfg(test)]
mod broken_histories;
pub mod contexts;
pub mod delivery;
pub mod filter;
pub mod finding;
pub mod journal;
mod order;
mod sameness;
mod sync_errors;
pub mod times;
pub mod topic;
pub mod verdict;
mod versions;

pub use delivery::{Finding, Findings, History, Id, Repeats};
