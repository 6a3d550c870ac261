//! The fault lab: a whole system of real processes, a workload, one thing that breaks, and the judge.
//!
//! [`run::run`] is one experiment: it starts Redis in a shape, hubs, workers and callbacks, with a proxy on every link
//! ([`system`]); publishers and subscribers that write down what they sent and saw ([`workload`]); it breaks something and makes
//! it whole again ([`faults`]), waits until all is served again, and has [`crate::history::verdict`] judge the journals.
//! [`report`] adds experiments up.
//!
//! The same seed gives the same workload and the same choices; what the processes make of them is not in its hand.

pub mod clock;
pub mod faults;
pub mod options;
pub mod report;
pub mod run;
pub mod system;
pub mod workload;
