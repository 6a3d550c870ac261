//! The id of a subscription, by which the store and the nodes know it. It opens nothing: the ticket of a WebSocket
//! subscription is its [`EndpointId`](super::EndpointId).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{EndpointId, Topic};

/// 160 opaque bits. The first 16 name the partition, so that any node finds the subscription;
/// the other 144 are a hash, of a WebSocket endpoint's id or of a webhook's topic and callback (so
/// that subscribing again finds the same one, FC-SUB-04).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscriptionId([u8; 20]);

impl SubscriptionId {
    /// The id of a new subscription whose topic is in `partition`.
    pub fn random(partition: u16) -> Self {
        EndpointId::random(partition).subscription()
    }

    /// The id that begins like a hash.
    pub(super) fn of_hash(partition: u16, hash: &[u8]) -> Self {
        let mut bytes = [0; 20];
        for (byte, hashed) in bytes.iter_mut().zip(hash) {
            *byte = *hashed;
        }
        bytes[..2].copy_from_slice(&partition.to_be_bytes());
        Self(bytes)
    }

    /// The id of the webhook subscription of this topic and callback.
    pub fn of_callback(partition: u16, topic: &Topic, callback: &str) -> Self {
        Self::of_hash(partition, &topic.keyed_hash("callback", callback))
    }

    /// The partition that holds the subscription and its topic.
    pub fn partition(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

/// The text is no subscription id. It says no more: to the caller the endpoint is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a subscription id")]
pub struct NotAnId;

impl FromStr for SubscriptionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
        let id = Self(bytes);
        // One spelling an id: what was handed out is what opens.
        if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
    }
}

impl TryFrom<String> for SubscriptionId {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<SubscriptionId> for String {
    fn from(id: SubscriptionId) -> Self {
        id.to_string()
    }
}

/// The whole id, 40 hexadecimal digits: for keys, not for logs.
impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A prefix that identifies it in a log and opens nothing.
impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", hex::encode(&self.0[..6]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_names_its_partition() {
        let id = SubscriptionId::random(513);
        assert_eq!(id.to_string().parse::<SubscriptionId>().unwrap(), id);
        assert_eq!((id.partition(), id.to_string().len()), (513, 40), "FC-SUB-02");
        assert_ne!(id, SubscriptionId::random(513));
        for text in ["", "12", &id.to_string().to_uppercase(), &format!("{id}0"), &"z".repeat(40)] {
            assert!(text.parse::<SubscriptionId>().is_err(), "FC-WSC-02");
        }
    }

    #[test]
    fn a_callback_has_one_id_in_its_topic() {
        let topic = |name: &str| name.parse::<Topic>().unwrap();
        let id = |name, callback| SubscriptionId::of_callback(1, &topic(name), callback);
        assert_eq!(id("a", "https://x/"), id("a", "https://x/"), "FC-SUB-04");
        assert_ne!(id("a", "https://x/"), id("b", "https://x/"));
        assert_ne!(id("a", "https://x/"), id("a", "https://x/?q"));
    }
}
