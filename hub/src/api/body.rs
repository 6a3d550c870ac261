//! Bodies: which type they are, no more of them than is allowed, and no slower (FC-TRN-02, FC-CNT-08).

use std::time::Duration;

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use shared::telemetry::metrics::Limit;
use tokio::time::{Instant, timeout_at};

use super::ApiError;
use crate::{
    auth::Caller,
    limits::{BodyShare, SHARE_BYTES},
    node::Node,
};

/// What of a body counts for nothing: most are no larger.
const FREE_BYTES: usize = 16_384;

/// The two kinds of bodies that the hub reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json` or `application/fhir+json`
    Json,
}

impl MediaType {
    /// Reads Content-Type; its parameters count for nothing.
    pub fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        let value =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::Form),
            "application/json" | "application/fhir+json" => Ok(Self::Json),
            _ => Err(ApiError::UnsupportedMediaType(
                "Content-Type must be application/x-www-form-urlencoded to subscribe, \
                 application/json or application/fhir+json for an event",
            )),
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::TooLarge(format!("limits.body_bytes: the body is larger than {limit} bytes"))
}

/// Reads the body, up to `limits.body_bytes`, for `limits.body_secs`, and for as long as it comes. Those that are read
/// at once share `limits.bodies_at_once_bytes`.
pub async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    node: &Node,
    caller: &Caller,
) -> Result<Bytes, ApiError> {
    let limits = &node.settings.limits;
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.body_bytes as u64) {
        return Err(too_large(limits.body_bytes));
    }
    let end = Instant::now() + limits.body();
    let Some(first) = next(&mut payload, end, limits.body_idle()).await? else { return Ok(Bytes::new()) };
    let mut body = Body { bytes: BytesMut::from(first), shares: Vec::new() };
    loop {
        if body.bytes.len() > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        match next(&mut payload, end, limits.body_idle()).await? {
            Some(part) => body.push(&part, node, caller)?,
            None => return Ok(body.bytes.freeze()),
        }
    }
}

/// A body that is being read.
struct Body {
    bytes: BytesMut,
    shares: Vec<BodyShare>,
}

impl Body {
    fn push(&mut self, part: &[u8], node: &Node, caller: &Caller) -> Result<(), ApiError> {
        let had = self.shares.len() * SHARE_BYTES + FREE_BYTES;
        let more = (self.bytes.len() + part.len()).saturating_sub(had);
        for _ in 0..more.div_ceil(SHARE_BYTES) {
            self.shares.push(node.limits.body_share(caller)?);
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }
}

/// The next piece, if it comes in time.
async fn next(payload: &mut web::Payload, end: Instant, idle: Duration) -> Result<Option<Bytes>, ApiError> {
    let piece_end = Instant::now() + idle;
    match timeout_at(end.min(piece_end), payload.next()).await {
        Ok(Some(Ok(part))) => Ok(Some(part)),
        Ok(Some(Err(_))) => Err(ApiError::BadRequest("the body could not be read to its end".into())),
        Ok(None) => Ok(None),
        Err(_) => Err(ApiError::TooSlow(if end < piece_end { Limit::BodySecs } else { Limit::BodyIdleSecs })),
    }
}
