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

/// May the authorization server be asked?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It may.
    Allowed,
    /// Not for whoever sends this: that has been for nothing too often.
    TooOften,
}

/// Why nobody knows whose a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotIdentified {
    /// Its token is not believed.
    Refused(Refusal),
    /// There are no keys to verify it with: not yet, or none that are young enough.
    NoKeys,
    /// The authorization server was asked, and does not answer.
    Unanswered,
    /// The authorization server would have to be asked ([`Asking::TooOften`]).
    NotAsked,
}

impl From<Refusal> for NotIdentified {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotIdentified> for ApiError {
    fn from(failed: NotIdentified) -> Self {
        match failed {
            NotIdentified::Refused(refusal) => Self::Unauthorized(refusal),
            NotIdentified::NoKeys => {
                Self::Unavailable("the hub does not have the authorization server's present keys: try again")
            }
            NotIdentified::Unanswered | NotIdentified::NotAsked => {
                Self::Unavailable("the authorization server does not answer: try again")
            }
        }
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
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        asking: Asking,
    ) -> Result<Option<Identity>, NotIdentified> {
        let identified = match &self.voucher {
            Voucher::Nobody => return Ok(None),
            Voucher::Signature(keys) => self.signed(headers, keys, asking).await,
            Voucher::Server(introspection) => self.asked(headers, introspection, asking).await,
        };
        let outcome = match &identified {
            Ok(_) => Some(Authentication::Accepted),
            Err(NotIdentified::Refused(refusal)) => Some(refusal.outcome()),
            Err(NotIdentified::NoKeys | NotIdentified::Unanswered) => Some(Authentication::Unavailable),
            // Nothing is known of it. The limit counts it.
            Err(NotIdentified::NotAsked) => None,
        };
        if let Some(outcome) = outcome {
            METRICS.authentications.with(outcome).inc();
        }
        identified.map(Some)
    }

    async fn signed(
        &self,
        headers: &HeaderMap,
        keys: &KeyStore,
        asking: Asking,
    ) -> Result<Identity, NotIdentified> {
        let token = bearer::token(headers, self.settings.token_bytes)?;
        let verify = || match keys.now() {
            Some(keys) => Ok(jwt::verify(token, &keys, &self.settings, now_secs().cast_unsigned())?),
            None => Err(NotIdentified::NoKeys),
        };
        match verify() {
            // The authorization server may have changed its keys, or they are being read at last: or have been, since
            // they were looked for.
            Err(NotIdentified::Refused(Refusal::UnknownKey) | NotIdentified::NoKeys)
                if asking == Asking::Allowed =>
            {
                keys.read_again().await;
                verify()
            }
            verified => verified,
        }
    }

    async fn asked(
        &self,
        headers: &HeaderMap,
        introspection: &Introspection,
        asking: Asking,
    ) -> Result<Identity, NotIdentified> {
        let token = bearer::token(headers, self.settings.token_bytes)?;
        if asking == Asking::TooOften {
            return Ok(introspection.known(token).ok_or(NotIdentified::NotAsked)??);
        }
        match introspection.bearer(token, &self.settings, now_secs().cast_unsigned()).await {
            Ok(said) => Ok(said?),
            Err(_) => Err(NotIdentified::Unanswered),
        }
    }
}
