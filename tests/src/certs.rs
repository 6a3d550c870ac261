//! A certificate authority of the test's own, and a server's and a client's certificate signed by it: the server's for
//! `localhost` and `127.0.0.1`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use time::OffsetDateTime;

/// When a server's certificate ends: 2100-01-01, in seconds since 1970.
pub const SERVER_ENDS: i64 = 4_102_444_800;

/// PEM files in a directory that goes with this value.
#[derive(Debug)]
pub struct Certificates {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// Makes new ones.
    pub fn new() -> Result<Certificates> {
        Certificates::issued_by(None)
    }

    /// Those of an authority below this one, whose own certificate stands in its file without the one above it.
    pub fn below(&self) -> Result<Certificates> {
        Certificates::issued_by(Some(&self.issuer))
    }

    fn issued_by(above: Option<&Issuer<'static, KeyPair>>) -> Result<Certificates> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = if above.is_some() { "FHIRcast tests CA below" } else { "FHIRcast tests CA" };
        ca.distinguished_name.push(DnType::CommonName, name);
        let ca_key = KeyPair::generate()?;
        let ca_certificate = match above {
            Some(above) => ca.signed_by(&ca_key, above)?,
            None => ca.self_signed(&ca_key)?,
        };

        let certificates = Certificates { directory: tempfile::tempdir()?, issuer: Issuer::new(ca, ca_key) };
        std::fs::write(certificates.ca(), ca_certificate.pem())?;
        certificates.renew()?;
        let client_key = KeyPair::generate()?;
        let mut client = CertificateParams::new(Vec::new())?;
        client.distinguished_name.push(DnType::CommonName, "FHIRcast tests client");
        let client_certificate = client.signed_by(&client_key, &certificates.issuer)?;
        std::fs::write(certificates.client_cert(), client_certificate.pem())?;
        std::fs::write(certificates.client_key(), client_key.serialize_pem())?;
        Ok(certificates)
    }

    /// Puts another certificate and key into the server's files.
    pub fn renew(&self) -> Result<()> {
        self.put_server(server()?)
    }

    /// Puts a certificate that has expired, and its key, into the server's files.
    pub fn renew_expired(&self) -> Result<()> {
        let mut server = server()?;
        server.not_after = date_time_ymd(2020, 1, 1);
        self.put_server(server)
    }

    fn put_server(&self, server: CertificateParams) -> Result<()> {
        let key = KeyPair::generate()?;
        std::fs::write(self.cert(), server.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(self.key(), key.serialize_pem())?;
        Ok(())
    }

    /// Puts another authority's certificate, and a client's of it, into the files of this one's.
    pub fn renew_client(&self, by: &Certificates) -> Result<()> {
        let files = [
            (by.ca(), self.ca()),
            (by.client_cert(), self.client_cert()),
            (by.client_key(), self.client_key()),
        ];
        for (from, to) in files {
            std::fs::copy(from, to)?;
        }
        Ok(())
    }

    /// The settings of a client that trusts the authority, and shows the client's certificate: `ca_file`, `cert` and
    /// `key` of the group `callbacks` or `redis`.
    pub fn client_settings(&self, group: &str) -> [(String, String); 3] {
        let setting =
            |name: &str, file: PathBuf| (format!("{group}.{name}"), file.to_string_lossy().into_owned());
        [
            setting("ca_file", self.ca()),
            setting("cert", self.client_cert()),
            setting("key", self.client_key()),
        ]
    }

    /// The authority's certificate: what clients trust, and the settings `callbacks.ca_file` and `redis.ca_file`.
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

    /// A client's certificate: the settings `callbacks.cert` and `redis.cert`.
    pub fn client_cert(&self) -> PathBuf {
        self.path("client-cert.pem")
    }

    /// The client's private key: the settings `callbacks.key` and `redis.key`.
    pub fn client_key(&self) -> PathBuf {
        self.path("client-key.pem")
    }

    /// The settings of a listener with the server's certificate: `tls.cert` and `tls.key` of the group `tls`.
    pub fn settings(&self, group: &str) -> [(String, String); 2] {
        let setting =
            |name: &str, file: PathBuf| (format!("{group}.{name}"), file.to_string_lossy().into_owned());
        [setting("cert", self.cert()), setting("key", self.key())]
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::join(self.directory.path(), file)
    }
}

fn server() -> Result<CertificateParams> {
    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.not_after = OffsetDateTime::from_unix_timestamp(SERVER_ENDS)?;
    Ok(server)
}
