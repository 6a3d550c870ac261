//! Builds the hub out of its parts, and runs it until it is told to stop.

use std::{
    any::Any,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_tls::accept::openssl::TlsStream;
use actix_web::{
    App, HttpServer,
    dev::{Extensions, Server},
    rt::net::TcpStream,
    web,
};
use anyhow::Context;
use shared::{publisher::Publisher, session::Rules, settings::Settings, store::Store, telemetry::Readiness};
use socket2::SockRef;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    api::{cors, dispatch},
    auth::Authenticator,
    clock::StoreClock,
    doubts::look_again,
    drain::drain,
    liveness::{Liveness, live, resign},
    node::Node,
    relay::{Relays, watch_heads},
    socket::{Sockets, save_cursors, watch_unanswered},
    tls,
};

/// A peer that takes nothing of what it is sent for this long is cut off by the kernel.
const STUCK_PEER: Duration = Duration::from_secs(40);
/// How long requests that are in flight may take at the end of a drain.
const LAST_REQUESTS_SECS: u64 = 5;

/// A hub that serves.
pub struct Hub {
    /// `hub.url` at the first base path, as this machine reaches it.
    pub url: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it publishes with.
    pub publisher: Arc<Publisher>,
    node: web::Data<Node>,
    readiness: Readiness,
    server: Server,
}

/// Starts a hub on a store. It serves once [`Hub::run`] is awaited, and says in `readiness` when
/// it drains.
pub fn start(settings: Settings, store: Arc<dyn Store>, readiness: Readiness) -> anyhow::Result<Hub> {
    let rules = Rules::from(&settings.limits);
    let publisher = Arc::new(Publisher::new(store.clone(), rules, settings.syncerror.severity));
    let node = web::Data::new(Node {
        id: Uuid::new_v4().to_string(),
        authenticator: Authenticator::start(&settings.auth, &readiness)?,
        store,
        publisher: publisher.clone(),
        relays: Relays::default(),
        sockets: Sockets::default(),
        clock: StoreClock::new(),
        liveness: Liveness::default(),
        publishes: Semaphore::new(settings.limits.in_flight_publishes),
        is_draining: AtomicBool::new(false),
        settings,
    });
    let settings = &node.settings;

    let (data, origins) = (node.clone(), settings.cors.allowed_origins.clone());
    let server = HttpServer::new(move || {
        App::new().app_data(data.clone()).wrap(cors(&origins)).default_service(web::to(dispatch))
    })
    .workers(settings.threads)
    .tcp_nodelay(true)
    .on_connect(cut_stuck_peers)
    .shutdown_timeout(LAST_REQUESTS_SECS)
    .disable_signals();
    let named = || format!("listen: {}", settings.listen);
    let (server, scheme) = match (&settings.tls.cert, &settings.tls.key) {
        (Some(cert), Some(key)) => {
            let acceptor = tls::acceptor(cert, key)?;
            (server.bind_openssl(settings.listen, acceptor).with_context(named)?, "https")
        }
        _ => (server.bind(settings.listen).with_context(named)?, "http"),
    };
    let address = server.addrs().first().copied().unwrap_or(settings.listen);
    let base = settings.base_paths.first().map_or("", String::as_str);
    Ok(Hub {
        url: format!("{scheme}://{address}{base}"),
        address,
        publisher,
        server: server.run(),
        readiness,
        node,
    })
}

impl Hub {
    /// Serves until `stop` resolves; then drains, and returns when all is let go.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let mut serving = actix_web::rt::spawn(self.server);
        actix_web::rt::spawn(save_cursors(self.node.clone()));
        actix_web::rt::spawn(watch_unanswered(self.node.clone()));
        actix_web::rt::spawn(watch_heads(self.node.clone()));
        actix_web::rt::spawn(look_again(self.node.clone()));
        let living = actix_web::rt::spawn(live(self.node.clone()));
        tokio::select! {
            served = &mut serving => return served.context("the server has ended")?.context("the server has failed"),
            () = stop => {}
        }
        self.readiness.set("draining", false, "yes");
        drain(&self.node, self.node.settings.drain()).await;
        living.abort();
        resign(&self.node).await;
        handle.stop(true).await;
        serving.await.context("the server has ended")?.context("the server has failed")
    }
}

/// A socket whose peer reads nothing is not even asked for its next bytes, so no timer of ours
/// would notice; the kernel does.
fn cut_stuck_peers(connection: &dyn Any, _: &mut Extensions) {
    let plain = connection.downcast_ref::<TcpStream>();
    let stream = plain.or_else(|| connection.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref()));
    if let Some(stream) = stream
        && let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(STUCK_PEER))
    {
        tracing::warn!(%error, "TCP_USER_TIMEOUT cannot be set");
    }
}
