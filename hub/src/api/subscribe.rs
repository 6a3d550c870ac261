//! Subscribing and unsubscribing (FC-SUB-01…06, FC-SUB-09, FC-WHK-01).
//!
//! A subscription asks for no more than its token may read (FC-SCO-02): what it is sent, by whatever
//! way, follows from that (FC-SCO-03). It lasts no longer than the token (FC-SEC-04), and is its
//! owner's: nobody else renews, replaces or ends it. To end it takes no scope.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::{
    audit::{Kind, Record},
    protocol::{
        EndpointId, SubscriptionId, Topic, TopicKey,
        form::Form,
        subscription_request::{Callback, Endpoint, RequestLimits, SubscriptionRequest},
        webhook::Mode,
    },
    store::{Address, Channel, Subscribed, Subscription, WebhookRequest},
};
use uuid::Uuid;

use super::{ApiError, json as as_json};
use crate::{
    auth::{Caller, Refusal},
    limits,
    node::Node,
};

const UNKNOWN_ENDPOINT: &str = "hub.channel.endpoint is not one of this topic's subscriptions";
const UNKNOWN_CALLBACK: &str = "hub.callback has no subscription to this topic";

/// Answers a form that was posted to `hub.url`.
pub async fn subscribe(
    request: &HttpRequest,
    body: &[u8],
    node: &Node,
    caller: &Caller,
    record: &mut Record,
) -> Result<HttpResponse, ApiError> {
    let settings = &node.settings;
    let limits = RequestLimits {
        max_events: settings.limits.events_per_subscription,
        allow_http: settings.callbacks.allow_http,
        default_lease_secs: settings.lease.default_secs,
        max_lease_secs: settings.lease.max_secs,
    };
    let asked = SubscriptionRequest::read(&Form::read(body)?, &limits)?;
    note(&asked, node, record);
    caller.may_use(asked.topic())?;
    let asked = granted(caller, asked)?;
    // What it may not do at all uses up nothing of the topic's, and has no name looked up.
    node.limits.topic(asked.topic().key(), limits::Kind::Subscribe, 0)?;
    let (owner, not_after) = (caller.owner(), caller.not_after());
    match asked {
        SubscriptionRequest::SubscribeWebsocket { topic, terms, endpoint } => {
            let held = match &endpoint {
                Some(endpoint) => known(endpoint)?,
                None => EndpointId::random(topic.key().partition(node.store.partitions())),
            };
            let (id, channel) = (held.subscription(), Channel::Websocket);
            let subscription = Subscription { id, topic, channel, terms, owner, not_after };
            let subscribed = if endpoint.is_some() {
                // Subscribing again replaces what was there (FC-SUB-04).
                node.store.renew_websocket(&subscription, settings.reconnect_grace()).await?
            } else {
                node.store.subscribe_websocket(&subscription, settings.limits.subscriptions_per_topic).await?
            };
            accepted(subscribed, UNKNOWN_ENDPOINT)?;
            record.subscription = Some(id);
            Ok(endpoint_answer(node, request, held))
        }
        SubscriptionRequest::UnsubscribeWebsocket { topic, endpoint } => {
            let endpoint = known(&endpoint)?;
            let address = Address { id: endpoint.subscription(), topic: topic.key() };
            let ended = node.store.end_websocket(address, owner.as_ref(), "unsubscribed").await?;
            accepted(ended, UNKNOWN_ENDPOINT)?;
            Ok(endpoint_answer(node, request, endpoint))
        }
        SubscriptionRequest::SubscribeWebhook { topic, terms, callback, secret } => {
            admitted(node, caller, &callback, topic.key()).await?;
            let id = callback_id(node, &topic, &callback);
            let channel = Channel::Webhook { callback, secret };
            let subscription = Subscription { id, topic, channel, terms, owner, not_after };
            request_webhook(node, Mode::Subscribe, subscription).await
        }
        SubscriptionRequest::UnsubscribeWebhook { topic, callback } => {
            let id = callback_id(node, &topic, &callback);
            // What nobody has confirmed is taken back without anybody being asked (FC-SUB-09).
            let address = Address { id, topic: topic.key() };
            if node.store.withdraw_webhook(address, owner.as_ref()).await? {
                return Ok(HttpResponse::Accepted().finish());
            }
            match node.store.subscription(id).await? {
                Some((subscription, _)) => {
                    let subscription = Subscription { owner, ..subscription };
                    request_webhook(node, Mode::Unsubscribe, subscription).await
                }
                None => Err(ApiError::NotFound(UNKNOWN_CALLBACK)),
            }
        }
    }
}

