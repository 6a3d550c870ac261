//! A subscriber on the WebSocket channel. A task reads its socket, records every frame, and answers each notification
//! as it was told to (200 unless it was told otherwise); the check takes notifications one after the other.
//!
//! A twin of [`crate::socket::Listener`] it is not: it keeps pings, binary frames and close reasons as evidence, sends
//! what no app would, and closes as it is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use super::check::{Outcome, Stop, fail};
use super::frames::{Answers, Inbox, Reader, Sink, Stream};
pub use super::frames::{Frame, Notification};
use super::messages::Event;
use super::trace::{Trace, shortened};
use crate::wait;

/// How to reach endpoints, and how long to wait.
#[derive(Clone)]
pub(super) struct Reach {
    pub ca: Option<PathBuf>,
    pub timeout: Duration,
    pub trace: Trace,
}

/// A subscriber. Dropping it drops its connection.
pub struct Subscriber {
    name: String,
    endpoint: String,
    reach: Reach,
    inbox: Arc<watch::Sender<Inbox>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    sink: Option<Sink>,
    reader: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Connects. `name` is what the report calls it. A refused upgrade fails.
    pub(super) async fn connect(name: String, endpoint: &str, reach: Reach) -> Outcome<Subscriber> {
        let mut subscriber = Subscriber {
            name,
            endpoint: endpoint.to_owned(),
            reach,
            inbox: Arc::new(watch::Sender::default()),
            answers: Arc::new(Mutex::new(Arc::new(|_: &Notification| Some(json!("200"))))),
            sink: None,
            reader: None,
        };
        subscriber.reconnect().await?;
        Ok(subscriber)
    }

    /// The endpoint that it is, or was last, connected to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next notification that has not been taken yet; fails if none comes in time.
    pub async fn next_event(&mut self) -> Outcome<Notification> {
        self.take(self.reach.timeout, "a notification", |inbox| inbox.notifications.pop_front()).await
    }

    /// The next notification, waited for beyond the usual time-out by `extra`.
    pub async fn next_event_within(&mut self, extra: Duration) -> Outcome<Notification> {
        self.take(self.reach.timeout + extra, "a notification", |inbox| inbox.notifications.pop_front()).await
    }

    /// The next notification must be `event`. As a marker it shows that nothing else came before it.
    pub async fn expect_event(&mut self, event: &Event) -> Outcome<Notification> {
        let wanted = format!("{} to be notified next of {} {}", self.name, event.name(), event.id());
        match self.next_event().await {
            Ok(came) if came.id() == event.id() => Ok(came),
            Ok(came) => Err(fail(wanted, came.text)),
            Err(Stop::Failed(failure)) => Err(fail(wanted, failure.came)),
            Err(skipped) => Err(skipped),
        }
    }

    /// The next confirmation that has not been taken yet (the first was taken when it subscribed).
    pub async fn confirmation(&mut self) -> Outcome<Value> {
        self.mode("a confirmation", "subscribe", Duration::ZERO).await
    }

    /// The next denial.
    pub async fn denial(&mut self) -> Outcome<Value> {
        self.denial_within(Duration::ZERO).await
    }

    /// The next denial, waited for beyond the usual time-out by `extra`.
    pub async fn denial_within(&mut self, extra: Duration) -> Outcome<Value> {
        self.mode("a denial", "denied", extra).await
    }

    async fn mode(&mut self, what: &str, mode: &str, extra: Duration) -> Outcome<Value> {
        self.take(self.reach.timeout + extra, what, |inbox| {
            let found = inbox.modes.iter().position(|message| message["hub.mode"] == mode)?;
            inbox.modes.remove(found)
        })
        .await
    }

    /// Waits for the end of the connection: the close code, or `None` if it broke.
    pub async fn closed(&mut self) -> Outcome<Option<u16>> {
        self.closed_within(Duration::ZERO).await
    }

    /// The same, waited for beyond the usual time-out by `extra`.
    pub async fn closed_within(&mut self, extra: Duration) -> Outcome<Option<u16>> {
        let close = self
            .take(self.reach.timeout + extra, "the end of the connection", |inbox| inbox.closes.pop_front());
        Ok(close.await?.map(|(code, _)| code))
    }

    /// All that came so far, on all its connections: for what [`Subscriber::next_event`] passes over.
    pub fn frames(&self) -> Vec<Frame> {
        self.inbox.borrow().frames.clone()
    }

    /// Waits until the frames so far make `find` answer `Some`; `what` says what is waited for.
    pub async fn wait_for<R>(
        &self,
        timeout: Duration,
        what: &str,
        mut find: impl FnMut(&[Frame]) -> Option<R>,
    ) -> Outcome<R> {
        let found = wait::until(&self.inbox, timeout, what, |inbox| find(&inbox.frames)).await;
        found.map_err(|_| fail(format!("{what} at {}", self.name), format!("none within {timeout:?}")))
    }

