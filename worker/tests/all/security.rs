//! FC-TRN-01, FC-SEC-02: where callbacks may go, and whom they trust.

use std::path::PathBuf;

use openssl::{
    pkey::PKey,
    ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode},
    x509::X509,
};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
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
    for host in
        ["127.0.0.1", "localhost", "localhost.", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"]
    {
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
        let (certificate, key) = self.certify(host);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&X509::from_der(certificate.der()).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_der(&key.serialize_der()).unwrap()).unwrap();
        acceptor
    }

    /// PEM files of a certificate for this host and of its key.
    fn files(&self, host: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.certify(host);
        let [cert, key_file] =
            ["cert", "key"].map(|kind| self.directory.path().join(format!("{host}.{kind}")));
        std::fs::write(&cert, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        (cert, key_file)
    }

    fn certify(&self, host: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate, key)
    }

    fn trusted_by(&self) -> System {
        self.trusted_with(|_| {})
    }

    fn trusted_with(&self, change: impl FnOnce(&mut Settings)) -> System {
        let file = self.file();
        System::with(|settings| {
            change(settings);
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
async fn the_certificate_of_an_ipv6_address_is_trusted_for_it_alone() {
    let authority = Authority::new();
    let system = authority.trusted_by();
    let here = Callback::with_tls_at("[::1]:0", authority.server("::1"));
    assert!(is_reached(&system, &here, "[::1]").await, "FC-TRN-01");
    let elsewhere = Callback::with_tls_at("[::1]:0", authority.server("::2"));
    assert!(!is_reached(&system, &elsewhere, "[::1]").await, "FC-TRN-01: another address");
}

#[actix_rt::test]
async fn a_name_with_the_roots_dot_is_that_of_the_certificate() {
    let authority = Authority::new();
    // It is asked for nothing: names of this machine are known without it.
    let nobody = vec!["127.0.0.1:9".parse().unwrap()];
    let system = authority.trusted_with(|settings| settings.callbacks.dns_servers = nobody);
    let named = Callback::with_tls(authority.server("localhost"));
    assert!(is_reached(&system, &named, "localhost.").await, "FC-TRN-01");
}

#[actix_rt::test]
async fn a_callback_that_asks_who_is_there_is_shown_the_certificate_that_is_set() {
    let authority = Authority::new();
    let asking = |authority: &Authority| {
        let mut acceptor = authority.server("localhost");
        acceptor.set_ca_file(authority.file()).unwrap();
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        Callback::with_tls(acceptor)
    };
    let (cert, key) = authority.files("hub");
    let known = authority.trusted_with(|settings| {
        settings.callbacks.cert = Some(cert);
        settings.callbacks.key = Some(key);
    });
    assert!(is_reached(&known, &asking(&authority), "localhost").await, "FC-TRN-01: callbacks.cert");
    assert!(!is_reached(&authority.trusted_by(), &asking(&authority), "localhost").await, "FC-TRN-01");
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_is_an_error_that_names_the_setting() {
    let authority = Authority::new();
    let (cert, key) = authority.files("a");
    let (_, other) = authority.files("b");
    for (cert, key, expected) in [
        ("/nowhere".into(), key.clone(), "callbacks.cert: /nowhere: "),
        (cert.clone(), "/nowhere".into(), "callbacks.key: /nowhere: "),
        (cert, other, "callbacks.key: "),
    ] {
        let mut settings = Settings::new(Defaults::Standard);
        settings.callbacks.cert = Some(cert);
        settings.callbacks.key = Some(key);
        let error = Setup::new(&settings).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[actix_rt::test]
async fn no_request_leaves_for_a_port_that_is_not_allowed() {
    let callback = Callback::accepting();
    let port: u16 = callback.url("").rsplit(':').next().unwrap().parse().unwrap();
    let range = |port: u16| vec![port.to_string().parse().unwrap()];
    let forbidden = System::with(|settings| settings.callbacks.forbidden_ports = range(port));
    assert!(!is_reached(&forbidden, &callback, "127.0.0.1").await, "FC-SEC-02: callbacks.forbidden_ports");
    let elsewhere = System::with(|settings| settings.callbacks.allowed_ports = range(80));
    assert!(!is_reached(&elsewhere, &callback, "127.0.0.1").await, "FC-SEC-02: callbacks.allowed_ports");
    assert!(callback.received().is_empty(), "FC-SEC-02");
    assert!(is_reached(&System::new(), &callback, "127.0.0.1").await);
}

#[actix_rt::test]
async fn a_connection_without_tls_is_never_used_for_a_callback_with_it() {
    // The same authority (host and port) by http first, kept alive, then by https.
    let (system, callback) = (System::new(), Callback::accepting());
    let worker = system.worker();
    system.request(Mode::Subscribe, &system.subscription(&callback.url("/"), "*")).await;
    assert_eq!(worker.step().await.unwrap(), [Served::Verified(Mode::Subscribe)]);
    let secure = callback.url("/").replace("http://", "https://");
    system.request(Mode::Subscribe, &system.subscription(&secure, "*")).await;
    assert_eq!(worker.step().await.unwrap(), [Served::NotVerified(Mode::Subscribe)], "FC-TRN-01");
    assert_eq!(callback.received().len(), 1, "FC-TRN-01");
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
    assert!(matches!(error, SetupError::Tls(_)));
    assert!(error.to_string().starts_with("callbacks.ca_file: /nowhere/ca.pem: "), "{error}");
}
