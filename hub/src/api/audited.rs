//! The record of a request: its place is taken before anything is done, it ends with the answer, and never without an
//! end.
//!
//! Rooms of the API note in the [`Record`] what they find out (which topic, which event, what was granted); the caller,
//! the outcome and its reason are the same for all of them, and are noted here.
//!
//! The place is taken when it is known who asks: by a token, or by the ticket of a socket. What is refused before is a
//! stranger's, who has places of his own, and is recorded only as far as it says something of somebody: who was not
//! believed, which could not be found out, and a ticket that is none. What costs nothing to send leaves no record: a
//! head that is wrong, a rate that is exceeded. It is counted.

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, http::Method};
use shared::audit::{Asker, Kind, Outcome, Record, Slot, Who};

use super::{ApiError, body::MediaType};
use crate::{auth::Caller, node::Node, route::Route};

/// The header by which load balancers tell requests apart.
const REQUEST_ID: &str = "x-request-id";

type Answered = Result<HttpResponse, ApiError>;

/// A request that is being served. Dropped without an answer, it leaves a record that says so, once it has a place: what
/// was asked for may have been done.
pub struct Audited {
    /// Is it of what is recorded?
    is_recorded: bool,
    slot: Option<Slot>,
    record: Record,
}

impl Audited {
    /// What its head says of it. It has no place in the audit trail yet.
    pub fn new(request: &HttpRequest, route: &Route, address: IpAddr) -> Self {
        let kind = kind(request, route);
        let mut record = Record::new(kind.unwrap_or(Kind::Read));
        record.address = Some(address);
        if let Route::Topic(topic) = route {
            record.topic = Some(topic.key());
        }
        let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        // What stands in the URL as well is a topic or a ticket.
        if let Some(id) = id.filter(|id| !request.uri().path().contains(id)) {
            record.set_request_id(id);
        }
        Self { is_recorded: kind.is_some(), slot: None, record }
    }

    /// It is somebody's who may ask: takes a place in the audit trail, without which nothing may be done.
    pub fn begin(&mut self, node: &Node) -> Result<(), ApiError> {
        self.take_place(node, Asker::Known)
    }

    /// It is this caller's.
    pub fn begin_of(&mut self, node: &Node, caller: &Caller) -> Result<(), ApiError> {
        self.record.owner = caller.owner();
        self.record.who = caller.identity.as_ref().map(|identity| Who {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            client: identity.client.clone(),
        });
        self.begin(node)
    }

    /// There are enough records of the kind: it leaves none.
    pub fn leaves_none(&mut self) {
        self.is_recorded = false;
    }

    fn take_place(&mut self, node: &Node, asker: Asker) -> Result<(), ApiError> {
        if self.is_recorded && self.slot.is_none() {
            let slot = node.audit.admit(asker);
            let none = ApiError::Unavailable("the audit trail cannot be written: try again");
            self.slot = Some(slot.ok_or(none)?);
        }
        Ok(())
    }

    /// What is noted so far.
    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// It is answered; with what, if the record of a stranger finds its place.
    pub fn end(mut self, node: &Node, answered: Answered) -> Answered {
        if let Err(error) = &answered
            && is_of_somebody(error)
        {
            self.take_place(node, Asker::Stranger)?;
        }
        let answer = answered.as_ref().map(|response| response.status().as_u16());
        conclude(&mut self.record, answer);
        self.leave();
        answered
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

/// Does it say something of who asked, though nobody knows who it was?
fn is_of_somebody(refused: &ApiError) -> bool {
    matches!(refused, ApiError::Unauthorized(_) | ApiError::NotFound(_) | ApiError::Unavailable(_))
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
        (&Method::POST, Route::Hub | Route::Topic(_)) => Some(Kind::Publish),
        (&Method::GET | &Method::HEAD, Route::Topic(_)) => Some(Kind::Read),
        (&Method::GET, Route::Socket(_)) => Some(Kind::Connect),
        _ => None,
    }
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
