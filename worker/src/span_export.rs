//! Sending spans to a collector: OTLP over HTTP, in protobuf.
//!
//! - On a thread of its own: no request and no delivery waits for it. What waits is bounded, and what finds no room is
//!   dropped and counted where it is made ([`shared::telemetry::traces`]).
//! - One request at a time. One that may be made again (no answer, 429, 502, 503, 504) is, a few times; then its spans
//!   are dropped and counted.
//! - TLS as towards everybody else that the settings name ([`crate::outgoing`]).
//! - At the end what waits is sent, for `tracing.timeout_ms` at most.

use std::time::{Duration, Instant};

use actix_rt::{Arbiter, spawn};
use awc::http::{Method, header};
use bytes::Bytes;
use openssl::ssl::SslConnector;
use shared::{
    settings::Tracing,
    telemetry::{
        metrics::{Certificate, METRICS, SpanDropped},
        traces::{self, Answer, Batch, End, Waiting},
    },
    tls::{self, Followed, TlsError},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tracing::{info, warn};
use url::Url;

use crate::{
    connection::Bounds,
    outcome::retry_after,
    outgoing::{self, Clients},
};

/// How long after the first span that waits the spans are sent, if they are not enough for a request before.
const GATHER: Duration = Duration::from_secs(1);
/// How often spans are sent.
const TRIES: u32 = 3;
/// Before the second time; twice as long before each one after that. Also for what the collector may ask for.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two lines that say that spans cannot be sent.
const SAID_EVERY: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 1;
const MAX_ANSWER_BYTES: usize = 65_536;
const BOUNDS: Bounds = Bounds {
    head: (16_384, "a collector's head may be"),
    body: (MAX_ANSWER_BYTES, "a collector's answer may be"),
};

/// Spans are made and sent until it is finished.
pub struct SpanExport {
    arbiter: Arbiter,
    end: End,
    ended: oneshot::Receiver<()>,
    /// For what is still to be sent at the end.
    patience: Duration,
}

/// Why spans have not been taken.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within tracing.timeout_ms")]
    TimedOut,
    #[error("the answer is {status} instead of 200")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// Before it is sent again; `None` when it would come to the same.
    fn pause(&self, tries: u32) -> Option<Duration> {
        let usual = PAUSE * 2_u32.saturating_pow(tries.saturating_sub(1));
        let pause = match self {
            Self::TimedOut | Self::Unreachable(_) => usual,
            Self::Status { status: 429 | 502..=504, retry_after } => retry_after.unwrap_or(usual),
            Self::Status { .. } => return None,
        };
        (tries < TRIES).then(|| pause.min(LONGEST_PAUSE))
    }
}

impl SpanExport {
    /// Begins, if there is a collector; follows `tracing.ca_file`, in a task: so it is called where Tokio runs.
    pub fn start(settings: &Tracing, program: &'static str) -> Result<Option<Self>, TlsError> {
        let Some(url) = settings.traces_url() else { return Ok(None) };
        let tls = tls::Client {
            of: Certificate::Tracing,
            ca_file: settings.ca_file.as_deref(),
            cert: None,
            key: None,
            reload_every: settings.reload_every(),
        };
        let tls = tls.connector()?;
        let Some(waiting) = traces::start(settings, program) else { return Ok(None) };
        let (arbiter, end) = (Arbiter::new(), waiting.end());
        let (done, ended) = oneshot::channel();
        let patience = settings.timeout();
        let settings = settings.clone();
        arbiter.spawn_fn(move || {
            let sender = Sender::new(settings, url, tls);
            spawn(async move {
                sender.send_all(waiting).await;
                // Nobody may wait any more.
                let _ = done.send(());
            });
        });
        Ok(Some(Self { arbiter, end, ended, patience }))
    }

    /// Makes no more spans, and sends what waits.
    pub async fn finish(self) {
        self.end.end();
        if timeout(self.patience, self.ended).await.is_err() {
            warn!("the collector has not taken all spans in time: the rest is dropped");
        }
        self.arbiter.stop();
    }
}

struct Sender {
    clients: Clients,
    url: Url,
    settings: Tracing,
}

impl Sender {
    fn new(settings: Tracing, url: Url, tls: Followed<SslConnector>) -> Self {
        Self { clients: Clients::new(tls, settings.timeout(), BOUNDS, CONNECTIONS), url, settings }
    }

    async fn send_all(&self, mut waiting: Waiting) {
        let mut said: Option<Instant> = None;
        while let Some(Batch { spans, request }) = waiting.next(GATHER).await {
            match self.send(request.into()).await {
                Ok(rejected) => {
                    let rejected = rejected.min(spans as u64);
                    METRICS.spans_exported.inc_by(spans as u64 - rejected);
                    METRICS.spans_dropped.with(SpanDropped::Rejected).inc_by(rejected);
                    if said.take().is_some() {
                        info!("the collector takes spans again");
                    }
                }
                Err(failure) => {
                    METRICS.spans_dropped.with(SpanDropped::Undelivered).inc_by(spans as u64);
                    if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                        said = Some(Instant::now());
                        warn!(%failure, "spans cannot be sent to the collector, and are dropped");
                    }
                }
            }
        }
    }

    /// Sends spans until they are taken, or need not be sent again. Says how many the collector does not want.
    async fn send(&self, request: Bytes) -> Result<u64, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            let sent = timeout(self.settings.timeout(), self.post(request.clone())).await;
            let failure = match sent.unwrap_or(Err(Failure::TimedOut)) {
                Ok(rejected) => return Ok(rejected),
                Err(failure) => failure,
            };
            METRICS.span_export_failures.inc();
            let Some(pause) = failure.pause(tries) else { return Err(failure) };
            sleep(pause).await;
        }
    }

    async fn post(&self, spans: Bytes) -> Result<u64, Failure> {
        let mut request = self.clients.request(Method::POST, &self.url);
        for header in self.settings.headers.expose() {
            request = request.insert_header(header);
        }
        let sent = request.insert_header((header::CONTENT_TYPE, "application/x-protobuf")).send_body(spans);
        let mut response = sent.await.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let status = response.status().as_u16();
        if status != 200 {
            let named = |name| response.headers().get(name)?.to_str().ok();
            let asked = named(header::RETRY_AFTER).and_then(|value| retry_after(value, named(header::DATE)));
            return Err(Failure::Status { status, retry_after: asked });
        }
        // They are taken, whatever becomes of what the collector says of some of them.
        let body = outgoing::body(&mut response, MAX_ANSWER_BYTES).await.unwrap_or_default();
        Ok(Answer::read(&body).rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again_is_a_few_times_and_no_sooner_than_asked() {
        let status = |status, secs: Option<u64>| Failure::Status {
            status,
            retry_after: secs.map(Duration::from_secs),
        };
        for again in
            [Failure::TimedOut, Failure::Unreachable(String::new()), status(429, None), status(503, None)]
        {
            assert_eq!(again.pause(1), Some(PAUSE));
            assert_eq!(again.pause(2), Some(2 * PAUSE));
            assert_eq!(again.pause(TRIES), None);
        }
        assert_eq!(status(503, Some(3)).pause(1), Some(Duration::from_secs(3)));
        assert_eq!(status(503, Some(3600)).pause(1), Some(LONGEST_PAUSE));
        for wrong in [400, 401, 404, 413, 500] {
            assert_eq!(status(wrong, Some(1)).pause(1), None);
        }
    }
}
