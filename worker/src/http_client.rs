//! Requests to callbacks (FC-TRN-01, FC-SEC-02): one place decides how they are made.
//!
//! - Every connection is opened by [`crate::connection`], which decides where it may lead.
//! - No redirects, no proxy, HTTP/1.1, nothing is decompressed. https and http have each its own
//!   connections: what is meant for TLS never goes over another.
//! - One deadline (`ack_timeout_secs`) over all of a request. At most `limits.callback_body_bytes`
//!   of an answer are read; of a longer one the rest is left and the connection dropped.
//! - Who has not confirmed anything is asked and told at a pace ([`crate::pace`]), and at the very
//!   addresses that its turn was taken for: else its name could lead to somebody else by then.
//! - At most `limits.deliveries_per_address` requests are under way to one address ([`crate::addresses`]).
//!
//! What an answer means is decided elsewhere ([`crate::outcome`], verification).

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_tls::connect::{ConnectError as TcpConnectError, ConnectInfo, Connection};
use actix_web::dev::fn_service;
use awc::{
    Client, ClientRequest,
    error::{ConnectError, SendRequestError},
    http::{
        Method, Uri,
        header::{self, HeaderName},
    },
};
use bytestring::ByteString;
use shared::{
    callbacks::{Refusal, Unresolved},
    protocol::{
        trace_context::{TRACEPARENT, TRACESTATE},
        webhook::SIGNATURE_HEADER,
    },
    settings::Settings,
    telemetry::traces::{Span, SpanKind},
};
use tokio::sync::Semaphore;
use url::Url;

pub use crate::connection::SetupError;
use crate::{
    addresses::{Addresses, Crowded},
    connection::{Bounded, DialError, Dialer},
    outcome, outgoing,
    pace::Pace,
};

/// awc keeps idle connections of a host until that host is asked again: a client that is replaced
/// after so long, or after so many new connections, lets go of them.
const CLIENT_LIFE: Duration = Duration::from_secs(60);
const CLIENT_CONNECTIONS: usize = 1024;

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The callback leads to where callbacks must not go, or nowhere.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not within the ack time-out.
    #[error("no answer within ack_timeout_secs")]
    TimedOut,
    /// No connection, no trust, or a connection that broke.
    #[error("{0}")]
    Unreachable(String),
    /// It has not been sent: there are as many requests under way to its address as may be.
    #[error("limits.deliveries_per_address")]
    Crowded,
}

impl From<Crowded> for RequestError {
    fn from(_: Crowded) -> Self {
        Self::Crowded
    }
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

/// What clients are made from, checked once, for any thread.
pub struct Setup {
    dialer: Dialer,
    pace: Pace,
    /// Half of `callbacks.dns_lookups`: names that nobody answers for, of which anybody may ask for many, must
    /// not be in the way of those whose events wait.
    unconfirmed_lookups: Arc<Semaphore>,
    deadline: Duration,
    max_body_bytes: usize,
    connections: usize,
    per_address: usize,
}

impl Setup {
    /// From the settings; follows the files that `callbacks` names.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let limits = &settings.limits;
        let unconfirmed_lookups = (settings.callbacks.dns_lookups / 2).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            dialer: Dialer::new(settings)?,
            unconfirmed_lookups: Arc::new(Semaphore::new(unconfirmed_lookups)),
            pace: Pace::new(limits.verifications_per_address_per_min, limits.remembered_callers),
            deadline: settings.ack_timeout(),
            max_body_bytes: limits.callback_body_bytes,
            connections: limits.deliveries,
            per_address: limits.deliveries_per_address,
        })
    }
}

/// May somebody be asked who has not confirmed that it wants to be?
#[derive(Debug)]
pub enum Turn {
    /// Now, at these addresses.
    Now(Vec<SocketAddr>),
    /// Not before so long: it has been asked often of late.
    After(Duration),
    /// Not while as many requests are under way there as may be.
    Crowded,
    /// Nobody can say now where it is, or whether it is anywhere.
    Unknown(RequestError),
    /// Never: its callback leads to where none may.
    Never(RequestError),
}

