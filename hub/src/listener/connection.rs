//! One connection: its place, and the time that it may take.
//!
//! actix gives a time-out to the first head of a connection and to the pause between two requests, and none to a second
//! head that has begun. This one holds for each: what has begun must be there within `limits.head_secs`, and what does
//! not begin within `limits.keep_alive_secs`, or else the connection reads as broken. What came of a head together with
//! the request before it has not begun, as long as nothing follows. While a request is worked on, no time runs here; a
//! body has its own. An answer must be taken within `limits.answer_secs`: who takes a large one slowly is no more idle
//! than who waits for one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    Error, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    rt::net::{ActixStream, Ready, TcpStream},
};
use bytes::Bytes;
use shared::{
    lock::lock,
    telemetry::metrics::{Limit, METRICS},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::places::{Place, Places};
use crate::limits::Network;

/// actix answers the first head that is late, and says what is wrong: it goes first.
const AFTER_ACTIX: Duration = Duration::from_secs(1);

/// What the requests of a connection and the connection itself share.
#[derive(Debug)]
pub struct Activity {
    places: Arc<Mutex<Places>>,
    id: u64,
    network: Option<Network>,
    begun: AtomicU64,
    under_way: AtomicUsize,
    /// The one that is under way has its answer, which is being sent.
    is_answered: AtomicBool,
    has_left: AtomicBool,
}

/// A request is being worked on, or its answer is being sent.
#[derive(Debug)]
pub struct UnderWay(Arc<Activity>);

impl Activity {
    /// A request has come, whole but for its body.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.is_answered.store(false, Ordering::Relaxed);
        if self.under_way.fetch_add(1, Ordering::Relaxed) == 0 {
            lock(&self.places).has_asked(self.id);
        }
        UnderWay(self.clone())
    }

    /// The peer has closed the connection, or broken it.
    pub fn peer_has_left(&self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

/// Has the sender of a request closed the connection already? Nobody waits for its answer then.
pub fn has_left(request: &HttpRequest) -> bool {
    request.conn_data::<Arc<Activity>>().is_some_and(|activity| activity.has_left.load(Ordering::Relaxed))
}

impl UnderWay {
    /// There is an answer, and it is being sent.
    fn has_answer(&self) {
        self.0.is_answered.store(true, Ordering::Relaxed);
    }

    /// The connection has become a socket, which has times of its own.
    fn for_good(self) {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            lock(&self.0.places).is_answered(self.0.id);
        }
    }
}

/// Tells the connection of each of its requests, also of those that no room of the API sees: the outermost middleware.
pub async fn tell_connection<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Sending>, Error> {
    let mut under_way = request.conn_data::<Arc<Activity>>().map(Activity::begin);
    let response = next.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(under_way) = under_way.take() {
            under_way.for_good();
        }
    } else if let Some(under_way) = &under_way {
        under_way.has_answer();
    }
    Ok(response.map_body(|_, body| Sending { body: body.boxed(), _under_way: under_way }))
}

/// The body of an answer: the request is under way until it has been taken.
pub struct Sending {
    body: BoxBody,
    _under_way: Option<UnderWay>,
}

impl MessageBody for Sending {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        lock(&self.places).leave(self.id, self.network);
    }
}

/// A place, from the accept to the end of the connection.
pub struct Connection {
    io: TcpStream,
    activity: Arc<Activity>,
    /// Absent once it has to.
    gives_way: Option<oneshot::Receiver<()>>,
    times: Times,
    /// Absent during the handshake, which has a time of its own, and while a request is worked on.
    wait: Option<Wait>,
    begun: u64,
    is_handshaking: bool,
    /// Why it has ended, as far as anybody asks.
    over: Option<io::ErrorKind>,
}

/// How long a connection may take for what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a head that has begun.
    pub head: Duration,
    /// Until the next request begins.
    pub keep_alive: Duration,
    /// To take an answer.
    pub answer: Duration,
}

struct Wait {
    until: Pin<Box<Sleep>>,
    of: Of,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The next request.
    Request,
    /// The rest of a head.
    Head,
    /// That an answer is taken.
    Answer,
}

