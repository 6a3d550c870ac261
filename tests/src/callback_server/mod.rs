//! An app's server for the webhook channel (FC-WHK): a real HTTP or HTTPS server on a port that the system chose.
//!
//! Unless told otherwise it verifies every intent (echoes `hub.challenge`) and accepts everything else with 200.
//! It records each request, with the exact bytes of its body, before it answers.

mod reply;
mod request;

use std::collections::{HashMap, VecDeque};
use std::net::{TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, Result, anyhow};
use hmac::{Hmac, KeyInit, Mac};
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use sha2::Sha256;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::certs::Certificates;
use crate::history::{History, Repeats};
use crate::wait;

pub use reply::{Gate, Reply};
pub use request::Request;

const BODY_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// What a path answers; `None` for the usual.
type Replies = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

#[derive(Default)]
struct Shared {
    requests: watch::Sender<Vec<Request>>,
    replies: Mutex<HashMap<String, Arc<Replies>>>,
}

/// A port of this machine that is taken, and at which nobody listens.
#[derive(Debug)]
pub struct Nobody(TcpSocket);

impl Nobody {
    /// One that the system chooses.
    pub fn here() -> Result<Nobody> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        Ok(Nobody(socket))
    }

    /// The URL of a callback there.
    pub fn url(&self, path: &str) -> Result<String> {
        Ok(format!("http://{}{path}", self.0.local_addr()?))
    }
}

/// A running callback server; dropping it ends it.
pub struct CallbackServer {
    base: String,
    shared: Arc<Shared>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl CallbackServer {
    /// Starts an HTTP server on loopback.
    pub fn start() -> Result<CallbackServer> {
        CallbackServer::start_at("127.0.0.1:0")
    }

    /// Starts an HTTP server at this address.
    pub fn start_at(address: impl ToSocketAddrs) -> Result<CallbackServer> {
        CallbackServer::start_by("http", TcpListener::bind(address)?, None)
    }

    /// Starts an HTTPS server on loopback with the server certificate of `certificates`.
    pub fn start_tls(certificates: &Certificates) -> Result<CallbackServer> {
        let acceptor = CallbackServer::acceptor(certificates)?;
        CallbackServer::start_by("https", TcpListener::bind("127.0.0.1:0")?, Some(acceptor))
    }

    /// The same, and who connects has to show a certificate of the same authority.
    pub fn start_tls_asking(certificates: &Certificates) -> Result<CallbackServer> {
        let mut acceptor = CallbackServer::acceptor(certificates)?;
        acceptor.set_ca_file(certificates.ca())?;
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        CallbackServer::start_by("https", TcpListener::bind("127.0.0.1:0")?, Some(acceptor))
    }

    fn acceptor(certificates: &Certificates) -> Result<SslAcceptorBuilder> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        acceptor.set_certificate_chain_file(certificates.cert())?;
        acceptor.set_private_key_file(certificates.key(), SslFiletype::PEM)?;
        Ok(acceptor)
    }

    fn start_by(
        scheme: &str,
        listener: TcpListener,
        acceptor: Option<SslAcceptorBuilder>,
    ) -> Result<CallbackServer> {
        let base = format!("{scheme}://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        let (started, start) = mpsc::channel();
        let data = web::Data::from(shared.clone());
        // A thread of its own: a test that blocks its runtime does not make callbacks time out.
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(data.clone())
                        .app_data(web::PayloadConfig::new(BODY_LIMIT_BYTES))
                        .default_service(web::to(handle))
                })
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0);
                let bound = match acceptor {
                    None => server.listen(listener),
                    Some(acceptor) => server.listen_openssl(listener, acceptor),
                };
                match bound {
                    Err(error) => drop(started.send(Err(error))),
                    Ok(server) => {
                        let server = server.run();
                        let _ = started.send(Ok(server.handle()));
                        // It ends by its handle; an error would show as refused callbacks.
                        let _ = server.await;
                    }
                }
            });
        });
        let handle = start.recv().context("the callback server did not start")??;
        Ok(CallbackServer { base, shared, handle, thread: Some(thread) })
    }

    /// The URL of a path here: what `hub.callback` is given.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// From now on `path` answers what `replies` says; where that is `None`, as usual.
    pub fn on(&self, path: &str, replies: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        let mut paths = self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner);
        paths.insert(path.to_owned(), Arc::new(replies));
    }

    /// The next notifications to `path` get these answers, one each; those after them the usual one.
    pub fn queue(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let queue: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        self.on(path, move |request| {
            if !request.is_notification() {
                return None;
            }
            queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
        });
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// The notifications to `path` so far.
    pub fn notifications(&self, path: &str) -> Vec<Request> {
        let wanted = |request: &&Request| request.is_notification() && request.path == path;
        self.shared.requests.borrow().iter().filter(wanted).cloned().collect()
    }

    /// Waits until the requests so far make `find` answer `Some`.
    pub async fn wait_for<R>(
        &self,
        timeout: Duration,
        what: &str,
        mut find: impl FnMut(&[Request]) -> Option<R>,
    ) -> Result<R> {
        wait::until(&self.shared.requests, timeout, what, |requests| find(requests)).await
    }

    /// Waits until `path` has been sent the event `id`.
    pub async fn wait_for_event(&self, timeout: Duration, path: &str, id: &str) -> Result<Request> {
        // Each request's body is parsed once, however many come.
        let mut looked_at = 0;
        self.wait_for(timeout, &format!("event {id} at {path}"), |requests| {
            let new = &requests[looked_at..];
            looked_at = requests.len();
            new.iter().find(|request| request.path == path && request.json()["id"] == id).cloned()
        })
        .await
    }

    /// Tells `history` which events named `event` (any case) came to `path`.
    pub fn tell(&self, history: &mut History<String>, path: &str, event: &str) {
        let ids = self.notifications(path).into_iter().filter_map(|request| {
            let json = request.json();
            let name = json["event"]["hub.event"].as_str()?;
            name.eq_ignore_ascii_case(event).then(|| json["id"].as_str().map(str::to_owned))?
        });
        history.seen(path, Repeats::OnRetry, vec![ids.collect()]);
    }
}

