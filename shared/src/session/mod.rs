//! The rules of a session (topic), as a pure state machine.
//!
//! [`decide`] says what an event does to a session, or why it may not. Its result holds the next
//! [`SessionState`], the fields in which it differs from the last, and the log [`Entry`] to
//! commit with them. [`SessionState::evolve`] is the same step for those who read the log: a
//! replay gives the state that the deciding process had.
//!
//! What a subscriber sees of an entry is a [`View`], and a view is rendered by one function for
//! sockets and callbacks alike. No I/O, no clock, no randomness: versions are passed in.
//!
//! Rules: FC-EVT-04, FC-REQ-02…06, FC-CTX-01…04, FC-SUB-08, FC-CNT-01…07, FC-CNT-09, FC-CNT-10,
//! FC-NOT-01, FC-NOT-07, FC-SCO-03.

mod content;
mod current_context;
mod decide;
mod derived;
mod entry;
#[cfg(test)]
mod properties;
mod state;
mod view;

pub use content::{Content, ContentRefusal, ContentWrite};
pub use current_context::CurrentContext;
pub use decide::{Change, Rejection, Rules, decide};
pub use derived::Derived;
pub use entry::{Audience, Entry, EntryKind, Notice, SubscriptionChange, Unreadable as UnreadableEntry};
pub(crate) use state::OPEN_PREFIX;
pub use state::{Fields, OpenContext, SessionState, Unreadable};
pub use view::{View, id, render, sync_error_for, sync_error_for_all, view, view_by};
