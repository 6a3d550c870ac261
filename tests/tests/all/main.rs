//! The black-box tests: one binary, a room for each thing that is promised.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod absences;
mod as_printed;
mod configuration;
mod conformance;
mod conformance_page;
mod content;
mod context;
mod counting;
mod derived_opens;
mod drain;
mod events;
mod examples;
mod faults;
mod health;
mod heartbeats;
mod histories;
mod malformed;
mod messages;
mod missed_entries;
mod notifying;
mod races;
mod requesting;
mod setups;
mod sockets;
mod store_contract;
mod store_model;
mod stores;
mod subscribing;
mod tls;
mod transport;
mod unanswered;
mod verifying;
mod webhooks;
mod wrong_hubs;
