//! The worker against real callbacks on loopback, over the memory store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod absence;
mod callback;
mod claims;
mod delivery;
mod health;
mod hostile;
mod security;
mod sync_errors;
mod system;
mod verification;
