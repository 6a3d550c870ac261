//! Connections to callbacks (FC-TRN-01, FC-SEC-02): how they are opened, and how much comes back.
//!
//! - [`Dialer::connect`] asks the gate for every connection and connects to the very addresses that
//!   it was given. No proxy. A request that finds no room at an address ([`addresses`]) is not sent there,
//!   over no connection, new or kept.
//! - TLS 1.2 or newer, verified against the system's roots and `callbacks.ca_file` for the very host
//!   of the URL, a name or an address. With `callbacks.cert` the worker shows who it is. Connections are made with what
//!   these files hold now ([`shared::tls`]); one that is kept stays as it was made.
//! - What a server answers to one request is bounded on the wire ([`Bounded`]): a head of
//!   `limits.callback_head_bytes` (others have [`Bounds`] of their own), and behind it no more than the body may have. So nobody can make
//!   the worker read, parse or keep more than that, in whatever form it comes: endless heads, interim
//!   answers, extensions of chunks, trailers. The time of a request is bounded by who makes it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_rt::net::{ActixStream, Ready};
use openssl::ssl::SslConnector;
use shared::{
    callbacks::{self, Gate, GateError, Refusal},
    settings::Settings,
    telemetry::metrics::Certificate,
    tls::{self, Followed, TlsError},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_openssl::SslStream;

use crate::addresses;

/// What comes on the wire besides a body of the size that it may have: chunks and their like.
const FRAMING: usize = 4096;

/// The settings do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file of certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no way to resolve names.
    #[error(transparent)]
    Gate(#[from] GateError),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// It may not be.
    Refused(Refusal),
    /// Nobody answers, or not in time.
    Io(io::Error),
}

/// Opens connections; made once, for any thread.
pub struct Dialer {
    gate: Gate,
    tls: Followed<SslConnector>,
    /// For one address: one that swallows packets must leave time for the ones after it.
    patience: Duration,
    bounds: Bounds,
}

/// How long an answer may be, and what an error calls each bound.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of its head.
    pub head: (usize, &'static str),
    /// Bytes of its body.
    pub body: (usize, &'static str),
}

impl Dialer {
    /// From the settings; follows the files that they name, so this is called where Tokio runs.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        let callbacks = &settings.callbacks;
        let tls = tls::Client {
            of: Certificate::Callbacks,
            ca_file: callbacks.ca_file.as_deref(),
            cert: callbacks.cert.as_deref(),
            key: callbacks.key.as_deref(),
            reload_every: callbacks.reload_every(),
        };
        Ok(Self {
            gate: Gate::new(callbacks)?,
            tls: tls.connector()?,
            patience: settings.ack_timeout() / 3,
            bounds: Bounds {
                head: (settings.limits.callback_head_bytes, "limits.callback_head_bytes"),
                body: (settings.limits.callback_body_bytes, "limits.callback_body_bytes"),
            },
        })
    }

    /// Where callbacks may lead.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Resolves, checks, connects; shakes hands if it is to be TLS. An IPv6 address is in brackets.
    pub async fn connect(&self, host: &str, port: u16, is_tls: bool) -> Result<Bounded, DialError> {
        let addresses = self.gate.addresses(host, port, Some(())).await.map_err(DialError::Refused)?;
        self.connect_to(&addresses, host, is_tls).await
    }

    /// The same, with the addresses that the gate has given for this host.
    pub async fn connect_to(
        &self,
        addresses: &[SocketAddr],
        host: &str,
        is_tls: bool,
    ) -> Result<Bounded, DialError> {
        let mut problem = None;
        for address in addresses {
            if !addresses::enter(address.ip()) {
                continue;
            }
            match timeout(self.patience, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let tls = is_tls.then(|| self.tls.now());
                    let bounded = Bounded::over(stream, host, tls.as_deref(), self.bounds).await;
                    return bounded.map_err(DialError::Io);
                }
                Ok(Err(error)) => problem = Some(error),
                Err(_) => problem = Some(io::ErrorKind::TimedOut.into()),
            }
            addresses::leave();
        }
        Err(DialError::Io(problem.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
    }
}

/// Shakes hands with `host`, which has to show a certificate of that name or address.
async fn shake_hands(tls: &SslConnector, host: &str, stream: TcpStream) -> io::Result<SslStream<TcpStream>> {
    // What a certificate bears: an address without brackets, a name without the root's dot.
    let name = match callbacks::literal(host) {
        Some(address) => address.to_string(),
        None => host.trim_end_matches('.').to_owned(),
    };
    let ssl = tls.configure()?.into_ssl(&name)?;
    let mut stream = SslStream::new(ssl, stream)?;
    Pin::new(&mut stream).connect().await.map_err(io::Error::other)?;
    Ok(stream)
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

/// A connection on which no answer is longer than it may be.
#[derive(Debug)]
pub struct Bounded {
    stream: Stream,
    /// Where it leads.
    address: Option<IpAddr>,
    bounds: Bounds,
    /// What has come since the last request.
    seen: Seen,
}

#[derive(Debug, Default)]
struct Seen {
    bytes: usize,
    /// How much of the empty line that ends a head has come last.
    newlines: usize,
    /// Where the first head ended.
    head: Option<usize>,
}

impl Seen {
    fn add(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            if self.head.is_some() {
                break;
            }
            match byte {
                b'\n' => self.newlines += 1,
                b'\r' => {}
                _ => self.newlines = 0,
            }
            if self.newlines == 2 {
                self.head = Some(self.bytes + at + 1);
            }
        }
        self.bytes += bytes.len();
    }

    fn is_head_too_long(&self, head_bytes: usize) -> bool {
        self.head.unwrap_or(self.bytes) > head_bytes
    }

    fn is_body_too_long(&self, body_bytes: usize) -> bool {
        self.head.is_some_and(|head| self.bytes - head > body_bytes + FRAMING)
    }
}

impl Bounded {
    /// Over a connection to `host`, with TLS if there is any; for callbacks, and for others whose bounds
    /// are their own.
    pub async fn over(
        stream: TcpStream,
        host: &str,
        tls: Option<&SslConnector>,
        bounds: Bounds,
    ) -> io::Result<Self> {
        // Only the speed depends on it.
        let _ = stream.set_nodelay(true);
        let address = stream.peer_addr().ok().map(|peer| peer.ip());
        let stream = match tls {
            Some(tls) => Stream::Tls(Box::new(shake_hands(tls, host, stream).await?)),
            None => Stream::Plain(stream),
        };
        Ok(Self { stream, address, bounds, seen: Seen::default() })
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // What has come by now is good for the status, if that is all that counts.
        let Bounds { head: (head_bytes, head_name), body: (body_bytes, body_name) } = this.bounds;
        if this.seen.is_body_too_long(body_bytes) {
            return Poll::Ready(Err(too_long(body_name)));
        }
        let before = buffer.filled().len();
        ready!(match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        })?;
        this.seen.add(&buffer.filled()[before..]);
        if this.seen.is_head_too_long(head_bytes) {
            return Poll::Ready(Err(too_long(head_name)));
        }
        Poll::Ready(Ok(()))
    }
}

fn too_long(bound: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is longer than {bound}"))
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.address.is_some_and(|address| !addresses::enter(address)) {
            return Poll::Ready(Err(io::ErrorKind::ResourceBusy.into()));
        }
        // Another request: what comes from now on answers that.
        this.seen = Seen::default();
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Bounded {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.stream.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.stream.tcp(), cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_however_it_comes() {
        for head in ["HTTP/1.1 200 OK\r\na: b\r\n\r\n", "HTTP/1.1 200 OK\na: b\n\n"] {
            let mut whole = Seen::default();
            whole.add(format!("{head}body\r\n\r\n").as_bytes());
            let mut piecemeal = Seen::default();
            for byte in format!("{head}body").bytes() {
                piecemeal.add(&[byte]);
            }
            assert_eq!((whole.head, piecemeal.head), (Some(head.len()), Some(head.len())), "FC-SEC-02");
        }
    }

    proptest! {
        #[test]
        fn no_more_is_read_than_a_head_and_a_body_may_have(reads in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 1..600), 1..40)) {
            let mut seen = Seen::default();
            for read in &reads {
                if seen.is_body_too_long(1000) || seen.is_head_too_long(500) {
                    break;
                }
                seen.add(read);
            }
            prop_assert!(seen.bytes <= 500 + 1000 + FRAMING + 600);
        }
    }
}
