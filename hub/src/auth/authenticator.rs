//! Who vouches for a token: nobody, a signature, or the authorization server itself.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use anyhow::bail;
use shared::{
    settings::{Auth, AuthMode},
    telemetry::{
        Readiness,
        metrics::{Authentication, METRICS},
    },
    unix_time::now_secs,
};

use super::{
    Identity, Refusal, bearer, introspection::Introspection, jwks::KeyStore, jwt, server::AuthorizationServer,
};
use crate::api::ApiError;

/// Turns the token of a request into the identity of its bearer.
pub struct Authenticator {
    settings: Auth,
    voucher: Voucher,
}

enum Voucher {
    Nobody,
    Signature(Arc<KeyStore>),
    Server(Box<Introspection>),
}

enum Failure {
    Refused(Refusal),
    Unavailable(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Authenticator {
    /// As the settings say. What must be kept fresh is from then on, on this thread.
    pub fn start(settings: &Auth, readiness: &Readiness) -> anyhow::Result<Self> {
        let voucher = match settings.mode {
            AuthMode::Off => Voucher::Nobody,
            AuthMode::Jwt => {
                let Some(source) = &settings.jwks else { bail!("auth.jwks is not set") };
                Voucher::Signature(KeyStore::start(settings, source, readiness.clone())?)
            }
            AuthMode::Introspection => {
                let (Some(url), Some(id), Some(secret)) =
                    (settings.introspection_url.clone(), &settings.client_id, &settings.client_secret)
                else {
                    bail!("auth.introspection_url, auth.client_id or auth.client_secret is not set")
                };
                let server = AuthorizationServer::new(settings)?;
                Voucher::Server(Box::new(Introspection::new(settings, server, url, id, secret)))
            }
        };
        Ok(Self { settings: settings.clone(), voucher })
    }

    /// The bearer of a request's token; none while authentication is off.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
        let identified = match &self.voucher {
            Voucher::Nobody => return Ok(None),
            Voucher::Signature(keys) => self.signed(headers, keys).await,
            Voucher::Server(introspection) => self.asked(headers, introspection).await,
        };
        let (outcome, result) = match identified {
            Ok(identity) => (Authentication::Accepted, Ok(Some(identity))),
            Err(Failure::Refused(refusal)) => (refusal.outcome(), Err(ApiError::Unauthorized(refusal))),
            Err(Failure::Unavailable(why)) => (Authentication::Unavailable, Err(ApiError::Unavailable(why))),
        };
        METRICS.authentications.with(outcome).inc();
        result
    }

    async fn signed(&self, headers: &HeaderMap, keys: &KeyStore) -> Result<Identity, Failure> {
        let token = bearer::token(headers, self.settings.token_bytes)?;
        let verify = || match keys.now() {
            Some(keys) => Ok(jwt::verify(token, &keys, &self.settings, now_secs().cast_unsigned())?),
            None => Err(Failure::Unavailable("the hub does not have the authorization server's keys yet")),
        };
        match verify() {
            // The authorization server may have changed its keys, or they are being read at last: or have been, since
            // they were looked for.
            Err(Failure::Refused(Refusal::UnknownKey) | Failure::Unavailable(_)) => {
                keys.read_again().await;
                verify()
            }
            verified => verified,
        }
    }

    async fn asked(&self, headers: &HeaderMap, introspection: &Introspection) -> Result<Identity, Failure> {
        let token = bearer::token(headers, self.settings.token_bytes)?;
        match introspection.bearer(token, &self.settings, now_secs().cast_unsigned()).await {
            Ok(said) => Ok(said?),
            Err(_) => Err(Failure::Unavailable("the authorization server does not answer: try again")),
        }
    }
}
