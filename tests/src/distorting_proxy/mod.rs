//! A proxy before a real hub that can be told to break one rule: what shows that a check of the rule can fail.
//!
//! With [`Distortion::None`] an app sees the hub as it is, over HTTP and over WebSocket, frame by frame, with its close
//! codes, pings and pongs; only endpoints are rewritten, so that sockets run through the proxy as well. Callbacks are
//! requested by the hub itself; where a distortion concerns them, the proxy takes their place in subscriptions, if
//! they are on loopback, and passes them on. What is changed keeps the lexemes of all the rest (FC-TRN-05).
//! A room each: what can be distorted ([`Distortion`]), HTTP, what is answered (answer), sockets (socket, relay, frame),
//! callbacks, events (message, json), and what the proxy remembers (seen).

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result};
use url::Url;

use self::callbacks::Callbacks;
use self::seen::Seen;

mod answer;
mod callbacks;
mod distortion;
mod frame;
mod http;
mod json;
mod message;
mod relay;
mod seen;
mod socket;
#[cfg(test)]
mod tests;

pub use distortion::Distortion;

/// A running proxy; dropping it ends it.
pub struct DistortingProxy {
    url: String,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// What the requests share.
struct Proxy {
    distortion: Distortion,
    /// `hub.url` of the hub.
    upstream: Url,
    /// Where the proxy is: `127.0.0.1:1234`.
    address: String,
    http: reqwest::Client,
    /// The same, but it goes where a redirect points (FC-SEC-02).
    following: reqwest::Client,
    seen: Mutex<Seen>,
    callbacks: Mutex<Callbacks>,
    /// The endpoints as the hub handed them out, by their path.
    endpoints: Mutex<HashMap<String, Url>>,
}

impl Proxy {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }
}

/// No panic leaves anything half done, so a lock whose holder panicked is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DistortingProxy {
    /// Starts a proxy before the hub at this `hub.url`, on loopback, on a port that the system chose.
    pub fn start(upstream_hub_url: &str, distortion: Distortion) -> Result<DistortingProxy> {
        let upstream = Url::parse(upstream_hub_url).context("hub.url is no URL")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let url = format!("http://{address}{}", upstream.path().trim_end_matches('/'));
        let client = |redirects| {
            // Whom a test hub trusts is not the question here.
            let builder = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true);
            builder.http1_only().redirect(redirects).build()
        };
        let proxy = web::Data::new(Proxy {
            distortion,
            upstream,
            address,
            http: client(reqwest::redirect::Policy::none())?,
            following: client(reqwest::redirect::Policy::limited(3))?,
            seen: Mutex::default(),
            callbacks: Mutex::default(),
            endpoints: Mutex::default(),
        });
        let (started, start) = mpsc::channel();
        // A thread of its own: a test that blocks its runtime does not stop the proxy.
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(proxy.clone()).default_service(web::to(http::dispatch));
                let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
                match server.listen(listener) {
                    Err(error) => drop(started.send(Err(error))),
                    Ok(server) => {
                        let server = server.run();
                        let _ = started.send(Ok(server.handle()));
                        // It ends by its handle; an error would show as refused connections.
                        let _ = server.await;
                    }
                }
            });
        });
        let handle = start.recv().context("the proxy did not start")??;
        Ok(DistortingProxy { url, handle, thread: Some(thread) })
    }

    /// `hub.url`, as apps are to use it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for DistortingProxy {
    fn drop(&mut self) {
        // The command is sent when `stop` is called; what it answers with need not be awaited.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
