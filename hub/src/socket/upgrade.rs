//! From the endpoint URL to a socket that holds its subscription (FC-WSC-01, FC-WSC-02).

use std::{net::IpAddr, sync::Arc};

use actix_http::ws::Codec;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use actix_web_actors::ws::{self, WebsocketContext};
use shared::{
    protocol::EndpointId,
    publisher::read_state,
    session::Entry,
    store::{
        Activated, Activation, Address, Attached, Connection, Holder, Position, Snapshot, StoreError,
        Subscription,
    },
    telemetry::metrics::METRICS,
};
use uuid::Uuid;

use super::{
    frame_lengths::Limited,
    held::Held,
    outbox::{CountedBody, Outbox},
    session::SocketSession,
};
use crate::{
    api::{ApiError, Audited},
    limits::SocketPlace,
    node::Node,
};

/// How often the first reading is tried anew when the session changes under it.
const MAX_CONFLICTS: u32 = 20;

/// The one version of WebSocket that there is (RFC 6455).
const VERSION: &str = "13";

const UNKNOWN: ApiError = ApiError::NotFound("this endpoint is unknown, or has ended: subscribe anew");

/// Answers a request to `hub.url/ws/{endpoint}`. The endpoint is the ticket.
pub async fn upgrade(
    request: &HttpRequest,
    payload: web::Payload,
    node: web::Data<Node>,
    from: IpAddr,
    endpoint: &str,
    audited: &mut Audited,
) -> Result<HttpResponse, ApiError> {
    if node.is_draining() {
        return Err(ApiError::Unavailable("the hub is shutting down: connect to another node"));
    }
    let id = endpoint.parse::<EndpointId>().map_err(|_| UNKNOWN)?.subscription();
    let (subscription, _) = node.store.subscription(id).await?.ok_or(UNKNOWN)?;
    audited.record().set_subscription(&subscription);
    audited.begin(&node)?;
    // actix takes two drafts of the protocol as well.
    if request.headers().get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(ApiError::BadRequest(
            "this is a WebSocket endpoint: Sec-WebSocket-Version must be 13".into(),
        ));
    }
    let mut response = ws::handshake(request)
        .map_err(|error| ApiError::BadRequest(format!("this is a WebSocket endpoint: {error}")))?;
    let place = node.limits.socket(subscription.owner, from)?;

    node.liveness.announce(&node).await?;
    let connection = Connection { node: node.id.clone(), id: Uuid::new_v4().to_string() };
    // A task of its own: this request may be dropped at any await, when its client leaves.
    let attaching = attach(node.clone(), subscription.address(), connection.clone(), place);
    let attached = actix_web::rt::spawn(attaching).await;
    let attached = attached.map_err(|_| ApiError::Unavailable("the subscription could not be taken"))?;
    let (held, Attached { subscription, lease, head, cursor, .. }) = attached?.ok_or(UNKNOWN)?;
    let outbox = held.outbox.clone();
    let cursor = match cursor {
        Ok(cursor) => {
            METRICS.resumes.inc();
            cursor
        }
        Err(snapshot) => {
            begin_reading(&node, &subscription, connection, snapshot, None).await?.ok_or(UNKNOWN)?
        }
    };
    outbox.saved(cursor);
    audited.record().set_granted(&subscription, lease);
    let session = SocketSession::new(held, subscription, lease, head, cursor);
    let max_bytes = node.settings.limits.frame_bytes;
    let codec = Codec::new().max_size(max_bytes);
    let body = WebsocketContext::with_codec(session, Limited::new(payload, max_bytes), codec);
    Ok(response.streaming(CountedBody::new(body, outbox)))
}

/// Takes a subscription for a connection. Whatever becomes of who waits for it, it is let go of again.
async fn attach(
    node: web::Data<Node>,
    address: Address,
    connection: Connection,
    place: SocketPlace,
) -> Result<Option<(Held, Attached)>, StoreError> {
    let attached = node.store.attach(address, &connection).await;
    if let Ok(None) = &attached {
        return Ok(None);
    }
    // A store that gives no answer may have done it all the same.
    let answers =
        attached.as_ref().is_ok_and(|attached| attached.as_ref().is_some_and(|known| known.answers));
    let held = Held::new(node, address, connection, Arc::new(Outbox::new(answers)), place);
    Ok(attached?.map(|attached| (held, attached)))
}

/// Begins the reading of a subscription: what is open is sent to it before all that follows
/// (FC-SUB-08). One that begins anew, because it has missed what is no longer kept, is sent `told`
/// before that. `None` when the connection does not hold it any more.
pub async fn begin_reading(
    node: &Node,
    subscription: &Subscription,
    connection: Connection,
    mut snapshot: Snapshot,
    told: Option<Entry>,
) -> Result<Option<Position>, StoreError> {
    for _ in 0..MAX_CONFLICTS {
        let opens = read_state(&snapshot)?.opens_for(subscription.id, &subscription.terms.events);
        let activation = Activation {
            holder: Holder::Connection(connection.clone()),
            revision: snapshot.revision,
            is_restart: told.is_some(),
            entries: told.iter().cloned().chain(opens).collect(),
        };
        match node.store.activate(subscription.address(), &activation).await? {
            Activated::From(cursor) => return Ok(Some(cursor)),
            Activated::Conflict(newer) => snapshot = newer,
            Activated::Lost => return Ok(None),
        }
    }
    Err(StoreError::Unavailable("the session changes too fast".into()))
}
