//! What the requests and sockets of this process share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpRequest, http::header};
use shared::{protocol::EndpointId, publisher::Publisher, settings::Settings, store::Store};
use tokio::sync::Semaphore;

use crate::{clock::StoreClock, liveness::Liveness, relay::Relays, socket::Sockets};

/// One hub process.
pub struct Node {
    /// Unique among all hub processes ever.
    pub id: String,
    /// As they were at the start.
    pub settings: Settings,
    /// Where the state is.
    pub store: Arc<dyn Store>,
    /// Decides and commits.
    pub publisher: Arc<Publisher>,
    /// From the logs to the sockets.
    pub relays: Relays,
    /// The sockets that are open.
    pub sockets: Sockets,
    /// The store's clock.
    pub clock: StoreClock,
    /// Whether the others know that this node lives.
    pub liveness: Liveness,
    /// One permit for each publish that may be in flight.
    pub publishes: Semaphore,
    /// Set when the process has been asked to stop.
    pub is_draining: AtomicBool,
}

impl Node {
    /// Has the process been asked to stop?
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// `hub.url` as the client that asked can reach it: `public_url`, or else the first base path
    /// below the host that the request named.
    pub fn hub_url(&self, request: &HttpRequest) -> String {
        let base = self.settings.base_paths.first().map_or("", String::as_str);
        match &self.settings.public_url {
            Some(url) => {
                let path = url.path().trim_end_matches('/');
                format!("{}{}", url.origin().ascii_serialization(), if path.is_empty() { base } else { path })
            }
            None => {
                let scheme = if self.settings.tls.cert.is_some() { "https" } else { "http" };
                let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let host = named.map_or_else(|| self.settings.listen.to_string(), str::to_owned);
                format!("{scheme}://{host}{base}")
            }
        }
    }

    /// The WebSocket URL of a subscription, as the client that asked can reach it (FC-SUB-02).
    pub fn endpoint_url(&self, request: &HttpRequest, endpoint: EndpointId) -> String {
        // https becomes wss, http becomes ws.
        format!("{}/ws/{endpoint}", self.hub_url(request).replacen("http", "ws", 1))
    }
}