impl Drop for CallbackServer {
    fn drop(&mut self) {
        // The command is sent when `stop` is called; what it answers with need not be awaited.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn handle(request: HttpRequest, body: web::Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let headers = request.headers().iter();
    let request = Request {
        at: Instant::now(),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: body.to_vec(),
    };
    // Chosen before it is recorded: what a test sets once it has seen a request is for the next one.
    let replies = shared.replies.lock().unwrap_or_else(PoisonError::into_inner).get(&request.path).cloned();
    let reply = replies.and_then(|replies| replies(&request)).unwrap_or_else(|| usual(&request));
    shared.requests.send_modify(|requests| requests.push(request));
    tokio::time::sleep(reply.delay).await;
    if let Some(gate) = &reply.gate {
        gate.passed().await;
    }
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or_default());
    for (name, value) in reply.headers {
        // The header alone would neither be sent nor close anything.
        if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
            response.force_close();
        }
        response.insert_header((name, value));
    }
    response.body(reply.body)
}

/// An intent is verified, anything else accepted.
fn usual(request: &Request) -> Reply {
    Reply::status(200).body(request.parameter("hub.challenge").unwrap_or_default())
}

/// The value of `X-Hub-Signature` that a body must come with, made anew from the bytes that came.
pub fn signature(secret: &str, body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    mac.update(body);
    Ok(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::client;
    use crate::wait::PATIENCE;

    #[tokio::test]
    async fn an_intent_is_echoed_and_a_notification_recorded_byte_for_byte() {
        let server = CallbackServer::start().unwrap();
        let app = client::App::new(&server.url("/here")).unwrap();
        let intent = app.get("?own=1&hub.challenge=a%20b").await.unwrap();
        assert_eq!((intent.status, intent.body.as_str()), (200, "a b"));
        let body = "{ \"id\" : \"é\",\"n\":1.10}";
        assert_eq!(app.post("", "application/json", body.as_bytes()).await.unwrap().status, 200);
        let seen = server.wait_for_event(PATIENCE, "/here", "é").await.unwrap();
        assert_eq!(seen.body, body.as_bytes());
        assert_eq!(seen.header("Content-Type"), Some("application/json"));
        assert_eq!(server.requests()[0].query, "own=1&hub.challenge=a%20b");
    }

    #[tokio::test]
    async fn queued_answers_are_given_one_each_and_only_to_notifications() {
        let server = CallbackServer::start().unwrap();
        let app = client::App::new(&server.url("/here")).unwrap();
        server.queue("/here", [Reply::status(503).header("Retry-After", "1"), Reply::status(410)]);
        assert_eq!(app.get("?hub.challenge=x").await.unwrap().body, "x");
        let refused = app.post("", "application/json", b"{}").await.unwrap();
        assert_eq!((refused.status, refused.header("Retry-After")), (503, "1"));
        assert_eq!(app.post("", "application/json", b"{}").await.unwrap().status, 410);
        assert_eq!(app.post("", "application/json", b"{}").await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn a_held_answer_comes_when_the_gate_opens_and_other_paths_go_on() {
        let server = CallbackServer::start().unwrap();
        let gate = Gate::closed();
        let held = gate.clone();
        server.on("/slow", move |_| Some(Reply::status(202).held_by(&held)));
        let app = client::App::new(&server.url("")).unwrap();
        let slow = tokio::spawn({
            let app = app.clone();
            async move { app.post("/slow", "application/json", b"{\"id\":\"held\"}").await }
        });
        server.wait_for_event(PATIENCE, "/slow", "held").await.unwrap();
        assert_eq!(app.post("/fast", "application/json", b"{}").await.unwrap().status, 200);
        assert!(!slow.is_finished());
        gate.open();
        assert_eq!(slow.await.unwrap().unwrap().status, 202);
    }

    #[tokio::test]
    async fn over_https_it_is_trusted_by_its_authority_and_by_nobody_else() {
        let certificates = Certificates::new().unwrap();
        let server = CallbackServer::start_tls(&certificates).unwrap();
        let url = server.url("/here");
        let trusting = client::App::trusting(&url, &certificates.ca()).unwrap();
        assert_eq!(trusting.get("?hub.challenge=x").await.unwrap().body, "x");
        assert!(client::App::new(&url).unwrap().get("").await.is_err());
    }

    #[tokio::test]
    async fn it_tells_a_history_what_came() {
        let server = CallbackServer::start().unwrap();
        let app = client::App::new(&server.url("/here")).unwrap();
        for (id, event) in
            [("a", "Patient-open"), ("a", "patient-open"), ("s", "syncerror"), ("b", "Patient-open")]
        {
            let body = serde_json::json!({"id": id, "event": {"hub.event": event}}).to_string();
            app.publish(&body).await.unwrap();
        }
        let mut history = History::default();
        history.accepted(["a", "b"].map(str::to_owned));
        server.tell(&mut history, "/here", "Patient-open");
        let findings = history.check();
        assert!(findings.is_clean() && findings.repeated == 1, "{findings}");
    }

    #[test]
    fn a_signature_is_the_one_that_rfc_4231_gives() {
        let signature = signature("Jefe", b"what do ya want for nothing?").unwrap();
        assert_eq!(signature, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
