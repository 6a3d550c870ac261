//! Notifications to callbacks: signed, retried, reported, in order (FC-WHK-03, FC-WHK-04, FC-WHK-06, FC-WHK-07).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use harness::{
    callback_server::{CallbackServer, Gate, Reply, Request, signature},
    examples::{fresh_id, fresh_topic},
    wait::PATIENCE,
};

use crate::{
    messages::{event, patient_open, resource},
    setups::{Kind, code_of, ids_at, on_each_setup, sync_error_after, sync_errors_until},
};

on_each_setup![
    a_notification_is_posted_with_its_query_and_signed,
    any_2xx_is_success_and_is_not_repeated,
    a_refusal_is_reported_and_not_repeated,
    what_fails_for_a_while_is_retried_in_order_with_the_same_id,
    retry_after_is_honoured,
    an_event_that_stays_undelivered_is_reported_once_while_the_retries_go_on,
    what_is_given_up_is_reported_and_the_next_event_follows,
    a_callback_that_is_gone_is_unsubscribed,
    a_callback_that_hangs_delays_no_other,
];

async fn a_notification_is_posted_with_its_query_and_signed(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let secret = "shh-ü";
    setup.webhook(&server, "/signed?a=1&b=%20", &topic, "Patient-open", &[("hub.secret", secret)]).await;
    setup.webhook(&server, "/plain", &topic, "Patient-open", &[]).await;
    setup.publish(&patient_open(&topic, "1")).await;
    let signed = server.wait_for_event(PATIENCE, "/signed", "1").await.unwrap();
    assert_eq!((signed.method.as_str(), signed.query.as_str()), ("POST", "a=1&b=%20"), "FC-WHK-03");
    assert!(signed.header("content-type").unwrap().starts_with("application/json"), "FC-WHK-03");
    let expected = signature(secret, &signed.body).unwrap();
    assert_eq!(signed.header("x-hub-signature"), Some(expected.as_str()), "FC-WHK-03");
    let plain = server.wait_for_event(PATIENCE, "/plain", "1").await.unwrap();
    assert_eq!(plain.header("x-hub-signature"), None, "FC-WHK-03: no secret, no signature");
    assert_eq!(plain.body, signed.body, "FC-NOT-01");
}

