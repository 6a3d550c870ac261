//! Builds the hub out of its parts, and runs it until it is told to stop.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix_web::{App, dev::Server, middleware::from_fn, web};
use anyhow::Context;
use shared::{
    audit::Audit,
    callbacks::Gate,
    publisher::Publisher,
    session::Rules,
    settings::Settings,
    store::Store,
    telemetry::{Loop, Loops, Readiness, metrics::Certificate},
    tls,
};
use tokio::sync::Semaphore;

use crate::{
    api::{cors, dispatch},
    auth::Authenticator,
    clock::StoreClock,
    doubts::look_again,
    drain::drain,
    limits::Limits,
    listener,
    liveness::{Liveness, live, resign},
    node::Node,
    relay::{Relays, watch_heads},
    socket::{Sockets, save_cursors, watch_unanswered},
};

/// How long requests that are in flight may take at the end of a drain.
const LAST_REQUESTS_SECS: u64 = 5;

/// How often a thread that serves requests says that it is not held up.
const TURN_EVERY: Duration = Duration::from_secs(1);

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

/// Starts a hub on a store. It serves once [`Hub::run`] is awaited, says in `readiness` when it drains, and in `loops`
/// that it is not held up.
pub fn start(
    settings: Settings,
    store: Arc<dyn Store>,
    audit: Audit,
    readiness: Readiness,
    loops: Loops,
) -> anyhow::Result<Hub> {
    let rules = Rules::from(&settings.limits);
    let severity = settings.syncerror.severity;
    let publisher = Arc::new(Publisher::new(store.clone(), rules, severity, audit.clone()));
    let node = web::Data::new(Node {
        id: audit.node().to_owned(),
        audit,
        authenticator: Authenticator::start(&settings.auth, &readiness)?,
        store,
        publisher: publisher.clone(),
        relays: Relays::default(),
        sockets: Sockets::default(),
        clock: StoreClock::new(),
        liveness: Liveness::default(),
        callbacks: Gate::new(&settings.callbacks)?,
        publishes: Semaphore::new(settings.limits.in_flight_publishes),
        limits: Limits::new(&settings.limits, settings.callbacks.dns_lookups),
        loops: loops.clone(),
        is_draining: AtomicBool::new(false),
        settings,
    });
    let settings = &node.settings;

    let (data, origins) = (node.clone(), settings.cors.allowed_origins.clone());
    let app = move || {
        // One for each thread that serves requests.
        actix_web::rt::spawn(turn(loops.watch("requests")));
        let app = App::new().app_data(data.clone()).wrap(cors(&origins));
        app.wrap(from_fn(listener::tell_connection)).default_service(web::to(dispatch))
    };
    let acceptor = tls::acceptor(Certificate::Hub, &settings.tls)?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    let (server, address) = listener::serve(settings, acceptor, LAST_REQUESTS_SECS, app)?;
    let base = settings.base_paths.first().map_or("", String::as_str);
    Ok(Hub { url: format!("{scheme}://{address}{base}"), address, publisher, server, readiness, node })
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
            served = &mut serving => return served.map_err(|_| broken_down())?.context("the server has failed"),
            () = stop => {}
        }
        self.readiness.set("draining", false, "yes");
        self.node.loops.end();
        drain(&self.node, self.node.settings.drain()).await;
        living.abort();
        resign(&self.node).await;
        handle.stop(true).await;
        serving.await.map_err(|_| broken_down())?.context("the server has failed")
    }
}

/// Says that the thread that this runs on is not held up.
async fn turn(thread: Loop) {
    let mut ticks = tokio::time::interval(TURN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        thread.turned();
    }
}

/// The error of the task itself would repeat what a panic says.
fn broken_down() -> anyhow::Error {
    anyhow::anyhow!("the server has broken down")
}
