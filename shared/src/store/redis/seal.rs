//! The seal on what Redis keeps of messages and subscribers (FC-SEC-03): who reads Redis, its files or its traffic
//! learns from a sealed value how long it is, and no more.
//!
//! A sealed value is a version byte, the key's id with its length before it, a random nonce of 96 bits, the value
//! encrypted with AES-256-GCM, and the tag. The version byte occurs in no UTF-8, so text that was kept before there was
//! a key is told from it by its first byte, and is still read.
//!
//! - What encrypts is not the data key but a key made of it for one topic or one subscription, so that random nonces
//!   stay far from their limit (2³² for one key) however long a data key is used.
//! - A value is bound to its place (topic and field, subscription and field): put elsewhere it does not open. Entries
//!   of one log are bound to that log, not to their position, which is not known before they are in it.
//! - Whoever may *write* to Redis can remove values and bring old ones back in their place. Unsealed ones are taken
//!   where sealed ones are expected, as they must be while keys are turned on, unless `data_keys_required` is set.
//!   `fhircast_unopened_total` counts what is not taken.

use openssl::{
    error::ErrorStack,
    rand::rand_bytes,
    symm::{Cipher, decrypt_aead, encrypt_aead},
};

use crate::{
    hashes::keyed_hash,
    protocol::{SubscriptionId, TopicKey},
    settings::{DataKey, DataKeys},
    store::StoreError,
    telemetry::metrics::{METRICS, Unopened},
};

/// The first byte of a sealed value. Those from F8 to FF occur in no UTF-8.
const VERSION: u8 = 0xF8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A field of a topic's session.
    Session(TopicKey, &'a str),
    /// A field of a topic's content.
    Content(TopicKey, &'a str),
    /// A topic's log, and its bell.
    Log(TopicKey),
    /// The terms of a subscription.
    Record(SubscriptionId),
    /// The request to verify of a subscription.
    Request(SubscriptionId),
    /// What tells at the start whether the keys are the right ones.
    Mark,
}

impl Place<'_> {
    /// For whom a key is made.
    fn owner(&self) -> String {
        match self {
            Self::Session(topic, _) | Self::Content(topic, _) | Self::Log(topic) => format!("topic {topic}"),
            Self::Record(id) | Self::Request(id) => format!("subscription {id}"),
            Self::Mark => "mark".to_owned(),
        }
    }

    /// Where it is among what the owner has.
    fn within(&self) -> (&'static str, &str) {
        match self {
            Self::Session(_, field) => ("session", field),
            Self::Content(_, field) => ("content", field),
            Self::Log(_) => ("log", ""),
            Self::Record(_) => ("record", ""),
            Self::Request(_) => ("request", ""),
            Self::Mark => ("mark", ""),
        }
    }
}

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It needs a key that is not here.
    #[error("it is sealed with the key {0}, which is not one of data_keys")]
    NoSuchKey(String),
    /// It is not what was sealed, or not where it was put.
    #[error("it does not open with the key {0}: it or the key was changed, or it belongs elsewhere")]
    Tampered(String),
    /// It is neither text nor sealed.
    #[error("it is neither text nor sealed as this program knows it")]
    NotSealed,
    /// It is text, and should be sealed.
    #[error(
        "it is not sealed, as data_keys_required says it must be: run fhircast-hub reseal, or unset that"
    )]
    Unsealed,
}

impl NotOpened {
    /// How it is counted.
    fn reason(&self) -> Unopened {
        match self {
            Self::NoSuchKey(_) => Unopened::NoSuchKey,
            Self::Tampered(_) => Unopened::Tampered,
            Self::NotSealed => Unopened::Unknown,
            Self::Unsealed => Unopened::Unsealed,
        }
    }
}

/// Seals with the first key and opens with all.
#[derive(Debug, Clone, Default)]
pub struct Seal {
    keys: DataKeys,
}

impl Seal {
    /// A seal with these keys.
    pub fn new(keys: DataKeys) -> Self {
        Self { keys }
    }

    /// The id of the key that seals; `None`: nothing is sealed.
    pub fn sealing(&self) -> Option<&str> {
        self.keys.sealing().map(|key| key.id().as_str())
    }

