//! Bodies: which type they are, no more of them than is allowed, and no slower (FC-TRN-02, FC-CNT-08).

use std::{ops::Deref, time::Duration};

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use shared::telemetry::metrics::Limit;
use tokio::time::{Instant, timeout_at};

use super::ApiError;
use crate::{
    auth::Caller,
    limits::{BodyShare, FREE_BYTES, SHARE_BYTES},
    node::Node,
};

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

/// Reads the body, up to `limits.body_bytes`, for `limits.body_secs`, and for as long as it comes. Those that are there
/// at once share `limits.bodies_at_once_bytes`.
pub async fn read(
    request: &HttpRequest,
    mut payload: web::Payload,
    node: &Node,
    caller: &Caller,
) -> Result<Body, ApiError> {
    let limits = &node.settings.limits;
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.body_bytes as u64) {
        return Err(too_large(limits.body_bytes));
    }
    let end = Instant::now() + limits.body();
    let mut body = Body::default();
    while let Some(part) = next(&mut payload, end, limits.body_idle()).await? {
        if body.bytes.len() + part.len() > limits.body_bytes {
            return Err(too_large(limits.body_bytes));
        }
        body.push(part, node, caller)?;
    }
    Ok(body)
}

/// A body, with its share of the room: it has that for as long as it is there.
#[derive(Default)]
pub struct Body {
    bytes: BytesMut,
    shares: Vec<BodyShare>,
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    fn push(&mut self, part: Bytes, node: &Node, caller: &Caller) -> Result<(), ApiError> {
        let had = self.shares.len() * SHARE_BYTES + FREE_BYTES;
        let more = (self.bytes.len() + part.len()).saturating_sub(had);
        for _ in 0..more.div_ceil(SHARE_BYTES) {
            self.shares.push(node.limits.body_share(caller)?);
        }
        if self.bytes.is_empty() {
            // Most bodies are of one piece, which is not copied.
            self.bytes = BytesMut::from(part);
        } else {
            self.bytes.extend_from_slice(&part);
        }
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