async fn any_2xx_is_success_and_is_not_repeated(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let watcher = setup.listener(&topic, "syncerror").await;
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    server.queue("/cb", [200, 202, 204, 299].map(Reply::status));
    for id in ["1", "2", "3", "4", "5"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    server.wait_for_event(PATIENCE, "/cb", "5").await.unwrap();
    assert_eq!(ids_at(&server, "/cb"), ["1", "2", "3", "4", "5"], "FC-WHK-04");
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    assert_eq!(sync_errors_until(&watcher, "last").await.len(), 1, "FC-WHK-04: nothing to report");
}

async fn a_refusal_is_reported_and_not_repeated(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let watcher = setup.listener(&topic, "syncerror").await;
    setup.webhook(&server, "/cb", &topic, "Patient-open,syncerror", &[("subscriber.name", "Acme")]).await;
    let statuses = [409, 400, 403, 404, 302];
    server.queue("/cb", statuses.map(|status| Reply::status(status).header("Location", "/elsewhere")));
    for (number, status) in statuses.into_iter().enumerate() {
        let id = format!("refused-{status}");
        setup.publish(&patient_open(&topic, &id)).await;
        let sync_error = sync_error_after(&watcher, number).await;
        assert_eq!(code_of(&sync_error, "eventid"), id, "FC-WHK-04, FC-NOT-02: {sync_error}");
        assert_eq!(code_of(&sync_error, "subscriber"), "Acme", "FC-SUB-06");
    }
    setup.publish(&patient_open(&topic, "accepted")).await;
    server.wait_for_event(PATIENCE, "/cb", "accepted").await.unwrap();
    let mut expected: Vec<String> = statuses.iter().map(|status| format!("refused-{status}")).collect();
    expected.push("accepted".to_owned());
    assert_eq!(ids_at(&server, "/cb"), expected, "FC-WHK-04: no retry; FC-NOT-02: no SyncError to itself");
}

async fn what_fails_for_a_while_is_retried_in_order_with_the_same_id(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    server.queue("/cb", [503, 500, 408, 425].map(Reply::status));
    for id in ["1", "2", "3"] {
        setup.publish(&patient_open(&topic, id)).await;
    }
    server.wait_for_event(PATIENCE, "/cb", "3").await.unwrap();
    assert_eq!(
        ids_at(&server, "/cb"),
        ["1", "1", "1", "1", "1", "2", "3"],
        "FC-WHK-04, FC-WHK-06, FC-WHK-07: the same id again, and nothing overtakes it"
    );
    let bodies: Vec<_> =
        server.notifications("/cb").into_iter().filter(|sent| sent.json()["id"] == "1").collect();
    assert!(bodies.iter().all(|sent| sent.body == bodies[0].body), "FC-WHK-07");
}

async fn retry_after_is_honoured(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    server.queue("/cb", [Reply::status(429).header("Retry-After", "1")]);
    setup.publish(&patient_open(&topic, "1")).await;
    let sent = server.wait_for(PATIENCE, "a second attempt", |requests| {
        let sent: Vec<_> = requests.iter().filter(|request| request.json()["id"] == "1").collect();
        (sent.len() == 2).then(|| (sent[0].at, sent[1].at))
    });
    let (first, second) = sent.await.unwrap();
    // Without the header it is a tenth of a second.
    assert!(second - first >= Duration::from_millis(950), "FC-WHK-04: {:?}", second - first);
}

async fn an_event_that_stays_undelivered_is_reported_once_while_the_retries_go_on(kind: Kind) {
    let setup = kind.own(&[("ack_timeout_secs", "1")]).await;
    let topic = fresh_topic();
    let server = CallbackServer::start().unwrap();
    let watcher = setup.listener(&topic, "syncerror").await;
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    server.on("/cb", move |_| (!well.load(Ordering::SeqCst)).then(|| Reply::status(503)));
    setup.publish(&patient_open(&topic, "1")).await;
    let sync_error = sync_error_after(&watcher, 0).await;
    assert_eq!(code_of(&sync_error, "eventid"), "1", "FC-WHK-04: {sync_error}");
    let attempts = ids_at(&server, "/cb").len();
    assert!(attempts >= 2, "FC-WHK-04: it was retried before");
    let more = |requests: &[Request]| {
        (requests.iter().filter(|sent| sent.json()["id"] == "1").count() > attempts).then_some(())
    };
    server.wait_for(PATIENCE, "another attempt", more).await.expect("FC-WHK-04: the retries go on");
    is_well.store(true, Ordering::SeqCst);
    setup.publish(&patient_open(&topic, "2")).await;
    server.wait_for_event(PATIENCE, "/cb", "2").await.unwrap();
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    let of_first = |error: &&serde_json::Value| code_of(error, "eventid") == "1";
    let errors = sync_errors_until(&watcher, "last").await;
    assert_eq!(errors.iter().filter(of_first).count(), 1, "FC-WHK-04: once: {errors:?}");
}

async fn what_is_given_up_is_reported_and_the_next_event_follows(kind: Kind) {
    let setup = kind.own(&[("retry.max_attempts", "3")]).await;
    let topic = fresh_topic();
    let server = CallbackServer::start().unwrap();
    let watcher = setup.listener(&topic, "syncerror").await;
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    server.queue("/cb", [500, 500, 500].map(Reply::status));
    setup.publish(&patient_open(&topic, "1")).await;
    setup.publish(&patient_open(&topic, "2")).await;
    let sync_error = sync_error_after(&watcher, 0).await;
    assert_eq!(code_of(&sync_error, "eventid"), "1", "FC-WHK-04: {sync_error}");
    server.wait_for_event(PATIENCE, "/cb", "2").await.unwrap();
    assert_eq!(ids_at(&server, "/cb"), ["1", "1", "1", "2"], "FC-WHK-04, FC-WHK-06");
}

async fn a_callback_that_is_gone_is_unsubscribed(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let watcher = setup.listener(&topic, "syncerror").await;
    setup.webhook(&server, "/cb", &topic, "Patient-close", &[]).await;
    server.queue("/cb", [Reply::status(410)]);
    setup.publish(&event(&topic, "1", "Patient-close", &resource("Patient", "1"))).await;
    let sync_error = sync_error_after(&watcher, 0).await;
    assert_eq!(code_of(&sync_error, "eventid"), "1", "FC-WHK-04, FC-NOT-02");
    setup.publish(&event(&topic, "2", "Patient-close", &resource("Patient", "1"))).await;
    // Subscribed anew, it would still get the second before the probe, had the first subscription lived on.
    setup.webhook(&server, "/cb", &topic, "Patient-close", &[]).await;
    assert_eq!(ids_at(&server, "/cb"), ["1"], "FC-WHK-04: 410 ends the subscription");
}

async fn a_callback_that_hangs_delays_no_other(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    for path in ["/hangs", "/well"] {
        setup.webhook(&server, path, &topic, "Patient-open", &[]).await;
    }
    let gate = Gate::closed();
    let held = gate.clone();
    // Not the probes for the other one, which it is sent as well.
    let is_held = |request: &Request| request.json()["event"]["hub.event"] == "Patient-open";
    server.on("/hangs", move |request| is_held(request).then(|| Reply::status(200).held_by(&held)));
    let ids: Vec<String> = (0..10).map(|_| fresh_id()).collect();
    for id in &ids {
        setup.publish(&patient_open(&topic, id)).await;
    }
    server.wait_for_event(PATIENCE, "/hangs", &ids[0]).await.unwrap();
    server.wait_for_event(PATIENCE, "/well", &ids[9]).await.expect("FC-WHK-06: two subscriptions never wait");
    assert_eq!(ids_at(&server, "/well"), ids, "FC-WHK-06: in order");
    assert_eq!(ids_at(&server, "/hangs").len(), 1, "FC-WHK-06: one at a time");
    gate.open();
    server.wait_for_event(PATIENCE, "/hangs", &ids[9]).await.unwrap();
    assert_eq!(ids_at(&server, "/hangs"), ids, "FC-WHK-06: nothing is skipped");
}
