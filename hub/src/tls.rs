//! TLS of the hub's own listener (FC-TRN-01).

use std::path::Path;

use anyhow::Context;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslFiletype, SslMethod, SslMode};

/// An acceptor for TLS 1.2 and 1.3 with the certificate chain and key of these PEM files.
pub fn acceptor(cert: &Path, key: &Path) -> anyhow::Result<SslAcceptorBuilder> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).context("OpenSSL")?;
    builder
        .set_certificate_chain_file(cert)
        .with_context(|| format!("tls.cert: {} cannot be used", cert.display()))?;
    builder
        .set_private_key_file(key, SslFiletype::PEM)
        .with_context(|| format!("tls.key: {} cannot be used", key.display()))?;
    builder.check_private_key().context("tls.key is not the key of tls.cert")?;
    // An idle socket gives its buffers back: 34 KiB for each of them otherwise.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(builder)
}