/// What is asked for, for the audit trail.
fn note(asked: &SubscriptionRequest, node: &Node, record: &mut Record) {
    record.topic = Some(asked.topic().key());
    if let SubscriptionRequest::UnsubscribeWebsocket { .. } | SubscriptionRequest::UnsubscribeWebhook { .. } =
        asked
    {
        record.kind = Kind::Unsubscribe;
    }
    if let SubscriptionRequest::SubscribeWebsocket { terms, .. }
    | SubscriptionRequest::SubscribeWebhook { terms, .. } = asked
    {
        record.events = Some(terms.events.to_string());
        record.lease = Some(Duration::from_secs(terms.lease_secs));
    }
    if let SubscriptionRequest::SubscribeWebhook { topic, callback, .. }
    | SubscriptionRequest::UnsubscribeWebhook { topic, callback } = asked
    {
        record.subscription = Some(callback_id(node, topic, callback));
        record.callback = Some(format!("{callback:?}"));
    }
    if let SubscriptionRequest::SubscribeWebsocket { endpoint: Some(Endpoint::Known(endpoint)), .. }
    | SubscriptionRequest::UnsubscribeWebsocket { endpoint: Endpoint::Known(endpoint), .. } = asked
    {
        record.subscription = Some(endpoint.subscription());
    }
}

/// A webhook is verified by a worker before anything changes (FC-WHK-02).
async fn request_webhook(
    node: &Node,
    mode: Mode,
    subscription: Subscription,
) -> Result<HttpResponse, ApiError> {
    let request = WebhookRequest { nonce: Uuid::new_v4().to_string(), mode, subscription };
    let limit = node.settings.limits.subscriptions_per_topic;
    accepted(node.store.request_webhook(&request, limit).await?, UNKNOWN_CALLBACK)?;
    Ok(HttpResponse::Accepted().finish())
}

/// A callback that no worker would ever reach is refused at once (FC-SEC-02). What can't be said now
/// (its name is not resolved in time, or here, or as many of its caller's are being looked up as may) is for
/// the worker to find out, which looks again before each connection anyway.
async fn admitted(
    node: &Node,
    caller: &Caller,
    callback: &Callback,
    topic: TopicKey,
) -> Result<(), ApiError> {
    let share = node.limits.lookup_share(caller);
    let Err(refusal) = node.callbacks.admit(callback.url(), share).await else { return Ok(()) };
    match refusal.told(callback.url()) {
        Some(told) => {
            tracing::warn!(?callback, ?topic, reason = %refusal, "a callback is refused");
            Err(ApiError::BadRequest(told))
        }
        None => {
            tracing::info!(?callback, ?topic, reason = %refusal, "a callback cannot be checked yet");
            Ok(())
        }
    }
}

fn callback_id(node: &Node, topic: &Topic, callback: &Callback) -> SubscriptionId {
    let partition = topic.key().partition(node.store.partitions());
    SubscriptionId::of_callback(partition, topic, callback.url().as_str())
}

/// What is asked for, as far as the caller may have it.
fn granted(caller: &Caller, mut asked: SubscriptionRequest) -> Result<SubscriptionRequest, ApiError> {
    if let SubscriptionRequest::SubscribeWebsocket { terms, .. }
    | SubscriptionRequest::SubscribeWebhook { terms, .. } = &mut asked
    {
        terms.events = caller.may_receive(terms.events.clone())?;
    }
    Ok(asked)
}

fn known(endpoint: &Endpoint) -> Result<EndpointId, ApiError> {
    match endpoint {
        Endpoint::Known(id) => Ok(*id),
        Endpoint::Unknown => Err(ApiError::NotFound(UNKNOWN_ENDPOINT)),
    }
}

fn accepted(subscribed: Subscribed, unknown: &'static str) -> Result<(), ApiError> {
    match subscribed {
        Subscribed::Accepted => Ok(()),
        Subscribed::Unknown => Err(ApiError::NotFound(unknown)),
        Subscribed::Foreign => Err(ApiError::Forbidden("the subscription belongs to another client".into())),
        Subscribed::TooLate => Err(ApiError::Unauthorized(Refusal::Expired)),
        Subscribed::TooMany => {
            Err(ApiError::TooMany("limits.subscriptions_per_topic: the topic has reached it: try again"))
        }
    }
}

/// 202 with the endpoint in a JSON body (FC-SUB-02, FC-SUB-09).
fn endpoint_answer(node: &Node, request: &HttpRequest, endpoint: EndpointId) -> HttpResponse {
    let body = json!({ "hub.channel.endpoint": node.endpoint_url(request, endpoint) }).to_string();
    as_json(HttpResponse::Accepted().body(body))
}
