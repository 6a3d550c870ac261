//! The keys of an authorization server, as its JWKS names them (RFC 7517).
//!
//! Which algorithms a key verifies is decided by the key: by its type, its curve and its own `alg`.
//! What a token says of its algorithm only chooses among those. Keys that are for something else
//! than signatures, that are symmetric, weak or of an unknown kind are passed over.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use shared::protocol::json::problem;

use super::Refusal;

/// Keys of a set that are looked at; more are no set of a sane server.
const MAX_KEYS: usize = 100;
/// Bytes of the modulus of an RSA key: 2048 bits.
const MIN_RSA_BYTES: usize = 256;

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys with which tokens may be signed.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why a document is not taken for a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    /// It is not JSON with the member `keys`.
    #[error("it is not a JWKS: {0}")]
    NotAJwks(String),
    /// There are more than [`MAX_KEYS`].
    #[error("it holds {0} keys, which is more than {MAX_KEYS}")]
    TooMany(usize),
}

impl Keys {
    /// Reads a JWKS. One without a single usable key is a set as well, with which no token is signed: what an
    /// authorization server does not show any more it has withdrawn.
    pub fn read(document: &[u8]) -> Result<Self, NoKeys> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|error| NoKeys::NotAJwks(problem(&error)))?;
        let count = keys.len();
        if count > MAX_KEYS {
            return Err(NoKeys::TooMany(count));
        }
        Ok(Self(keys.into_iter().filter_map(Key::read).collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with which such a token must be signed. A token that names none is taken where only
    /// one can be meant.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, Refusal> {
        let named = || self.0.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = named().filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.key),
            (Some(_), Some(_)) => Err(Refusal::AmbiguousKey),
            (None, _) if named().next().is_some() => Err(Refusal::Algorithm),
            (None, _) => Err(Refusal::UnknownKey),
        }
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let is_for_signatures = match &jwk.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
        };
        let verifies = jwk
            .common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return None;
        }
        let own: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if length(&rsa.n)? >= MIN_RSA_BYTES => RSA,
            AlgorithmParameters::EllipticCurve(ec) => {
                let (bytes, algorithms): (usize, &[Algorithm]) = match ec.curve {
                    EllipticCurve::P256 => (32, &[Algorithm::ES256]),
                    EllipticCurve::P384 => (48, &[Algorithm::ES384]),
                    _ => return None,
                };
                let is_whole = length(&ec.x)? == bytes && length(&ec.y)? == bytes;
                if is_whole { algorithms } else { return None }
            }
            AlgorithmParameters::OctetKeyPair(pair)
                if pair.curve == EllipticCurve::Ed25519 && length(&pair.x)? == 32 =>
            {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let algorithms: Vec<Algorithm> = match jwk.common.key_algorithm {
            None => own.to_vec(),
            Some(only) => own.iter().copied().filter(|&algorithm| only == algorithm.into()).collect(),
        };
        if algorithms.is_empty() {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { kid: jwk.common.key_id, algorithms, key })
    }
}

