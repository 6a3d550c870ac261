//! What a check talks to the hub with. Each check has its own, so that what was said can be shown beside its result.
//!
//! What the hub does not claim to have ends a check as skipped, when the check comes to it: publishing an event that is
//! not supported, reading a current context that cannot be read. No check needs to ask first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::ask::{Answer, Ask};
use super::callbacks::{Callback, CallbackHost, PROBE};
use super::catalogue::Version;
use super::check::{Outcome, expect, fail, skip};
use super::hub::{Configuration, HubUnderTest, Timing};
use super::messages::Event;
use super::subscriber::{Reach, Subscriber, open};
use super::token::Narrow;
use super::trace::Trace;
use crate::client::App;
use crate::examples::fresh_topic;

/// How many probes are sent before the hub counts as one that does not notify.
const PROBES: usize = 20;

/// The hub, as one check sees it. Clones write down what they say in the same place.
#[derive(Clone)]
pub struct Probe {
    pub(super) hub: Arc<HubUnderTest>,
    pub(super) callbacks: Arc<CallbackHost>,
    pub(super) trace: Trace,
    pub(super) app: App,
    pub(super) url: String,
    /// The token of its requests in place of the usual one.
    pub(super) token: Option<String>,
    subscribers: Arc<AtomicUsize>,
}

impl Probe {
    pub(super) fn new(hub: Arc<HubUnderTest>, callbacks: Arc<CallbackHost>, app: App, trace: Trace) -> Probe {
        let url = hub.url.clone();
        Probe { hub, callbacks, trace, app, url, token: None, subscribers: Arc::default() }
    }

    /// The same for a check that begins now.
    pub(super) fn begun(self) -> Probe {
        Probe { trace: self.trace.restarted(), ..self }
    }

    /// A topic that nobody has used.
    pub fn topic(&self) -> String {
        fresh_topic()
    }

    /// The version that the hub is held to.
    pub fn spec(&self) -> Version {
        self.hub.spec
    }

    /// How long things take.
    pub fn timing(&self) -> &Timing {
        &self.hub.timing
    }

    /// What the hub says of itself.
    pub fn configuration(&self) -> &Configuration {
        &self.hub.configuration
    }

    /// `hub.url` of the node that this probe asks.
    pub fn hub_url(&self) -> &str {
        &self.url
    }

    /// The same at the second node; skips if there is none.
    pub fn second_node(&self) -> Outcome<Probe> {
        let url = self.hub.second_node.clone().ok_or_else(|| skip("no --second-node was given"))?;
        let app = HubUnderTest::app(&url, self.hub.ca.as_ref())?;
        Ok(Probe { app, url, ..self.clone() })
    }

    /// Skips unless requests carry a token.
    pub fn needs_token(&self) -> Outcome {
        match self.hub.token.is_there() {
            true => Ok(()),
            false => Err(skip("no --token was given")),
        }
    }

    /// The same with a narrower token; skips if none can be had.
    pub async fn narrowed(&self, narrow: &Narrow) -> Outcome<Probe> {
        let token = self.hub.token.narrowed(narrow).await?;
        let token = token.ok_or_else(|| skip("no --token-command was given that narrows"))?;
        self.trace.sent(format!("a token is made: {narrow:?}"));
        Ok(Probe { token: Some(token), ..self.clone() })
    }

    /// An endpoint, wherever it was handed out, at the node of this probe: what a load balancer does.
    pub fn endpoint_here(&self, endpoint: &str) -> Outcome<String> {
        let parsed = |url: &str| Url::parse(url).map_err(|error| fail("a URL", format!("{url}: {error}")));
        let (mut there, here) = (parsed(endpoint)?, parsed(&self.url)?);
        let moved = there.set_host(here.host_str()).is_ok() && there.set_port(here.port()).is_ok();
        expect(moved, "an endpoint with a host", endpoint)?;
        Ok(there.into())
    }

    /// The origin of a page that the hub lets in; skips if none was given.
    pub fn origin(&self) -> Outcome<&str> {
        self.hub.origin.as_deref().ok_or_else(|| skip("no --origin was given"))
    }

