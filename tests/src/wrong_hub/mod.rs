//! A small hub that can be told to break one rule: what shows that a check of the rule can fail.
//!
//! With [`Wrong::Nothing`] it conforms, as far as it goes: the WebSocket channel, one process, all in memory.
//! It wants tokens if it is told so ([`WrongHub::start_secured`]). It has no pings, no reconnect grace, no end of a lease, no SyncError about those who
//! are silent, and takes every event that is posted again for a resend. It shares no code with the hub that is
//! shipped, so that neither hides the other's mistakes. A room each: what can be wrong ([`Wrong`]), HTTP,
//! who may do what (grant), sockets, who is told what (hub), one topic's contexts (session), events as they are written (message).

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result};

mod grant;
mod http;
mod hub;
mod message;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod wrong;

pub use grant::TOKEN_COMMAND;
pub use wrong::Wrong;

/// A running hub; dropping it ends it.
pub struct WrongHub {
    url: String,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl WrongHub {
    /// Starts a hub that does this wrong, on loopback, on a port that the system chose.
    pub fn start(wrong: Wrong) -> Result<WrongHub> {
        WrongHub::start_by(wrong, false)
    }

    /// The same hub, that wants tokens: those that [`TOKEN_COMMAND`] makes.
    pub fn start_secured(wrong: Wrong) -> Result<WrongHub> {
        WrongHub::start_by(wrong, true)
    }

    fn start_by(wrong: Wrong, wants_tokens: bool) -> Result<WrongHub> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base = format!("{}{}", listener.local_addr()?, http::BASE_PATHS[0]);
        let hub = web::Data::new(hub::Hub::new(wrong, wants_tokens, format!("ws://{base}/ws/")));
        let (started, start) = mpsc::channel();
        // A thread of its own: a test that blocks its runtime does not stop the hub.
        let thread = std::thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let app = move || App::new().app_data(hub.clone()).default_service(web::to(http::dispatch));
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
        let handle = start.recv().context("the hub did not start")??;
        Ok(WrongHub { url: format!("http://{base}"), handle, thread: Some(thread) })
    }

    /// `hub.url`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for WrongHub {
    fn drop(&mut self) {
        // The command is sent when `stop` is called; what it answers with need not be awaited.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
