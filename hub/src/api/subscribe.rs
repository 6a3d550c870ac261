//! Subscribing and unsubscribing (FC-SUB-01…06, FC-SUB-09, FC-WHK-01).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::{
    audit::{Kind, Record},
    protocol::{
        SubscriptionId, Topic, TopicKey,
        form::Form,
        subscription_request::{Callback, Endpoint, RequestLimits, SubscriptionRequest, Terms},
        webhook::Mode,
    },
    store::{Address, Channel, Subscribed, Subscription, WebhookRequest},
};
use uuid::Uuid;

use super::{ApiError, json as as_json};
use crate::{auth::Caller, limits, node::Node};

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
    node.limits.topic(asked.topic().key(), limits::Kind::Subscribe)?;
    match asked {
        SubscriptionRequest::SubscribeWebsocket { topic, terms, endpoint } => {
            let id = subscribe_websocket(node, topic, terms, endpoint).await?;
            record.subscription = Some(id);
            Ok(endpoint_answer(node, request, id))
        }
        SubscriptionRequest::UnsubscribeWebsocket { topic, endpoint } => {
            let id = known(endpoint)?;
            let address = Address { id, topic: topic.key() };
            if !node.store.end_websocket(address, "unsubscribed").await? {
                return Err(ApiError::NotFound(UNKNOWN_ENDPOINT));
            }
            Ok(endpoint_answer(node, request, id))
        }
        SubscriptionRequest::SubscribeWebhook { topic, terms, callback, secret } => {
            admitted(node, &callback, topic.key()).await?;
            let id = callback_id(node, &topic, &callback);
            let subscription =
                Subscription { id, topic, channel: Channel::Webhook { callback, secret }, terms };
            request_webhook(node, Mode::Subscribe, subscription).await
        }
        SubscriptionRequest::UnsubscribeWebhook { topic, callback } => {
            let id = callback_id(node, &topic, &callback);
            match node.store.subscription(id).await? {
                Some((subscription, _)) => request_webhook(node, Mode::Unsubscribe, subscription).await,
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
    if let SubscriptionRequest::SubscribeWebsocket { endpoint: Some(Endpoint::Known(id)), .. }
    | SubscriptionRequest::UnsubscribeWebsocket { endpoint: Endpoint::Known(id), .. } = asked
    {
        record.subscription = Some(*id);
    }
}

async fn subscribe_websocket(
    node: &Node,
    topic: Topic,
    terms: Terms,
    endpoint: Option<Endpoint>,
) -> Result<SubscriptionId, ApiError> {
    let partition = topic.key().partition(node.store.partitions());
    let subscription = |id| Subscription { id, topic, channel: Channel::Websocket, terms };
    match endpoint {
        // Subscribing again replaces what was there (FC-SUB-04).
        Some(endpoint) => {
            let id = known(endpoint)?;
            accepted(
                node.store.renew_websocket(&subscription(id), node.settings.reconnect_grace()).await?,
                UNKNOWN_ENDPOINT,
            )?;
            Ok(id)
        }
        None => {
            let id = SubscriptionId::random(partition);
            let limit = node.settings.limits.subscriptions_per_topic;
            accepted(node.store.subscribe_websocket(&subscription(id), limit).await?, UNKNOWN_ENDPOINT)?;
            Ok(id)
        }
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
/// (its name is not resolved in time, or here) is for the worker to find out, which looks again before
/// each connection anyway.
async fn admitted(node: &Node, callback: &Callback, topic: TopicKey) -> Result<(), ApiError> {
    let Err(refusal) = node.callbacks.admit(callback.url()).await else { return Ok(()) };
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
    SubscriptionId::of_callback(partition, &topic.key(), callback.url().as_str())
}

fn known(endpoint: Endpoint) -> Result<SubscriptionId, ApiError> {
    match endpoint {
        Endpoint::Known(id) => Ok(id),
        Endpoint::Unknown => Err(ApiError::NotFound(UNKNOWN_ENDPOINT)),
    }
}

fn accepted(subscribed: Subscribed, unknown: &'static str) -> Result<(), ApiError> {
    match subscribed {
        Subscribed::Accepted => Ok(()),
        Subscribed::Unknown => Err(ApiError::NotFound(unknown)),
        Subscribed::TooMany => {
            Err(ApiError::TooMany("limits.subscriptions_per_topic: the topic has as many"))
        }
    }
}

/// 202 with the endpoint in a JSON body (FC-SUB-02, FC-SUB-09).
fn endpoint_answer(node: &Node, request: &HttpRequest, id: SubscriptionId) -> HttpResponse {
    let body = json!({ "hub.channel.endpoint": node.endpoint_url(request, id) }).to_string();
    as_json(HttpResponse::Accepted().body(body))
}
