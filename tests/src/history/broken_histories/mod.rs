//! Hand-made histories: a sound one, which must be found sound, and one for each kind of defect, which must be found, and
//! nothing else with it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod contents;
mod deliveries;
mod losses;
mod story;
mod sync_errors;
