//! TLS of the listeners: the hub's own, and the one for health and metrics (FC-TRN-01).
//!
//! TLS 1.2 and 1.3, by OpenSSL, with Mozilla's intermediate ciphers. Promises:
//!
//! - Files that change (certificate, key, authorities for clients) count for every connection that is made after they
//!   were seen; a connection that is open stays as it is. They are seen when two looks in a row find the same, so
//!   neither a file that is half written nor a certificate that comes before its key is taken.
//! - Files that cannot be used leave in place what was there, which is an error in the log and counted at every look
//!   (`fhircast_certificate_reload_failures_total`). When the certificate ends is
//!   `fhircast_certificate_expiry_timestamp_seconds`.
//! - The certificate of a client is checked at each connection anew: while one is asked for, no session is resumed. So
//!   an authority that has been taken away, or a certificate that has ended, counts from the next connection on.
//!
//! Lists of revoked certificates are not read: who is to be kept out is kept out by the authority, or by short lives.
//!
//! - `files`: what the files must hold · `reload`: looking at them again

mod files;
mod reload;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use openssl::{
    error::ErrorStack,
    ssl::{
        ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod, SslMode, SslOptions,
        SslSessionCacheMode, SslVerifyMode,
    },
};

use self::{files::Files, reload::Reloader};
use crate::{
    settings::{ClientAuth, Tls},
    telemetry::metrics::Listener,
};

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0}: {1}: {2}")]
    Unreadable(String, PathBuf, std::io::Error),
    /// A file does not hold what it should.
    #[error("{0}: {1}: {2}")]
    Unusable(String, PathBuf, &'static str),
    /// OpenSSL refuses.
    #[error("TLS cannot be set up: {0}")]
    OpenSsl(#[from] ErrorStack),
}

/// What a listener accepts TLS with; `None` when it has no certificate. The files are looked at again in a task for as
/// long as the acceptor lives, so this is called where Tokio runs.
pub fn acceptor(listener: Listener, settings: &Tls) -> Result<Option<SslAcceptorBuilder>, TlsError> {
    let Some(files) = Files::of(listener, settings) else { return Ok(None) };
    let mut builder = bare(settings.client_auth)?;
    let (reloader, current) = Reloader::start(files)?;
    choose_at_each_handshake(&mut builder, current);
    tokio::spawn(reloader.keep_looking(settings.reload_every()));
    Ok(Some(builder))
}

/// What OpenSSL knows of the files, replaced as a whole.
type Current = Arc<RwLock<SslContext>>;

/// The context is chosen when the client's first message is there, before anything in it counts: whether it names a
/// server or not, and before a session could be resumed.
fn choose_at_each_handshake(builder: &mut SslAcceptorBuilder, current: Current) {
    builder.set_client_hello_callback(move |ssl, _| {
        // Certificate, key, authorities and ALPN are the context's; protocol versions, modes, options and whether a
        // client shows a certificate were the connection's from its beginning, and are the same in every context.
        let context = current.read().unwrap_or_else(PoisonError::into_inner).clone();
        ssl.set_ssl_context(&context)?;
        Ok(ClientHelloResponse::SUCCESS)
    });
}

/// All that is not in files.
fn bare(client_auth: ClientAuth) -> Result<SslAcceptorBuilder, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    // An idle socket gives its buffers back: 34 KiB for each of them otherwise.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    builder.set_options(SslOptions::NO_RENEGOTIATION);
    builder.set_verify(match client_auth {
        ClientAuth::Off => SslVerifyMode::NONE,
        ClientAuth::Optional => SslVerifyMode::PEER,
        ClientAuth::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    });
    if client_auth != ClientAuth::Off {
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_options(SslOptions::NO_TICKET);
        builder.set_num_tickets(0)?;
    }
    Ok(builder)
}
