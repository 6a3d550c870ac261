//! Who vouches for a token: nobody, a signature, or the authorization server itself.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::HeaderMap;
use anyhow::{Context, bail};
use shared::{
    settings::{AuthMode, KeySource, Settings},
    telemetry::metrics::{Authentication, METRICS},
};

use super::{Identity, bearer, jwt, keys::Keys};
use crate::api::ApiError;

/// Turns the token of a request into the identity of its bearer.
pub struct Authenticator {
    settings: shared::settings::Auth,
    voucher: Voucher,
}

enum Voucher {
    Nobody,
    Signature(Keys),
}

impl Authenticator {
    /// As the settings say.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let settings = settings.auth.clone();
        let voucher = match (settings.mode, &settings.jwks) {
            (AuthMode::Off, _) => Voucher::Nobody,
            (AuthMode::Jwt, Some(KeySource::File(path))) => {
                let named = || format!("auth.jwks: {}", path.display());
                Voucher::Signature(Keys::read(&std::fs::read(path).with_context(named)?).with_context(named)?)
            }
            _ => bail!("auth.mode {:?} is not there yet", settings.mode.as_str()),
        };
        Ok(Self { settings, voucher })
    }

    /// The bearer of a request's token; none while authentication is off.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, ApiError> {
        let identified = match &self.voucher {
            Voucher::Nobody => return Ok(None),
            Voucher::Signature(keys) => bearer::token(headers, self.settings.token_bytes)
                .and_then(|token| jwt::verify(token, keys, &self.settings, now())),
        };
        match identified {
            Ok(identity) => {
                METRICS.authentications.with(Authentication::Accepted).inc();
                Ok(Some(identity))
            }
            Err(refusal) => {
                METRICS.authentications.with(refusal.outcome()).inc();
                Err(ApiError::Unauthorized(refusal))
            }
        }
    }
}

/// Seconds since 1970. A clock before that verifies nothing.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX / 2, |since| since.as_secs())
}
