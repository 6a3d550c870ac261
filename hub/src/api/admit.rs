//! The one place where a request is let in: first what costs nothing, then who it is, and whether it may ask so often.
//!
//! What a topic may be asked comes later, in the rooms that know that the caller may use the topic at all.

use actix_web::{HttpRequest, http::header};
use shared::{audit::Record, settings, telemetry::metrics::Limit};

use super::{ApiError, audited::identify};
use crate::{auth::Caller, client_address::client_address, limits::Kind, node::Node};

/// Is the head as small as it has to be? And is the body as it was written?
pub fn check_head(request: &HttpRequest, limits: &settings::Limits) -> Result<(), ApiError> {
    let url = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    if url > limits.url_bytes {
        return Err(ApiError::HeadTooLarge(Limit::UrlBytes));
    }
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in request.headers() {
        count += 1;
        bytes += name.as_str().len() + value.len();
    }
    if count > limits.headers {
        return Err(ApiError::HeadTooLarge(Limit::Headers));
    }
    if bytes > limits.header_bytes {
        return Err(ApiError::HeadTooLarge(Limit::HeaderBytes));
    }
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING);
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::UnsupportedMediaType(
            "Content-Encoding must be identity: bodies are not compressed",
        ));
    }
    Ok(())
}

/// Finds out who is asking. An address that has failed too often is not listened to.
pub async fn admit(request: &HttpRequest, node: &Node, record: &mut Record) -> Result<Caller, ApiError> {
    let address = client_address(request, &node.settings);
    node.limits.may_authenticate(address)?;
    let authenticated = identify(request, node, record).await;
    if let Err(ApiError::Unauthorized(_)) = &authenticated {
        node.limits.authentication_failed(address);
    }
    authenticated
}

/// Somebody who is to open a socket: the endpoint is the ticket, so it is whoever is at that address.
pub fn admit_to_socket(request: &HttpRequest, node: &Node) -> Result<Caller, ApiError> {
    let caller = Caller { address: client_address(request, &node.settings), identity: None };
    node.limits.caller(&caller, Kind::Subscribe)?;
    Ok(caller)
}
