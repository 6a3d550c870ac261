//! The black-box tests: one binary, a room for each thing that is promised.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod as_printed;
mod faults;
mod events;
mod messages;
mod setups;
mod store_contract;
mod store_model;
mod stores;
mod subscribing;
mod transport;