    /// The value as Redis is to keep it: sealed, if there is a key for it.
    pub fn seal(&self, place: Place<'_>, text: &str) -> Result<Vec<u8>, StoreError> {
        let Some(key) = self.keys.sealing() else { return Ok(text.as_bytes().to_vec()) };
        let mut nonce = [0; NONCE_BYTES];
        let sealed = rand_bytes(&mut nonce).and_then(|()| seal(key, place, nonce, text.as_bytes()));
        // Nothing has been asked of Redis yet.
        sealed.map_err(|error| StoreError::Unavailable(format!("a value cannot be sealed: {error}")))
    }

    /// The value of a place where all are sealed, as it was before. One that is not sealed is taken as it is, unless
    /// that is not to be.
    pub fn open(&self, place: Place<'_>, value: Vec<u8>) -> Result<String, NotOpened> {
        self.open_if(place, value, |_| true)
    }

    /// The value of a place where some are sealed and `is_sealed` says of a text whether it is one of them.
    pub fn open_if(
        &self,
        place: Place<'_>,
        value: Vec<u8>,
        is_sealed: impl FnOnce(&str) -> bool,
    ) -> Result<String, NotOpened> {
        let was_sealed = matches!(key_id(&value), Ok(Some(_)));
        let read = self.read(place, value).and_then(|text| {
            let is_taken = was_sealed || !self.keys.are_required() || !is_sealed(&text);
            if is_taken { Ok(text) } else { Err(NotOpened::Unsealed) }
        });
        read.inspect_err(|problem| METRICS.unopened.with(problem.reason()).inc())
    }

    /// The value as it was before it was sealed, if it was: for who is about to seal it.
    pub fn read(&self, place: Place<'_>, value: Vec<u8>) -> Result<String, NotOpened> {
        let Some(Sealed { id, header, nonce, body, tag }) = Sealed::read(&value)? else {
            return String::from_utf8(value).map_err(|_| NotOpened::NotSealed);
        };
        let key = self.keys.opening().iter().find(|key| key.id().as_str() == id);
        let key = key.ok_or_else(|| NotOpened::NoSuchKey(id.to_owned()))?;
        let secret = key_for(key, place);
        let bound = bound_to(header, place);
        let opened = decrypt_aead(Cipher::aes_256_gcm(), &secret, Some(nonce), &bound, body, tag);
        let opened = opened.map_err(|_| NotOpened::Tampered(id.to_owned()))?;
        String::from_utf8(opened).map_err(|_| NotOpened::NotSealed)
    }
}

/// The id of the key that a value is sealed with; `None`: it is not sealed.
pub fn key_id(value: &[u8]) -> Result<Option<&str>, NotOpened> {
    Ok(Sealed::read(value)?.map(|sealed| sealed.id))
}

/// The parts of a sealed value.
struct Sealed<'v> {
    id: &'v str,
    /// Version and id.
    header: &'v [u8],
    nonce: &'v [u8],
    body: &'v [u8],
    tag: &'v [u8],
}

impl<'v> Sealed<'v> {
    fn read(value: &'v [u8]) -> Result<Option<Self>, NotOpened> {
        match value.first() {
            Some(&VERSION) => Self::parts(value).map(Some).ok_or(NotOpened::NotSealed),
            Some(newer) if *newer > VERSION => Err(NotOpened::NotSealed),
            _ => Ok(None),
        }
    }

