//! HTTPS and WSS, and callbacks whose certificates are verified (FC-TRN-01).

use harness::{
    callback_server::CallbackServer,
    certs::Certificates,
    client::App,
    examples::fresh_topic,
    socket::Socket,
    system::borrowed,
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::patient_open,
    setups::{Kind, ids_at, on_both_setups},
};

on_both_setups![
    a_hub_with_a_certificate_speaks_https_and_wss,
    a_callback_is_trusted_by_the_authority_that_is_set_and_no_other,
];

async fn a_hub_with_a_certificate_speaks_https_and_wss(kind: Kind) {
    let certificates = Certificates::new().unwrap();
    let setup = kind.own(&borrowed(&certificates.settings("tls"))).await;
    let (url, topic) = (setup.a().url(), fresh_topic());
    assert!(url.starts_with("https://"), "FC-TRN-01: {url}");
    let app = App::trusting(url, &certificates.ca()).unwrap();
    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    assert!(endpoint.starts_with("wss://"), "FC-TRN-01, FC-SUB-02: {endpoint}");
    let mut socket = Socket::connect_trusting(&endpoint, &certificates.ca()).await.unwrap();
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["hub.mode"], "subscribe", "FC-WSC-01");
    let publisher = App::trusting(setup.b().url(), &certificates.ca()).unwrap();
    publisher.publish(&patient_open(&topic, "1")).await.unwrap().expect_status(202).unwrap();
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], "1", "FC-TRN-01");

    assert!(App::new(url).unwrap().get("").await.is_err(), "FC-TRN-01: a stranger does not trust it");
    let plain = App::new(&url.replacen("https", "http", 1)).unwrap();
    let answered = plain.current_context(&topic).await.is_ok_and(|answer| answer.status == 200);
    assert!(!answered, "FC-TRN-01: nothing is served without TLS");
    assert!(Socket::connect(&endpoint.replacen("wss", "ws", 1)).await.is_err(), "FC-TRN-01");
}

async fn a_callback_is_trusted_by_the_authority_that_is_set_and_no_other(kind: Kind) {
    let (trusted, stranger) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    let ca = trusted.ca();
    let setup =
        kind.own(&[("callbacks.ca_file", ca.to_str().unwrap()), ("callbacks.allow_http", "false")]).await;
    let topic = fresh_topic();
    let good = CallbackServer::start_tls(&trusted).unwrap();
    setup.webhook(&good, "/cb", &topic, "Patient-open", &[]).await;
    setup.publish(&patient_open(&topic, "1")).await;
    good.wait_for_event(PATIENCE, "/cb", "1").await.expect("FC-TRN-01, FC-WHK-03");

    let unreachable = || async {
        let metrics = setup.worker_metrics().await;
        metrics.value("fhircast_callback_attempts_total{outcome=\"unreachable\"}").unwrap_or_default()
    };
    let before = unreachable().await;
    let bad = CallbackServer::start_tls(&stranger).unwrap();
    let asked =
        setup.subscriber().subscribe_webhook(&topic, "Patient-open", &bad.url("/cb"), &[]).await.unwrap();
    assert_eq!(asked.status, 202);
    let failed = eventually(PATIENCE, "a failed verification", || async {
        (unreachable().await > before).then_some(())
    });
    failed.await.expect("FC-WHK-02, FC-SEC-02: its certificate is nobody's");
    setup.publish(&patient_open(&topic, "2")).await;
    good.wait_for_event(PATIENCE, "/cb", "2").await.unwrap();
    assert_eq!(ids_at(&good, "/cb"), ["1", "2"]);
    assert!(bad.requests().is_empty(), "FC-SEC-02: nothing is sent to it");
}
