//! An app's listening side on the WebSocket channel (FC-WSC).
//!
//! A [`Socket`] is driven frame by frame by the test. A [`Listener`] lives in a task: it answers each notification,
//! records all that comes, connection by connection, and can lose its connection and come back to the same endpoint.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::history::{History, Repeats};
use crate::wait;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What came over a socket.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// The end: the close code, or `None` when the connection broke without one.
    Closed(Option<u16>),
}

/// A connected WebSocket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to an endpoint as it was handed out. A refused upgrade is an error that names the HTTP status;
    /// [`upgrade_status`] finds it.
    pub async fn connect(endpoint: &str) -> Result<Socket> {
        Socket::connect_by(endpoint, None).await
    }

    /// Connects to a WSS endpoint, trusting the certificate authority in this PEM file.
    pub async fn connect_trusting(endpoint: &str, ca: &Path) -> Result<Socket> {
        let ca = native_tls::Certificate::from_pem(&std::fs::read(ca)?)?;
        let tls = native_tls::TlsConnector::builder().add_root_certificate(ca).build()?;
        Socket::connect_by(endpoint, Some(Connector::NativeTls(tls))).await
    }

    async fn connect_by(endpoint: &str, connector: Option<Connector>) -> Result<Socket> {
        // Nothing that the hub sends is too large for a test.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connecting = connect_async_tls_with_config(endpoint, Some(config), true, connector);
        let (stream, _) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .context("the hub does not answer the upgrade")?
            .context("the upgrade failed")?;
        Ok(Socket { stream })
    }

    /// The next text frame or the end, within `timeout`. Pings are answered on the way.
    pub async fn next(&mut self, timeout: Duration) -> Result<Incoming> {
        tokio::time::timeout(timeout, self.incoming())
            .await
            .map_err(|_| anyhow!("nothing came over the socket within {timeout:?}"))
    }

    /// The next frame, which must be text, as JSON.
    pub async fn next_json(&mut self, timeout: Duration) -> Result<Value> {
        match self.next(timeout).await? {
            Incoming::Text(text) => serde_json::from_str(&text).with_context(|| format!("not JSON: {text}")),
            Incoming::Closed(code) => bail!("the socket was closed ({code:?}), a frame was expected"),
        }
    }

    /// Answers the notification `id`.
    pub async fn answer(&mut self, id: &str, status: u16) -> Result<()> {
        self.send(Message::text(json!({"id": id, "status": status.to_string()}).to_string())).await
    }

    /// Sends any frame.
    pub async fn send(&mut self, frame: Message) -> Result<()> {
        Ok(self.stream.send(frame).await?)
    }

    /// Closes as an app does that leaves on purpose, and waits for the other side to agree.
    pub async fn close(&mut self, code: u16) -> Result<()> {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.stream.close(Some(frame)).await?;
        while !matches!(self.next(CONNECT_TIMEOUT).await?, Incoming::Closed(_)) {}
        Ok(())
    }

    async fn incoming(&mut self) -> Incoming {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Incoming::Text(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    return Incoming::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Incoming::Closed(None),
            }
        }
    }
}

/// The HTTP status with which an upgrade was refused, if that is why [`Socket::connect`] failed.
pub fn upgrade_status(error: &anyhow::Error) -> Option<u16> {
    match error.downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Http(response) => Some(response.status().as_u16()),
        _ => None,
    }
}

/// A frame that a [`Listener`] received.
#[derive(Debug, Clone)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// On which of its connections, counted from 0.
    pub connection: usize,
    /// The frame as it came.
    pub text: String,
    /// The frame as JSON; null when it is none.
    pub json: Value,
}

impl Received {
    /// The event's id and name, when this is a notification (a confirmation or a denial is none).
    pub fn event(&self) -> Option<(&str, &str)> {
        Some((self.json["id"].as_str()?, self.json["event"]["hub.event"].as_str()?))
    }
}

/// Everything that a listener has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The frames, in order.
    pub received: Vec<Received>,
    /// How many connections there have been.
    pub connections: usize,
    /// How each ended, in their order; fewer than `connections` while one lives.
    pub closed: Vec<Option<u16>>,
}

impl Seen {
    /// The ids of the events whose name is `name` (any case), for each connection.
    pub fn ids(&self, name: &str) -> Vec<Vec<String>> {
        let mut ids = vec![Vec::new(); self.connections];
        for received in &self.received {
            if let Some((id, event)) = received.event()
                && event.eq_ignore_ascii_case(name)
            {
                ids[received.connection].push(id.to_owned());
            }
        }
        ids
    }
}

