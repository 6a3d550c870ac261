//! Where webhook callbacks come to (FC-WHK): one server for the run, a place of its own on it for each subscription.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::check::{Outcome, Stop, fail};
use super::messages::Event;
use super::subscriber::Notification;
use super::trace::Trace;
use crate::callback_server::CallbackServer;
pub use crate::callback_server::{Gate, Reply, Request, signature};
use crate::examples::fresh_id;

/// An event that no check asks for: it shows that a subscription is in force.
pub(super) const PROBE: &str = "org.example.conformance.probe";
/// How long one is waited for before the next is sent.
const SOON: Duration = Duration::from_millis(200);

/// A notification that is no probe.
fn is_told(request: &Request) -> bool {
    request.is_notification() && request.json()["event"]["hub.event"] != PROBE
}

/// The server that callbacks come to.
pub struct CallbackHost {
    server: Arc<CallbackServer>,
    /// `http://ADDR`, as the hub is told.
    base: String,
    door: JoinHandle<()>,
    refusal: OnceLock<String>,
}

impl CallbackHost {
    /// Listens at `address`; port 0 is chosen by the system.
    pub async fn listen(address: SocketAddr) -> Result<CallbackHost> {
        let server = CallbackServer::start()?;
        let inner = server.url("").trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen for callbacks at {address}"))?;
        let base = format!("http://{}", listener.local_addr()?);
        // The harness's server is on loopback; this is its door to the outside.
        let door = tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let inner = inner.clone();
                tokio::spawn(async move {
                    if let Ok(mut inside) = TcpStream::connect(inner).await {
                        // Either side may end it at any time.
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Ok(CallbackHost { server: Arc::new(server), base, door, refusal: OnceLock::new() })
    }

    /// Remembers why the hub refuses callbacks to here.
    pub(super) fn refused(&self, reason: &str) {
        // There is one question, and so one answer.
        let _ = self.refusal.set(reason.to_owned());
    }

    /// Why the hub refuses callbacks to here, if it does.
    pub(super) fn refusal(&self) -> Option<&str> {
        self.refusal.get().map(String::as_str)
    }

    /// A place that nobody has used.
    pub(super) fn place(&self, timeout: Duration, trace: &Trace) -> Callback {
        let path = format!("/{}", fresh_id());
        Callback {
            url: format!("{}{path}", self.base),
            path,
            timeout,
            server: self.server.clone(),
            trace: trace.clone(),
            looked_at: Arc::default(),
        }
    }
}

impl Drop for CallbackHost {
    fn drop(&mut self) {
        self.door.abort();
    }
}

/// Where the callbacks of one subscription come to. It verifies every intent and accepts every notification with 200
/// unless it is told otherwise.
pub struct Callback {
    url: String,
    path: String,
    timeout: Duration,
    server: Arc<CallbackServer>,
    trace: Trace,
    /// How many of its requests have been taken, and how many written down.
    looked_at: Arc<Mutex<Looked>>,
}

#[derive(Default)]
struct Looked {
    events: usize,
    written: usize,
}

impl Callback {
    /// What `hub.callback` is given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same place under a URL with this query of its own.
    pub fn with_query(mut self, query: &str) -> Callback {
        self.url = format!("{}?{query}", self.url);
        self
    }

    /// From now on each request is answered as `replies` says; where that is `None`, as usual.
    pub fn answer_by(&self, replies: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        self.server.on(&self.path, replies);
    }

    /// The next notifications get these answers, one each; those after them the usual one.
    pub fn queue(&self, replies: impl IntoIterator<Item = Reply>) {
        self.server.queue(&self.path, replies);
    }

    /// All that came so far: intents, notifications, denials.
    pub fn requests(&self) -> Vec<Request> {
        let mut requests = self.server.requests();
        requests.retain(|request| request.path == self.path);
        requests
    }

    /// Waits until the requests so far make `find` answer `Some`; `extra` is waited beyond the usual time-out.
    pub async fn wait_for<R>(
        &self,
        extra: Duration,
        what: &str,
        mut find: impl FnMut(&[Request]) -> Option<R>,
    ) -> Outcome<R> {
        let timeout = self.timeout + extra;
        let found = self.server.wait_for(timeout, what, |all| {
            let own: Vec<Request> = all.iter().filter(|request| request.path == self.path).cloned().collect();
            find(&own)
        });
        let found = found.await;
        self.write_down();
        found.map_err(|_| fail(format!("{what} at the callback"), format!("none within {timeout:?}")))
    }

    /// Waits for a GET of this mode (`subscribe`, `unsubscribe`, `denied`); the last that came.
    pub async fn intent(&self, mode: &str) -> Outcome<Request> {
        self.intent_within(mode, Duration::ZERO).await
    }

    /// The same, waited for beyond the usual time-out by `extra`.
    pub async fn intent_within(&self, mode: &str, extra: Duration) -> Outcome<Request> {
        self.wait_for(extra, &format!("a GET with hub.mode={mode}"), |requests| {
            let wanted = |request: &&Request| request.parameter("hub.mode").as_deref() == Some(mode);
            requests.iter().rev().find(wanted).cloned()
        })
        .await
    }

    /// The next notification that has not been taken yet, with the request that brought it.
    pub async fn next_event(&self) -> Outcome<(Notification, Request)> {
        self.next_event_within(Duration::ZERO).await
    }

    /// The same, waited for beyond the usual time-out by `extra`: a retry comes after a while.
    pub async fn next_event_within(&self, extra: Duration) -> Outcome<(Notification, Request)> {
        let taken = self.looked_at().events;
        let request = self
            .wait_for(extra, "a notification", |requests| {
                requests.iter().filter(|request| is_told(request)).nth(taken).cloned()
            })
            .await?;
        self.looked_at().events += 1;
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let notification = Notification::parse(&text).ok_or_else(|| fail("a notification as JSON", text))?;
        Ok((notification, request))
    }

    /// The next notification must be `event`. As a marker it shows that nothing else came before it.
    pub async fn expect_event(&self, event: &Event) -> Outcome<(Notification, Request)> {
        self.expect_event_after(None, event).await
    }

    /// The same, but the one before it may come again first: what is delivered at least once is in order all the same.
    pub async fn expect_event_after(
        &self,
        last: Option<&Event>,
        event: &Event,
    ) -> Outcome<(Notification, Request)> {
        let wanted = format!("the callback to be notified next of {} {}", event.name(), event.id());
        let is_repeat = |came: &Notification| last.is_some_and(|last| came.id() == last.id());
        loop {
            match self.next_event().await {
                Ok(came) if came.0.id() == event.id() => return Ok(came),
                Ok(came) if is_repeat(&came.0) => {}
                Ok(came) => return Err(fail(wanted, came.0.text)),
                Err(Stop::Failed(failure)) => return Err(fail(wanted, failure.came)),
                Err(skipped) => return Err(skipped),
            }
        }
    }

    /// The notifications that came, without probes.
    pub fn notifications(&self) -> Vec<Request> {
        self.requests().into_iter().filter(is_told).collect()
    }

    /// Waits a moment for this event.
    pub(super) async fn comes_soon(&self, event: &Event) -> bool {
        let has_come = || self.requests().iter().any(|request| request.json()["id"] == event.id());
        for _ in 0..10 {
            if has_come() {
                return true;
            }
            tokio::time::sleep(SOON / 10).await;
        }
        has_come()
    }

    fn looked_at(&self) -> MutexGuard<'_, Looked> {
        self.looked_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down the requests that came since.
    fn write_down(&self) {
        let requests = self.requests();
        let mut looked = self.looked_at();
        for request in &requests[looked.written..] {
            let body = String::from_utf8_lossy(&request.body);
            self.trace
                .came(format!("callback: {} {}?{} {body}", request.method, request.path, request.query));
        }
        looked.written = requests.len();
    }
}
