//! Requests to callbacks (FC-TRN-01, FC-SEC-02): one place decides where they may go, and how.
//!
//! - Every connection is opened by [`connect`], which resolves the host, applies the address
//!   policy, and connects to the very addresses that it has checked.
//! - TLS 1.2 or newer, verified against the system's roots and `callbacks.ca_file`, host name
//!   included. No redirects, no proxy, HTTP/1.1.
//! - An https callback whose host is an IPv6 address fails: awc hands that name to TLS in its
//!   brackets, which no certificate bears.
//! - One deadline (`ack_timeout_secs`) over all of a request. At most `limits.callback_body_bytes`
//!   of an answer are read; of a longer one the rest is left and the connection dropped.
//!
//! What an answer means is decided elsewhere ([`crate::outcome`], verification).

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_tls::connect::{ConnectError as TcpConnectError, ConnectInfo, Connection};
use actix_web::dev::fn_service;
use awc::{
    Client, ClientRequest, Connector,
    error::{ConnectError, SendRequestError},
    http::{
        Uri,
        header::{self, HeaderName},
    },
};
use bytestring::ByteString;
use futures_util::StreamExt;
use ipnet::IpNet;
use openssl::{
    error::ErrorStack,
    ssl::{SslConnector, SslMethod, SslMode, SslVersion},
};
use shared::{protocol::webhook::SIGNATURE_HEADER, settings::Settings};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};
use url::Url;

use crate::{
    address_policy::{self, Forbidden},
    outcome,
};

/// How long an idle connection is kept: less than the 5 seconds after which many servers close
/// theirs, since a request that crosses that close fails and has to be tried again.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// awc keeps idle connections of a host until that host is asked again: a client that is replaced
/// after so long, or after so many new connections, lets go of them.
const CLIENT_LIFE: Duration = Duration::from_secs(60);
const CLIENT_CONNECTIONS: usize = 1024;

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The callback is http, and that is not allowed.
    #[error("the callback is not https, and callbacks.allow_http is off")]
    NotHttps,
    /// The callback's host leads to where callbacks must not go.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Not within the ack time-out.
    #[error("no answer within ack_timeout_secs")]
    TimedOut,
    /// No connection, no trust, or a connection that broke.
    #[error("{0}")]
    Unreachable(String),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// `Retry-After`, if there is one.
    pub retry_after: Option<Duration>,
    /// Its body, if all of it came in time and within the limit.
    pub body: Option<Vec<u8>>,
}

/// The settings do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates cannot be read.
    #[error("callbacks.ca_file: {path}: {reason}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: ErrorStack,
    },
    /// OpenSSL does not work.
    #[error("TLS for callbacks: {0}")]
    Tls(#[from] ErrorStack),
}

/// What clients are made from, checked once, for any thread.
pub struct Setup {
    tls: SslConnector,
    allow_http: bool,
    allowed_networks: Vec<IpNet>,
    deadline: Duration,
    max_body_bytes: usize,
    connections: usize,
}

impl Setup {
    /// From the settings; reads `callbacks.ca_file`.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        tls.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        // An idle connection without this holds 34 KiB.
        tls.set_mode(SslMode::RELEASE_BUFFERS);
        if let Some(path) = &settings.callbacks.ca_file {
            tls.set_ca_file(path)
                .map_err(|reason| SetupError::CaFile { path: path.display().to_string(), reason })?;
        }
        Ok(Self {
            tls: tls.build(),
            allow_http: settings.callbacks.allow_http,
            allowed_networks: settings.callbacks.allowed_networks.clone(),
            deadline: settings.ack_timeout(),
            max_body_bytes: settings.limits.callback_body_bytes,
            connections: settings.limits.deliveries,
        })
    }
}

/// Makes requests to callbacks. awc's connections stay on the thread that opened them, and so
/// does this.
pub struct HttpClient {
    setup: Arc<Setup>,
    present: RefCell<Present>,
}

struct Present {
    client: Client,
    made: Instant,
    opened: Rc<Cell<usize>>,
}

impl HttpClient {
    /// A client for this thread.
    pub fn new(setup: Arc<Setup>) -> Self {
        Self { present: RefCell::new(Present::new(&setup)), setup }
    }

    /// Asks the subscriber something.
    pub async fn get(&self, url: &Url) -> Result<Answer, RequestError> {
        self.send(url, |client| (client.get(url.as_str()), ByteString::new())).await
    }

