//! Requests to the authorization server.
//!
//! One client on one thread asks for the whole process: connections are few, and shared. TLS 1.2 or
//! newer, verified against the system's roots and what `auth.ca_file` holds now. No redirects: whom the hub trusts
//! is what is set, and not where that leads. One deadline (`auth.timeout_secs`) over all of a
//! request; what is asked at once and what is read of an answer are bounded, over TLS or not. What all
//! requests have in common is in [`worker::outgoing`].

use std::sync::Arc;

use actix_web::http::{Method, header};
use openssl::ssl::SslConnector;
use shared::{
    settings::Auth,
    telemetry::metrics::Certificate,
    tls::{self, Followed, TlsError},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Duration, timeout},
};
use url::Url;
use worker::{
    connection::Bounds,
    outgoing::{self, Clients, Unread},
};

/// Requests in flight at once; more are refused.
const MAX_IN_FLIGHT: usize = 256;
/// Connections that carry them.
const CONNECTIONS: usize = 32;
/// Bytes of an answer at most: a set of keys, or what is said of a token.
const MAX_ANSWER_BYTES: usize = 262_144;
/// Bytes of its head at most.
const MAX_HEAD_BYTES: usize = 16_384;
const BOUNDS: Bounds = Bounds {
    head: (MAX_HEAD_BYTES, "an authorization server's head may be"),
    body: (MAX_ANSWER_BYTES, "an authorization server's answer may be"),
};

/// A question. It holds a token and the hub's own credentials, and has no `Debug`.
pub enum Question {
    /// GET
    Get(Url),
    /// POST of a form, with the credentials of the hub.
    Post {
        /// Where to.
        url: Url,
        /// The value of Authorization.
        authorization: String,
        /// The form.
        form: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Too many questions are under way.
    #[error("{MAX_IN_FLIGHT} questions are under way already")]
    Busy,
    /// Not in time.
    #[error("no answer within auth.timeout_secs")]
    TimedOut,
    /// An answer, but not 200.
    #[error("the answer is {0} instead of 200")]
    Status(u16),
    /// An answer that is too long.
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// No connection, no trust, or a connection that broke.
    #[error("{0}")]
    Unreachable(String),
}

struct Call {
    question: Question,
    answer: oneshot::Sender<Result<Vec<u8>, NoAnswer>>,
    permit: OwnedSemaphorePermit,
}

/// The authorization server, as the hub reaches it. Clones share what is under way.
#[derive(Clone)]
pub struct AuthorizationServer {
    calls: mpsc::Sender<Call>,
    permits: Arc<Semaphore>,
}

impl AuthorizationServer {
    /// Follows `auth.ca_file`, and asks from the thread that it is called on.
    pub fn new(settings: &Auth) -> Result<Self, TlsError> {
        let tls = tls::Client {
            of: Certificate::Auth,
            ca_file: settings.ca_file.as_deref(),
            cert: None,
            key: None,
            reload_every: settings.reload_every(),
        };
        let (calls, called) = mpsc::channel(MAX_IN_FLIGHT);
        actix_web::rt::spawn(serve(called, tls.connector()?, settings.timeout()));
        Ok(Self { calls, permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) })
    }

    /// The body of a 200.
    pub async fn ask(&self, question: Question) -> Result<Vec<u8>, NoAnswer> {
        let permit = self.permits.clone().try_acquire_owned().map_err(|_| NoAnswer::Busy)?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| NoAnswer::Unreachable("the hub is stopping".to_owned());
        self.calls.send(Call { question, answer, permit }).await.map_err(|error| gone(error.to_string()))?;
        answered.await.map_err(|error| gone(error.to_string()))?
    }
}

async fn serve(mut called: mpsc::Receiver<Call>, tls: Followed<SslConnector>, patience: Duration) {
    let clients = Clients::new(tls, patience, BOUNDS, CONNECTIONS);
    while let Some(Call { question, answer, permit }) = called.recv().await {
        let clients = clients.clone();
        actix_web::rt::spawn(async move {
            let asked = timeout(patience, ask(&clients, question)).await.unwrap_or(Err(NoAnswer::TimedOut));
            // Whoever asked may have gone.
            let _ = answer.send(asked);
            drop(permit);
        });
    }
}

async fn ask(clients: &Clients, question: Question) -> Result<Vec<u8>, NoAnswer> {
    let request = |method: Method, url: &Url| {
        clients.request(method, url).insert_header((header::ACCEPT, "application/json"))
    };
    let sent = match question {
        Question::Get(url) => request(Method::GET, &url).send(),
        Question::Post { url, authorization, form } => request(Method::POST, &url)
            .insert_header((header::AUTHORIZATION, authorization))
            .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .send_body(form),
    };
    let mut response = sent.await.map_err(|error| NoAnswer::Unreachable(error.to_string()))?;
    if response.status() != 200 {
        return Err(NoAnswer::Status(response.status().as_u16()));
    }
    outgoing::body(&mut response, MAX_ANSWER_BYTES).await.map_err(|unread| match unread {
        Unread::TooLong => NoAnswer::TooLarge,
        broken => NoAnswer::Unreachable(broken.to_string()),
    })
}
