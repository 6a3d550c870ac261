//! Signed tokens (RFC 7519; as access tokens: RFC 9068).
//!
//! Pure: keys and time are given. A token is read as far as its header, its signature is verified
//! over the bytes that came, and only then its claims are read. Rule: FC-SEC-01.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use shared::settings::Auth;

use super::{
    Identity, Refusal,
    claims::{Claims, Required, identity},
    keys::Keys,
};

/// `typ` in lower case, without `application/`; it may be absent.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    // Whatever it asks for, the hub does not have it.
    crit: Option<Box<RawValue>>,
}

/// The bearer of a token, if one of `keys` has signed it and its claims hold `now`, in seconds
/// since 1970.
pub fn verify(token: &str, keys: &Keys, settings: &Auth, now: u64) -> Result<Identity, Refusal> {
    let (message, signature) = token.rsplit_once('.').ok_or(Refusal::NotAJwt)?;
    let (header, payload) = message.split_once('.').ok_or(Refusal::NotAJwt)?;
    let header: Header = part(header)?;
    if header.crit.is_some() {
        return Err(Refusal::Critical);
    }
    if !header.typ.as_deref().is_none_or(is_access_token) {
        return Err(Refusal::Type);
    }
    let algorithm = asymmetric(&header.alg).ok_or(Refusal::Algorithm)?;
    let key = keys.find(header.kid.as_deref(), algorithm)?;
    match crypto::verify(signature, message.as_bytes(), key, algorithm) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Err(Refusal::Signature),
    }
    let claims: Claims = part(payload)?;
    identity(&claims, settings, Required::All, "", now)
}

fn part<T: DeserializeOwned>(base64: &str) -> Result<T, Refusal> {
    let json = URL_SAFE_NO_PAD.decode(base64).map_err(|_| Refusal::NotAJwt)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::NotAJwt)
}

fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
}

/// The algorithms that the hub takes: neither `none`, nor those with a shared secret.
fn asymmetric(alg: &str) -> Option<Algorithm> {
    Some(match alg {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