    /// Sends a notification.
    pub async fn post(
        &self,
        url: &Url,
        json: ByteString,
        signature: Option<String>,
    ) -> Result<Answer, RequestError> {
        self.send(url, |client| {
            let request = client.post(url.as_str()).insert_header((header::CONTENT_TYPE, "application/json"));
            let request = match signature {
                Some(signature) => request.insert_header((SIGNATURE_HEADER, signature)),
                None => request,
            };
            (request, json)
        })
        .await
    }

    async fn send(
        &self,
        url: &Url,
        prepare: impl FnOnce(&Client) -> (ClientRequest, ByteString),
    ) -> Result<Answer, RequestError> {
        if url.scheme() != "https" && !self.setup.allow_http {
            return Err(RequestError::NotHttps);
        }
        let deadline = tokio::time::Instant::now() + self.setup.deadline;
        let (request, body) = prepare(&self.client());
        let answered = tokio::time::timeout_at(deadline, request.send_body(body.into_bytes())).await;
        let mut response = answered.map_err(|_| RequestError::TimedOut)?.map_err(reason)?;
        let named = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let retry_after =
            named(header::RETRY_AFTER).and_then(|value| outcome::retry_after(value, named(header::DATE)));
        let status = response.status().as_u16();
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = response.next().await {
                let chunk = chunk.ok()?;
                if body.len() + chunk.len() > self.setup.max_body_bytes {
                    return None;
                }
                body.extend_from_slice(&chunk);
            }
            Some(body)
        };
        let body = tokio::time::timeout_at(deadline, read).await.ok().flatten();
        Ok(Answer { status, retry_after, body })
    }

    fn client(&self) -> Client {
        let mut present = self.present.borrow_mut();
        if present.made.elapsed() > CLIENT_LIFE || present.opened.get() > CLIENT_CONNECTIONS {
            *present = Present::new(&self.setup);
        }
        present.client.clone()
    }
}

impl Present {
    fn new(setup: &Arc<Setup>) -> Self {
        let opened = Rc::new(Cell::new(0));
        let (counted, shared) = (opened.clone(), setup.clone());
        let connector = Connector::new()
            .openssl(setup.tls.clone())
            .connector(fn_service(move |target: ConnectInfo<Uri>| {
                counted.set(counted.get() + 1);
                let setup = shared.clone();
                async move { connect(&setup, target).await }
            }))
            .timeout(setup.deadline)
            .handshake_timeout(setup.deadline)
            .conn_keep_alive(KEEP_ALIVE)
            .limit(setup.connections);
        let client = Client::builder()
            .connector(connector)
            // One deadline covers the body too, which awc's own does not.
            .disable_timeout()
            .disable_redirects()
            .add_default_header((header::USER_AGENT, concat!("fhircast-hub/", env!("CARGO_PKG_VERSION"))))
            .finish();
        Self { client, made: Instant::now(), opened }
    }
}

/// Resolves, checks, connects.
async fn connect(
    setup: &Setup,
    target: ConnectInfo<Uri>,
) -> Result<Connection<Uri, TcpStream>, TcpConnectError> {
    let addresses = resolve(target.hostname(), target.port()).await.map_err(TcpConnectError::Io)?;
    address_policy::check_all(addresses.iter().map(SocketAddr::ip), &setup.allowed_networks)
        .map_err(|forbidden| TcpConnectError::Resolver(Box::new(forbidden)))?;
    // An address that swallows packets must leave time for the ones after it.
    let patience = setup.deadline / 3;
    let mut problem = TcpConnectError::NoRecords;
    for address in addresses {
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only the speed depends on it.
                let _ = stream.set_nodelay(true);
                return Ok(Connection::new(target.request().clone(), stream));
            }
            Ok(Err(error)) => problem = TcpConnectError::Io(error),
            Err(_) => problem = TcpConnectError::Io(std::io::ErrorKind::TimedOut.into()),
        }
    }
    Err(problem)
}

async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    // In a URI an IPv6 address stands in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    let found = spawn_blocking(move || (host.as_str(), port).to_socket_addrs()).await?;
    Ok(found?.collect())
}

fn reason(error: SendRequestError) -> RequestError {
    match error {
        SendRequestError::Connect(ConnectError::Resolver(cause)) => match cause.downcast::<Forbidden>() {
            Ok(forbidden) => RequestError::Forbidden(*forbidden),
            Err(other) => RequestError::Unreachable(other.to_string()),
        },
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => {
            RequestError::TimedOut
        }
        SendRequestError::Connect(ConnectError::Io(error))
            if error.kind() == std::io::ErrorKind::TimedOut =>
        {
            RequestError::TimedOut
        }
        other => RequestError::Unreachable(other.to_string()),
    }
}
