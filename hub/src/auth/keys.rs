//! The keys of an authorization server, as its JWKS names them (RFC 7517).
//!
//! Which algorithms a key verifies is decided by the key: by its type, its curve and its own `alg`.
//! What a token says of its algorithm only chooses among those. Keys that are for something else
//! than signatures, that are symmetric, weak or of an unknown kind are passed over.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

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
    /// None of them verifies a signature.
    #[error("none of its {0} keys is one that verifies signatures")]
    NoneFits(usize),
}

impl Keys {
    /// Reads a JWKS. A set without a single usable key is none.
    pub fn read(document: &[u8]) -> Result<Self, NoKeys> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let Document { keys } =
            serde_json::from_slice(document).map_err(|problem| NoKeys::NotAJwks(problem.to_string()))?;
        let count = keys.len();
        if count > MAX_KEYS {
            return Err(NoKeys::TooMany(count));
        }
        let keys: Vec<Key> = keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(NoKeys::NoneFits(count)) } else { Ok(Self(keys)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
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

/// Bytes of a number in base64url, without leading zeros.
fn length(base64: &str) -> Option<usize> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let bytes = URL_SAFE_NO_PAD.decode(base64).ok()?;
    Some(bytes.len())
}
