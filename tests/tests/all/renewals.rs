//! Certificates that change while the hub listens, and those that clients show (FC-TRN-01).

use std::{fs, path::Path};

use harness::{
    certs::{Certificates, SERVER_ENDS},
    client::App,
    examples::fresh_topic,
    metrics::Metrics,
    redis_server::{Durability, RedisServer},
    socket::Socket,
    system::{Hub, Worker, borrowed},
    tls_client::TlsClient,
    wait::{PATIENCE, eventually},
};

use crate::messages::patient_open;

const EXPIRY: &str = "fhircast_certificate_expiry_timestamp_seconds{settings=\"tls\"}";
const FAILURES: &str = "fhircast_certificate_reload_failures_total{settings=\"tls\"}";

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// An embedded hub with the server's certificate of `certificates`, which looks at it every second.
async fn hub(certificates: &Certificates, more: &[(&str, &str)]) -> Hub {
    let files = certificates.settings("tls");
    let settings = [&borrowed(&files)[..], &[("tls.reload_secs", "1")], more].concat();
    Hub::start_embedded(&settings).await.unwrap()
}

/// One that asks clients for certificates of `authority`.
async fn hub_that_asks(certificates: &Certificates, authority: &Certificates, how: &str) -> Hub {
    let ca = text(&authority.ca());
    hub(certificates, &[("tls.client_auth", how), ("tls.client_ca_file", &ca)]).await
}

fn shown(hub: &Hub, certificates: &Certificates, arguments: &[&str]) -> Vec<u8> {
    TlsClient { arguments, ..TlsClient::default() }.get(hub.url(), certificates).unwrap().certificate
}

fn is_let_in(
    hub: &Hub,
    certificates: &Certificates,
    shows: Option<&Certificates>,
    arguments: &[&str],
) -> bool {
    TlsClient { shows, arguments, ..TlsClient::default() }.get(hub.url(), certificates).is_ok()
}

async fn measured(hub: &Hub, what: &str) -> f64 {
    hub.metrics().await.unwrap().value(what).unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_served_to_new_connections_and_an_open_socket_stays() {
    let certificates = Certificates::new().unwrap();
    let (hub, topic) = (hub(&certificates, &[]).await, fresh_topic());
    let app = App::trusting(hub.url(), &certificates.ca()).unwrap();
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect_trusting(&endpoint, &certificates.ca()).await.unwrap();
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["hub.mode"], "subscribe");
    let first = shown(&hub, &certificates, &[]);
    assert_eq!(measured(&hub, EXPIRY).await, SERVER_ENDS as f64, "FC-TRN-01");

    certificates.renew().unwrap();
    let renewed = eventually(PATIENCE, "the renewed certificate", || async {
        Some(shown(&hub, &certificates, &[])).filter(|now| *now != first)
    });
    let renewed = renewed.await.expect("FC-TRN-01");
    for arguments in [&["-tls1_2"][..], &["-tls1_3"], &["-noservername"], &["-tls1_2", "-noservername"]] {
        assert_eq!(shown(&hub, &certificates, arguments), renewed, "FC-TRN-01: {arguments:?}");
    }
    assert_eq!(measured(&hub, FAILURES).await, 0.0);
    let publisher = App::trusting(hub.url(), &certificates.ca()).unwrap();
    publisher.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], "1", "FC-TRN-01: the socket is still open");
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_certificate_in_place_and_are_counted() {
    let (certificates, others) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let mut hub = hub(&certificates, &[]).await;
    let first = shown(&hub, &certificates, &[]);
    let (good_cert, good_key) =
        (fs::read(certificates.cert()).unwrap(), fs::read(certificates.key()).unwrap());
    type Spoil<'a> = &'a dyn Fn();
    let cases: [(&str, Spoil); 4] = [
        ("holds no certificate in PEM", &|| fs::write(certificates.cert(), "rubbish").unwrap()),
        ("is not the key of the certificate", &|| {
            fs::copy(others.key(), certificates.key()).unwrap();
        }),
        ("has expired", &|| certificates.renew_expired().unwrap()),
        ("No such file", &|| fs::remove_file(certificates.cert()).unwrap()),
    ];
    for (reason, spoil) in cases {
        spoil();
        let before = measured(&hub, FAILURES).await;
        let counted = eventually(PATIENCE, "a failure that is counted", || async {
            (measured(&hub, FAILURES).await > before + 1.0).then_some(())
        });
        counted.await.unwrap_or_else(|error| panic!("FC-TRN-01: {reason}: {error}"));
        hub.process()
            .wait_for_log(PATIENCE, reason, |line| {
                (line.contains(reason) && line.contains("ERROR")).then_some(())
            })
            .await
            .unwrap();
        let told = hub.log_lines().iter().filter(|line| line.contains(reason)).count();
        assert_eq!(told, 1, "FC-TRN-01: {reason}: it is told once, and counted at every look");
        assert_eq!(shown(&hub, &certificates, &[]), first, "FC-TRN-01: {reason}");
        fs::write(certificates.cert(), &good_cert).unwrap();
        fs::write(certificates.key(), &good_key).unwrap();
    }
    certificates.renew().unwrap();
    let renewed = eventually(PATIENCE, "the renewed certificate", || async {
        (shown(&hub, &certificates, &[]) != first).then_some(())
    });
    renewed.await.expect("FC-TRN-01: it still looks");
}

