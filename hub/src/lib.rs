//! The hub (gateway): it takes API calls, holds WebSockets, and keeps nothing that matters.
//!
//! - [`server`]: builds and runs the whole; what `main` and tests start.
//! - `route`: which path is what, at every base path.
//! - `api`: subscribe, publish, Get Current Context, the well-known document, and their errors.
//! - `auth`, `client_address`: who is asking, from where, and what they may do.
//! - `own_url`: what the URLs in answers begin with.
//! - `limits`: how much one caller, one address and one topic may ask. `listener`: how many may connect, and how slowly.
//! - `socket`: one WebSocket: the upgrade, what is on its way to the subscriber, its answers.
//! - `relay`: from a topic's log to the sockets of this node; rendered once for each view.
//! - `liveness`: that this node lives. `doubts`: what it looks at again when it may have lost something.
//! - [`reseal`]: the subcommand that seals anew what Redis keeps. [`status`]: the one that says what is there.
//! - `clock`: what time it is for the store.
//! - `drain`: letting go of everything when the process is asked to stop.
//!
//! Any node serves any request: sessions, logs and subscriptions are in the store.

mod api;
mod auth;
mod client_address;
mod clock;
mod doubts;
mod drain;
pub mod embedded;
mod limits;
mod listener;
mod liveness;
mod node;
mod own_url;
mod relay;
pub mod reseal;
mod route;
pub mod server;
mod socket;
pub mod status;

pub use server::{Hub, start};

/// What reads what others wrote, for the fuzz targets.
pub mod edge {
    pub use crate::{
        auth::{Keys, Required, bearer_token, identity, introspected, verify},
        client_address::client_behind,
        route::{Route, route},
        socket::{Frames, Heard},
    };
}
