//! The record of a request: begun before anything is done, ended with the answer, and never without an end.
//!
//! Rooms of the API note in the [`Record`] what they find out (which topic, which event, what was granted); the caller,
//! the outcome and its reason are the same for all of them, and are noted here.

use actix_web::{HttpRequest, HttpResponse, http::Method};
use shared::audit::{Kind, Outcome, Record, Slot, Who};

use super::{ApiError, body::MediaType};
use crate::{
    auth::{Caller, authenticate},
    client_address::client_address,
    node::Node,
    route::Route,
};

/// The header by which load balancers tell requests apart.
const REQUEST_ID: &str = "x-request-id";

/// A request that is being served. Dropped without an answer, it leaves a record that says so: what was asked for may
/// have been done.
pub struct Audited {
    slot: Option<Slot>,
    record: Record,
}

impl Audited {
    /// Takes a place in the audit trail. `None`: nothing that is recorded is asked for.
    pub fn begin(request: &HttpRequest, route: &Route, node: &Node) -> Result<Option<Self>, ApiError> {
        let Some(kind) = kind(request, route) else { return Ok(None) };
        let slot = node.audit.admit();
        let slot = slot.ok_or(ApiError::Unavailable("the audit trail cannot be written: try again"))?;
        let mut record = Record::new(kind);
        record.address = Some(client_address(request, &node.settings));
        if let Route::Topic(topic) = route {
            record.topic = Some(topic.key());
        }
        let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        // What stands in the URL as well is a topic or a ticket.
        if let Some(id) = id.filter(|id| !request.uri().path().contains(id)) {
            record.set_request_id(id);
        }
        Ok(Some(Self { slot: Some(slot), record }))
    }

    /// What is noted so far.
    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// It is answered.
    pub fn end(mut self, answered: &Result<HttpResponse, ApiError>) {
        let answered = answered.as_ref().map(|response| response.status().as_u16());
        conclude(&mut self.record, answered);
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.record(self.record.clone());
        }
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        if self.slot.is_some() {
            self.record.outcome = Outcome::Unknown;
            self.record.reason = Some("who asked has left before the answer".into());
            self.leave();
        }
    }
}

/// What the answer, or its status, says of the request.
fn conclude(record: &mut Record, answered: Result<u16, &ApiError>) {
    let status = answered.unwrap_or_else(|error| error.status().as_u16());
    record.status = Some(status);
    record.outcome = Outcome::of_status(status);
    let Err(error) = answered else { return };
    record.set_reason(error.to_string());
    // What was refused to somebody is a record of its own kind.
    let refusal = match error {
        ApiError::Unauthorized(_) => Kind::Authentication,
        ApiError::Forbidden(_) | ApiError::InsufficientScope(_) => Kind::Denial,
        _ => return,
    };
    record.asked = Some(std::mem::replace(&mut record.kind, refusal));
}

/// What a request asks for, as far as its head tells: whether a form is to unsubscribe is seen when it is read.
fn kind(request: &HttpRequest, route: &Route) -> Option<Kind> {
    let is_form = || matches!(MediaType::of(request), Ok(MediaType::Form));
    match (request.method(), route) {
        (&Method::POST, Route::Hub) if is_form() => Some(Kind::Subscribe),
        (&Method::POST, Route::Hub | Route::Topic(_) | Route::BadTopic(_)) => Some(Kind::Publish),
        (&Method::GET | &Method::HEAD, Route::Topic(_) | Route::BadTopic(_)) => Some(Kind::Read),
        (&Method::GET, Route::Socket(_)) => Some(Kind::Connect),
        _ => None,
    }
}

/// Finds out who is asking, and notes it.
pub async fn identify(request: &HttpRequest, node: &Node, record: &mut Record) -> Result<Caller, ApiError> {
    let caller = authenticate(request, node).await?;
    record.address = Some(caller.address);
    record.owner = caller.owner();
    record.who = caller.identity.as_ref().map(|identity| Who {
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        client: identity.client.clone(),
    });
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Refusal;

    #[test]
    fn what_is_refused_to_somebody_is_told_from_what_is_merely_wrong() {
        let concluded = |answered: Result<u16, &ApiError>| {
            let mut record = Record::new(Kind::Publish);
            conclude(&mut record, answered);
            (record.kind, record.asked, record.outcome, record.status, record.reason)
        };
        let publish = Some(Kind::Publish);
        for (error, kind, asked, outcome, status) in [
            (ApiError::Unauthorized(Refusal::Missing), Kind::Authentication, publish, Outcome::Refused, 401),
            (ApiError::Forbidden("no scope".into()), Kind::Denial, publish, Outcome::Refused, 403),
            (ApiError::BadRequest("id is missing".into()), Kind::Publish, None, Outcome::Refused, 400),
            (ApiError::Unavailable("try again"), Kind::Publish, None, Outcome::Failed, 503),
            (ApiError::Internal, Kind::Publish, None, Outcome::Broken, 500),
        ] {
            let reason = Some(error.to_string().into());
            assert_eq!(concluded(Err(&error)), (kind, asked, outcome, Some(status), reason));
        }
        assert_eq!(concluded(Ok(202)), (Kind::Publish, None, Outcome::Success, Some(202), None));
    }
}
