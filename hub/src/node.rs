//! What the requests and sockets of this process share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use actix_web::HttpRequest;
use shared::{
    audit::Audit, callbacks::Gate, protocol::EndpointId, publisher::Publisher, settings::Settings,
    store::Store, telemetry::Loops,
};
use tokio::sync::Semaphore;

use crate::{
    auth::Authenticator, clock::StoreClock, limits::Limits, liveness::Liveness, own_url, relay::Relays,
    socket::Sockets,
};

/// One hub process.
pub struct Node {
    /// Unique among all hub processes ever.
    pub id: String,
    /// Who did what.
    pub audit: Audit,
    /// As they were at the start.
    pub settings: Settings,
    /// Finds out who is asking.
    pub authenticator: Authenticator,
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
    /// Where callbacks may lead.
    pub callbacks: Gate,
    /// One permit for each publish that may be in flight.
    pub publishes: Semaphore,
    /// What callers and topics may ask of this process.
    pub limits: Limits,
    /// The loops of this process.
    pub loops: Loops,
    /// Set when the process has been asked to stop.
    pub is_draining: AtomicBool,
}

impl Node {
    /// Has the process been asked to stop?
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// `hub.url` as the client that asked can reach it.
    pub fn hub_url(&self, request: &HttpRequest) -> String {
        own_url::hub_url(request, &self.settings)
    }

    /// The WebSocket URL of a subscription, as the client that asked can reach it (FC-SUB-02).
    pub fn endpoint_url(&self, request: &HttpRequest, endpoint: EndpointId) -> String {
        // https becomes wss, http becomes ws.
        format!("{}/ws/{endpoint}", self.hub_url(request).replacen("http", "ws", 1))
    }
}
