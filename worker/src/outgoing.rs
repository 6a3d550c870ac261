//! What all requests have in common that go out over a [`crate::connection`], to callbacks or to others.
//!
//! - To awc all of them are http: the connection beneath speaks TLS where the URL does.
//! - Nothing is decompressed, and of a body no more is kept than it may have.
//! - A body that broke off is none: awc takes the end of the connection for the end of the body.

use std::{fmt::Debug, time::Duration};

use actix_rt::net::{ActixStream, TcpStream};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use actix_web::dev::{Service, fn_service};
use awc::{
    Client, ClientRequest, ClientResponse, Connector,
    error::PayloadError,
    http::{Method, Uri, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openssl::ssl::SslConnector;
use shared::{callbacks::literal, tls::Followed};
use url::{Position, Url};

use crate::connection::{Bounded, Bounds};

/// How long an idle connection is kept: less than the 5 seconds after which many servers close
/// theirs, since a request that crosses that close fails and has to be made again.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Who asks.
const USER_AGENT: &str = concat!("fhircast-hub/", env!("CARGO_PKG_VERSION"));

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It has more bytes than it may.
    #[error("the answer's body is longer than it may be")]
    TooLong,
    /// It has fewer bytes than its head says.
    #[error("the answer broke off")]
    BrokenOff,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] PayloadError),
}

/// A client over connections that `connector` makes, each within `patience`. It follows no redirects, and has no time-out of
/// its own, since awc's leaves out the body: who asks bounds the rest.
pub fn client<S, IO>(connector: S, patience: Duration, connections: usize) -> Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, IO>, Error = ConnectError> + Clone + 'static,
    IO: ActixStream + Debug + 'static,
{
    let connector = Connector::new()
        .connector(connector)
        .timeout(patience)
        .conn_keep_alive(KEEP_ALIVE)
        .limit(connections);
    Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .add_default_header((header::USER_AGENT, USER_AGENT))
        .finish()
}

/// Clients for a party that the settings name, and so trust: nobody asks where it is. One for each scheme: what is meant
/// for TLS never goes over another connection. No redirects: whom the program trusts is what is set, and not where that
/// leads.
#[derive(Clone)]
pub struct Clients {
    plain: Client,
    secure: Client,
}

impl Clients {
    /// For this thread. `patience` bounds connecting; who asks bounds the rest.
    pub fn new(tls: Followed<SslConnector>, patience: Duration, bounds: Bounds, connections: usize) -> Self {
        let client = |tls: Option<Followed<SslConnector>>| {
            let connector = fn_service(move |target: ConnectInfo<Uri>| connect(tls.clone(), target, bounds));
            client(connector, patience, connections)
        };
        Self { plain: client(None), secure: client(Some(tls)) }
    }

    /// A request for a URL, which has a host.
    pub fn request(&self, method: Method, url: &Url) -> ClientRequest {
        request(if url.scheme() == "https" { &self.secure } else { &self.plain }, method, url)
    }
}

/// Connects, and shakes hands as with the host of the URL.
async fn connect(
    tls: Option<Followed<SslConnector>>,
    target: ConnectInfo<Uri>,
    bounds: Bounds,
) -> Result<Connection<Uri, Bounded>, ConnectError> {
    let (host, port) = (target.hostname(), target.port());
    let connected = match literal(host) {
        Some(address) => TcpStream::connect((address, port)).await,
        None => TcpStream::connect((host, port)).await,
    };
    let stream = connected.map_err(ConnectError::Io)?;
    let tls = tls.map(|tls| tls.now());
    let stream = Bounded::over(stream, host, tls.as_deref(), bounds).await.map_err(ConnectError::Io)?;
    Ok(Connection::new(target.request().clone(), stream))
}

/// A request for a URL, which has a host.
pub fn request(client: &Client, method: Method, url: &Url) -> ClientRequest {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let uri = format!("http://{host}:{port}{}", &url[Position::BeforePath..Position::AfterQuery]);
    let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    client.request(method, uri).no_decompress().insert_header((header::HOST, named))
}

/// All of an answer's body, if it has so many bytes at most.
pub async fn body<S>(response: &mut ClientResponse<S>, most: usize) -> Result<Vec<u8>, Unread>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let mut body = Vec::new();
    while let Some(piece) = response.next().await {
        let piece = piece?;
        if body.len() + piece.len() > most {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    if length.is_some_and(|length| length != body.len()) { Err(Unread::BrokenOff) } else { Ok(body) }
}
