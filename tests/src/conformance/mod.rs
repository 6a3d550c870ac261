//! The conformance suite: checks any FHIRcast hub from outside, over HTTP and WebSocket only.
//!
//! It knows nothing of the hub but its URL, and takes nothing for granted that the hub does not claim. The program
//! `fhircast-conformance` is its command line. A room each: the rules ([`catalogue`]), what a check is ([`check`]), the
//! checks ([`checks`], a file a group), what a check talks with ([`probe`], [`ask`], [`subscriber`], [`callbacks`],
//! [`messages`]), which are run ([`selection`]) and how ([`run`]), and what is said of it ([`report`]).
//!
//! # A check
//! ```text
//! check!("FC-REQ-02", the_requester_gets_its_own_event_with_its_id),
//!
//! async fn the_requester_gets_its_own_event_with_its_id(probe: Probe) -> Outcome {
//!     let topic = probe.topic();
//!     let mut app = probe.subscribe(&topic, "Patient-open").await?;
//!     let open = patient_open(&topic);
//!     probe.publish(&open).await?;
//!     expect_eq("the notification's id", open.id(), app.next_event().await?.id())
//! }
//! ```
//! It proves one rule and relies on no other more than it must: [`Probe::publish`](probe::Probe::publish) takes any 2xx,
//! since that it is 202 is another check's. That something does not come is shown by a marker: publish another event
//! that the subscriber must get, and [`expect_event`](subscriber::Subscriber::expect_event) it next. Nothing sleeps,
//! unless a time-out is what is checked; such a check names what it [`Waits`](check::Waits) for.

pub mod ask;
pub mod callbacks;
pub mod catalogue;
pub mod check;
pub mod checks;
mod frames;
pub mod hub;
pub mod messages;
pub mod probe;
pub mod report;
mod rules;
pub mod run;
pub mod selection;
pub mod subscriber;
pub mod token;
pub mod trace;
