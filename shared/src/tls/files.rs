//! The files that one group of settings names, and what they must hold.

use std::path::{Path, PathBuf};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    pkey::{PKey, Private},
    x509::X509,
};

use super::TlsError;
use crate::{
    files::read_at_most,
    hashes::hash_of,
    telemetry::metrics::{Certificate, Label},
    unix_time::now_secs,
};

/// Bytes of a file at most.
const MAX_BYTES: u64 = 1024 * 1024;

/// What certificates and their keys are called in every group that has them.
const CERT: &str = "cert";
const KEY: &str = "key";

/// Where they are.
pub struct Files {
    /// Whose they are.
    pub of: Certificate,
    /// The names of the settings in their group, and the paths.
    named: Vec<(&'static str, PathBuf)>,
}

/// What was in them.
pub struct Contents<'f> {
    files: &'f Files,
    bytes: Vec<Vec<u8>>,
}

/// Equal when the contents are.
pub type Fingerprint = [u8; 32];

/// A certificate that this program shows.
pub struct Identity {
    /// The certificate.
    pub leaf: X509,
    /// Those who vouch for it, the next one first.
    pub issuers: Vec<X509>,
    /// The key of the certificate.
    pub key: PKey<Private>,
    /// When the certificate ends, in seconds since 1970.
    pub expires: i64,
}

impl Files {
    /// A certificate and its key, and a file of authorities under the name of its setting; those that are there.
    pub fn new(
        of: Certificate,
        cert: Option<&Path>,
        key: Option<&Path>,
        (ca, ca_file): (&'static str, Option<&Path>),
    ) -> Self {
        let named = [(CERT, cert), (KEY, key), (ca, ca_file)];
        let named = named.into_iter().filter_map(|(name, path)| Some((name, path?.to_owned()))).collect();
        Self { of, named }
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Reads them.
    pub fn read(&self) -> Result<Contents<'_>, TlsError> {
        let read = |(name, path): &(&str, PathBuf)| {
            read_at_most(path, MAX_BYTES)
                .map_err(|error| TlsError::Unreadable(self.setting(name), path.clone(), error))
        };
        Ok(Contents { files: self, bytes: self.named.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The whole name of a setting, such as `tls.cert`.
    fn setting(&self, name: &str) -> String {
        format!("{}.{name}", self.of.as_str())
    }

    fn unusable(&self, name: &str, reason: &'static str) -> TlsError {
        let path = self.named.iter().find(|(known, _)| *known == name).map(|(_, path)| path.clone());
        TlsError::Unusable(self.setting(name), path.unwrap_or_default(), reason)
    }
}

impl Contents<'_> {
    /// Tells them from others.
    pub fn fingerprint(&self) -> Fingerprint {
        hash_of(self.bytes.iter().map(|bytes| Some(bytes.as_slice())))
    }

    /// The certificate, which has not expired, and its key; `None` when there is no file for it.
    pub fn identity(&self) -> Result<Option<Identity>, TlsError> {
        let (Some(cert), Some(key)) = (self.of(CERT), self.of(KEY)) else { return Ok(None) };
        let mut chain = self.certificates(CERT, cert)?.into_iter();
        let leaf = chain.next().ok_or_else(|| self.files.unusable(CERT, NO_CERTIFICATE))?;
        // With a passphrase of its own, or OpenSSL would ask the terminal for one.
        let key = PKey::private_key_from_pem_passphrase(key, b"")
            .map_err(|_| self.files.unusable(KEY, "holds no private key in PEM without a passphrase"))?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(self.files.unusable(KEY, "is not the key of the certificate"));
        }
        let expires = seconds_since_1970(leaf.not_after())?;
        if expires <= now_secs() {
            return Err(self.files.unusable(CERT, "has expired"));
        }
        Ok(Some(Identity { leaf, issuers: chain.collect(), key, expires }))
    }

    /// The certificates of authorities in the file that this setting names; `None` when it names none.
    pub fn authorities(&self, name: &str) -> Result<Option<Vec<X509>>, TlsError> {
        self.of(name).map(|pem| self.certificates(name, pem)).transpose()
    }

    /// What is wrong with the certificate, as the error of its setting.
    pub fn bad_certificate(&self, reason: &'static str) -> TlsError {
        self.files.unusable(CERT, reason)
    }

    fn of(&self, name: &str) -> Option<&[u8]> {
        let at = self.files.named.iter().position(|(known, _)| *known == name)?;
        self.bytes.get(at).map(Vec::as_slice)
    }

    /// One at least.
    fn certificates(&self, name: &str, pem: &[u8]) -> Result<Vec<X509>, TlsError> {
        let found = X509::stack_from_pem(pem).ok().filter(|found| !found.is_empty());
        found.ok_or_else(|| self.files.unusable(name, NO_CERTIFICATE))
    }
}

const NO_CERTIFICATE: &str = "holds no certificate in PEM";

fn seconds_since_1970(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(since.days) * 86_400 + i64::from(since.secs))
}
