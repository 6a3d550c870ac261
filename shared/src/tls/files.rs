//! The files of a listener, and what they must hold.

use std::path::{Path, PathBuf};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    pkey::PKey,
    ssl::{AlpnError, SslContext, select_next_proto},
    stack::Stack,
    x509::{X509, store::X509StoreBuilder, verify::X509VerifyFlags},
};

use super::{TlsError, bare};
use crate::{
    files::read_at_most,
    hashes::hash_of,
    settings::{ClientAuth, Tls},
    telemetry::metrics::Listener,
    unix_time::now_secs,
};

/// Bytes of a file at most.
const MAX_BYTES: u64 = 1024 * 1024;
/// What is spoken within TLS, as ALPN has it.
const HTTP_1_1: &[u8] = b"\x08http/1.1";

/// Where a listener's certificate, key and authorities are.
pub struct Files {
    /// Whose they are.
    pub listener: Listener,
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_auth: ClientAuth,
}

/// What was in them.
pub struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Equal when the contents are.
pub type Fingerprint = [u8; 32];

/// What a listener can work with.
pub struct Loaded {
    /// For OpenSSL.
    pub context: SslContext,
    /// When the certificate ends, in seconds since 1970.
    pub expires: i64,
}

impl Files {
    /// None when the listener has no certificate.
    pub fn of(listener: Listener, settings: &Tls) -> Option<Self> {
        let (cert, key) = (settings.cert.clone()?, settings.key.clone()?);
        let (client_ca, client_auth) = (settings.client_ca_file.clone(), settings.client_auth);
        Some(Self { listener, cert, key, client_ca, client_auth })
    }

    /// Reads them.
    pub fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            cert: self.bytes("cert", &self.cert)?,
            key: self.bytes("key", &self.key)?,
            client_ca: self.client_ca.as_ref().map(|path| self.bytes("client_ca_file", path)).transpose()?,
        })
    }

    /// Makes of what they hold what a listener can work with.
    pub fn load(&self, contents: &Contents) -> Result<Loaded, TlsError> {
        let bad_cert = |reason| TlsError::Unusable(self.setting("cert"), self.cert.clone(), reason);
        let bad_key = |reason| TlsError::Unusable(self.setting("key"), self.key.clone(), reason);
        let mut chain =
            certificates(&contents.cert).ok_or(bad_cert("holds no certificate in PEM"))?.into_iter();
        let leaf = chain.next().ok_or(bad_cert("holds no certificate in PEM"))?;
        // With a passphrase of its own, or OpenSSL would ask the terminal for one.
        let key = PKey::private_key_from_pem_passphrase(&contents.key, b"")
            .map_err(|_| bad_key("holds no private key in PEM without a passphrase"))?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(bad_key("is not the key of the certificate"));
        }
        let expires = seconds_since_1970(leaf.not_after())?;
        if expires <= now_secs() {
            return Err(bad_cert("has expired"));
        }
        let mut builder = bare(self.client_auth)?;
        builder.set_certificate(&leaf).map_err(|_| bad_cert("is refused by OpenSSL"))?;
        builder.set_private_key(&key)?;
        for issuer in chain {
            builder.add_extra_chain_cert(issuer)?;
        }
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(HTTP_1_1, offered).ok_or(AlpnError::NOACK)
        });
        if let (Some(path), Some(pem)) = (&self.client_ca, &contents.client_ca) {
            let reason = "holds no certificate in PEM";
            let authorities = certificates(pem).filter(|found| !found.is_empty());
            let authorities = authorities
                .ok_or_else(|| TlsError::Unusable(self.setting("client_ca_file"), path.clone(), reason))?;
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
        Ok(Loaded { context: builder.build().into_context(), expires })
    }

    /// The name of a setting, `tls.cert` or `admin_tls.cert`.
    fn setting(&self, name: &str) -> String {
        let group = match self.listener {
            Listener::Hub => "tls",
            Listener::Admin => "admin_tls",
        };
        format!("{group}.{name}")
    }

    fn bytes(&self, setting: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
        read_at_most(path, MAX_BYTES)
            .map_err(|error| TlsError::Unreadable(self.setting(setting), path.to_owned(), error))
    }
}

impl Contents {
    /// Tells them from others.
    pub fn fingerprint(&self) -> Fingerprint {
        hash_of([Some(self.cert.as_slice()), Some(&self.key), self.client_ca.as_deref()])
    }
}

fn certificates(pem: &[u8]) -> Option<Vec<X509>> {
    X509::stack_from_pem(pem).ok()
}

fn seconds_since_1970(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}