    fn parts(value: &'v [u8]) -> Option<Self> {
        let (header, rest) = value.split_at_checked(2 + usize::from(*value.get(1)?))?;
        let id = std::str::from_utf8(&header[2..]).ok()?;
        let (nonce, rest) = rest.split_at_checked(NONCE_BYTES)?;
        let (body, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        Some(Self { id, header, nonce, body, tag })
    }
}

fn seal(
    key: &DataKey,
    place: Place<'_>,
    nonce: [u8; NONCE_BYTES],
    text: &[u8],
) -> Result<Vec<u8>, ErrorStack> {
    let id = key.id().as_str();
    let mut sealed = Vec::with_capacity(2 + id.len() + NONCE_BYTES + text.len() + TAG_BYTES);
    // An id has 16 bytes at most.
    sealed.extend([VERSION, id.len() as u8]);
    sealed.extend(id.as_bytes());
    let bound = bound_to(&sealed, place);
    let mut tag = [0; TAG_BYTES];
    let body =
        encrypt_aead(Cipher::aes_256_gcm(), &key_for(key, place), Some(&nonce), &bound, text, &mut tag)?;
    sealed.extend(nonce);
    sealed.extend(body);
    sealed.extend(tag);
    Ok(sealed)
}

/// The key that encrypts what one owner has.
fn key_for(key: &DataKey, place: Place<'_>) -> [u8; 32] {
    keyed_hash(key.expose(), &[b"fhircast data key 1\0", place.owner().as_bytes()])
}

/// What a sealed value is bound to besides its owner.
fn bound_to(header: &[u8], place: Place<'_>) -> Vec<u8> {
    let (kind, field) = place.within();
    [header, kind.as_bytes(), b"\0", field.as_bytes()].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "key-2:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

    fn keys(elements: &[&str]) -> Seal {
        Seal::new(DataKeys::parse(elements.iter().copied()).unwrap())
    }

    fn topic(name: &str) -> TopicKey {
        name.parse::<crate::protocol::Topic>().unwrap().key()
    }

    fn places<'a>() -> Vec<Place<'a>> {
        let subscriptions = [SubscriptionId::random(1), SubscriptionId::random(1)];
        let of_topic = |topic| {
            let fields = ["open:1", "open:2", ""]
                .map(|field| [Place::Session(topic, field), Place::Content(topic, field)]);
            fields.into_iter().flatten().chain([Place::Log(topic)])
        };
        let topics = [topic("a"), topic("b")].into_iter().flat_map(of_topic);
        let records = subscriptions.into_iter().flat_map(|id| [Place::Record(id), Place::Request(id)]);
        topics.chain(records).chain([Place::Mark]).collect()
    }

    /// Made with another implementation (Python's hmac, and AESGCM of its cryptography package).
    #[test]
    fn the_form_is_the_one_that_is_written_down() {
        let (seal, place) = (keys(&[A]), Place::Session(topic("foo"), "open:1"));
        let known = "f8026b316465666768696a6b6c6d6e6ff41086738f5c8b79e2aa7d652ff7a43113fc85788ebfad";
        let known = hex::decode(known).unwrap();
        let nonce = std::array::from_fn(|at| 100 + at as u8);
        assert_eq!(super::seal(&seal.keys.opening()[0], place, nonce, br#"{"v":1}"#).unwrap(), known);
        assert_eq!(seal.open(place, known).unwrap(), r#"{"v":1}"#);
    }

    #[test]
    fn a_value_opens_in_its_own_place_alone() {
        let (seal, places) = (keys(&[A]), places());
        for (at, place) in places.iter().enumerate() {
            let sealed = seal.seal(*place, "text").unwrap();
            for (other, elsewhere) in places.iter().enumerate() {
                let opened = seal.open(*elsewhere, sealed.clone());
                assert_eq!(opened.is_ok(), at == other, "FC-SEC-03: of {place:?} in {elsewhere:?}");
            }
        }
    }

    #[test]
    fn all_keys_open_and_the_first_one_seals() {
        let (first, turned, new) = (keys(&[A]), keys(&[B, A]), keys(&[B]));
        let old = first.seal(Place::Mark, "text").unwrap();
        assert_eq!(turned.open(Place::Mark, old.clone()).unwrap(), "text");
        let resealed = turned.seal(Place::Mark, "text").unwrap();
        assert_eq!((key_id(&old), key_id(&resealed)), (Ok(Some("k1")), Ok(Some("key-2"))));
        assert_eq!(new.open(Place::Mark, resealed).unwrap(), "text");
        let refused = new.open(Place::Mark, old).unwrap_err();
        assert_eq!(refused, NotOpened::NoSuchKey("k1".into()));
        assert_eq!(refused.to_string(), "it is sealed with the key k1, which is not one of data_keys");
    }

    #[test]
    fn a_form_that_is_newer_is_not_taken_for_text() {
        let mut newer = keys(&[A]).seal(Place::Mark, "text").unwrap();
        newer[0] = VERSION + 1;
        assert_eq!(key_id(&newer), Err(NotOpened::NotSealed));
        assert_eq!(keys(&[A]).open(Place::Mark, newer), Err(NotOpened::NotSealed));
    }

    #[test]
    fn the_wrong_key_under_the_right_id_opens_nothing() {
        let sealed = keys(&[A]).seal(Place::Mark, "text").unwrap();
        let wrong = keys(&[&format!("k1:{}", B.split_once(':').unwrap().1)]);
        assert_eq!(wrong.open(Place::Mark, sealed), Err(NotOpened::Tampered("k1".into())));
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_nothing_opens() {
        for seal in [Seal::default(), keys(&["unsealed", A])] {
            assert_eq!(seal.seal(Place::Mark, "text").unwrap(), b"text");
            assert_eq!(seal.sealing(), None);
        }
        let sealed = keys(&[A]).seal(Place::Mark, "text").unwrap();
        assert_eq!(keys(&["unsealed", A]).open(Place::Mark, sealed.clone()).unwrap(), "text");
        assert_eq!(Seal::default().open(Place::Mark, sealed), Err(NotOpened::NoSuchKey("k1".into())));
    }

    #[test]
    fn what_must_be_sealed_is_not_taken_unsealed_and_what_need_not_be_is() {
        let strict =
            |elements: &[&str]| Seal::new(DataKeys::parse(elements.iter().copied()).unwrap().required(true));
        let (lenient, seal) = (keys(&[A]), strict(&[A]));
        let text = || b"text".to_vec();
        assert_eq!(lenient.open(Place::Mark, text()).unwrap(), "text");
        let refused = seal.open(Place::Mark, text()).unwrap_err();
        assert_eq!(refused, NotOpened::Unsealed, "FC-SEC-03");
        assert!(refused.to_string().contains("data_keys_required"), "{refused}");
        assert_eq!(seal.open_if(Place::Mark, text(), |text| text != "text").unwrap(), "text");
        assert_eq!(seal.open_if(Place::Mark, text(), |text| text == "text"), Err(NotOpened::Unsealed));
        assert_eq!(seal.read(Place::Mark, text()).unwrap(), "text", "it can be sealed anew");
        let sealed = lenient.seal(Place::Mark, "text").unwrap();
        assert_eq!(seal.open(Place::Mark, sealed.clone()).unwrap(), "text");
        assert_eq!(seal.open_if(Place::Mark, sealed, |_| true).unwrap(), "text");
    }

    #[test]
    fn the_same_text_is_sealed_differently_each_time() {
        let seal = keys(&[A]);
        let sealed: std::collections::HashSet<_> =
            (0..1000).map(|_| seal.seal(Place::Mark, "t").unwrap()).collect();
        assert_eq!(sealed.len(), 1000, "FC-SEC-03: a nonce is used once");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(text in ".*") {
            let seal = keys(&[B, A]);
            let sealed = seal.seal(Place::Mark, &text).unwrap();
            prop_assert_eq!(key_id(&sealed), Ok(Some("key-2")));
            prop_assert_eq!(sealed.len(), text.len() + 2 + 5 + NONCE_BYTES + TAG_BYTES);
            prop_assert_eq!(seal.open(Place::Mark, sealed).unwrap(), text);
        }

        #[test]
        fn text_of_before_there_was_a_key_is_read_as_it_is(text in ".*") {
            let value = text.clone().into_bytes();
            prop_assert_eq!(key_id(&value), Ok(None));
            prop_assert_eq!(keys(&[A]).open(Place::Mark, value).unwrap(), text);
        }

        #[test]
        fn no_changed_byte_goes_unnoticed(text in ".{0,40}", at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let seal = keys(&[A]);
            let mut sealed = seal.seal(Place::Mark, &text).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            let opened = seal.open(Place::Mark, sealed);
            // A version byte that has become one of text is no sealed value any more, and no text either.
            prop_assert!(opened.is_err(), "FC-SEC-03: byte {}", at);
        }

        #[test]
        fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..80), is_sealed in any::<bool>()) {
            let value = if is_sealed { [&[VERSION][..], &value].concat() } else { value };
            let opened = keys(&[A]).open(Place::Mark, value.clone());
            prop_assert!(!is_sealed || opened.is_err());
            let _ = key_id(&value);
        }
    }
}
