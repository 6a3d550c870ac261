//! The chart: that what it makes is what Kubernetes takes, holds no secret, hangs together, is taken by the real programs, and
//! that it refuses what would be open or broken.
//!
//! - `chart`: helm itself, and what it makes of each of the chart's own values files
//! - `schemas`, `pods`, `links`, `network`, `monitoring`: what that is judged by
//! - `programs`: the settings, as the programs read them · `refusals`: what is refused, and how it is said
//! - `notes`: what is said after an install
//! - `pages`: the parts that are made: the schema of the settings, and the table in the chart's README

mod chart;
mod links;
mod monitoring;
mod network;
mod notes;
mod pages;
mod pods;
mod programs;
mod refusals;
mod schemas;
