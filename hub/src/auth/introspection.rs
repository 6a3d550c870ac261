//! Tokens about which the authorization server is asked (RFC 7662).
//!
//! What it says is gone by for `auth.introspection_cache_secs`, and never beyond the token's end: for
//! so long a token that was revoked may still be taken. A refusal is remembered for two seconds at
//! most. However many requests bring a token that is not remembered, it is asked once. Tokens are
//! remembered by their SHA-256. When nobody answers nobody is let in: 503.
//!
//! Issuer and audience must be what is set, if they are set; a server that does not say them wants
//! them unset. Only bearer tokens are believed. Rule: FC-SEC-01.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::{
    protocol::json::problem,
    settings::{Auth, Password},
    telemetry::metrics::METRICS,
};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::{
    Identity, Refusal,
    claims::{Claims, Required, identity, unambiguous},
    server::{AuthorizationServer, Question},
};

/// For how long a refusal is remembered at most.
const MAX_REFUSAL: Duration = Duration::from_secs(2);

type TokenHash = [u8; 32];

/// What was said of a token.
#[derive(Clone)]
struct Known {
    said: Result<Arc<Identity>, Refusal>,
    until: Instant,
}

impl Known {
    fn is_over(&self) -> bool {
        self.until <= Instant::now()
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Why nothing is known of a token.
#[derive(Debug)]
pub struct Unanswered;

/// Asks the authorization server.
pub struct Introspection {
    server: AuthorizationServer,
    url: Url,
    authorization: String,
    known: Cache<TokenHash, Known>,
    cache: Duration,
    patience: Duration,
}

impl Introspection {
    /// As `client_id`, at `url`.
    pub fn new(
        settings: &Auth,
        server: AuthorizationServer,
        url: Url,
        client_id: &str,
        client_secret: &Password,
    ) -> Self {
        Self {
            server,
            url,
            authorization: credentials(client_id, client_secret.expose()),
            known: Cache::new(settings.introspection_cache_entries),
            cache: settings.introspection_cache(),
            patience: settings.timeout(),
        }
    }

    /// What was said of a token, if that still holds. Nobody is asked.
    pub fn known(&self, token: &str) -> Option<Result<Identity, Refusal>> {
        let known = self.known.get(&hash(token)).filter(|known| !known.is_over())?;
        Some(known.said.map(|identity| Identity::clone(&identity)))
    }

    /// The bearer of a token, `now` in seconds since 1970.
    pub async fn bearer(
        &self,
        token: &str,
        settings: &Auth,
        now: u64,
    ) -> Result<Result<Identity, Refusal>, Unanswered> {
        let hash = hash(token);
        self.known.remove_if(&hash, Known::is_over);
        let known = async {
            match self.known.get_value_or_guard_async(&hash).await {
                Ok(known) => Ok(known),
                Err(guard) => {
                    let known = self.asked(token, settings, now).await?;
                    // Nothing else has been put in its place: this one holds the guard.
                    let _ = guard.insert(known.clone());
                    Ok(known)
                }
            }
        };
        // Those who wait for one that asks do not wait longer than it.
        let known = timeout(self.patience, known).await.unwrap_or(Err(Unanswered))?;
        Ok(known.said.map(|identity| Identity::clone(&identity)))
    }

    async fn asked(&self, token: &str, settings: &Auth, now: u64) -> Result<Known, Unanswered> {
        METRICS.introspections.inc();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let question =
            Question::Post { url: self.url.clone(), authorization: self.authorization.clone(), form };
        let answer = self.server.ask(question).await.map_err(|error| {
            tracing::error!(%error, "auth.introspection_url does not say anything of a token");
            Unanswered
        })?;
        let said = said(&answer, settings, self.url.as_str(), now).map_err(|error| {
            tracing::error!(
                problem = problem(&error),
                "auth.introspection_url does not answer with a JSON object"
            );
            Unanswered
        })?;
        if said.as_ref().err() == Some(&Refusal::Ambiguous) {
            tracing::error!("what auth.introspection_url says of a token can be read in more than one way");
        }
        let said = said.map(Arc::new);
        let until = Instant::now() + remembered(&said, self.cache, now);
        Ok(Known { said, until })
    }
}

/// What an answer says of a token, `now` in seconds since 1970; `url` is its issuer where it names none. One that is no
/// JSON object says nothing.
pub fn said(
    answer: &[u8],
    settings: &Auth,
    url: &str,
    now: u64,
) -> Result<Result<Identity, Refusal>, serde_json::Error> {
    match unambiguous(answer) {
        Ok(text) => Ok(bearer(&serde_json::from_str(text)?, settings, url, now)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn bearer(claims: &Claims, settings: &Auth, url: &str, now: u64) -> Result<Identity, Refusal> {
    if claims.get("active") != Some(&Value::Bool(true)) {
        return Err(Refusal::Inactive);
    }
    // Some servers call a refresh token active as well, and one that wants a proof is worth nothing without.
    match claims.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("Bearer") => {}
        Some(_) => return Err(Refusal::NotBearer),
    }
    identity(claims, settings, Required::AsSet, settings.issuer.as_deref().unwrap_or(url), now)
}

/// For how long it is gone by what was said.
fn remembered(said: &Result<Arc<Identity>, Refusal>, cache: Duration, now: u64) -> Duration {
    match said {
        Ok(identity) => {
            let left = identity.expires.map(|end| Duration::from_secs(end.saturating_sub(now)));
            left.map_or(cache, |left| left.min(cache))
        }
        Err(_) => cache.min(MAX_REFUSAL),
    }
}

/// HTTP Basic with both parts encoded as in a form (RFC 6749, 2.3.1).
fn credentials(client_id: &str, client_secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(client_secret))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn of(claims: Value) -> Result<Arc<Identity>, Refusal> {
        bearer(claims.as_object().unwrap(), &Auth::default(), "https://as.example/introspect", NOW)
            .map(Arc::new)
    }

    #[test]
    fn only_what_is_active_is_believed() {
        for claims in [json!({}), json!({"active": false}), json!({"active": "true"}), json!({"active": 1})] {
            assert_eq!(of(claims.clone()).unwrap_err(), Refusal::Inactive, "FC-SEC-01: {claims}");
        }
        let bearer = of(json!({"active": true, "sub": "u"})).unwrap();
        assert_eq!(bearer.issuer, "https://as.example/introspect");
        assert_eq!(bearer.subject.as_deref(), Some("u"));
        assert_eq!(of(json!({"active": true, "exp": NOW - 31})).unwrap_err(), Refusal::Expired);
    }

    #[test]
    fn only_bearer_tokens_are_believed() {
        let of_type = |kind: Value| of(json!({"active": true, "sub": "u", "token_type": kind})).err();
        for kind in [json!("Bearer"), json!("bearer"), json!(null)] {
            assert_eq!(of_type(kind.clone()), None, "FC-SEC-01: {kind}");
        }
        for kind in [json!("refresh_token"), json!("DPoP"), json!(""), json!(1), json!(["Bearer"])] {
            assert_eq!(of_type(kind.clone()), Some(Refusal::NotBearer), "FC-SEC-01: {kind}");
        }
        let bound = of(json!({"active": true, "sub": "u", "cnf": {"jkt": "x"}}));
        assert_eq!(bound.unwrap_err(), Refusal::Bound, "FC-SEC-01");
        assert_eq!(of(json!({"active": true})).unwrap_err(), Refusal::Nobody, "FC-SEC-01");
    }

    #[test]
    fn nothing_is_remembered_beyond_the_end_of_the_token_and_refusals_not_for_long() {
        let cache = Duration::from_secs(60);
        let secs = |claims| remembered(&of(claims), cache, NOW).as_secs();
        assert_eq!(secs(json!({"active": true, "sub": "u"})), 60);
        assert_eq!(secs(json!({"active": true, "sub": "u", "exp": NOW + 10})), 10);
        assert_eq!(secs(json!({"active": true, "sub": "u", "exp": NOW - 10})), 0, "within the leeway");
        assert_eq!(secs(json!({"active": false})), 2);
    }

    #[test]
    fn credentials_are_encoded_as_in_a_form_first() {
        // "a b:c%3A%2B"
        assert_eq!(credentials("a b", "c:+"), format!("Basic {}", STANDARD.encode("a+b:c%3A%2B")));
    }
}
