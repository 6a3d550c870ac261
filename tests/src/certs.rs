//! A certificate authority of the test's own, and a server certificate for `localhost` and `127.0.0.1` signed by it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// PEM files in a directory that goes with this value.
pub struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// Makes new ones.
    pub fn new() -> Result<Certificates> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "FHIRcast tests CA");
        let ca_key = KeyPair::generate()?;
        let ca_certificate = ca.self_signed(&ca_key)?;

        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        server.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;

        let certificates = Certificates { directory: tempfile::tempdir()? };
        std::fs::write(certificates.ca(), ca_certificate.pem())?;
        std::fs::write(certificates.cert(), certificate.pem())?;
        std::fs::write(certificates.key(), key.serialize_pem())?;
        Ok(certificates)
    }

    /// The authority's certificate: what clients trust, and the setting `callbacks.ca_file`.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The server's certificate: the setting `tls.cert`.
    pub fn cert(&self) -> PathBuf {
        self.path("cert.pem")
    }

    /// The server's private key: the setting `tls.key`.
    pub fn key(&self) -> PathBuf {
        self.path("key.pem")
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::join(self.directory.path(), file)
    }
}
