//! One WebSocket: a subscription's reader that speaks over a socket.
//!
//! - `upgrade`: from the endpoint URL to a connection that holds the subscription.
//! - `session`: the actor around the socket; thin.
//! - `frame_lengths`: no frame is larger than it may be; no socket in it either.
//! - `frames`: what the subscriber says; no socket in it.
//! - `lease`: the end of the lease. `leaving`: the end of the hub.
//! - `held`: what a socket holds while it is open.
//! - `in_flight`: what is on its way to it, and where its cursor is; no socket in it.
//! - `outbox`: the two ends that hand notifications to the socket.
//! - `overdue`: subscribers that do not answer.
//! - `sockets`: all sockets of this node, for the cursors and for the drain.
//! - `close`: why the hub closes sockets.
//!
//! Rules: FC-WSC-01…05, FC-WSC-07, FC-WSC-08, FC-SUB-08, FC-SUB-11, FC-NOT-02, FC-NOT-04…06, FC-SEC-04.

mod close;
mod frame_lengths;
mod frames;
mod held;
mod in_flight;
mod lease;
mod leaving;
mod outbox;
mod overdue;
mod session;
mod sockets;
mod upgrade;

pub use close::Closing;
pub use frames::{Frames, Heard};
pub use outbox::SocketHandle;
pub use overdue::watch_unanswered;
pub use sockets::{Sockets, save_cursors};
pub use upgrade::{begin_reading, upgrade};
