//! Data keys for tests, of `data_keys`' form. Their ids have one length, and so have the values that they seal.

/// A key.
pub const OLD: &str = "old:b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE=";
/// Another, which takes its place.
pub const NEW: &str = "new:bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=";
/// What a sealed value has more than its text: version, id and its length, nonce and tag.
pub const SEAL_BYTES: usize = 2 + 3 + 12 + 16;
