//! What the programs tell their operators: log lines, metrics, spans, and whether they are healthy and ready.
//!
//! Nothing here names a topic, a subscriber or a secret: labels come from fixed sets, and what goes into a log line
//! is its writer's care.

pub mod admin;
pub mod health_check;
pub mod logging;
mod loops;
pub mod metrics;
mod readiness;
pub mod traces;

pub use loops::{Loop, Loops};
pub use readiness::Readiness;