/// Bytes of what is written in base64url.
fn length(base64: &str) -> Option<usize> {
    Some(URL_SAFE_NO_PAD.decode(base64).ok()?.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(count: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xA5; count])
    }

    fn rsa(kid: &str) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": bytes(256), "e": "AQAB"})
    }

    fn ec(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": bytes(32), "y": bytes(32)})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn read(keys: &[Value]) -> Result<Keys, NoKeys> {
        Keys::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn found(keys: &Keys, kid: Option<&str>, algorithm: Algorithm) -> Result<(), Refusal> {
        keys.find(kid, algorithm).map(|_| ())
    }

    #[test]
    fn a_key_is_found_by_its_name_and_used_for_its_own_algorithms_alone() {
        let keys = read(&[rsa("r"), ec("e"), with(rsa("r384"), "alg", json!("RS384"))]).unwrap();
        assert_eq!(found(&keys, Some("r"), Algorithm::RS256), Ok(()));
        assert_eq!(found(&keys, Some("r"), Algorithm::PS384), Ok(()));
        assert_eq!(found(&keys, Some("e"), Algorithm::ES256), Ok(()));
        assert_eq!(found(&keys, Some("r384"), Algorithm::RS384), Ok(()));
        for (kid, algorithm) in [
            ("r", Algorithm::ES256),
            ("e", Algorithm::ES384),
            ("e", Algorithm::EdDSA),
            ("e", Algorithm::RS256),
            ("r384", Algorithm::RS256),
        ] {
            assert_eq!(found(&keys, Some(kid), algorithm), Err(Refusal::Algorithm), "FC-SEC-01: {kid}");
        }
        assert_eq!(found(&keys, Some("R"), Algorithm::RS256), Err(Refusal::UnknownKey), "FC-SEC-01");
    }

    #[test]
    fn a_token_without_a_kid_is_taken_where_one_key_alone_can_be_meant() {
        let keys = read(&[rsa("r"), ec("e"), ec("f")]).unwrap();
        assert_eq!(found(&keys, None, Algorithm::RS256), Ok(()));
        assert_eq!(found(&keys, None, Algorithm::ES256), Err(Refusal::AmbiguousKey));
        assert_eq!(found(&keys, None, Algorithm::EdDSA), Err(Refusal::Algorithm));
        let twins = read(&[rsa("k"), with(rsa("k"), "n", json!(bytes(257))), ec("k")]).unwrap();
        assert_eq!(found(&twins, Some("k"), Algorithm::RS256), Err(Refusal::AmbiguousKey));
        assert_eq!(found(&twins, Some("k"), Algorithm::ES256), Ok(()), "RFC 7517: by its type");
    }

    #[test]
    fn keys_that_are_not_for_signatures_or_weak_are_passed_over() {
        for bad in [
            with(rsa("x"), "use", json!("enc")),
            with(rsa("x"), "key_ops", json!(["encrypt"])),
            with(rsa("x"), "alg", json!("RSA-OAEP")),
            with(rsa("x"), "alg", json!("HS256")),
            with(rsa("x"), "alg", json!("ES256")),
            with(rsa("x"), "n", json!(bytes(255))),
            with(rsa("x"), "n", json!("not base64!")),
            with(ec("x"), "crv", json!("P-521")),
            with(ec("x"), "x", json!(bytes(31))),
            json!({"kty": "oct", "kid": "x", "k": bytes(32)}),
            json!({"kty": "oct", "kid": "x", "alg": "RS256", "k": bytes(32)}),
            json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": bytes(32)}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": bytes(31)}),
            json!({"kty": "new", "kid": "x"}),
            json!("x"),
        ] {
            assert!(read(std::slice::from_ref(&bad)).unwrap().is_empty(), "FC-SEC-01: {bad}");
            let keys = read(&[bad.clone(), ec("e")]).unwrap();
            assert_eq!(keys.count(), 1, "FC-SEC-01: the others are used: {bad}");
        }
    }

    #[test]
    fn a_set_without_keys_is_one_that_no_token_is_signed_with() {
        let keys = read(&[]).unwrap();
        assert!(keys.is_empty());
        for kid in [None, Some("e")] {
            assert_eq!(found(&keys, kid, Algorithm::ES256), Err(Refusal::UnknownKey), "FC-SEC-01");
        }
    }

    #[test]
    fn what_is_no_set_of_keys_is_not_taken_for_one() {
        for document in ["", "{}", "[]", "null", "{\"keys\": {}}", "<html>"] {
            let refused = Keys::read(document.as_bytes()).unwrap_err();
            assert!(matches!(refused, NoKeys::NotAJwks(_)), "{document}: {refused}");
        }
        assert_eq!(read(&vec![ec("e"); 101]).unwrap_err(), NoKeys::TooMany(101));
    }
}
