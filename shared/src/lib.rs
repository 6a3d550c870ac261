//! What both programs of the FHIRcast hub share.
//!
//! - [`audit`]: the record of who did what, and its writer.
//! - [`callbacks`]: where callbacks may lead, decided in one place for both programs.
//! - [`protocol`]: what travels on the wire, parsed and rendered; pure.
//! - [`session`]: the rules of a session (topic) as a state machine; pure.
//! - [`store`]: the seam to Redis and to the embedded memory store.
//! - [`format`]: the form of what the store keeps, and how old and new programs share it.
//! - [`publisher`]: decides and commits an event, on whichever store.
//! - [`settings`]: one typed tree of settings for both programs.
//! - [`signals`]: those that ask a program to stop.
//! - [`tls`]: certificates, of the listeners and towards others, followed while the programs run.
//! - [`telemetry`]: logs, metrics, and the listener for health and metrics.
//! - [`network`]: an address, as far as one party can be told from another by it.
//! - [`lanes`]: turns, of each key so many at once.
//! - `hashes`, [`files`], [`lock`], [`unix_time`]: small things, each done in one way.

pub mod audit;
pub mod callbacks;
pub mod files;
pub mod format;
mod hashes;
pub mod lanes;
pub mod lock;
pub mod network;
pub mod protocol;
pub mod publisher;
pub mod session;
pub mod settings;
pub mod signals;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod unix_time;
