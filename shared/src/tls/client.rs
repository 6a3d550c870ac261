//! TLS towards others, whom this program connects to: what it trusts, and what it shows.
//!
//! TLS 1.2 or newer. A connection is verified against the authorities, and shows the certificate, that the files held
//! when it was made.

use std::{path::Path, time::Duration};

use openssl::ssl::{SslConnector, SslMethod, SslMode, SslVersion};

use super::{
    TlsError,
    files::{Contents, Files, Identity},
    reload::{Followed, Loaded, follow},
};
use crate::telemetry::metrics::Certificate;

const CA: &str = "ca_file";

/// The files of a client: the settings `ca_file`, `cert` and `key` of a group, and how often they are looked at.
pub struct Client<'s> {
    /// Whose they are.
    pub of: Certificate,
    /// Authorities that are trusted.
    pub ca_file: Option<&'s Path>,
    /// The certificate that is shown to who asks for one, and those who vouch for it.
    pub cert: Option<&'s Path>,
    /// Its key.
    pub key: Option<&'s Path>,
    /// Between two looks.
    pub reload_every: Duration,
}

/// What was in the files of a client.
pub struct Trust {
    /// The authorities, in PEM.
    pub authorities: Option<Vec<u8>>,
    /// The certificate with those who vouch for it, and its key (PKCS #8), in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Client<'_> {
    /// What connections are made with that trust these authorities besides the system's.
    pub fn connector(&self) -> Result<Followed<SslConnector>, TlsError> {
        self.follow(connector)
    }

    /// What was in the files, for who makes connections by other means.
    pub fn trust(&self) -> Result<Followed<Trust>, TlsError> {
        self.follow(trust)
    }

    fn follow<T: Send + Sync + 'static>(
        &self,
        make: fn(&Contents<'_>) -> Result<Loaded<T>, TlsError>,
    ) -> Result<Followed<T>, TlsError> {
        let files = Files::new(self.of, self.cert, self.key, (CA, self.ca_file));
        follow(files, self.reload_every, make)
    }
}

fn connector(contents: &Contents<'_>) -> Result<Loaded<SslConnector>, TlsError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // An idle connection without this holds 34 KiB.
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    for authority in contents.authorities(CA)?.unwrap_or_default() {
        builder.cert_store_mut().add_cert(authority)?;
    }
    let identity = contents.identity()?;
    let expires = identity.as_ref().map(|identity| identity.expires);
    if let Some(Identity { leaf, issuers, key, .. }) = identity {
        builder.set_certificate(&leaf).map_err(|_| contents.bad_certificate("is refused by OpenSSL"))?;
        builder.set_private_key(&key)?;
        for issuer in issuers {
            builder.add_extra_chain_cert(issuer)?;
        }
    }
    Ok(Loaded { made: builder.build(), expires })
}

fn trust(contents: &Contents<'_>) -> Result<Loaded<Trust>, TlsError> {
    let mut authorities = None;
    for authority in contents.authorities(CA)?.unwrap_or_default() {
        authorities.get_or_insert_with(Vec::new).extend(authority.to_pem()?);
    }
    let (mut identity, mut expires) = (None, None);
    if let Some(found) = contents.identity()? {
        let mut chain = found.leaf.to_pem()?;
        for issuer in found.issuers {
            chain.extend(issuer.to_pem()?);
        }
        identity = Some((chain, found.key.private_key_to_pem_pkcs8()?));
        expires = Some(found.expires);
    }
    Ok(Loaded { made: Trust { authorities, identity }, expires })
}
