//! The topic: the name of one session, and the ticket to it.
//!
//! A topic is opaque and case sensitive (FC-SES-01). Whoever knows it may be let in, so it is
//! neither logged nor used as a key in the store: both use [`TopicKey`], its hash.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Invalid;
use crate::hashes::keyed_hash;

/// The longest topic, in bytes (FC-SES-01).
pub const MAX_TOPIC_BYTES: usize = 256;

/// Path segments below `hub.url` that the hub itself answers, and which no topic may be named.
pub const RESERVED_NAMES: [&str; 3] = ["metadata", ".well-known", "ws"];

/// One session's `hub.topic`: 1 to 256 bytes of printable characters.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic {
    name: String,
    key: TopicKey,
}

impl Topic {
    /// The topic as the subscribers know it.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// A name for something within this topic that the store may see: the same each time, and nobody learns from it
    /// what it stands for who does not know the topic.
    pub fn opaque(&self, kind: &str, name: &str) -> String {
        hex::encode(&self.keyed_hash(kind, name)[..16])
    }

    /// A hash that is made with a secret of the topic, which is not its [`key`](Self::key) nor can be made of it.
    pub(super) fn keyed_hash(&self, kind: &str, name: &str) -> [u8; 32] {
        let secret = Sha256::new().chain_update(b"fhircast names 1\0").chain_update(&self.name).finalize();
        keyed_hash(&secret.into(), &[kind.as_bytes(), b"\0", name.as_bytes()])
    }

    /// What stands for this topic in the store and in logs.
    pub fn key(&self) -> TopicKey {
        self.key
    }
}

impl FromStr for Topic {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let problem = if name.is_empty() {
            "must not be empty"
        } else if name.len() > MAX_TOPIC_BYTES {
            "must not be longer than 256 bytes"
        } else if !name.chars().all(is_printable) {
            "must hold printable characters only"
        } else if RESERVED_NAMES.contains(&name) {
            "must not be a name that the hub's own paths use (metadata, .well-known, ws)"
        } else {
            return Ok(Self { name: name.to_owned(), key: TopicKey::of(name) });
        };
        Err(Invalid::value("hub.topic", problem))
    }
}

fn is_printable(c: char) -> bool {
    c == ' ' || !(c.is_control() || c.is_whitespace())
}

impl TryFrom<String> for Topic {
    type Error = Invalid;
    fn try_from(name: String) -> Result<Self, Invalid> {
        name.parse()
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.name
    }
}

/// Shows the hash: a topic in a log would be a ticket in a log.
impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.key)
    }
}

/// The SHA-256 of a topic, cut to 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicKey([u8; 16]);

impl TopicKey {
    fn of(name: &str) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
        Self(key)
    }

    /// The partition that holds everything of this topic, in `0..partitions`.
    pub fn partition(&self, partitions: u16) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) % partitions
    }

    /// The 16 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The text is not the key of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the key of a topic")]
pub struct NotAKey;

impl FromStr for TopicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut key = [0; 16];
        hex::decode_to_slice(text, &mut key).map_err(|_| NotAKey)?;
        Ok(Self(key))
    }
}

/// All 32 hexadecimal digits, as in the store's keys.
impl fmt::Display for TopicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The first 8 digits: enough to follow a topic through the logs.
impl fmt::Debug for TopicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_printable_topic_up_to_256_bytes_is_accepted() {
        for name in ["a", "fdb2f928-5546-4f52-87a0-0648e9ded065", "Größe/ü b?", &"x".repeat(256)] {
            assert_eq!(name.parse::<Topic>().unwrap().as_str(), name, "FC-SES-01");
        }
    }

    #[test]
    fn a_topic_that_is_empty_too_long_unprintable_or_reserved_is_refused() {
        for name in ["", &"x".repeat(257), "a\nb", "a\u{7f}", "tab\there", "metadata", ".well-known", "ws"] {
            let refused = name.parse::<Topic>().unwrap_err().to_string();
            assert!(refused.starts_with("hub.topic must"), "FC-SES-01: {refused}");
        }
    }

    #[test]
    fn an_opaque_name_is_of_its_topic_and_kind_and_stays_the_same() {
        let (a, b): (Topic, Topic) = ("a".parse().unwrap(), "b".parse().unwrap());
        let name = a.opaque("resource", "Patient/1");
        // Made with Python: the names of content that is there must not change.
        assert_eq!(name, "c842836093e53710c40bd3f491c54066");
        let others = [
            b.opaque("resource", "Patient/1"),
            a.opaque("url", "Patient/1"),
            a.opaque("resource", "Patient/2"),
            a.opaque("resourceP", "atient/1"),
        ];
        assert!(!others.contains(&name), "FC-SEC-03: {others:?}");
    }

    #[test]
    fn topics_are_case_sensitive_and_their_debug_form_hides_them() {
        let (lower, upper): (Topic, Topic) = ("abc".parse().unwrap(), "ABC".parse().unwrap());
        assert_ne!(lower.key(), upper.key());
        assert!(!format!("{lower:?}").contains("abc"));
    }
}
