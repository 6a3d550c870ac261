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
    dev::{Extensions, Server, ServerHandle},
    rt::net::TcpStream,
    web,
};
use anyhow::Context;
use shared::{
    publisher::Publisher,
    session::Rules,
    settings::Settings,
    store::{Retention, Store, memory::MemoryStore, redis::RedisStore},
    telemetry::{Readiness, admin},
};
use socket2::SockRef;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use crate::{
    api::{cors, dispatch},
    drain::drain,
    node::Node,
    relay::Relays,
    socket::{Sockets, save_cursors},
    tls,
};

/// How often the store is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(2);
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
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// What it is made of.
    pub store: Arc<dyn Store>,
    /// What it publishes with.
    pub publisher: Arc<Publisher>,
    node: web::Data<Node>,
    readiness: Readiness,
    server: Server,
    admin_handle: ServerHandle,
}

/// Opens the store that the settings name.
pub async fn open_store(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    let retention = Retention::from(&settings.limits);
    Ok(match settings.redis.url {
        Some(_) => RedisStore::connect(&settings.redis, retention).await?,
        None => MemoryStore::new(settings.redis.partitions, retention),
    })
}

/// Starts a hub on a store. It serves once [`Hub::run`] is awaited.
pub async fn start(settings: Settings, store: Arc<dyn Store>) -> anyhow::Result<Hub> {
    let rules = Rules { max_open: settings.limits.open_contexts };
    let publisher = Arc::new(Publisher::new(store.clone(), rules, settings.syncerror.severity));
    let node = web::Data::new(Node {
        id: Uuid::new_v4().to_string(),
        store: store.clone(),
        publisher: publisher.clone(),
        relays: Relays::default(),
        sockets: Sockets::default(),
        publishes: Semaphore::new(settings.limits.in_flight_publishes),
        is_draining: AtomicBool::new(false),
        settings,
    });
    let settings = &node.settings;

    let readiness = Readiness::new(["redis", "draining"]);
    readiness.set("draining", true, "no");
    let (admin, admin_server) = admin::start(settings.admin_listen, readiness.clone())?;
    let admin_handle = admin_server.handle();
    actix_web::rt::spawn(admin_server);

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
        admin,
        store,
        publisher,
        server: server.run(),
        admin_handle,
        readiness,
        node,
    })
}

impl Hub {
    /// Serves until `stop` resolves; then drains, and returns when all is let go.
    pub async fn run(self, stop: oneshot::Receiver<()>) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let mut serving = actix_web::rt::spawn(self.server);
        actix_web::rt::spawn(save_cursors(self.node.clone()));
        actix_web::rt::spawn(probe(self.store, self.readiness.clone()));
        tokio::select! {
            served = &mut serving => return served.context("the server has ended")?.context("the server has failed"),
            _ = stop => {}
        }
        self.readiness.set("draining", false, "yes");
        drain(&self.node, self.node.settings.drain()).await;
        handle.stop(true).await;
        self.admin_handle.stop(true).await;
        serving.await.context("the server has ended")?.context("the server has failed")
    }
}

/// Keeps readiness true to whether the store answers.
async fn probe(store: Arc<dyn Store>, readiness: Readiness) {
    loop {
        match store.ping().await {
            Ok(()) => readiness.set("redis", true, "ok"),
            Err(error) => readiness.set("redis", false, error.to_string()),
        }
        tokio::time::sleep(PROBE_EVERY).await;
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
