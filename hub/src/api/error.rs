//! Errors of the API, and the one place where they become HTTP (FC-TRN-03).
//!
//! The text is for the client's developer. It names what was wrong and repeats no value.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use shared::{
    protocol::{Invalid, MissingScope},
    publisher::{PublishError, RETRY_AFTER},
    session::Rejection,
    store::StoreError,
    telemetry::metrics::{Label, Limit, METRICS},
};

use crate::{
    auth::Refusal,
    limits::{Refused, Whose},
};

/// Who asks for tokens, to people.
const REALM: &str = "fhircast";

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// 400: the request is not valid FHIRcast.
    #[error("{0}")]
    BadRequest(String),
    /// 401: no token, or a bad one, and why.
    #[error("{0}")]
    Unauthorized(Refusal),
    /// 403: the token does not allow it, and why.
    #[error("{0}")]
    Forbidden(String),
    /// 403: the token lacks a scope like these.
    #[error("{0}")]
    InsufficientScope(MissingScope),
    /// 403: a page, or a name of the hub, that is not served, whoever asks.
    #[error("{0}")]
    NotServed(&'static str),
    /// 404
    #[error("{0}")]
    NotFound(&'static str),
    /// 405, with what is allowed.
    #[error("this method is not allowed here; allowed: {0}")]
    MethodNotAllowed(&'static str),
    /// 408: the body does not come; with what it was too slow for.
    #[error("limits.{}: the body came too slowly", .0.as_str())]
    TooSlow(Limit),
    /// 409: the session does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// 413
    #[error("{0}")]
    TooLarge(String),
    /// 414 and 431: the head is too large; with what it was too large for.
    #[error("limits.{}: the request's head is larger", .0.as_str())]
    HeadTooLarge(Limit),
    /// 415
    #[error("{0}")]
    UnsupportedMediaType(&'static str),
    /// 429: the topic has as many subscriptions as it may.
    #[error("{0}")]
    TooMany(&'static str),
    /// 429: who sends more than it may, or a topic that is asked for more than it may.
    #[error(transparent)]
    Limited(#[from] Refused),
    /// 503: not now; the same request may succeed in a moment.
    #[error("{0}")]
    Unavailable(&'static str),
    /// 500: the store holds what this program cannot read.
    #[error("the hub failed; its log says why")]
    Internal,
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::InsufficientScope(_) | Self::NotServed(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Limited(Refused { whose: Whose::Hub, .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany(_) | Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge(Limit::UrlBytes) => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The limit that is the reason.
    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Limited(refused) => Some(refused.limit),
            Self::TooSlow(limit) | Self::HeadTooLarge(limit) => Some(*limit),
            Self::TooMany(_) => Some(Limit::SubscriptionsPerTopic),
            _ => None,
        }
    }

    /// The answer.
    pub fn into_response(self) -> HttpResponse {
        let mut answer = HttpResponseBuilder::new(self.status());
        answer.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
        match &self {
            Self::MethodNotAllowed(allowed) => {
                answer.insert_header((header::ALLOW, *allowed));
            }
            Self::Unavailable(_) | Self::TooMany(_) => {
                answer.insert_header((header::RETRY_AFTER, RETRY_AFTER.as_secs()));
            }
            Self::Unauthorized(refusal) => {
                answer.insert_header((header::WWW_AUTHENTICATE, unauthorized(*refusal)));
            }
            Self::Forbidden(_) => {
                answer.insert_header((header::WWW_AUTHENTICATE, insufficient("")));
            }
            Self::InsufficientScope(missing) => {
                answer.insert_header((header::WWW_AUTHENTICATE, insufficient(&missing.scopes())));
            }
            Self::Limited(refused) => {
                answer.insert_header((header::RETRY_AFTER, refused.retry_after_secs));
            }
            Self::TooSlow(_) => {
                answer.force_close();
            }
            _ => {}
        }
        if let Some(limit) = self.limit() {
            METRICS.limited.with(limit).inc();
        }
        answer.body(format!("{self}\n"))
    }
}

/// `WWW-Authenticate` of a 401 (RFC 6750, 3). Without a token there is no error to name.
fn unauthorized(refusal: Refusal) -> String {
    match refusal.code() {
        None => format!("Bearer realm=\"{REALM}\""),
        Some(code) => format!("Bearer realm=\"{REALM}\", error=\"{code}\", error_description=\"{refusal}\""),
    }
}

/// `WWW-Authenticate` of a 403, with the scopes that would do, if they can be said. A name that a
/// quoted string cannot hold is not named.
fn insufficient(scope: &str) -> String {
    let can_be_quoted =
        scope.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
    let scope =
        if scope.is_empty() || !can_be_quoted { String::new() } else { format!(", scope=\"{scope}\"") };
    format!("Bearer realm=\"{REALM}\", error=\"insufficient_scope\"{scope}")
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::BadRequest(invalid.to_string())
    }
}

impl From<MissingScope> for ApiError {
    fn from(missing: MissingScope) -> Self {
        Self::InsufficientScope(missing)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::HeartbeatIsTheHubs => Self::BadRequest(rejection.to_string()),
            Rejection::Invalid(invalid) => invalid.into(),
            Rejection::ContentTooLarge => Self::TooLarge(rejection.to_string()),
            Rejection::VersionMissing
            | Rejection::StaleVersion
            | Rejection::NotOpen
            | Rejection::OpenedResource
            | Rejection::ResourceExists => Self::Conflict(rejection.to_string()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request is refused");
                Self::Unavailable("the hub cannot reach its store: try again")
            }
            StoreError::Unconfirmed(_) => {
                tracing::warn!(%error, "a request is not confirmed");
                Self::Unavailable("this is written, and not confirmed by enough replicas: send it again")
            }
            StoreError::Corrupt(_) | StoreError::Misconfigured(_) => {
                tracing::error!(%error, "a request has failed");
                Self::Internal
            }
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Rejected(rejection) => rejection.into(),
            PublishError::Store(error) => error.into(),
            PublishError::Contended => Self::Unavailable("the session changes too fast: try again"),
        }
    }
}
