//! Requests to the authorization server.
//!
//! One client on one thread asks for the whole process: connections are few, and shared. TLS 1.2 or
//! newer, verified against the system's roots and `auth.ca_file`. No redirects: whom the hub trusts
//! is what is set, and not where that leads. One deadline (`auth.timeout_secs`) over all of a
//! request; what is asked at once and what is read of an answer are bounded.

use std::sync::Arc;

use actix_web::http::header;
use anyhow::Context;
use awc::{Client, Connector};
use futures_util::StreamExt;
use openssl::ssl::{SslConnector, SslMethod, SslVersion};
use shared::settings::Auth;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Duration, timeout},
};
use url::Url;

/// Requests in flight at once; more are refused.
const MAX_IN_FLIGHT: usize = 256;
/// Connections that carry them.
const CONNECTIONS: usize = 32;
/// For how long an idle connection is kept: less than the 5 seconds after which many servers close
/// theirs, since a question that crosses that close is not answered.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Bytes of an answer at most: a set of keys, or what is said of a token.
const MAX_ANSWER_BYTES: usize = 262_144;

/// A question.
#[derive(Debug)]
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
    _permit: OwnedSemaphorePermit,
}

/// The authorization server, as the hub reaches it. Clones share what is under way.
#[derive(Clone)]
pub struct AuthorizationServer {
    calls: mpsc::Sender<Call>,
    permits: Arc<Semaphore>,
}

impl AuthorizationServer {
    /// Reads `auth.ca_file`, and asks from the thread that it is called on.
    pub fn new(settings: &Auth) -> anyhow::Result<Self> {
        let mut tls = SslConnector::builder(SslMethod::tls_client()).context("OpenSSL")?;
        tls.set_min_proto_version(Some(SslVersion::TLS1_2)).context("OpenSSL")?;
        if let Some(path) = &settings.ca_file {
            tls.set_ca_file(path).with_context(|| format!("auth.ca_file: {}", path.display()))?;
        }
        let (calls, called) = mpsc::channel(MAX_IN_FLIGHT);
        actix_web::rt::spawn(serve(called, tls.build(), settings.timeout()));
        Ok(Self { calls, permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) })
    }

    /// The body of a 200.
    pub async fn ask(&self, question: Question) -> Result<Vec<u8>, NoAnswer> {
        let _permit = self.permits.clone().try_acquire_owned().map_err(|_| NoAnswer::Busy)?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| NoAnswer::Unreachable("the hub is stopping".to_owned());
        self.calls.send(Call { question, answer, _permit }).await.map_err(|error| gone(error.to_string()))?;
        answered.await.map_err(|error| gone(error.to_string()))?
    }
}

async fn serve(mut called: mpsc::Receiver<Call>, tls: SslConnector, patience: Duration) {
    let connector = Connector::new()
        .openssl(tls)
        .timeout(patience)
        .handshake_timeout(patience)
        .conn_keep_alive(KEEP_ALIVE)
        .limit(CONNECTIONS);
    let client = Client::builder()
        .connector(connector)
        // One deadline covers the body too, which awc's own does not.
        .disable_timeout()
        .disable_redirects()
        .add_default_header((header::USER_AGENT, concat!("fhircast-hub/", env!("CARGO_PKG_VERSION"))))
        .add_default_header((header::ACCEPT, "application/json"))
        .finish();
    while let Some(Call { question, answer, _permit }) = called.recv().await {
        let client = client.clone();
        actix_web::rt::spawn(async move {
            let asked = timeout(patience, ask(&client, question)).await.unwrap_or(Err(NoAnswer::TimedOut));
            // Whoever asked may have gone.
            let _ = answer.send(asked);
            drop(_permit);
        });
    }
}

async fn ask(client: &Client, question: Question) -> Result<Vec<u8>, NoAnswer> {
    let sent = match question {
        Question::Get(url) => client.get(url.as_str()).send(),
        Question::Post { url, authorization, form } => client
            .post(url.as_str())
            .insert_header((header::AUTHORIZATION, authorization))
            .insert_header((header::CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .send_body(form),
    };
    let broken = |error: String| NoAnswer::Unreachable(error);
    let mut response = sent.await.map_err(|error| broken(error.to_string()))?;
    if response.status() != 200 {
        return Err(NoAnswer::Status(response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| broken(error.to_string()))?;
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(NoAnswer::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
