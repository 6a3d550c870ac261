//! The webhook channel's requests, as far as they are text: intent verification, denial, and the
//! signature of a notification (FC-WHK-02, FC-WHK-03, FC-WHK-05).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;

use super::{
    EventFilter, Topic,
    subscription_request::{Callback, Secret},
};

/// The header that carries [`signature`].
pub const SIGNATURE_HEADER: &str = "X-Hub-Signature";

/// What the subscriber is asked to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// That it wants the subscription.
    Subscribe,
    /// That it wants the subscription to end.
    Unsubscribe,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// The URL that verifies the subscriber's intent; its own query stays in front.
pub fn verification_url(
    callback: &Callback,
    mode: Mode,
    topic: &Topic,
    events: &EventFilter,
    challenge: &str,
    lease_secs: u64,
) -> Url {
    with_query(
        callback,
        &[
            ("hub.mode", mode.as_str()),
            ("hub.topic", topic.as_str()),
            ("hub.events", &events.to_string()),
            ("hub.challenge", challenge),
            ("hub.lease_seconds", &lease_secs.to_string()),
        ],
    )
}

/// The URL that tells the subscriber that its subscription is denied or has ended.
pub fn denial_url(callback: &Callback, topic: &Topic, events: &EventFilter, reason: &str) -> Url {
    with_query(
        callback,
        &[
            ("hub.mode", "denied"),
            ("hub.topic", topic.as_str()),
            ("hub.events", &events.to_string()),
            ("hub.reason", reason),
        ],
    )
}

fn with_query(callback: &Callback, parameters: &[(&str, &str)]) -> Url {
    let mut url = callback.url().clone();
    url.query_pairs_mut().extend_pairs(parameters);
    url
}

/// `sha256=` and the HMAC-SHA-256 of the exact body, in hexadecimal.
pub fn signature(secret: &Secret, body: &[u8]) -> String {
    // An HMAC takes a key of any length; the constructor's error cannot occur.
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mac) => format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes())),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn callback(url: &str) -> Callback {
        serde_json::from_value(url.into()).unwrap()
    }

    #[test]
    fn a_verification_keeps_the_callbacks_query_and_adds_its_own() {
        let url = verification_url(
            &callback("https://app.example/cb?session=7"),
            Mode::Subscribe,
            &"a topic".parse().unwrap(),
            &EventFilter::parse("Patient-open,*-select", 9).unwrap(),
            "c4",
            3600,
        );
        assert_eq!(
            url.as_str(),
            "https://app.example/cb?session=7&hub.mode=subscribe&hub.topic=a+topic&hub.events=Patient-open%2C*-select&hub.challenge=c4&hub.lease_seconds=3600",
            "FC-WHK-02"
        );
    }

    #[test]
    fn a_denial_says_why() {
        let url = denial_url(
            &callback("https://app.example/cb"),
            &"t".parse().unwrap(),
            &EventFilter::parse("*", 9).unwrap(),
            "lease expired",
        );
        assert_eq!(
            url.query().unwrap(),
            "hub.mode=denied&hub.topic=t&hub.events=*&hub.reason=lease+expired",
            "FC-WHK-05"
        );
    }

    #[test]
    fn the_signature_is_the_hmac_sha_256_of_the_body() {
        // RFC 4231, test case 2.
        let secret: Secret = serde_json::from_value("Jefe".into()).unwrap();
        assert_eq!(
            signature(&secret, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "FC-WHK-03"
        );
    }
}
