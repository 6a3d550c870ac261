//! Requesting a context change (FC-REQ-01…05, FC-REQ-07, FC-REQ-08, FC-SCO-02).

use actix_web::HttpResponse;
use shared::{
    audit::Record,
    protocol::{Event, Topic, json},
    publisher::{PublishError, Published},
    telemetry::metrics::{METRICS, Publish},
};

use super::ApiError;
use crate::{auth::Caller, limits::Kind, node::Node};

/// Publishes an event. 202 means that it is in the topic's log.
pub async fn publish(
    body: &[u8],
    in_path: Option<&Topic>,
    node: &Node,
    caller: &Caller,
    record: &mut Record,
) -> Result<HttpResponse, ApiError> {
    let outcome = try_publish(body, in_path, node, caller, record).await;
    match &outcome {
        Ok(Published::At(position)) => record.entry = Some(*position),
        Ok(Published::Again) => record.reason = Some("sent again: it had been accepted before".into()),
        Err(_) => {}
    }
    METRICS
        .publishes
        .with(match &outcome {
            Ok(Published::At(_)) => Publish::Accepted,
            Ok(Published::Again) => Publish::Duplicate,
            Err(ApiError::Unavailable(_) | ApiError::Internal) => Publish::Unavailable,
            Err(_) => Publish::Rejected,
        })
        .inc();
    outcome.map(|_| HttpResponse::Accepted().finish())
}

async fn try_publish(
    body: &[u8],
    in_path: Option<&Topic>,
    node: &Node,
    caller: &Caller,
    record: &mut Record,
) -> Result<Published, ApiError> {
    let text = json::text(body, node.settings.limits.json_depth)?;
    let event = Event::read(text)?;
    record.topic = Some(event.topic.key());
    record.set_event(&event.id, &event.name);
    if in_path.is_some_and(|topic| *topic != event.topic) {
        return Err(ApiError::BadRequest("event.hub.topic must be the topic in the path".into()));
    }
    caller.may_use(&event.topic)?;
    caller.may_send(&event.name)?;
    node.limits.topic(event.topic.key(), Kind::Publish, body.len())?;
    if !event.has_iso_timestamp() {
        METRICS.odd_timestamps.inc();
    }
    let Ok(_in_flight) = node.publishes.try_acquire() else {
        return Err(ApiError::Unavailable("limits.in_flight_publishes: the hub has reached it: try again"));
    };
    node.publisher.publish(&event, text).await.map_err(|error: PublishError| error.into())
}