/// Which status a listener gives to a notification; `None` leaves it unanswered.
type Answers = dyn Fn(&Received) -> Option<u16> + Send + Sync;

/// A subscriber in a task of its own.
pub struct Listener {
    endpoint: String,
    seen: Arc<watch::Sender<Seen>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    task: Option<JoinHandle<()>>,
}

impl Listener {
    /// Connects to `endpoint`, answers every notification with 200 and records what comes.
    pub async fn connect(endpoint: &str) -> Result<Listener> {
        let mut listener = Listener {
            endpoint: endpoint.to_owned(),
            seen: Arc::new(watch::Sender::default()),
            answers: Arc::new(Mutex::new(Arc::new(|_: &Received| Some(200)))),
            task: None,
        };
        listener.reconnect().await?;
        Ok(listener)
    }

    /// The endpoint that it is, or was last, connected to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Chooses the answers from now on.
    pub fn answer_with(&self, answers: impl Fn(&Received) -> Option<u16> + Send + Sync + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answers);
    }

    /// Drops the connection without a Close frame, as a laptop's sleep or a dead network does.
    pub async fn drop_connection(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The socket is gone once the task is.
            let _ = task.await;
            self.seen.send_modify(|seen| seen.closed.resize(seen.connections, None));
        }
    }

    /// Connects again to the same endpoint; a connection that still lives is dropped.
    pub async fn reconnect(&mut self) -> Result<()> {
        let endpoint = self.endpoint.clone();
        self.reconnect_to(&endpoint).await
    }

    /// Connects again by another node's URL of the same endpoint, and stays with it.
    pub async fn reconnect_to(&mut self, endpoint: &str) -> Result<()> {
        self.drop_connection().await;
        self.endpoint = endpoint.to_owned();
        let socket = Socket::connect(endpoint).await?;
        let mut connection = 0;
        self.seen.send_modify(|seen| {
            connection = seen.connections;
            seen.connections += 1;
        });
        self.task = Some(tokio::spawn(listen(socket, connection, self.seen.clone(), self.answers.clone())));
        Ok(())
    }

    /// Looks at what has been seen.
    pub fn seen<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.seen.borrow())
    }

    /// Waits until what has been seen makes `find` answer `Some`.
    pub async fn wait_for<R>(
        &self,
        timeout: Duration,
        what: &str,
        find: impl FnMut(&Seen) -> Option<R>,
    ) -> Result<R> {
        wait::until(&self.seen, timeout, what, find).await
    }

    /// Waits for the event `id`.
    pub async fn wait_for_event(&self, timeout: Duration, id: &str) -> Result<Received> {
        self.wait_for(timeout, &format!("event {id}"), |seen| {
            seen.received.iter().find(|received| received.event().is_some_and(|event| event.0 == id)).cloned()
        })
        .await
    }

    /// Waits until the present connection is closed; answers with the code.
    pub async fn wait_closed(&self, timeout: Duration) -> Result<Option<u16>> {
        self.wait_for(timeout, "the close of the socket", |seen| {
            (seen.closed.len() == seen.connections).then(|| seen.closed.last().copied().flatten())
        })
        .await
    }

    /// Tells `history` what it saw of the event `name`.
    pub fn tell(&self, history: &mut History<String>, subscriber: &str, name: &str) {
        history.seen(subscriber, Repeats::OnResume, self.seen(|seen| seen.ids(name)));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Reads one connection to its end.
async fn listen(
    mut socket: Socket,
    connection: usize,
    seen: Arc<watch::Sender<Seen>>,
    answers: Arc<Mutex<Arc<Answers>>>,
) {
    let code = loop {
        let text = match socket.incoming().await {
            Incoming::Text(text) => text,
            Incoming::Closed(code) => break code,
        };
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let received = Received { at: Instant::now(), connection, text, json };
        let answers = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = received.event().and_then(|(id, _)| Some((id.to_owned(), answers(&received)?)));
        // Recorded before it is answered: what the hub counts as delivered is in the record.
        seen.send_modify(|seen| seen.received.push(received));
        if let Some((id, status)) = answer
            && socket.answer(&id, status).await.is_err()
        {
            break None;
        }
    };
    seen.send_modify(|seen| seen.closed.push(code));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wait::PATIENCE;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    type Server = WebSocketStream<TcpStream>;

    async fn endpoint() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("ws://{}/ws/endpoint", listener.local_addr().unwrap());
        (listener, endpoint)
    }

    async fn accept(listener: &TcpListener) -> Server {
        tokio_tungstenite::accept_async(listener.accept().await.unwrap().0).await.unwrap()
    }

    async fn notify(server: &mut Server, id: &str) {
        let text = json!({"id": id, "event": {"hub.event": "Patient-open"}}).to_string();
        server.send(Message::text(text)).await.unwrap();
    }

    async fn connected(listener: &TcpListener, endpoint: &str) -> (Listener, Server) {
        let (subscriber, server) = tokio::join!(Listener::connect(endpoint), accept(listener));
        (subscriber.unwrap(), server)
    }

    #[tokio::test]
    async fn a_listener_answers_a_notification_and_not_a_confirmation() {
        let (listener, endpoint) = endpoint().await;
        let (subscriber, mut server) = connected(&listener, &endpoint).await;
        subscriber.answer_with(|received| Some(if received.event()?.0 == "bad" { 409 } else { 200 }));
        server.send(Message::text(json!({"hub.mode": "subscribe"}).to_string())).await.unwrap();
        for (id, status) in [("good", "200"), ("bad", "409")] {
            notify(&mut server, id).await;
            let answer = timeout(PATIENCE, server.next()).await.unwrap().unwrap().unwrap();
            let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
            assert_eq!(answer, json!({"id": id, "status": status}));
        }
        assert_eq!(subscriber.seen(|seen| seen.received.len()), 3);
    }

    #[tokio::test]
    async fn the_close_code_is_told_and_a_break_has_none() {
        let (listener, endpoint) = endpoint().await;
        let (mut subscriber, mut server) = connected(&listener, &endpoint).await;
        server.close(Some(CloseFrame { code: 1001.into(), reason: "".into() })).await.unwrap();
        assert_eq!(subscriber.wait_closed(PATIENCE).await.unwrap(), Some(1001));
        let (again, server) = tokio::join!(subscriber.reconnect(), accept(&listener));
        again.unwrap();
        drop(server);
        assert_eq!(subscriber.wait_closed(PATIENCE).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_came_is_recorded_connection_by_connection() {
        let (listener, endpoint) = endpoint().await;
        let (mut subscriber, mut server) = connected(&listener, &endpoint).await;
        notify(&mut server, "a").await;
        subscriber.wait_for_event(PATIENCE, "a").await.unwrap();
        subscriber.drop_connection().await;
        let (again, mut server) = tokio::join!(subscriber.reconnect(), accept(&listener));
        again.unwrap();
        notify(&mut server, "a").await;
        notify(&mut server, "b").await;
        subscriber.wait_for_event(PATIENCE, "b").await.unwrap();
        assert_eq!(subscriber.seen(|seen| seen.ids("patient-OPEN")), [vec!["a"], vec!["a", "b"]]);
        let mut history = History::default();
        history.accepted(["a", "b"].map(str::to_owned));
        subscriber.tell(&mut history, "subscriber", "Patient-open");
        assert_eq!((history.check().is_clean(), history.check().repeated), (true, 1));
    }

    #[tokio::test]
    async fn a_dropped_connection_is_a_break_for_the_server_and_not_a_close() {
        let (listener, endpoint) = endpoint().await;
        let (mut subscriber, mut server) = connected(&listener, &endpoint).await;
        subscriber.drop_connection().await;
        let end = timeout(PATIENCE, server.next()).await.unwrap();
        assert!(!matches!(end, Some(Ok(Message::Close(_)))), "{end:?}");
    }

    #[tokio::test]
    #[allow(clippy::result_large_err)] // the size is tungstenite's
    async fn a_refused_upgrade_tells_its_status() {
        use tungstenite::handshake::server::{ErrorResponse, Request, Response};
        let (listener, endpoint) = endpoint().await;
        let refuse = |_: &Request, _: Response| {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = tungstenite::http::StatusCode::NOT_FOUND;
            Err::<Response, _>(refusal)
        };
        let (refused, _) = tokio::join!(Socket::connect(&endpoint), async {
            tokio_tungstenite::accept_hdr_async(listener.accept().await.unwrap().0, refuse).await
        });
        assert_eq!(upgrade_status(&refused.err().unwrap()), Some(404));
    }
}
