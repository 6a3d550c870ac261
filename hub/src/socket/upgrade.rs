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
        Activated, Activation, Attached, Connection, Holder, Position, Snapshot, StoreError, Subscription,
    },
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
    let address = subscription.address();
    let connection = Connection { node: node.id.clone(), id: Uuid::new_v4().to_string() };
    let Attached { subscription, lease, head, answers, cursor } =
        node.store.attach(address, &connection).await?.ok_or(UNKNOWN)?;
    let outbox = Arc::new(Outbox::new(answers));
    let held = Held::new(node.clone(), address, connection.clone(), outbox.clone(), place);
    let cursor = match cursor {
        Ok(cursor) => cursor,
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
