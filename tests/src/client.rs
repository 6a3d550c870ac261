//! An app's asking side: subscribe, publish, read the current context (FC-SUB-01, FC-REQ-01, FC-CTX-01), well formed or not.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use native_tls::TlsConnector;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder};
use url::form_urlencoded;

use crate::hygiene;

/// The type of a form.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// The type of an event.
pub const JSON: &str = "application/json";

const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// For which an idle connection is used again: less than the hub keeps one, so that no request crosses its end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// An app, as the hub sees one.
#[derive(Clone)]
pub struct App {
    http: reqwest::Client,
    hub_url: String,
    token: Option<String>,
}

/// What the hub answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("the answer is not JSON: {self:?}"))
    }

    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// This answer if its status is `status`, else an error that shows it.
    pub fn expect_status(self, status: u16) -> Result<Answer> {
        if self.status != status {
            bail!("expected {status}, the hub answered {} {:?}", self.status, self.body);
        }
        Ok(self)
    }
}

impl App {
    /// An app that uses the hub at `hub_url`.
    pub fn new(hub_url: &str) -> Result<App> {
        App::within(hub_url, REQUEST_TIMEOUT)
    }

    /// An app that waits for an answer for so long and no longer.
    pub fn within(hub_url: &str, timeout: Duration) -> Result<App> {
        // To read the system's authorities takes 40 ms: once is enough.
        static SYSTEM: LazyLock<Result<TlsConnector, String>> =
            LazyLock::new(|| TlsConnector::new().map_err(|error| error.to_string()));
        let tls = SYSTEM.clone().map_err(|error| anyhow!("TLS cannot be set up: {error}"))?;
        App::with(hub_url, tls, timeout)
    }

    /// An app that trusts the certificate authority in this PEM file.
    pub fn trusting(hub_url: &str, ca: &Path) -> Result<App> {
        let ca = native_tls::Certificate::from_pem(&std::fs::read(ca)?)?;
        App::with(hub_url, TlsConnector::builder().add_root_certificate(ca).build()?, REQUEST_TIMEOUT)
    }

    fn with(hub_url: &str, tls: TlsConnector, timeout: Duration) -> Result<App> {
        let builder = reqwest::Client::builder().use_preconfigured_tls(tls);
        let builder = builder.no_proxy().timeout(timeout).pool_idle_timeout(IDLE_TIMEOUT);
        let http = builder.build()?;
        Ok(App { http, hub_url: hub_url.trim_end_matches('/').to_owned(), token: None })
    }

    /// This app with a token, which every request of it bears from now on.
    pub fn with_token(mut self, token: &str) -> App {
        self.token = Some(token.to_owned());
        self
    }

    /// Subscribes by WebSocket and answers with `hub.channel.endpoint`; anything but 202 is an error.
    /// `extra` are further form parameters, such as `subscriber.name`.
    pub async fn subscribe_websocket(
        &self,
        topic: &str,
        events: &str,
        extra: &[(&str, &str)],
    ) -> Result<String> {
        let mut form = vec![
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", events),
        ];
        form.extend(extra);
        let answer = self.post_form(&form).await?.expect_status(202)?;
        let endpoint = answer.json()?["hub.channel.endpoint"].as_str().map(str::to_owned);
        if let Some((_, ticket)) = endpoint.as_ref().and_then(|endpoint| endpoint.rsplit_once('/')) {
            hygiene::forbid(ticket);
        }
        endpoint.with_context(|| format!("no hub.channel.endpoint in {}", answer.body))
    }

    /// Subscribes by webhook; `extra` are further form parameters, such as `hub.secret`.
    pub async fn subscribe_webhook(
        &self,
        topic: &str,
        events: &str,
        callback: &str,
        extra: &[(&str, &str)],
    ) -> Result<Answer> {
        // Not in any form: those that are malformed have anything in any place.
        extra
            .iter()
            .filter(|(name, _)| *name == "hub.secret")
            .for_each(|(_, secret)| hygiene::forbid(secret));
        hygiene::forbid(callback.split_once('?').map_or("", |(_, query)| query));
        let mut form = vec![
            ("hub.channel.type", "webhook"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", events),
            ("hub.callback", callback),
        ];
        form.extend(extra);
        self.post_form(&form).await
    }

    /// Ends a WebSocket subscription.
    pub async fn unsubscribe_websocket(&self, topic: &str, endpoint: &str) -> Result<Answer> {
        self.post_form(&[
            ("hub.channel.type", "websocket"),
            ("hub.mode", "unsubscribe"),
            ("hub.topic", topic),
            ("hub.channel.endpoint", endpoint),
        ])
        .await
    }

    /// Ends a webhook subscription.
    pub async fn unsubscribe_webhook(&self, topic: &str, callback: &str) -> Result<Answer> {
        self.post_form(&[
            ("hub.channel.type", "webhook"),
            ("hub.mode", "unsubscribe"),
            ("hub.topic", topic),
            ("hub.callback", callback),
        ])
        .await
    }

    /// Publishes an event, to `hub.url` itself.
    pub async fn publish(&self, event: &str) -> Result<Answer> {
        self.post("", JSON, event.as_bytes()).await
    }

    /// Reads the current context of a topic.
    pub async fn current_context(&self, topic: &str) -> Result<Answer> {
        let topic: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
        self.get(&format!("/{}", topic.replace('+', "%20"))).await
    }

    /// POSTs a form to `hub.url`, as it is given.
    pub async fn post_form(&self, form: &[(&str, &str)]) -> Result<Answer> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.post("", FORM, body.as_bytes()).await
    }

    /// POSTs anything to `hub.url` followed by `path`.
    pub async fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        let request = self.request(Method::POST, path);
        self.send(request.header(CONTENT_TYPE, content_type).body(body.to_vec())).await
    }

    /// GETs `hub.url` followed by `path`.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// A request to `hub.url` followed by `path`, to be finished by the caller and given to [`App::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.hub_url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the answer to its end. One that refuses something must not repeat it.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let request = request.build()?;
        if let Some(token) = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
            // The scheme alone is no secret.
            let token = token.strip_prefix("Bearer ").unwrap_or(token);
            if token != "Bearer" {
                hygiene::forbid(token);
            }
        }
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await?;
        if status >= 400
            && let Some(leak) = hygiene::leak(&body)
        {
            bail!("FC-TRN-03: the hub repeats {leak} in its error: {body}");
        }
        Ok(Answer { status, headers, body })
    }
}
