//! Keys that sign tokens, and how a JWKS shows them.

use anyhow::{Context, Result};
use openssl::{
    bn::{BigNum, BigNumContext},
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::{MessageDigest, hash},
    nid::Nid,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer},
};
use serde_json::{Value, json};

use super::base64url;

/// What a key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS#1, SHA-256.
    Rs256,
    /// RSA, PKCS#1, SHA-384.
    Rs384,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// P-256.
    Es256,
    /// P-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All.
    pub const ALL: [Algorithm; 6] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// As `alg` names it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Ps256 => "PS256",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The curve and the bytes of one of its numbers.
    fn curve(self) -> (Nid, &'static str, i32) {
        match self {
            Algorithm::Es384 => (Nid::SECP384R1, "P-384", 48),
            _ => (Nid::X9_62_PRIME256V1, "P-256", 32),
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Algorithm::Rs384 | Algorithm::Es384 => MessageDigest::sha384(),
            _ => MessageDigest::sha256(),
        }
    }
}

/// A key pair.
#[derive(Clone)]
pub struct Key {
    kid: String,
    algorithm: Algorithm,
    pair: PKey<Private>,
}

impl Key {
    /// Makes a new one.
    pub fn generate(kid: &str, algorithm: Algorithm) -> Result<Key> {
        let pair = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Ps256 => PKey::from_rsa(Rsa::generate(2048)?)?,
            Algorithm::Es256 | Algorithm::Es384 => {
                let group = EcGroup::from_curve_name(algorithm.curve().0)?;
                PKey::from_ec_key(EcKey::generate(&group)?)?
            }
            Algorithm::EdDsa => PKey::generate_ed25519()?,
        };
        Ok(Key { kid: kid.to_owned(), algorithm, pair })
    }

    /// One that [`Key::to_pem`] has written.
    pub fn from_pem(kid: &str, algorithm: Algorithm, pem: &[u8]) -> Result<Key> {
        let pair = PKey::private_key_from_pem(pem).context("the key cannot be read")?;
        Ok(Key { kid: kid.to_owned(), algorithm, pair })
    }

    /// The private key, as PKCS#8.
    pub fn to_pem(&self) -> Result<Vec<u8>> {
        Ok(self.pair.private_key_to_pem_pkcs8()?)
    }

    /// The public key as PEM: what a forger might take for a secret.
    pub fn public_pem(&self) -> Result<Vec<u8>> {
        Ok(self.pair.public_key_to_pem()?)
    }

    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The same key by another name.
    pub fn named(&self, kid: &str) -> Key {
        Key { kid: kid.to_owned(), ..self.clone() }
    }

    /// What it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Result<Value> {
        let mut jwk = match self.algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Ps256 => {
                let rsa = self.pair.rsa()?;
                json!({"kty": "RSA", "n": base64url(&rsa.n().to_vec()), "e": base64url(&rsa.e().to_vec())})
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                let (_, name, bytes) = self.algorithm.curve();
                let key = self.pair.ec_key()?;
                let (mut x, mut y, mut context) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
                key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
                let [x, y] = [x.to_vec_padded(bytes)?, y.to_vec_padded(bytes)?];
                json!({"kty": "EC", "crv": name, "x": base64url(&x), "y": base64url(&y)})
            }
            Algorithm::EdDsa => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(&self.pair.raw_public_key()?)})
            }
        };
        jwk["kid"] = self.kid.as_str().into();
        jwk["alg"] = self.algorithm.name().into();
        jwk["use"] = "sig".into();
        Ok(jwk)
    }

    /// The signature of a message, as a JWT holds it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let digest = self.algorithm.digest();
        match self.algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 => {
                Ok(Signer::new(digest, &self.pair)?.sign_oneshot_to_vec(message)?)
            }
            Algorithm::Ps256 => {
                let mut signer = Signer::new(digest, &self.pair)?;
                signer.set_rsa_padding(Padding::PKCS1_PSS)?;
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                Ok(signer.sign_oneshot_to_vec(message)?)
            }
            Algorithm::Es256 | Algorithm::Es384 => {
                let bytes = self.algorithm.curve().2;
                let hashed = hash(digest, message)?;
                let signature = EcdsaSig::sign(&hashed, self.pair.ec_key()?.as_ref())?;
                Ok([signature.r().to_vec_padded(bytes)?, signature.s().to_vec_padded(bytes)?].concat())
            }
            Algorithm::EdDsa => Ok(Signer::new_without_digest(&self.pair)?.sign_oneshot_to_vec(message)?),
        }
    }
}
