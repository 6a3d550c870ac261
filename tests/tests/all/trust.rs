//! What callbacks, the authorization server and Redis are trusted by, and what they are shown: files that change while
//! the programs run (FC-TRN-01). Those of the listeners are in [`crate::renewals`].

use std::{fs, sync::Arc};

use harness::{
    callback_server::CallbackServer,
    certs::Certificates,
    client::App,
    examples::{fresh_id, fresh_topic},
    redis_server::{Durability, RedisServer, ServerOptions},
    system::{Hub, Program, Worker, borrowed},
    tokens::TokenAuthority,
    wait::{PATIENCE, eventually},
};

use crate::{
    messages::{event, patient_open},
    setups::confirmed,
    tokens::status,
};

const RENEWED: &str = "certificates have been renewed";

fn failures(group: &str) -> String {
    format!("fhircast_certificate_reload_failures_total{{settings=\"{group}\"}}")
}

async fn measured(hub: &Hub, what: &str) -> f64 {
    hub.metrics().await.unwrap().value(what).unwrap()
}

/// Waits until it is said that certificates have been renewed.
async fn renewed(log: impl Fn() -> Vec<String>) {
    let said = || async { log().iter().any(|line| line.contains(RENEWED)).then_some(()) };
    eventually(PATIENCE, "certificates that are renewed", said).await.expect("FC-TRN-01");
}

/// Asks for events at the callback, and publishes until one comes there.
async fn reached(app: &App, server: &CallbackServer) {
    let topic = fresh_topic();
    let arrives = || async {
        let asked = app.subscribe_webhook(&topic, "*", &server.url("/cb"), &[]).await.unwrap();
        asked.expect_status(202).unwrap();
        let probe = event(&topic, &fresh_id(), "org.example.probe", "");
        app.publish(&probe).await.unwrap().expect_status(202).unwrap();
        (!server.notifications("/cb").is_empty()).then_some(())
    };
    eventually(PATIENCE, "an event at the callback", arrives).await.expect("FC-TRN-01");
}

#[tokio::test]
async fn callbacks_are_trusted_by_and_shown_what_the_files_hold_now() {
    let [files, after] = [(); 2].map(|()| Certificates::new().unwrap());
    let (old, new) = (
        CallbackServer::start_tls_asking(&files).unwrap(),
        CallbackServer::start_tls_asking(&after).unwrap(),
    );
    let client = files.client_settings("callbacks");
    let settings = [
        &borrowed(&client)[..],
        &[("callbacks.reload_secs", "1"), ("callbacks.allow_http", "false"), ("retry.initial_secs", "0.1")],
    ]
    .concat();
    let hub = Hub::start_embedded(&settings).await.unwrap();
    let app = hub.app().unwrap();
    reached(&app, &old).await;
    let unreachable = "fhircast_callback_attempts_total{outcome=\"unreachable\"}";
    let before = measured(&hub, unreachable).await;
    app.subscribe_webhook("t", "*", &new.url("/early"), &[]).await.unwrap().expect_status(202).unwrap();
    let refused = || async { (measured(&hub, unreachable).await > before).then_some(()) };
    eventually(PATIENCE, "a callback that is not trusted", refused).await.unwrap();
    assert!(new.requests().is_empty(), "FC-TRN-01");

    files.renew_client(&after).unwrap();
    renewed(|| hub.log_lines()).await;
    reached(&app, &new).await;
    assert_eq!(measured(&hub, &failures("callbacks")).await, 0.0);
    let expiry = "fhircast_certificate_expiry_timestamp_seconds{settings=\"callbacks\"}";
    assert!(measured(&hub, expiry).await > 0.0);

    fs::write(files.ca(), "rubbish").unwrap();
    let counted = || async { (measured(&hub, &failures("callbacks")).await > 0.0).then_some(()) };
    eventually(PATIENCE, "a failure that is counted", counted).await.expect("FC-TRN-01");
    let said = hub.log_lines().into_iter().find(|line| line.contains("certificates cannot be renewed"));
    let said = said.expect("FC-TRN-01: it is said");
    assert!(said.contains("callbacks.ca_file: ") && said.contains("holds no certificate in PEM"), "{said}");
    reached(&app, &CallbackServer::start_tls_asking(&after).unwrap()).await;
}

