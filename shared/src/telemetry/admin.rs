//! The listener for health and metrics, the same in both programs: `GET /healthz` (200 while all loops turn, else 503,
//! with a line for each), `/readyz` (200 or 503, with a line for each part) and `/metrics` (Prometheus's text format).
//!
//! Who is not healthy wants to be started anew; who is not ready wants to be left alone for a while.
//!
//! Nothing here is of a topic, a subscriber or a patient, so other machines may be let in without TLS: Kubernetes's
//! probes and Prometheus come from there. With `admin_tls` it speaks TLS alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::{CacheControl, CacheDirective};
use actix_web::web::{Data, get};
use actix_web::{App, HttpResponse, HttpResponseBuilder, HttpServer};

use super::metrics::Certificate;
use super::{Loops, Readiness, metrics};
use crate::settings::Settings;
use crate::tls::{self, TlsError};

/// Why health and metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be had.
    #[error("admin_listen: {0}: {1}")]
    Bind(SocketAddr, #[source] io::Error),
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Seconds for which a stop waits for a scrape that is under way.
const STOP_SECS: u64 = 1;

/// Starts to listen at `admin_listen`; the URL that it became is answered, for port 0. The server runs while it is
/// polled (spawn it), leaves signals alone, and stops by its handle.
pub fn start(
    settings: &Settings,
    readiness: Readiness,
    loops: Loops,
) -> Result<(String, Server), AdminError> {
    let address = settings.admin_listen;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(readiness.clone()))
            .app_data(Data::new(loops.clone()))
            .route("/healthz", get().to(healthz))
            .route("/readyz", get().to(readyz))
            .route("/metrics", get().to(serve_metrics))
    })
    .workers(1)
    .tcp_nodelay(true)
    .disable_signals()
    .shutdown_timeout(STOP_SECS)
    .client_request_timeout(Duration::from_secs(5));
    let (bound, scheme) = match tls::acceptor(Certificate::Admin, &settings.admin_tls)? {
        Some(acceptor) => (server.bind_openssl(address, acceptor), "https"),
        None => (server.bind(address), "http"),
    };
    let server = bound.map_err(|error| AdminError::Bind(address, error))?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((format!("{scheme}://{bound}"), server.run()))
}

async fn healthz(loops: Data<Loops>) -> HttpResponse {
    told(loops.report())
}

async fn readyz(readiness: Data<Readiness>) -> HttpResponse {
    told(readiness.report())
}

fn told((is_well, lines): (bool, String)) -> HttpResponse {
    let answer = if is_well { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    text(answer).body(lines)
}

async fn serve_metrics(readiness: Data<Readiness>, loops: Data<Loops>) -> HttpResponse {
    readiness.expose();
    loops.expose();
    match metrics::render() {
        Ok(page) => HttpResponse::Ok().content_type(prometheus::TEXT_FORMAT).body(page),
        Err(error) => text(HttpResponse::InternalServerError()).body(format!("{error}\n")),
    }
}

fn text(mut answer: HttpResponseBuilder) -> HttpResponseBuilder {
    answer
        .content_type("text/plain; charset=utf-8")
        .insert_header(CacheControl(vec![CacheDirective::NoStore]));
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(url: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn at(port: u16) -> Settings {
        Settings { admin_listen: SocketAddr::from(([127, 0, 0, 1], port)), ..Settings::default() }
    }

    #[actix_rt::test]
    async fn health_and_readiness_and_metrics_are_served() {
        let (readiness, loops) = (Readiness::new(["redis"]), Loops::new(Duration::ZERO));
        let (url, server) = start(&at(0), readiness.clone(), loops.clone()).unwrap();
        let handle = server.handle();
        let running = actix_rt::spawn(server);

        let answer = fetch(&url, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let _stuck = loops.watch("lease");
        let answer = fetch(&url, "/healthz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nlease: has not turned for 0 s\n"), "{answer}");

        let answer = fetch(&url, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nredis: starting\n"), "{answer}");

        readiness.set("redis", true, "ok");
        let answer = fetch(&url, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nredis: ok\n"), "{answer}");

        let answer = fetch(&url, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("fhircast_build_info{"), "{answer}");
        assert!(answer.contains("fhircast_ready_part{part=\"redis\"} 1"), "{answer}");

        let answer = fetch(&url, "/api/hub").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");

        handle.stop(true).await;
        running.await.unwrap().unwrap();
    }

    #[actix_rt::test]
    async fn an_address_that_is_taken_is_an_error_that_names_the_setting() {
        let (url, _server) = start(&at(0), Readiness::new([]), Loops::new(Duration::MAX)).unwrap();
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let error = start(&at(port), Readiness::new([]), Loops::new(Duration::MAX)).err().unwrap();
        assert!(matches!(&error, AdminError::Bind(_, error) if error.kind() == io::ErrorKind::AddrInUse));
        assert!(error.to_string().starts_with("admin_listen: 127."), "{error}");
    }
}
