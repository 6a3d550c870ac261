//! The black-box tests: one binary, a room for each thing that is promised.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod as_printed;
mod store_contract;
mod store_model;
mod stores;