    async fn take<R>(
        &self,
        timeout: Duration,
        what: &str,
        mut take: impl FnMut(&mut Inbox) -> Option<R>,
    ) -> Outcome<R> {
        let mut changes = self.inbox.subscribe();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let mut taken = None;
            self.inbox.send_if_modified(|inbox| {
                taken = take(inbox);
                false
            });
            if let Some(taken) = taken {
                return Ok(taken);
            }
            let wanted = format!("{what} at {}", self.name);
            if changes.borrow_and_update().closed {
                // What came before the end has been looked at, unless it came since.
                let mut last = None;
                self.inbox.send_if_modified(|inbox| {
                    last = take(inbox);
                    false
                });
                let end = || format!("the connection ended: {:?}", self.frames().last());
                return last.ok_or_else(|| fail(wanted, end()));
            }
            let changed = tokio::time::timeout_at(deadline, changes.changed()).await;
            if changed.is_err() {
                return Err(fail(wanted, format!("none within {timeout:?}")));
            }
        }
    }

    /// From now on notifications are answered with this status; `0` leaves them unanswered.
    pub fn answer_with(&self, status: u16) {
        self.answer_by(move |_| (status != 0).then(|| json!(status.to_string())));
    }

    /// From now on no notification is answered.
    pub fn answer_nothing(&self) {
        self.answer_with(0);
    }

    /// From now on the `status` of each answer is what `answers` says: a number, a string, or null for an answer
    /// without `status`; `None` leaves the notification unanswered.
    pub fn answer_by(&self, answers: impl Fn(&Notification) -> Option<Value> + Send + Sync + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
    }

    /// Sends a text frame.
    pub async fn send_text(&self, text: &str) -> Outcome {
        self.send(Message::text(text)).await
    }

    /// Sends any frame.
    pub async fn send(&self, frame: Message) -> Outcome {
        let sink = self.sink.as_ref().ok_or_else(|| anyhow!("{} is not connected", self.name))?;
        self.reach.trace.sent(format!("{}: {}", self.name, shown(&frame)));
        sink.lock().await.send(frame).await.context("the frame cannot be sent")?;
        Ok(())
    }

    /// Sends a Close frame with this code.
    pub async fn close(&self, code: u16) -> Outcome {
        self.send(Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))).await
    }

    /// Drops the connection without a Close frame, as a laptop's sleep or a dead network does.
    pub async fn drop_connection(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.reach.trace.sent(format!("{}: drops its connection", self.name));
            reader.abort();
            // Its half of the socket is gone once the task is.
            let _ = reader.await;
        }
        self.sink = None;
    }

    /// Connects to the same endpoint again; a connection that still lives is dropped. The confirmation is left to be
    /// taken by [`Subscriber::confirmation`].
    pub async fn reconnect(&mut self) -> Outcome {
        let endpoint = self.endpoint.clone();
        self.reconnect_to(&endpoint).await
    }

    /// Connects again by another node's URL of the same endpoint, and stays with it.
    pub async fn reconnect_to(&mut self, endpoint: &str) -> Outcome {
        self.drop_connection().await;
        self.endpoint = endpoint.to_owned();
        self.reach.trace.sent(format!("{}: connects to {endpoint}", self.name));
        let stream = match open(endpoint, &[], &self.reach).await? {
            Ok(stream) => stream,
            Err(status) => {
                return Err(fail(format!("the upgrade of {}", self.name), format!("status {status}")));
            }
        };
        self.inbox.send_modify(|inbox| inbox.closed = false);
        let (sink, source) = stream.split();
        let sink = Arc::new(AsyncMutex::new(sink));
        self.sink = Some(sink.clone());
        let reader = Reader {
            name: self.name.clone(),
            trace: self.reach.trace.clone(),
            inbox: self.inbox.clone(),
            answers: self.answers.clone(),
            sink,
        };
        self.reader = Some(tokio::spawn(reader.read(source)));
        Ok(())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

/// Opens the endpoint with these headers beside those of an upgrade; `Err` is the status of a refusal.
pub(super) async fn open(
    endpoint: &str,
    headers: &[(&str, &str)],
    reach: &Reach,
) -> Outcome<Result<Stream, u16>> {
    let mut request = endpoint.into_client_request().with_context(|| format!("{endpoint} is no endpoint"))?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).context("no header's name")?;
        let value = HeaderValue::from_str(value).context("no header's value")?;
        request.headers_mut().insert(name, value);
    }
    let connector = match &reach.ca {
        None => None,
        Some(ca) => {
            let pem = std::fs::read(ca).context("the authority cannot be read")?;
            let ca = native_tls::Certificate::from_pem(&pem).context("the authority is no certificate")?;
            let tls = native_tls::TlsConnector::builder().add_root_certificate(ca).build();
            Some(Connector::NativeTls(tls.context("TLS cannot be set up")?))
        }
    };
    let opening = connect_async_tls_with_config(request, None, true, connector);
    match tokio::time::timeout(reach.timeout, opening).await {
        Ok(Ok((stream, _))) => Ok(Ok(stream)),
        Ok(Err(Error::Http(response))) => Ok(Err(response.status().as_u16())),
        Ok(Err(error)) => Err(fail("the upgrade to be answered", error)),
        Err(_) => Err(fail("the upgrade to be answered", format!("nothing within {:?}", reach.timeout))),
    }
}

fn shown(frame: &Message) -> String {
    match frame {
        Message::Text(text) => shortened(text, 2000),
        Message::Close(Some(close)) => format!("Close {}", u16::from(close.code)),
        other => format!("a frame of {} bytes that is no text", other.len()),
    }
}
