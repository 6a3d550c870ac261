//! From an event to the log, and what is done when the log loses it.
//!
//! - `publishing`: decides, commits, and decides again; the hub's own SyncErrors.
//! - `losses`: what this process has accepted, and whether it is still there.

mod losses;
mod publishing;

pub use self::publishing::{PublishError, Published, Publisher, RETRY_AFTER, now_iso_8601, read_state};