/// Makes requests to callbacks. awc's connections stay on the thread that opened them, and so
/// does this.
pub struct HttpClient {
    setup: Arc<Setup>,
    addresses: Addresses,
    /// The same, of which what nobody has confirmed takes up half.
    unconfirmed: Addresses,
    present: RefCell<Present>,
}

struct Present {
    tls: Client,
    plain: Client,
    made: Instant,
    opened: Rc<Cell<usize>>,
}

impl HttpClient {
    /// A client for this thread.
    pub fn new(setup: Arc<Setup>) -> Self {
        let addresses = Addresses::new(setup.per_address);
        let unconfirmed = addresses.unconfirmed();
        Self { present: RefCell::new(Present::new(&setup)), addresses, unconfirmed, setup }
    }

    /// Takes a turn at whoever is behind a callback that nobody has confirmed.
    pub async fn turn(&self, url: &Url) -> Turn {
        let Setup { dialer, pace, unconfirmed_lookups, deadline, .. } = &*self.setup;
        let never = |refusal: Refusal| Turn::Never(refusal.into());
        if let Err(refusal) = dialer.gate().check_scheme(url) {
            return never(refusal);
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return never(Refusal::NoHost);
        };
        let look_up = async {
            // It is never closed.
            let share = unconfirmed_lookups.clone().acquire_owned().await.ok();
            dialer.gate().addresses(host, port, share).await
        };
        match tokio::time::timeout(*deadline, look_up).await {
            // It would have its turn for nothing.
            Ok(Ok(found)) if !self.unconfirmed.have_room(host, found.iter().map(SocketAddr::ip)) => {
                Turn::Crowded
            }
            Ok(Ok(addresses)) => match pace.take(&addresses) {
                Ok(()) => Turn::Now(addresses),
                Err(wait) => Turn::After(wait),
            },
            Ok(Err(refusal @ Refusal::Unresolved(Unresolved::Unanswered(_)))) => {
                Turn::Unknown(refusal.into())
            }
            Ok(Err(refusal)) => never(refusal),
            Err(_) => Turn::Unknown(RequestError::TimedOut),
        }
    }

    /// Asks the subscriber something.
    pub async fn get(&self, url: &Url) -> Result<Answer, RequestError> {
        let client = self.client(is_tls(url));
        self.send(&self.addresses, client, Method::GET, url, ByteString::new(), |request| request).await
    }

    /// Asks who has not confirmed anything, at the addresses that its turn was taken for.
    pub async fn get_at(&self, addresses: Vec<SocketAddr>, url: &Url) -> Result<Answer, RequestError> {
        // A connection that is kept may lead elsewhere.
        let client = client(&self.setup, Rc::default(), is_tls(url), Some(addresses.into()));
        self.send(&self.unconfirmed, client, Method::GET, url, ByteString::new(), |request| request).await
    }

    /// Sends a notification, as a part of the trace that is current: the request names its own span, if there is one.
    pub async fn post(
        &self,
        url: &Url,
        json: ByteString,
        signature: Option<String>,
    ) -> Result<Answer, RequestError> {
        let client = self.client(is_tls(url));
        let span = Span::part(SpanKind::Client, "POST");
        span.note(|| {
            [
                ("http.request.method", "POST".into()),
                ("url.scheme", url.scheme().to_owned().into()),
                ("server.address", url.host_str().unwrap_or_default().to_owned().into()),
                ("server.port", i64::from(url.port_or_known_default().unwrap_or_default()).into()),
            ]
        });
        let sent = self.send(&self.addresses, client, Method::POST, url, json, |mut request| {
            request = request.insert_header((header::CONTENT_TYPE, "application/json"));
            if let Some(signature) = signature {
                request = request.insert_header((SIGNATURE_HEADER, signature));
            }
            // Beside the body, which alone is signed.
            if let Some(trace) = span.carried() {
                request = request.insert_header((TRACEPARENT, trace.traceparent()));
                if let Some(state) = trace.tracestate() {
                    request = request.insert_header((TRACESTATE, state));
                }
            }
            request
        });
        let answered = span.over(sent).await;
        match &answered {
            Ok(answer) => {
                span.note(|| [("http.response.status_code", i64::from(answer.status).into())]);
                if answer.status >= 400 {
                    span.fail(answer.status.to_string());
                }
            }
            Err(RequestError::Refused(_)) => span.fail("forbidden"),
            Err(RequestError::TimedOut) => span.fail("timeout"),
            Err(RequestError::Unreachable(_)) => span.fail("unreachable"),
            Err(RequestError::Crowded) => span.fail("limits.deliveries_per_address"),
        }
        answered
    }

