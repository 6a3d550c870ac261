//! From an event to the log, and what is done when the log loses it.
//!
//! - `publishing`: decides, commits, and decides again.
//! - `contest`: what those do who publish on one topic at once.
//! - `reporting`: the hub's own SyncErrors.
//! - `losses`: what this process has accepted, and whether it is still there.

mod contest;
mod losses;
mod publishing;
mod reporting;

pub use self::{
    publishing::{PublishError, Published, Publisher, RETRY_AFTER, read_state},
    reporting::now_iso_8601,
};