#[tokio::test]
async fn a_hub_does_not_start_with_files_that_cannot_be_used_and_names_the_setting() {
    let certificates = Certificates::new().unwrap();
    certificates.renew_expired().unwrap();
    for group in ["tls", "admin_tls"] {
        let started = Hub::start_embedded(&borrowed(&certificates.settings(group))).await;
        let problem = started.err().unwrap().to_string();
        assert!(problem.contains(&format!("{group}.cert: ")), "FC-TRN-01: {problem}");
        assert!(problem.contains("has expired"), "FC-TRN-01: {problem}");
    }
    certificates.renew().unwrap();
    let nobody = tempfile::NamedTempFile::new().unwrap();
    let clients = [("tls.client_auth", "required"), ("tls.client_ca_file", nobody.path().to_str().unwrap())];
    let files = certificates.settings("tls");
    let settings = [&borrowed(&files)[..], &clients].concat();
    let problem = Hub::start_embedded(&settings).await.err().unwrap().to_string();
    assert!(problem.contains("tls.client_ca_file: "), "FC-TRN-01: {problem}");
    assert!(problem.contains("holds no certificate"), "FC-TRN-01: {problem}");
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_let_in_when_one_is_required() {
    let (certificates, stranger) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let hub = hub_that_asks(&certificates, &certificates, "required").await;
    for version in [&["-tls1_2"][..], &["-tls1_3"]] {
        assert!(is_let_in(&hub, &certificates, Some(&certificates), version), "FC-TRN-01: {version:?}");
        assert!(!is_let_in(&hub, &certificates, Some(&stranger), version), "FC-TRN-01: {version:?}");
        assert!(!is_let_in(&hub, &certificates, None, version), "FC-TRN-01: {version:?}");
    }
}

#[tokio::test]
async fn who_shows_no_certificate_is_let_in_when_it_is_optional_and_who_shows_a_bad_one_is_not() {
    let (certificates, stranger) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let hub = hub_that_asks(&certificates, &certificates, "optional").await;
    assert!(is_let_in(&hub, &certificates, Some(&certificates), &[]), "FC-TRN-01");
    assert!(is_let_in(&hub, &certificates, None, &[]), "FC-TRN-01");
    assert!(!is_let_in(&hub, &certificates, Some(&stranger), &[]), "FC-TRN-01");
}

#[tokio::test]
async fn an_authority_needs_not_the_one_above_it_to_let_its_own_clients_in_and_no_others() {
    let (certificates, above) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let authority = above.below().unwrap();
    let hub = hub_that_asks(&certificates, &authority, "required").await;
    assert!(is_let_in(&hub, &certificates, Some(&authority), &[]), "FC-TRN-01");
    assert!(!is_let_in(&hub, &certificates, Some(&above), &[]), "FC-TRN-01");
}

#[tokio::test]
async fn an_authority_that_is_replaced_lets_nobody_in_any_more_and_has_left_no_session_to_resume() {
    let [certificates, before, after] = [(); 3].map(|()| Certificates::new().unwrap());
    let hub = hub_that_asks(&certificates, &before, "required").await;
    let folder = tempfile::tempdir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = folder.path().join(version);
        let (leaves, arguments) = (Some(session.clone()), &[version][..]);
        let first = TlsClient { shows: Some(&before), leaves, arguments, resumes: None };
        first.get(hub.url(), &certificates).unwrap();
        assert!(!session.exists(), "FC-TRN-01: {version}: there is no session that could be resumed");
    }
    assert!(!is_let_in(&hub, &certificates, Some(&after), &[]));

    fs::copy(after.ca(), before.ca()).unwrap();
    let taken = eventually(PATIENCE, "the other authority", || async {
        is_let_in(&hub, &certificates, Some(&after), &[]).then_some(())
    });
    taken.await.expect("FC-TRN-01");
    assert!(!is_let_in(&hub, &certificates, Some(&before), &[]), "FC-TRN-01");
}