impl Connection {
    /// Gives a connection its place, or says which limit it would exceed.
    pub fn take(
        io: TcpStream,
        network: Option<Network>,
        places: &Arc<Mutex<Places>>,
        times: Times,
    ) -> Result<Self, Limit> {
        let Place { id, network, gives_way } = lock(places).take(network)?;
        let activity = Arc::new(Activity {
            places: places.clone(),
            id,
            network,
            begun: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            is_answered: AtomicBool::new(false),
            has_left: AtomicBool::new(false),
        });
        Ok(Self {
            io,
            activity,
            gives_way: Some(gives_way),
            times: Times {
                head: times.head + AFTER_ACTIX,
                keep_alive: times.keep_alive + AFTER_ACTIX,
                ..times
            },
            wait: None,
            begun: 0,
            is_handshaking: false,
            over: None,
        })
    }

    /// What its requests tell it.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// It begins with a TLS handshake, or has done with it.
    pub fn handshakes(&mut self, is_handshaking: bool) {
        self.is_handshaking = is_handshaking;
    }

    /// Has it to end?
    fn is_over(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // Once it is, it stays so, however often it is asked.
        if let Some(reason) = self.over {
            return Err(reason.into());
        }
        let begun = self.activity.begun.load(Ordering::Relaxed);
        let is_busy = self.activity.under_way.load(Ordering::Relaxed) > 0;
        if !is_busy && self.has_to_give_way(cx) {
            let limit = if begun == 0 { Limit::NewConnections } else { Limit::Connections };
            METRICS.limited.with(limit).inc();
            return self.is_over_for(io::ErrorKind::ConnectionAborted);
        }
        let is_answered = self.activity.is_answered.load(Ordering::Relaxed);
        let waits_for = self.wait.as_ref().map(|wait| wait.of);
        if self.is_handshaking || is_busy && !is_answered {
            self.wait = None;
        } else if is_busy {
            if begun != self.begun || waits_for != Some(Of::Answer) {
                self.wait = Some(Wait::until(self.times.answer, Of::Answer));
            }
        } else if begun != self.begun || waits_for == Some(Of::Answer) {
            self.wait = Some(Wait::until(self.times.keep_alive, Of::Request));
        } else if waits_for.is_none() {
            // The first head has begun with the connection.
            let (time, of) = match begun {
                0 => (self.times.head, Of::Head),
                _ => (self.times.keep_alive, Of::Request),
            };
            self.wait = Some(Wait::until(time, of));
        }
        self.begun = begun;
        self.poll_wait(cx)
    }

    /// Has it been told to go, now or before?
    fn has_to_give_way(&mut self, cx: &mut Context<'_>) -> bool {
        if self.gives_way.as_mut().is_some_and(|told| Pin::new(told).poll(cx).is_ready()) {
            self.gives_way = None;
        }
        self.gives_way.is_none()
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(wait) = &mut self.wait else { return Ok(()) };
        if wait.until.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        match wait.of {
            Of::Request => {}
            Of::Head => METRICS.limited.with(Limit::HeadSecs).inc(),
            Of::Answer => METRICS.limited.with(Limit::AnswerSecs).inc(),
        }
        self.is_over_for(io::ErrorKind::TimedOut)
    }

    fn is_over_for(&mut self, reason: io::ErrorKind) -> io::Result<()> {
        self.over = Some(reason);
        Err(reason.into())
    }

    /// Bytes have come while nothing was worked on: a head has begun.
    fn heard(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &self.wait {
            Some(wait) if wait.of == Of::Request => {
                self.wait = Some(Wait::until(self.times.head, Of::Head));
                self.poll_wait(cx)
            }
            _ => Ok(()),
        }
    }
}

impl Wait {
    fn until(after: Duration, of: Of) -> Self {
        Self { until: Box::pin(sleep_until(Instant::now() + after)), of }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_over(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.heard(cx)?;
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Who has said all that it will is not read from any more, and takes its answer in its time all the same.
        this.is_over(cx)?;
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.is_over(cx)?;
        Pin::new(&mut this.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl ActixStream for Connection {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.io, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.io, cx)
    }
}
