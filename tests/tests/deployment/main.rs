//! The files that are shipped for those who run the hub: that they are well-formed, agree with the programs and with each
//! other, and do what they are for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alerts;
mod compose;
mod dashboards;
mod dockerfile;
mod guides;
mod helm;
mod operations;
mod promql;
mod served;
mod systemd;
mod tools;
mod yaml;
