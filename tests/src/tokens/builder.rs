//! One token, as it should be, but for what is changed in it.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{AUDIENCE, Key, authority::Opaque, base64url, now};
use crate::hygiene;

/// For which a token is good, unless it is told otherwise.
const LIFE_SECS: i64 = 3600;
/// What a token may do, unless it is told otherwise.
const SCOPES: &str = "fhircast/*.*";

enum Signature {
    Key,
    None,
    Hmac(Vec<u8>),
    Bytes(Vec<u8>),
}

/// A token in the making: by [`TokenAuthority::token`](super::TokenAuthority::token) or [`TokenBuilder::new`].
pub struct TokenBuilder {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    key: Key,
    signature: Signature,
    opaque: Option<Arc<Opaque>>,
}

impl TokenBuilder {
    /// A token of this issuer, good for an hour and for everything, signed with this key.
    pub fn new(issuer: &str, key: &Key) -> TokenBuilder {
        let claims = json!({
            "iss": issuer,
            "aud": AUDIENCE,
            "sub": "user-1",
            "client_id": "app-1",
            "scope": SCOPES,
            "jti": uuid::Uuid::new_v4().to_string(),
        });
        let (header, claims) = (Map::new(), claims.as_object().cloned().unwrap_or_default());
        let token =
            TokenBuilder { header, claims, key: key.clone(), signature: Signature::Key, opaque: None };
        let token = token.header("typ", "at+jwt").signed_by(key).claim("iat", now());
        token.expires_in(LIFE_SECS)
    }

    pub(super) fn known_to(mut self, opaque: Arc<Opaque>) -> Self {
        self.opaque = Some(opaque);
        self
    }

    /// With this member of the header; null takes it away.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        put(&mut self.header, name, value.into());
        self
    }

    /// With this claim; null takes it away.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        put(&mut self.claims, name, value.into());
        self
    }

    /// Without this claim.
    pub fn without(self, name: &str) -> Self {
        self.claim(name, Value::Null)
    }

    /// `iss`.
    pub fn issuer(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// `aud`: a text or an array.
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.claim("aud", audience)
    }

    /// `sub`: the user.
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// `client_id`: the app.
    pub fn client(self, client: &str) -> Self {
        self.claim("client_id", client)
    }

    /// `scope`: with spaces between them.
    pub fn scope(self, scopes: &str) -> Self {
        self.claim("scope", scopes)
    }

    /// `hub.topic`: for this topic alone.
    pub fn topic(self, topic: &str) -> Self {
        self.claim("hub.topic", topic)
    }

    /// `exp`: so many seconds from now, or ago.
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now().saturating_add_signed(seconds))
    }

    /// `nbf`: so many seconds from now, or ago.
    pub fn valid_in(self, seconds: i64) -> Self {
        self.claim("nbf", now().saturating_add_signed(seconds))
    }

    /// `kid`, whatever the key is.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Signed by another key, which the header names.
    pub fn signed_by(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self.signature = Signature::Key;
        self.header("alg", key.algorithm().name()).header("kid", key.kid())
    }

    /// Signed by another key than the one that the header names.
    pub fn forged_by(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// `alg: none`, and no signature.
    pub fn unsigned(mut self) -> Self {
        self.signature = Signature::None;
        self.header("alg", "none")
    }

    /// HS256 with this secret, such as a public key.
    pub fn hmac(mut self, secret: &[u8]) -> Self {
        self.signature = Signature::Hmac(secret.to_vec());
        self.header("alg", "HS256")
    }

    /// With these bytes for a signature.
    pub fn signature(mut self, bytes: &[u8]) -> Self {
        self.signature = Signature::Bytes(bytes.to_vec());
        self
    }

    /// The token, as a signed JWT.
    pub fn mint(&self) -> Result<String> {
        let [header, claims] = [&self.header, &self.claims].map(|part| json!(part).to_string());
        let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = match &self.signature {
            Signature::Key => self.key.sign(message.as_bytes())?,
            Signature::None => Vec::new(),
            Signature::Hmac(secret) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|error| anyhow!("{error}"))?;
                mac.update(message.as_bytes());
                mac.finalize().into_bytes().to_vec()
            }
            Signature::Bytes(bytes) => bytes.clone(),
        };
        let token = format!("{message}.{}", base64url(&signature));
        hygiene::forbid(&token);
        Ok(token)
    }

    /// The token as a random text, about which only the authority can be asked.
    pub fn opaque(&self) -> Result<String> {
        let opaque = self.opaque.as_ref().ok_or_else(|| anyhow!("this token has no authority"))?;
        let token = opaque.add(self.claims.clone());
        hygiene::forbid(&token);
        Ok(token)
    }
}

fn put(members: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}
