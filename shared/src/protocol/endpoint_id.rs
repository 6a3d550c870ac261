//! The id in a WebSocket endpoint URL: the ticket to a subscription (FC-SUB-02, FC-WSC-02).
//!
//! Whoever has it is sent the session's events, so nobody keeps it but the subscriber: the store and the logs know the
//! subscription by a hash of it (FC-SEC-03).

use std::{fmt, str::FromStr};

use rand::Rng;
use sha2::{Digest, Sha256};

use super::{SubscriptionId, subscription_id::NotAnId};

/// 160 bits. The first 16 name the partition, so that any node finds the subscription; the others are random.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EndpointId([u8; 20]);

impl EndpointId {
    /// A new, unguessable id for a subscription whose topic is in `partition`.
    pub fn random(partition: u16) -> Self {
        let mut bytes = [0; 20];
        rand::rng().fill(&mut bytes);
        bytes[..2].copy_from_slice(&partition.to_be_bytes());
        Self(bytes)
    }

    /// The subscription that it opens.
    pub fn subscription(&self) -> SubscriptionId {
        let hash = Sha256::new().chain_update(b"fhircast endpoint 1\0").chain_update(self.0).finalize();
        SubscriptionId::of_hash(u16::from_be_bytes([self.0[0], self.0[1]]), &hash)
    }
}

impl FromStr for EndpointId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
        let id = Self(bytes);
        // One spelling an id: what was handed out is what opens.
        if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
    }
}

/// The whole id, 40 hexadecimal digits: for URLs, not for logs.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// As the subscription shows itself.
impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subscription().fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_opens_one_subscription_and_is_not_shown_by_it() {
        let endpoint = EndpointId::random(513);
        let (text, id) = (endpoint.to_string(), endpoint.subscription());
        assert_eq!((text.parse::<EndpointId>().unwrap(), text.len()), (endpoint, 40), "FC-SUB-02");
        assert_eq!((id.partition(), endpoint.subscription()), (513, id));
        assert_ne!(id, EndpointId::random(513).subscription());
        assert_ne!(id, id.to_string().parse::<EndpointId>().unwrap().subscription(), "FC-SEC-03: no ticket");
        assert!(!id.to_string().contains(&text[4..]) && !format!("{endpoint:?}").contains(&text[4..8]));
        for text in ["", "12", &text.to_uppercase(), &format!("{text}0"), &"z".repeat(40)] {
            assert!(text.parse::<EndpointId>().is_err(), "FC-WSC-02");
        }
    }
}