    /// Skips unless the hub supports content sharing: its `eventsSupported` has updates.
    pub fn needs_content_sharing(&self) -> Outcome {
        self.needs_event("DiagnosticReport-update")
    }

    /// Skips unless the hub's `eventsSupported` has this event.
    pub fn needs_event(&self, name: &str) -> Outcome {
        match self.configuration().supports(name) {
            true => Ok(()),
            false => Err(skip(format!("the hub's eventsSupported has no {name}"))),
        }
    }

    /// Skips unless a member of the well-known document's `capabilities` is true.
    pub fn needs_capability(&self, name: &str) -> Outcome {
        match self.configuration().capability(name) {
            true => Ok(()),
            false => Err(skip(format!("the hub does not claim {name}"))),
        }
    }

    /// Skips unless the hub claims the WebSocket channel.
    pub fn needs_websocket(&self) -> Outcome {
        match self.configuration().websocket() {
            true => Ok(()),
            false => Err(skip("the hub's websocketSupport is false")),
        }
    }

    /// Skips unless the hub claims the webhook channel.
    pub fn needs_webhook(&self) -> Outcome {
        match self.configuration().webhook() {
            true => Ok(()),
            false => Err(skip("the hub does not claim webhookSupport")),
        }
    }

    /// A request to `hub.url` followed by `path`, to be finished and sent by the caller.
    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask::new(self, method, path)
    }

    /// GETs `hub.url` followed by `path`.
    pub async fn get(&self, path: &str) -> Outcome<Answer> {
        self.ask(Method::GET, path).send().await
    }

    /// POSTs a form to `hub.url`, as it is given.
    pub async fn post_form(&self, form: &[(&str, &str)]) -> Outcome<Answer> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.post("application/x-www-form-urlencoded", body).await
    }

    /// POSTs anything to `hub.url`.
    pub async fn post(&self, content_type: &str, body: impl Into<Vec<u8>>) -> Outcome<Answer> {
        self.ask(Method::POST, "").body(content_type, body).send().await
    }

    /// Publishes an event, whatever the answer. Skips if the hub does not support it.
    pub async fn offer(&self, event: &Event) -> Outcome<Answer> {
        self.needs_event(event.name())?;
        self.post("application/json", event.text()).await
    }

    /// Publishes an event, which must be accepted.
    pub async fn publish(&self, event: &Event) -> Outcome<Answer> {
        self.offer(event).await?.expect_success()
    }

    /// Reads the current context, which must succeed. Skips if the hub does not claim that it can be read.
    pub async fn current_context(&self, topic: &str) -> Outcome<Value> {
        if !self.configuration().current_context() {
            return Err(skip("the hub does not claim getCurrentSupport"));
        }
        let topic: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
        self.get(&format!("/{}", topic.replace('+', "%20"))).await?.expect_success()?.json()
    }

    /// Subscribes by WebSocket, connects, and takes the confirmation.
    pub async fn subscribe(&self, topic: &str, events: &str) -> Outcome<Subscriber> {
        self.subscribe_with(topic, events, &[]).await
    }

    /// The same with further form parameters, such as `subscriber.name`.
    pub async fn subscribe_with(
        &self,
        topic: &str,
        events: &str,
        extra: &[(&str, &str)],
    ) -> Outcome<Subscriber> {
        let endpoint = self.endpoint(topic, events, extra).await?;
        let mut subscriber = self.connect(&endpoint).await?;
        subscriber.confirmation().await?;
        Ok(subscriber)
    }

    /// Subscribes by WebSocket, or changes the subscription that `extra` names by `hub.channel.endpoint`; answers with
    /// the endpoint.
    pub async fn endpoint(&self, topic: &str, events: &str, extra: &[(&str, &str)]) -> Outcome<String> {
        let answer = self.subscribe_websocket(topic, events, extra).await?.expect_success()?;
        let endpoint = answer.json()?["hub.channel.endpoint"].as_str().map(str::to_owned);
        endpoint.ok_or_else(|| fail("hub.channel.endpoint in the answer", answer.shown()))
    }

    /// Asks for a subscription by WebSocket, whatever the answer.
    pub async fn subscribe_websocket(
        &self,
        topic: &str,
        events: &str,
        extra: &[(&str, &str)],
    ) -> Outcome<Answer> {
        self.needs_websocket()?;
        let mut form = vec![
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", events),
        ];
        form.extend(extra);
        self.post_form(&form).await
    }

    /// Asks for the end of a WebSocket subscription, whatever the answer.
    pub async fn unsubscribe_websocket(&self, topic: &str, endpoint: &str) -> Outcome<Answer> {
        self.post_form(&[
            ("hub.channel.type", "websocket"),
            ("hub.mode", "unsubscribe"),
            ("hub.topic", topic),
            ("hub.channel.endpoint", endpoint),
        ])
        .await
    }

    /// Connects to an endpoint. The confirmation is left to be taken by [`Subscriber::confirmation`].
    pub async fn connect(&self, endpoint: &str) -> Outcome<Subscriber> {
        let number = self.subscribers.fetch_add(1, Ordering::Relaxed) + 1;
        Subscriber::connect(format!("subscriber {number}"), endpoint, self.reach()).await
    }

    /// Asks for an upgrade with these headers beside the usual, and drops what it gets: the status, 101 if it opened.
    pub async fn upgrade(&self, endpoint: &str, headers: &[(&str, &str)]) -> Outcome<u16> {
        self.trace.sent(format!("an upgrade at {endpoint} {headers:?}"));
        let status = open(endpoint, headers, &self.reach()).await?.map_or_else(|status| status, |_| 101);
        self.trace.came(format!("status {status}"));
        Ok(status)
    }

    fn reach(&self) -> Reach {
        let (ca, timeout) = (self.hub.ca.clone(), self.timing().timeout);
        Reach { ca, timeout, trace: self.trace.clone() }
    }

    /// A place for callbacks that nobody has used, not yet subscribed. Skips if the hub does not claim webhooks, or
    /// takes no http callbacks.
    pub fn callback(&self) -> Outcome<Callback> {
        self.needs_webhook()?;
        match self.callbacks.refusal() {
            Some(reason) => Err(skip(format!("the hub refuses callbacks that are not https: {reason}"))),
            None => Ok(self.callbacks.place(self.timing().timeout, &self.trace)),
        }
    }

    /// Subscribes a new callback, and waits until its subscription is in force: when the hub has verified it, it may
    /// take a moment yet. It asks for [`PROBE`] as well, and has got such events until one came.
    pub async fn webhook(&self, topic: &str, events: &str, extra: &[(&str, &str)]) -> Outcome<Callback> {
        let callback = self.callback()?;
        let events = format!("{events},{PROBE}");
        self.subscribe_webhook(&callback, topic, &events, extra).await?.expect_success()?;
        callback.intent("subscribe").await?;
        let event = || Event::new(topic, PROBE, Value::Array(Vec::new()));
        let mut last = event();
        for _ in 0..PROBES {
            self.publish(&last).await?;
            if callback.comes_soon(&last).await {
                return Ok(callback);
            }
            last = event();
        }
        Err(fail("the callback to be notified once its subscription is verified", "nothing"))
    }

    /// Asks for a subscription of this callback, whatever the answer.
    pub async fn subscribe_webhook(
        &self,
        callback: &Callback,
        topic: &str,
        events: &str,
        extra: &[(&str, &str)],
    ) -> Outcome<Answer> {
        let url = callback.url();
        let mut form = vec![
            ("hub.channel.type", "webhook"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", events),
            ("hub.callback", url),
        ];
        form.extend(extra);
        self.post_form(&form).await
    }

    /// Asks for the end of a webhook subscription, whatever the answer.
    pub async fn unsubscribe_webhook(&self, topic: &str, callback: &Callback) -> Outcome<Answer> {
        self.post_form(&[
            ("hub.channel.type", "webhook"),
            ("hub.mode", "unsubscribe"),
            ("hub.topic", topic),
            ("hub.callback", callback.url()),
        ])
        .await
    }
}
