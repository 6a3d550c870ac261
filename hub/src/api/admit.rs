//! Where a request is let in: what costs nothing, then who it is, then a place for it and for its record. Whether the caller
//! may ask so often is the rooms' to ask, which know for what; what a topic may be asked comes last, when they know that the
//! caller may use the topic at all.
//!
//! An address that fails too often keeps nobody out who is known: of what comes from there a signature is verified and
//! what the authorization server has said is gone by, and nobody is asked. A request without a token is no failure,
//! since nothing was tried with it; it leaves a record as often as failures may be.

use std::{net::IpAddr, ops::Deref};

use actix_web::{HttpRequest, http::header};
use shared::{settings, telemetry::metrics::Limit};

use super::{ApiError, audited::Audited};
use crate::{
    auth::{Asking, Caller, Identity, NotIdentified, Refusal},
    limits::RequestPlace,
    node::Node,
};

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

/// Who has been let in, for as long as its request is worked on.
pub struct Admitted {
    caller: Caller,
    _place: RequestPlace,
}

impl Deref for Admitted {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// Finds out who is asking, and takes a place for the request and one for its record.
pub async fn admit(
    request: &HttpRequest,
    node: &Node,
    address: IpAddr,
    audited: &mut Audited,
) -> Result<Admitted, ApiError> {
    let identity = identify(request, node, address, audited).await?;
    let caller = Caller { address, identity };
    let place = node.limits.request(&caller)?;
    audited.begin_of(node, &caller)?;
    Ok(Admitted { caller, _place: place })
}

async fn identify(
    request: &HttpRequest,
    node: &Node,
    address: IpAddr,
    audited: &mut Audited,
) -> Result<Option<Identity>, ApiError> {
    let may_fail = node.limits.may_authenticate(address);
    let asking = if may_fail.is_ok() { Asking::Allowed } else { Asking::TooOften };
    // Who leaves before the answer has had the authorization server asked as well.
    let attempt = node.limits.attempt_of(address);
    let failed = match node.authenticator.identify(request.headers(), asking).await {
        Ok(identity) => {
            attempt.succeeds();
            return Ok(identity);
        }
        Err(failed) => failed,
    };
    match failed {
        NotIdentified::Refused(Refusal::Missing) => {
            attempt.succeeds();
            if !node.limits.may_leave_record(address) {
                audited.leaves_none();
            }
            Err(ApiError::Unauthorized(Refusal::Missing))
        }
        NotIdentified::NoKeys | NotIdentified::NotAsked => {
            attempt.succeeds();
            may_fail?;
            Err(failed.into())
        }
        NotIdentified::Refused(_) | NotIdentified::Unanswered => {
            drop(attempt);
            may_fail?;
            Err(failed.into())
        }
    }
}
