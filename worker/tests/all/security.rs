//! FC-TRN-01, FC-SEC-02: where callbacks may go, and whom they trust.

use std::path::PathBuf;

use openssl::{
    pkey::PKey,
    ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod},
    x509::X509,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use shared::{
    protocol::webhook::Mode,
    settings::{Defaults, Settings},
};
use tempfile::TempDir;
use worker::{
    Served,
    http_client::{Setup, SetupError},
};

use crate::{callback::Callback, system::System};

async fn is_reached(system: &System, callback: &Callback, host: &str) -> bool {
    let url = callback.url("/").replace("127.0.0.1", host);
    system.request(Mode::Subscribe, &system.subscription(&url, "*")).await;
    let outcomes = system.step().await;
    let is_verified = outcomes == [Served::Verified(Mode::Subscribe)];
    assert!(is_verified || outcomes == [Served::NotVerified(Mode::Subscribe)], "{outcomes:?}");
    is_verified
}

#[actix_rt::test]
async fn no_request_leaves_for_an_address_that_is_not_allowed() {
    let closed = System::with(|settings| settings.callbacks.allowed_networks.clear());
    let open = System::new();
    let callback = Callback::accepting();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        assert!(!is_reached(&closed, &callback, host).await, "FC-SEC-02: {host}");
        assert!(callback.received().is_empty(), "FC-SEC-02: {host}");
    }
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        assert!(is_reached(&open, &callback, host).await, "{host} is refused for its address alone");
    }
}

#[actix_rt::test]
async fn no_request_leaves_over_http_unless_it_is_allowed() {
    let system = System::with(|settings| settings.callbacks.allow_http = false);
    let callback = Callback::accepting();
    assert!(!is_reached(&system, &callback, "127.0.0.1").await, "FC-TRN-01");
    assert!(callback.received().is_empty(), "FC-TRN-01");
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A certificate whose issuer bears its own name would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server with a certificate for this host.
    fn server(&self, host: &str) -> SslAcceptorBuilder {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&X509::from_der(certificate.der()).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_der(&key.serialize_der()).unwrap()).unwrap();
        acceptor
    }

    fn trusted_by(&self) -> System {
        let file = self.file();
        System::with(|settings| {
            settings.callbacks.allow_http = false;
            settings.callbacks.ca_file = Some(file);
            // A handshake may take its time on a busy machine.
            settings.ack_timeout_secs = 10;
        })
    }
}

#[actix_rt::test]
async fn a_certificate_of_the_configured_authority_is_trusted_for_its_host_alone() {
    let authority = Authority::new();
    let system = authority.trusted_by();
    let localhost = Callback::with_tls(authority.server("localhost"));
    assert!(is_reached(&system, &localhost, "localhost").await, "FC-TRN-01");
    assert!(!is_reached(&system, &localhost, "127.0.0.1").await, "FC-TRN-01: another name");
    let address = Callback::with_tls(authority.server("127.0.0.1"));
    assert!(is_reached(&system, &address, "127.0.0.1").await, "FC-TRN-01");
    let other = Callback::with_tls(authority.server("app.example"));
    assert!(!is_reached(&system, &other, "localhost").await, "FC-TRN-01: another name");
}

#[actix_rt::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let callback = Callback::with_tls(Authority::new().server("localhost"));
    assert!(!is_reached(&Authority::new().trusted_by(), &callback, "localhost").await, "FC-TRN-01");
    assert!(
        !is_reached(&System::new(), &callback, "localhost").await,
        "FC-TRN-01: no authority but the system's"
    );
    assert!(callback.received().is_empty(), "FC-TRN-01");
}

#[test]
fn a_ca_file_that_cannot_be_read_is_an_error_that_names_the_setting() {
    let mut settings = Settings::new(Defaults::Standard);
    settings.callbacks.ca_file = Some("/nowhere/ca.pem".into());
    let error = Setup::new(&settings).err().unwrap();
    assert!(matches!(error, SetupError::CaFile { .. }));
    assert!(error.to_string().starts_with("callbacks.ca_file: /nowhere/ca.pem: "), "{error}");
}
