//! The audit trail: who did what to which session, one record for each thing that was asked for, granted, refused,
//! read or not followed.
//!
//! - `record`: what a record holds, and what it never does · `kind`: of which kind it is, and how that went · `json`, `fhir`:
//!   its two forms · `trail`: how records come to the writer · `writer`: the thread that writes them.
//!
//! What it promises:
//!
//! - Nobody waits for it: a record is handed to a thread of its own, which alone waits for the file.
//! - `audit.required`: a request is admitted only while its record can be taken ([`Audit::admit`], before anything is
//!   done), so nothing that was admitted is done without a record. What nobody asks this program for (a delivery, the end of
//!   a lease) cannot be refused: its record is counted if it is lost.
//! - Who has not shown that it may ask takes half of `audit.waiting_records` at most ([`Asker`]): strangers, however many, make
//!   nobody else wait, and turn off nothing.
//! - Otherwise whatever happens is served, and the records that are lost are counted.
//! - An outage is said once in the log, and its end with what was lost. What still waits is written then, and at the end of
//!   the process ([`Audit::finish`]).
//!
//! A record that was taken and not yet written dies with a process that is killed: at most `audit.waiting_records` of them.

mod fhir;
mod json;
mod kind;
mod record;
mod trail;
mod writer;

pub use kind::{Kind, Outcome};
pub use record::{Record, Who};
pub use trail::{Asker, Audit, Slot};
