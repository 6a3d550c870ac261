//! The harness: what black-box tests and tools use to run the real programs and to talk to them as apps do.
//!
//! It knows the programs only from outside: their settings, their log lines, HTTP, WebSocket and Redis. A room each:
//! the processes ([`process`], [`redis_shape`], [`system`]), an app's two sides ([`client`] asks, [`socket`] and
//! [`callback_server`] are told) and an attacker's ([`attack`]), who tells names ([`name_server`]), what is sent
//! ([`examples`], [`certs`], [`tls_client`], [`tokens`]), who collects spans ([`otlp_collector`]), how a run is judged
//! ([`history`], [`metrics`], [`wait`]), pages that are made ([`pages`]), and what nobody may print ([`hygiene`]).

pub mod attack;
pub mod callback_server;
pub mod certs;
pub mod chance;
pub mod client;
pub mod conformance;
pub mod data_keys;
pub mod distorting_proxy;
pub mod examples;
pub mod fault_lab;
pub mod history;
pub mod hygiene;
pub mod metrics;
pub mod name_server;
mod orphans;
pub mod otlp_collector;
pub mod pages;
pub mod process;
pub mod process_stats;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod redis_server;
pub mod redis_shape;
pub mod socket;
pub mod system;
pub mod tcp_proxy;
pub mod tls_client;
pub mod tokens;
pub mod wait;
pub mod wrong_hub;
