//! Subscribing and unsubscribing (FC-SUB-01…06, FC-SUB-09, FC-WHK-01).

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::{
    protocol::{
        EndpointId, SubscriptionId, Topic,
        form::Form,
        subscription_request::{Callback, Endpoint, RequestLimits, SubscriptionRequest, Terms},
        webhook::Mode,
    },
    store::{Address, Channel, Subscribed, Subscription, WebhookRequest},
};
use uuid::Uuid;

use super::{ApiError, json as as_json};
use crate::{auth::Caller, node::Node};

const UNKNOWN_ENDPOINT: &str = "hub.channel.endpoint is not one of this topic's subscriptions";
const UNKNOWN_CALLBACK: &str = "hub.callback has no subscription to this topic";

/// Answers a form that was posted to `hub.url`.
pub async fn subscribe(
    request: &HttpRequest,
    body: &[u8],
    node: &Node,
    caller: &Caller,
) -> Result<HttpResponse, ApiError> {
    let settings = &node.settings;
    let limits = RequestLimits {
        max_events: settings.limits.events_per_subscription,
        allow_http: settings.callbacks.allow_http,
        default_lease_secs: settings.lease.default_secs,
        max_lease_secs: settings.lease.max_secs,
    };
    let asked = SubscriptionRequest::read(&Form::read(body)?, &limits)?;
    caller.may_use(asked.topic())?;
    match asked {
        SubscriptionRequest::SubscribeWebsocket { topic, terms, endpoint } => {
            let endpoint = subscribe_websocket(node, topic, terms, endpoint).await?;
            Ok(endpoint_answer(node, request, endpoint))
        }
        SubscriptionRequest::UnsubscribeWebsocket { topic, endpoint } => {
            let endpoint = known(endpoint)?;
            let address = Address { id: endpoint.subscription(), topic: topic.key() };
            if !node.store.end_websocket(address, "unsubscribed").await? {
                return Err(ApiError::NotFound(UNKNOWN_ENDPOINT));
            }
            Ok(endpoint_answer(node, request, endpoint))
        }
        SubscriptionRequest::SubscribeWebhook { topic, terms, callback, secret } => {
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

async fn subscribe_websocket(
    node: &Node,
    topic: Topic,
    terms: Terms,
    endpoint: Option<Endpoint>,
) -> Result<EndpointId, ApiError> {
    let partition = topic.key().partition(node.store.partitions());
    let subscription = |endpoint: EndpointId| Subscription {
        id: endpoint.subscription(),
        topic,
        channel: Channel::Websocket,
        terms,
    };
    match endpoint {
        // Subscribing again replaces what was there (FC-SUB-04).
        Some(endpoint) => {
            let endpoint = known(endpoint)?;
            accepted(
                node.store.renew_websocket(&subscription(endpoint), node.settings.reconnect_grace()).await?,
                UNKNOWN_ENDPOINT,
            )?;
            Ok(endpoint)
        }
        None => {
            let endpoint = EndpointId::random(partition);
            let limit = node.settings.limits.subscriptions_per_topic;
            accepted(
                node.store.subscribe_websocket(&subscription(endpoint), limit).await?,
                UNKNOWN_ENDPOINT,
            )?;
            Ok(endpoint)
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

fn callback_id(node: &Node, topic: &Topic, callback: &Callback) -> SubscriptionId {
    let partition = topic.key().partition(node.store.partitions());
    SubscriptionId::of_callback(partition, topic, callback.url().as_str())
}

fn known(endpoint: Endpoint) -> Result<EndpointId, ApiError> {
    match endpoint {
        Endpoint::Known(known) => Ok(known),
        Endpoint::Unknown => Err(ApiError::NotFound(UNKNOWN_ENDPOINT)),
    }
}

fn accepted(subscribed: Subscribed, unknown: &'static str) -> Result<(), ApiError> {
    match subscribed {
        Subscribed::Accepted => Ok(()),
        Subscribed::Unknown => Err(ApiError::NotFound(unknown)),
        Subscribed::TooMany => Err(ApiError::TooMany("the topic has as many subscriptions as it may")),
    }
}

/// 202 with the endpoint in a JSON body (FC-SUB-02, FC-SUB-09).
fn endpoint_answer(node: &Node, request: &HttpRequest, endpoint: EndpointId) -> HttpResponse {
    let body = json!({ "hub.channel.endpoint": node.endpoint_url(request, endpoint) }).to_string();
    as_json(HttpResponse::Accepted().body(body))
}
