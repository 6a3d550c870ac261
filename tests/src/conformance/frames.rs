//! What comes over a subscriber's socket: read, recorded and answered, by one task a connection.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::messages::element;
use super::trace::Trace;

pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;
pub(super) type Sink = Arc<AsyncMutex<SplitSink<Stream, Message>>>;
/// The `status` of the answer to a notification; null for none, `None` for no answer.
pub(super) type Answers = dyn Fn(&Notification) -> Option<Value> + Send + Sync;

/// A notification that came.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The frame or body as it came: where number lexemes and the order of members matter.
    pub text: String,
    /// The same as JSON.
    pub json: Value,
}

impl Notification {
    /// The notification that this text is; `None` for what has no `event`.
    pub fn parse(text: &str) -> Option<Notification> {
        let json: Value = serde_json::from_str(text).ok()?;
        json["event"].is_object().then(|| Notification { text: text.to_owned(), json })
    }

    /// Its id; empty when it has none.
    pub fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }

    /// Its `hub.event`; empty when it has none.
    pub fn name(&self) -> &str {
        self.json["event"]["hub.event"].as_str().unwrap_or_default()
    }

    /// Its `context.versionId`; null when it has none.
    pub fn version(&self) -> &Value {
        &self.json["event"]["context.versionId"]
    }

    /// The context element of that key; null when there is none.
    pub fn context(&self, key: &str) -> &Value {
        element(&self.json, key)
    }
}

/// A frame that came, or the end of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// Text.
    Text(String),
    /// Binary, of so many bytes.
    Binary(usize),
    /// A ping, which was answered.
    Ping,
    /// The end: code and reason, or `None` when the connection broke.
    Closed(Option<(u16, String)>),
}

/// As the report shows it.
impl fmt::Display for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Text(text) => formatter.write_str(text),
            Frame::Binary(bytes) => write!(formatter, "a binary frame of {bytes} bytes"),
            Frame::Ping => formatter.write_str("Ping"),
            Frame::Closed(Some((code, reason))) => write!(formatter, "Close {code} {reason}"),
            Frame::Closed(None) => formatter.write_str("the connection broke"),
        }
    }
}

/// All that came, and how much of it the check has taken.
#[derive(Default)]
pub(super) struct Inbox {
    pub frames: Vec<Frame>,
    pub notifications: VecDeque<Notification>,
    /// Confirmations and denials.
    pub modes: VecDeque<Value>,
    pub closes: VecDeque<Option<(u16, String)>>,
    /// The present connection has ended.
    pub closed: bool,
}

/// What reads one connection.
pub(super) struct Reader {
    pub name: String,
    pub trace: Trace,
    pub inbox: Arc<watch::Sender<Inbox>>,
    pub answers: Arc<Mutex<Arc<Answers>>>,
    pub sink: Sink,
}

impl Reader {
    pub async fn read(self, mut source: SplitStream<Stream>) {
        loop {
            let frame = match source.next().await {
                Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes.len()),
                Some(Ok(Message::Ping(_))) => Frame::Ping,
                Some(Ok(Message::Close(close))) => {
                    let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                    // A Close frame without a code is what RFC 6455 calls 1005.
                    Frame::Closed(Some(close.unwrap_or((1005, String::new()))))
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => Frame::Closed(None),
            };
            self.trace.came(format!("{}: {frame}", self.name));
            let ended = matches!(frame, Frame::Closed(_));
            let notification = self.keep(frame);
            if ended {
                // Reading on completes the closing handshake.
                let _ = source.next().await;
                return;
            }
            if let Some(notification) = notification {
                self.answer(&notification).await;
            }
        }
    }

    fn keep(&self, frame: Frame) -> Option<Notification> {
        let mut notification = None;
        self.inbox.send_modify(|inbox| {
            match &frame {
                Frame::Text(text) => {
                    notification = Notification::parse(text);
                    match &notification {
                        Some(notification) => inbox.notifications.push_back(notification.clone()),
                        None => inbox.modes.extend(serde_json::from_str::<Value>(text).ok()),
                    }
                }
                Frame::Closed(close) => {
                    inbox.closes.push_back(close.clone());
                    inbox.closed = true;
                }
                Frame::Binary(_) | Frame::Ping => {}
            }
            inbox.frames.push(frame);
        });
        notification
    }

    async fn answer(&self, notification: &Notification) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(status) = answers(notification) else { return };
        let mut answer = json!({"id": notification.id()});
        if !status.is_null() {
            answer["status"] = status;
        }
        let answer = answer.to_string();
        self.trace.sent(format!("{}: {answer}", self.name));
        // If it can't be sent, the end of the connection is read next.
        let _ = self.sink.lock().await.send(Message::text(answer)).await;
    }
}
