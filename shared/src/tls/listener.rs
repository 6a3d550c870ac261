//! TLS of a listener: the hub's own, and the one for health and metrics.
//!
//! The certificate of a client is checked at each connection anew: while one is asked for, no session is resumed. So an
//! authority that has been taken away, or a certificate that has ended, counts from the next connection on.

use openssl::{
    error::ErrorStack,
    ssl::{
        AlpnError, ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod, SslMode,
        SslOptions, SslSessionCacheMode, SslVerifyMode, select_next_proto,
    },
    stack::Stack,
    x509::{store::X509StoreBuilder, verify::X509VerifyFlags},
};

use super::{
    TlsError,
    files::{Contents, Files},
    reload::{Followed, Loaded, follow},
};
use crate::{
    settings::{ClientAuth, Tls},
    telemetry::metrics::Certificate,
};

/// What is spoken within TLS, as ALPN has it.
const HTTP_1_1: &[u8] = b"\x08http/1.1";
const CLIENT_CA: &str = "client_ca_file";

/// What a listener accepts TLS with; `None` when it has no certificate. The files are looked at again in a task for as
/// long as the acceptor lives, so this is called where Tokio runs.
pub fn acceptor(of: Certificate, settings: &Tls) -> Result<Option<SslAcceptorBuilder>, TlsError> {
    if settings.cert.is_none() {
        return Ok(None);
    }
    let authorities = (CLIENT_CA, settings.client_ca_file.as_deref());
    let files = Files::new(of, settings.cert.as_deref(), settings.key.as_deref(), authorities);
    let client_auth = settings.client_auth;
    let mut builder = bare(client_auth)?;
    let current = follow(files, settings.reload_every(), move |contents| context(contents, client_auth))?;
    choose_at_each_handshake(&mut builder, current);
    Ok(Some(builder))
}

/// The context is chosen when the client's first message is there, before anything in it counts: whether it names a
/// server or not, and before a session could be resumed.
fn choose_at_each_handshake(builder: &mut SslAcceptorBuilder, current: Followed<SslContext>) {
    builder.set_client_hello_callback(move |ssl, _| {
        // Certificate, key, authorities and ALPN are the context's; protocol versions, modes, options and whether a
        // client shows a certificate were the connection's from its beginning, and are the same in every context.
        ssl.set_ssl_context(&current.now())?;
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

/// What the files make of a listener.
fn context(contents: &Contents<'_>, client_auth: ClientAuth) -> Result<Loaded<SslContext>, TlsError> {
    let identity = contents.identity()?.ok_or_else(|| contents.bad_certificate("is not there"))?;
    let mut builder = bare(client_auth)?;
    builder.set_certificate(&identity.leaf).map_err(|_| contents.bad_certificate("is refused by OpenSSL"))?;
    builder.set_private_key(&identity.key)?;
    for issuer in identity.issuers {
        builder.add_extra_chain_cert(issuer)?;
    }
    builder
        .set_alpn_select_callback(|_, offered| select_next_proto(HTTP_1_1, offered).ok_or(AlpnError::NOACK));
    if let Some(authorities) = contents.authorities(CLIENT_CA)? {
        let (mut store, mut names) = (X509StoreBuilder::new()?, Stack::new()?);
        // An authority that issues for clients may be named without the one above it.
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        for authority in authorities {
            names.push(authority.subject_name().to_owned()?)?;
            store.add_cert(authority)?;
        }
        builder.set_verify_cert_store(store.build())?;
        builder.set_client_ca_list(names);
    }
    Ok(Loaded { made: builder.build().into_context(), expires: Some(identity.expires) })
}
