//! TLS of the listeners, the hub's own and the one for health and metrics, and towards callbacks, the authorization
//! server and Redis (FC-TRN-01).
//!
//! TLS 1.2 and 1.3, by OpenSSL; of listeners with Mozilla's intermediate ciphers. Promises:
//!
//! - Files that change (certificate, key, authorities) count for every connection that is made after they were seen; a
//!   connection that is open stays as it is. They are seen when two looks in a row find the same, so neither a file
//!   that is half written nor a certificate that comes before its key is taken.
//! - Files that cannot be used leave in place what was there, which is an error in the log and counted at every look
//!   (`fhircast_certificate_reload_failures_total`). When a certificate ends is
//!   `fhircast_certificate_expiry_timestamp_seconds`.
//!
//! Lists of revoked certificates are not read: who is to be kept out is kept out by the authority, or by short lives.
//!
//! - `files`: what the files must hold · `reload`: looking at them again
//! - `listener`, `client`: what is made of them

mod client;
mod files;
mod listener;
mod reload;

use std::path::PathBuf;

use openssl::error::ErrorStack;

pub use self::{
    client::{Client, Trust},
    listener::acceptor,
    reload::Followed,
};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}: {2}")]
    Unreadable(String, PathBuf, std::io::Error),
    /// A file does not hold what it should.
    #[error("{0}: {1}: {2}")]
    Unusable(String, PathBuf, &'static str),
    /// OpenSSL refuses.
    #[error("TLS cannot be set up: {0}")]
    OpenSsl(#[from] ErrorStack),
}
