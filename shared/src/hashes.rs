//! Hashes of several parts: with a secret, and without.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// HMAC-SHA-256 of `parts`, which run into each other: let the caller end each with what the next cannot begin with.
pub(crate) fn keyed_hash(secret: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC fills a shorter key up with zeros; a whole block is no error that somebody would have to handle.
    let mut block = [0; 64];
    block[..32].copy_from_slice(secret);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256 of `parts`. Each begins with whether it is there and how long it is: nothing is taken for the end of one
/// and the beginning of the next.
pub(crate) fn hash_of<'a>(parts: impl IntoIterator<Item = Option<&'a [u8]>>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update([u8::from(part.is_some())]);
        let part = part.unwrap_or_default();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // What Redis keeps is named and sealed by these: another value would lose it.
    #[test]
    fn hashes_are_those_of_the_standards() {
        let hex = |hash: [u8; 32]| hex::encode(hash);
        assert_eq!(
            hex(keyed_hash(b"0123456789abcdef0123456789abcdef", &[b"what ", b"is sealed"])),
            "72d0dfe80f775bab912433a386a3eacd52db2e13981165cdbe90cf6f20762a7c"
        );
        assert_eq!(
            hex(hash_of([Some(&b"a"[..]), None])),
            "a9915db5475595598704d20e0043714417a3164431c986c2b303b48d78ee33df"
        );
    }
}