#[tokio::test]
async fn a_session_is_resumed_only_where_no_certificate_of_a_client_is_asked_for() {
    let certificates = Certificates::new().unwrap();
    let plain = hub(&certificates, &[]).await;
    let asking = hub_that_asks(&certificates, &certificates, "required").await;
    let folder = tempfile::tempdir().unwrap();
    for (hub, resumed) in [(&plain, true), (&asking, false)] {
        for version in [&["-tls1_2"][..], &["-tls1_3"]] {
            let session = folder.path().join(format!("{resumed}{}", version[0]));
            let client =
                || TlsClient { shows: Some(&certificates), arguments: version, ..TlsClient::default() };
            let first = TlsClient { leaves: Some(session.clone()), ..client() };
            first.get(hub.url(), &certificates).unwrap();
            let has_one = session.exists();
            let again = TlsClient { resumes: has_one.then_some(session), ..client() };
            let is_resumed = again.get(hub.url(), &certificates).unwrap().is_resumed;
            assert_eq!(is_resumed, resumed, "FC-TRN-01: {version:?}");
        }
    }
}

#[tokio::test]
async fn tls_before_1_2_is_refused() {
    let certificates = Certificates::new().unwrap();
    let hub = hub(&certificates, &[]).await;
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(is_let_in(&hub, &certificates, None, &[version]), "FC-TRN-01: {version}");
    }
    for version in ["-tls1", "-tls1_1"] {
        // This side would refuse it as well, unless told not to.
        let willing = [version, "-cipher", "ALL:@SECLEVEL=0"];
        assert!(!is_let_in(&hub, &certificates, None, &willing), "FC-TRN-01: {version}");
    }
}

#[tokio::test]
async fn health_and_metrics_are_served_over_tls_by_both_programs_and_their_certificate_is_renewed() {
    let certificates = Certificates::new().unwrap();
    let (files, ca) = (certificates.settings("admin_tls"), text(&certificates.ca()));
    let redis = RedisServer::start(Durability::None).await.unwrap();
    let url = redis.url();
    let settings = [
        ("redis.url", url.as_str()),
        ("admin_tls.client_auth", "optional"),
        ("admin_tls.client_ca_file", &ca),
        ("admin_tls.reload_secs", "1"),
    ];
    let settings = [&settings[..], &borrowed(&files)].concat();
    let (hub, worker) = (Hub::start(&settings).await.unwrap(), Worker::start(&settings).await.unwrap());
    let shown = |admin: &str| TlsClient::default().get(admin, &certificates).unwrap().certificate;
    let first = shown(hub.admin_url());
    for admin in [hub.admin_url(), worker.admin_url()] {
        assert!(admin.starts_with("https://"), "{admin}");
        let app = App::trusting(admin, &certificates.ca()).unwrap();
        assert_eq!(app.get("/healthz").await.unwrap().status, 200, "{admin}");
        let page = Metrics::from(app.get("/metrics").await.unwrap().body);
        assert!(
            page.value("fhircast_certificate_expiry_timestamp_seconds{settings=\"admin_tls\"}").is_some()
        );
        assert_eq!(page.value(EXPIRY), None, "the hub's own listener has no certificate");
        let plain = App::new(&admin.replacen("https", "http", 1)).unwrap();
        assert!(!plain.get("/metrics").await.is_ok_and(|answer| answer.status == 200), "{admin}");
    }
    certificates.renew().unwrap();
    for admin in [hub.admin_url(), worker.admin_url()] {
        let renewed = eventually(PATIENCE, "the renewed certificate", || async {
            (shown(admin) != first).then_some(())
        });
        renewed.await.unwrap();
    }
}
