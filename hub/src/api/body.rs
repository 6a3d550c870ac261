//! Bodies: which type they are, and no more of them than is allowed (FC-TRN-02, FC-CNT-08).

use actix_web::{HttpRequest, http::header, web};
use bytes::Bytes;

use super::ApiError;

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
    ApiError::TooLarge(format!("the body is larger than {limit} bytes"))
}

/// Reads the body, up to `limit` bytes.
pub async fn read(request: &HttpRequest, payload: web::Payload, limit: usize) -> Result<Bytes, ApiError> {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large(limit));
    }
    match payload.to_bytes_limited(limit).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(ApiError::BadRequest("the body could not be read to its end".into())),
        Err(_) => Err(too_large(limit)),
    }
}