#[tokio::test]
async fn the_authorization_server_is_reached_by_https_if_its_authority_is_trusted_now() {
    let [certificates, files] = [(); 2].map(|()| Certificates::new().unwrap());
    let authority = TokenAuthority::start_tls(&certificates).unwrap();
    let (signed, opaque) =
        (authority.token().unwrap().mint().unwrap(), authority.token().unwrap().opaque().unwrap());
    let ca = files.ca().to_str().unwrap().to_owned();
    let trust = [("auth.ca_file", ca.as_str()), ("auth.reload_secs", "1"), ("auth.jwks_refresh_secs", "1")];
    let mut hubs = Vec::new();
    for (own, token) in [(authority.fetching_settings(), signed), (authority.asking_settings(), opaque)] {
        let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let hub = Hub::start_embedded(&[&own[..], &trust].concat()).await.unwrap();
        let app = hub.app().unwrap();
        assert_eq!(status(&app, &token).await, 503, "FC-SEC-01: nobody knows that authority");
        hubs.push((hub, app, token));
    }
    assert!(authority.server().requests().is_empty(), "FC-SEC-01: nothing is sent to who is not trusted");

    fs::copy(certificates.ca(), files.ca()).unwrap();
    for (hub, app, token) in &hubs {
        let let_in = || async { (status(app, token).await == 200).then_some(()) };
        eventually(PATIENCE, "a token that is believed", let_in).await.expect("FC-SEC-01, FC-TRN-01");
        assert_eq!(measured(hub, &failures("auth")).await, 0.0);
    }
    assert!(authority.keys_fetched() >= 1 && authority.introspections() >= 1);
}

#[tokio::test]
async fn redis_is_trusted_by_and_shown_what_the_files_hold_now_and_open_connections_go_on() {
    let server_side = Arc::new(Certificates::new().unwrap());
    let (files, after) = (Certificates::new().unwrap(), Certificates::new().unwrap());
    files.renew_client(&server_side).unwrap();
    let mut options = ServerOptions::from(Durability::None);
    options.certificates = Some(server_side.clone());
    let redis = RedisServer::start(options).await.unwrap();
    let (url, client) = (format!("rediss://127.0.0.1:{}", redis.tls_port()), files.client_settings("redis"));
    let settings =
        [&borrowed(&client)[..], &[("redis.url", url.as_str()), ("redis.reload_secs", "1")]].concat();
    let hubs = [Hub::start(&settings).await.unwrap(), Hub::start(&settings).await.unwrap()];
    let worker = Worker::start(&settings).await.unwrap();
    let (a, b) = (hubs[0].app().unwrap(), hubs[1].app().unwrap());
    let topic = fresh_topic();
    let listener = confirmed(&a.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap()).await;
    let publish = async |id: &str| {
        let accepted = || async {
            let answer = b.publish(&patient_open(&topic, id)).await.ok()?;
            (answer.status == 202).then_some(())
        };
        eventually(2 * PATIENCE, "an event that is accepted", accepted).await.expect("FC-TRN-01");
        listener.wait_for_event(2 * PATIENCE, id).await.expect("FC-TRN-01");
    };
    publish("1").await;
    // Each has one for its calls and one for the bells, which stay.
    let programs: [&Program; 3] = [&hubs[0], &hubs[1], &worker];
    for program in programs {
        for of in ["calls", "bells"] {
            let made = format!("fhircast_redis_connects_total{{connection=\"{of}\",outcome=\"made\"}}");
            let is_made =
                || async { (program.metrics().await.ok()?.value(&made) == Some(1.0)).then_some(()) };
            eventually(PATIENCE, &made, is_made).await.unwrap();
        }
    }
    let here = format!("laddr=127.0.0.1:{} ", redis.tls_port());
    let tls_connections = async || {
        let clients: String = redis.ask(&["CLIENT", "LIST"]).await.unwrap();
        let id = |line: &str| line.split(' ').next().map(str::to_owned);
        clients.lines().filter(|line| line.contains(&here)).filter_map(id).collect::<Vec<_>>()
    };
    let open = tls_connections().await;
    assert!(open.len() >= 6, "{open:?}");

    files.renew_client(&after).unwrap();
    for hub in &hubs {
        renewed(|| hub.log_lines()).await;
    }
    renewed(|| worker.log_lines()).await;
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let (cert, key, ca) = (path(after.cert()), path(after.key()), path(after.ca()));
    let files_of_redis =
        ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key, "tls-ca-cert-file", &ca];
    redis.ask::<()>(&files_of_redis).await.unwrap();
    publish("2").await;
    // Of those with the certificates before, only what waits idle in a pool may go.
    let still = tls_connections().await;
    assert!(
        open.iter().filter(|id| still.contains(id)).count() >= 6,
        "FC-TRN-01: {open:?} are still open: {still:?}"
    );

    // From here on all connections are new ones.
    redis.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    redis.ask::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    publish("3").await;
    let now = tls_connections().await;
    assert!(!now.is_empty() && now.iter().all(|id| !open.contains(id)), "{open:?} {now:?}");
    reached(&a, &CallbackServer::start().unwrap()).await;
}
