//! An authorization server of the test's own: it gives tokens out, good and bad ones, serves the keys that they are
//! signed with, and says of each whether it is active.
//!
//! [`TokenAuthority`] is the server, [`TokenBuilder`] makes one token, [`Key`] is what signs it. What is not changed in
//! a token is as the hub wants it ([`TokenAuthority::settings`]). Signatures are made with OpenSSL, not with what the hub
//! verifies them with.

mod authority;
mod builder;
mod directory;
mod key;

pub use authority::{AUDIENCE, Fault, TokenAuthority};
pub use builder::TokenBuilder;
pub use directory::TokenDirectory;
pub use key::{Algorithm, Key};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
