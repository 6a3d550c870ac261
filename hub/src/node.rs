//! What the requests and sockets of this process share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::{HttpRequest, http::header};
use shared::{protocol::SubscriptionId, publisher::Publisher, settings::Settings, store::Store};
use tokio::sync::Semaphore;

use crate::{liveness::Liveness, relay::Relays, socket::Sockets};

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

    /// The WebSocket URL of a subscription, as the client that asked can reach it (FC-SUB-02):
    /// below `public_url`, or else below the host that the request named.
    pub fn endpoint_url(&self, request: &HttpRequest, id: SubscriptionId) -> String {
        let base = self.settings.base_paths.first().map_or("", String::as_str);
        match &self.settings.public_url {
            Some(url) => {
                let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
                let origin = url.origin().ascii_serialization();
                let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
                let path = url.path().trim_end_matches('/');
                format!("{scheme}://{host}{}/ws/{id}", if path.is_empty() { base } else { path })
            }
            None => {
                let scheme = if self.settings.tls.cert.is_some() { "wss" } else { "ws" };
                let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let host = named.map_or_else(|| self.settings.listen.to_string(), str::to_owned);
                format!("{scheme}://{host}{base}/ws/{id}")
            }
        }
    }
}