    async fn send(
        &self,
        addresses: &Addresses,
        client: Client,
        method: Method,
        url: &Url,
        body: ByteString,
        prepare: impl FnOnce(ClientRequest) -> ClientRequest,
    ) -> Result<Answer, RequestError> {
        self.setup.dialer.gate().check_scheme(url)?;
        let host = url.host_str().ok_or(Refusal::NoHost)?;
        let request = prepare(outgoing::request(&client, method, url));
        addresses.counting(host, self.answer(request, body)).await?
    }

    async fn answer(&self, request: ClientRequest, body: ByteString) -> Result<Answer, RequestError> {
        let deadline = tokio::time::Instant::now() + self.setup.deadline;
        let answered = tokio::time::timeout_at(deadline, request.send_body(body.into_bytes())).await;
        let mut response = answered.map_err(|_| RequestError::TimedOut)?.map_err(reason)?;
        let named = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let retry_after =
            named(header::RETRY_AFTER).and_then(|value| outcome::retry_after(value, named(header::DATE)));
        let status = response.status().as_u16();
        let read = outgoing::body(&mut response, self.setup.max_body_bytes);
        let body = tokio::time::timeout_at(deadline, read).await.ok().and_then(Result::ok);
        Ok(Answer { status, retry_after, body })
    }

    fn client(&self, is_tls: bool) -> Client {
        let mut present = self.present.borrow_mut();
        if present.made.elapsed() > CLIENT_LIFE || present.opened.get() > CLIENT_CONNECTIONS {
            *present = Present::new(&self.setup);
        }
        if is_tls { present.tls.clone() } else { present.plain.clone() }
    }
}

impl Present {
    fn new(setup: &Arc<Setup>) -> Self {
        let opened = Rc::new(Cell::new(0));
        let made = |is_tls| client(setup, opened.clone(), is_tls, None);
        let (tls, plain) = (made(true), made(false));
        Self { tls, plain, made: Instant::now(), opened }
    }
}

fn is_tls(url: &Url) -> bool {
    url.scheme() == "https"
}

/// A client that counts the connections that it opens; to these addresses alone, if there are any.
fn client(
    setup: &Arc<Setup>,
    opened: Rc<Cell<usize>>,
    is_tls: bool,
    addresses: Option<Rc<[SocketAddr]>>,
) -> Client {
    let shared = setup.clone();
    let connector = fn_service(move |target: ConnectInfo<Uri>| {
        opened.set(opened.get() + 1);
        let (setup, addresses) = (shared.clone(), addresses.clone());
        async move { connect(&setup, target, is_tls, addresses.as_deref()).await }
    });
    outgoing::client(connector, setup.deadline, setup.connections)
}

async fn connect(
    setup: &Setup,
    target: ConnectInfo<Uri>,
    is_tls: bool,
    addresses: Option<&[SocketAddr]>,
) -> Result<Connection<Uri, Bounded>, TcpConnectError> {
    let (dialer, host) = (&setup.dialer, target.hostname());
    let connected = match addresses {
        Some(addresses) => dialer.connect_to(addresses, host, is_tls).await,
        None => dialer.connect(host, target.port(), is_tls).await,
    };
    match connected {
        Ok(stream) => Ok(Connection::new(target.request().clone(), stream)),
        Err(DialError::Refused(refusal)) => Err(TcpConnectError::Resolver(Box::new(refusal))),
        Err(DialError::Io(error)) => Err(TcpConnectError::Io(error)),
    }
}

fn reason(error: SendRequestError) -> RequestError {
    match error {
        SendRequestError::Connect(ConnectError::Resolver(cause)) => match cause.downcast::<Refusal>() {
            Ok(refusal) => RequestError::Refused(*refusal),
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
