//! From the port to requests: who may connect, how many may, and how slowly.
//!
//! Promises: whoever connects has a place or is closed at once ([`places`]); a handshake, a head and a pause have their
//! time ([`connection`]); memory and files are bounded whoever connects. The hub speaks HTTP/1.1 and nothing else:
//! WebSockets need it, requests are small, and so streams that are reset, header tables and floods of continuations
//! are nobody's to try.
//!
//! It takes the place of actix-web's `HttpServer`, which offers HTTP/2 with TLS, knows no addresses, and stops accepting
//! for everyone when one has 256 handshakes under way.

mod attended;
mod connection;
mod places;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_http::{HttpService, KeepAlive, Request, body::MessageBody};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_tls::accept::openssl::TlsStream;
use actix_web::{
    Error,
    dev::{AppConfig, Response},
    rt::net::{ActixStream, TcpStream},
};
use anyhow::Context;
use openssl::ssl::{Ssl, SslAcceptor, SslAcceptorBuilder};
use rustix::process::{Resource, getrlimit};
use shared::{
    settings::{IpNet, Limits, Settings},
    telemetry::metrics::{Limit, METRICS},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio_openssl::SslStream;

pub use connection::{has_left, tell_connection};

use self::{
    attended::Attended,
    connection::{Connection, Times},
    places::Places,
};
use crate::{client_address::is_trusted, limits::Network};

/// A peer that takes nothing of what it is sent for this long is cut off by the kernel.
const STUCK_PEER: Duration = Duration::from_secs(40);
/// For how long what a peer still sends is read when it has been answered early, and how long its goodbye may take.
const DISCONNECT: Duration = Duration::from_secs(1);
/// Files that are no connections: the store's, the log, the listeners.
const OTHER_FILES: usize = 256;

/// Begins to listen, and serves what comes with `app` once the server is awaited.
pub fn serve<F, I, S, B>(
    settings: &Settings,
    tls: Option<SslAcceptorBuilder>,
    shutdown_secs: u64,
    app: F,
) -> anyhow::Result<(Server, SocketAddr)>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let limits = &settings.limits;
    let named = || format!("listen: {}", settings.listen);
    let listener = bind(settings.listen, limits.backlog).with_context(named)?;
    let address = listener.local_addr().with_context(named)?;
    let most = most_connections(limits);
    let door = Door {
        places: Arc::new(Mutex::new(Places::new(limits, most))),
        limits: limits.clone(),
        trusted_proxies: settings.trusted_proxies.clone().into(),
    };
    let server = ServerBuilder::new()
        .workers(settings.threads)
        // Never the reason to pause: who finds no place is closed.
        .max_concurrent_connections(usize::MAX >> 1)
        .shutdown_timeout(shutdown_secs)
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let server = match tls {
        Some(builder) => {
            let acceptor = builder.build();
            server.listen("hub", listener, move || {
                let (door, acceptor) = (door.clone(), acceptor.clone());
                let http = http::<TlsStream<Connection>, _, _, _, _>(&door.limits, &stopping, &app);
                fn_service(move |io| door.clone().enter_tls(io, acceptor.clone())).and_then(http)
            })
        }
        None => server.listen("hub", listener, move || {
            let door = door.clone();
            let http = http::<Connection, _, _, _, _>(&door.limits, &stopping, &app);
            fn_service(move |io| {
                let entered = door.enter(io).map(|(connection, peer)| {
                    let activity = connection.activity().clone();
                    (Attended::new(connection, activity), peer)
                });
                async move { entered }
            })
            .and_then(http)
        }),
    };
    Ok((server.with_context(named)?.run(), address))
}

/// HTTP/1.1 on a stream.
fn http<T, F, I, S, B>(
    limits: &Limits,
    stopping: &GracefulShutdownSignal,
    app: &F,
) -> impl ServiceFactory<(Attended<T>, Option<SocketAddr>), Config = (), Response = (), Error = (), InitError = ()>
+ use<T, F, I, S, B>
where
    T: ActixStream + 'static,
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let stopping = stopping.clone();
    let app = app().into_factory().map_err(|error| error.into().error_response());
    HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .keep_alive(KeepAlive::Timeout(limits.keep_alive()))
        .client_request_timeout(limits.head())
        .client_disconnect_timeout(DISCONNECT)
        .on_connect_ext(|stream: &Attended<T>, extensions| {
            extensions.insert(stream.activity().clone());
        })
        .h1(map_config(app, |()| AppConfig::default()))
        .map_err(|error| tracing::debug!(%error, "a connection has ended"))
        .map_init_err(|error| tracing::error!(?error, "the application cannot be made"))
}

/// What decides about each connection.
#[derive(Clone)]
struct Door {
    places: Arc<Mutex<Places>>,
    limits: Limits,
    trusted_proxies: Arc<[IpNet]>,
}

impl Door {
    /// Gives it a place, or closes it.
    fn enter(&self, io: TcpStream) -> Result<(Connection, Option<SocketAddr>), ()> {
        let peer = io.peer_addr().map_err(|error| tracing::debug!(%error, "a peer has gone at once"))?;
        cut_if_stuck(&io);
        let limits = &self.limits;
        let times = Times { head: limits.head(), keep_alive: limits.keep_alive(), answer: limits.answer() };
        let network =
            (!is_trusted(peer.ip().to_canonical(), &self.trusted_proxies)).then(|| Network::of(peer.ip()));
        let taken = Connection::take(io, network, &self.places, times);
        let connection = taken.map_err(|limit| METRICS.limited.with(limit).inc())?;
        Ok((connection, Some(peer)))
    }

    /// The same, with a TLS handshake.
    async fn enter_tls(
        self,
        io: TcpStream,
        acceptor: SslAcceptor,
    ) -> Result<(Attended<TlsStream<Connection>>, Option<SocketAddr>), ()> {
        let (mut connection, peer) = self.enter(io)?;
        connection.handshakes(true);
        let failed = |error: &dyn std::fmt::Display| tracing::debug!(%error, "a handshake has failed");
        let ssl = Ssl::new(acceptor.context()).map_err(|error| failed(&error))?;
        let mut stream = SslStream::new(ssl, connection).map_err(|error| failed(&error))?;
        match tokio::time::timeout(self.limits.handshake(), std::pin::Pin::new(&mut stream).accept()).await {
            Ok(Ok(())) => {
                stream.get_mut().handshakes(false);
                let activity = stream.get_ref().activity().clone();
                Ok((Attended::new(stream.into(), activity), peer))
            }
            Ok(Err(error)) => {
                failed(&error);
                Err(())
            }
            Err(_) => {
                METRICS.limited.with(Limit::HandshakeSecs).inc();
                Err(())
            }
        }
    }
}

/// A socket whose peer reads nothing is not even asked for its next bytes, so no timer of ours
/// would notice; the kernel does.
fn cut_if_stuck(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    if let Err(error) =
        socket.set_tcp_user_timeout(Some(STUCK_PEER)).and_then(|()| socket.set_tcp_nodelay(true))
    {
        tracing::debug!(%error, "TCP_USER_TIMEOUT or TCP_NODELAY cannot be set");
    }
}

fn bind(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// A process that may open no more files cannot even accept a connection to close it, and stops accepting for a while.
fn most_connections(limits: &Limits) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return limits.connections };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let most = files.saturating_sub(OTHER_FILES).max(files / 2);
    if most < limits.connections {
        tracing::warn!(
            files,
            connections = most,
            "the process may open too few files for limits.connections"
        );
    }
    most
}
