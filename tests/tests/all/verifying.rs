//! Webhook subscriptions: their verification, their terms, and their end (FC-WHK-01, FC-WHK-02, FC-WHK-05, FC-SUB-04).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use harness::{
    callback_server::{CallbackServer, Gate, Reply, Request, signature},
    examples::fresh_topic,
    wait::{PATIENCE, eventually},
};

use shared::protocol::{SubscriptionId, Topic};

use crate::{
    messages::{event, patient_open, resource},
    setups::{Kind, ids_at, on_each_setup},
};

on_each_setup![
    a_callback_is_required_and_its_secret_is_short,
    a_callback_is_https_unless_it_is_allowed_otherwise,
    an_intent_is_verified_with_the_callbacks_own_query_kept,
    what_is_not_verified_does_not_exist,
    an_unsubscribe_is_verified_too,
    what_is_taken_back_while_it_is_verified_is_not_subscribed,
    a_webhook_is_not_ended_as_if_it_were_a_socket,
    subscribing_again_replaces_the_terms,
    a_late_joiner_is_sent_what_is_open,
    a_lease_that_ends_is_denied,
];

async fn a_callback_is_required_and_its_secret_is_short(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let app = setup.subscriber();
    for callback in ["", "/cb", "app.example", "ftp://app.example/", "https://u:p@app.example/"] {
        let answer = app.subscribe_webhook(&topic, "*", callback, &[]).await.unwrap();
        assert!(
            answer.status == 400 && answer.body.contains("hub.callback"),
            "FC-WHK-01: {callback}: {answer:?}"
        );
    }
    let server = CallbackServer::start().unwrap();
    for (length, expected) in [(199, 202), (200, 400)] {
        let secret = "s".repeat(length);
        let (callback, secret) = (server.url("/cb"), [("hub.secret", secret.as_str())]);
        let answer = app.subscribe_webhook(&topic, "*", &callback, &secret).await.unwrap();
        assert_eq!(answer.status, expected, "FC-WHK-01: {length} bytes: {answer:?}");
        assert!(expected == 202 || answer.body.contains("hub.secret"), "FC-WHK-01: {answer:?}");
    }
}

async fn what_is_taken_back_while_it_is_verified_is_not_subscribed(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let (server, gate) = (CallbackServer::start().unwrap(), Gate::closed());
    let held = gate.clone();
    server.on("/cb", move |request| {
        let challenge = request.parameter("hub.challenge")?;
        Some(Reply::status(200).body(challenge).held_by(&held))
    });
    let (app, callback) = (setup.subscriber(), server.url("/cb"));
    let subscribe = async |events: &str| app.subscribe_webhook(&topic, events, &callback, &[]).await.unwrap();
    assert_eq!(subscribe("Encounter-open").await.status, 202);
    intent(&server, "/cb", "subscribe").await;
    let answer = app.unsubscribe_webhook(&topic, &callback).await.unwrap();
    assert_eq!(answer.status, 202, "FC-SUB-09: {answer:?}");
    let answer = app.unsubscribe_webhook(&topic, &callback).await.unwrap();
    assert_eq!(answer.status, 404, "FC-SUB-09: {answer:?}");
    gate.open();
    // Who is subscribed by now would be sent this before anything else.
    setup.publish(&event(&topic, "no", "Encounter-open", &resource("Encounter", "e"))).await;
    assert_eq!(subscribe("Patient-open").await.status, 202);
    setup.publish(&patient_open(&topic, "yes")).await;
    server.wait_for_event(PATIENCE, "/cb", "yes").await.expect("it may ask again");
    assert_eq!(ids_at(&server, "/cb"), ["yes"], "FC-WHK-02: what was confirmed had been taken back");
    let is_goodbye = |request: &Request| request.parameter("hub.mode").as_deref() == Some("unsubscribe");
    assert!(!server.requests().iter().any(is_goodbye), "nobody is asked about what nobody has confirmed");
}

async fn a_webhook_is_not_ended_as_if_it_were_a_socket(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    // Its id can be computed by whoever knows topic and callback.
    let named: Topic = topic.parse().unwrap();
    let id = SubscriptionId::of_callback(named.key().partition(256), &named, &server.url("/cb"));
    let answer = setup.subscriber().unsubscribe_websocket(&topic, &format!("ws://x/ws/{id}")).await.unwrap();
    assert_eq!(answer.status, 404, "FC-SUB-09, FC-WHK-02: {answer:?}");
    setup.publish(&patient_open(&topic, "still")).await;
    server.wait_for_event(PATIENCE, "/cb", "still").await.expect("FC-WHK-02: it lives on");
}

async fn a_callback_is_https_unless_it_is_allowed_otherwise(kind: Kind) {
    let setup = kind.own(&[("callbacks.allow_http", "false")]).await;
    let app = setup.subscriber();
    let answer = app.subscribe_webhook(&fresh_topic(), "*", "http://app.example/cb", &[]).await.unwrap();
    assert!(answer.status == 400 && answer.body.contains("hub.callback"), "FC-WHK-01: {answer:?}");
    let answer = app.subscribe_webhook(&fresh_topic(), "*", "https://127.0.0.1:1024/cb", &[]).await.unwrap();
    assert_eq!(answer.status, 202, "FC-WHK-01: {answer:?}");
}

/// Waits for an intent at `path`.
async fn intent(server: &CallbackServer, path: &str, mode: &str) -> Request {
    let is_it = |request: &&Request| {
        request.path == path
            && request.method == "GET"
            && request.parameter("hub.mode").as_deref() == Some(mode)
    };
    let found = server.wait_for(PATIENCE, mode, |requests| requests.iter().find(is_it).cloned());
    found.await.unwrap()
}

async fn an_intent_is_verified_with_the_callbacks_own_query_kept(kind: Kind) {
    let (setup, topic) = (kind.shared().await, format!("a topic/{}&ü", fresh_topic()));
    let server = CallbackServer::start().unwrap();
    let callback = server.url("/cb?session=7&x=a%20b");
    let lease = [("hub.lease_seconds", "1234")];
    let app = setup.subscriber();
    let answer = app.subscribe_webhook(&topic, "Patient-open,*-select", &callback, &lease).await.unwrap();
    assert_eq!(answer.status, 202, "FC-SUB-02: {answer:?}");
    let asked = intent(&server, "/cb", "subscribe").await;
    assert!(asked.query.starts_with("session=7&x=a%20b&"), "FC-WHK-02: {}", asked.query);
    for (parameter, expected) in [
        ("hub.topic", topic.as_str()),
        ("hub.events", "Patient-open,*-select"),
        ("hub.lease_seconds", "1234"),
    ] {
        assert_eq!(asked.parameter(parameter).as_deref(), Some(expected), "FC-WHK-02: {}", asked.query);
    }
    let challenge = asked.parameter("hub.challenge").unwrap();
    assert!(challenge.len() >= 22, "FC-WHK-02: unguessable: {challenge}");
}

/// How a callback answers its intent.
type Answers = dyn Fn(&Request) -> Reply + Send + Sync;

async fn what_is_not_verified_does_not_exist(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let elsewhere = server.url("/elsewhere");
    let replies: [(&str, Box<Answers>); 5] = [
        ("/wrong", Box::new(|_| Reply::status(200).body("another"))),
        ("/empty", Box::new(|_| Reply::status(200))),
        ("/padded", Box::new(|request| Reply::status(200).body(format!("{}\n", challenge(request))))),
        ("/refused", Box::new(|request| Reply::status(404).body(challenge(request)))),
        (
            "/redirected",
            Box::new(move |request| {
                Reply::status(302).header("Location", &elsewhere).body(challenge(request))
            }),
        ),
    ];
    let mut paths = Vec::new();
    for (path, reply) in replies {
        server.on(path, move |request| (!request.is_notification()).then(|| reply(request)));
        let asked = setup.subscriber().subscribe_webhook(&topic, "*", &server.url(path), &[]).await.unwrap();
        assert_eq!(asked.status, 202);
        intent(&server, path, "subscribe").await;
        paths.push(path);
    }
    // Verified after them; what it is sent, they would be sent.
    setup.webhook(&server, "/good", &topic, "Patient-open", &[]).await;
    setup.publish(&patient_open(&topic, "1")).await;
    server.wait_for_event(PATIENCE, "/good", "1").await.unwrap();
    for path in paths {
        assert!(ids_at(&server, path).is_empty(), "FC-WHK-02: {path} got {:?}", ids_at(&server, path));
        let unknown = setup.subscriber().unsubscribe_webhook(&topic, &server.url(path)).await.unwrap();
        assert_eq!(unknown.status, 404, "FC-WHK-02: {path}: no subscription exists: {unknown:?}");
    }
    assert!(server.requests().iter().all(|request| request.path != "/elsewhere"), "FC-SEC-02, FC-WHK-02");
}

fn challenge(request: &Request) -> String {
    request.parameter("hub.challenge").unwrap_or_default()
}

async fn an_unsubscribe_is_verified_too(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let is_willing = Arc::new(AtomicBool::new(false));
    let willing = is_willing.clone();
    server
        .on("/cb", move |_| (!willing.load(Ordering::SeqCst)).then(|| Reply::status(200).body("not meant")));
    let unsubscribe = || async {
        let answer = setup.publisher().unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap();
        assert_eq!(answer.status, 202, "FC-SUB-09: {answer:?}");
    };
    unsubscribe().await;
    let asked = intent(&server, "/cb", "unsubscribe").await;
    assert_eq!(asked.parameter("hub.topic").as_deref(), Some(topic.as_str()), "FC-WHK-02");
    setup.publish(&patient_open(&topic, "still")).await;
    server
        .wait_for_event(PATIENCE, "/cb", "still")
        .await
        .expect("FC-WHK-02: it was not meant, so it goes on");
    is_willing.store(true, Ordering::SeqCst);
    unsubscribe().await;
    let gone = eventually(PATIENCE, "the subscription ends", || async {
        let answer = setup.subscriber().unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap();
        (answer.status == 404).then_some(())
    });
    gone.await.expect("FC-SUB-09");
    setup.publish(&patient_open(&topic, "after")).await;
    setup.webhook(&server, "/other", &topic, "Patient-open", &[]).await;
    assert!(!ids_at(&server, "/cb").contains(&"after".to_owned()), "FC-SUB-09: it has ended");
}

async fn subscribing_again_replaces_the_terms(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[("hub.secret", "old")]).await;
    setup.webhook(&server, "/cb", &topic, "Encounter-open", &[("hub.secret", "new")]).await;
    // The probe may have come by the old terms still.
    let signed_anew = eventually(PATIENCE, "a signature by the new secret", || async {
        setup.probe(&server, "/cb", &topic).await;
        let last = server.notifications("/cb").pop()?;
        (last.header("x-hub-signature") == Some(&signature("new", &last.body).unwrap())).then_some(())
    });
    signed_anew.await.expect("FC-SUB-04: the new secret signs");
    setup.publish(&patient_open(&topic, "old")).await;
    setup.publish(&event(&topic, "new", "Encounter-open", &resource("Encounter", "1"))).await;
    let new = server.wait_for_event(PATIENCE, "/cb", "new").await.unwrap();
    assert_eq!(
        new.header("x-hub-signature"),
        Some(signature("new", &new.body).unwrap().as_str()),
        "FC-SUB-04"
    );
    assert_eq!(ids_at(&server, "/cb"), ["new"], "FC-SUB-04: replaced, and no second subscription");
}

async fn a_late_joiner_is_sent_what_is_open(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    for (id, name, kind) in [
        ("1", "Patient-open", "Patient"),
        ("2", "ImagingStudy-open", "ImagingStudy"),
        ("3", "Encounter-open", "Encounter"),
        ("4", "ImagingStudy-close", "ImagingStudy"),
    ] {
        setup.publish(&event(&topic, id, name, &resource(kind, "1"))).await;
    }
    setup.webhook(&server, "/cb", &topic, "Patient-open,ImagingStudy-open,Encounter-open", &[]).await;
    assert_eq!(ids_at(&server, "/cb"), ["1", "3"], "FC-SUB-08: oldest first, not what is closed");
}

async fn a_lease_that_ends_is_denied(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    let lease = [("hub.lease_seconds", "1")];
    let asked =
        setup.subscriber().subscribe_webhook(&topic, "*-close", &server.url("/cb?own=1"), &lease).await;
    assert_eq!(asked.unwrap().status, 202);
    let denial = intent(&server, "/cb", "denied").await;
    assert!(denial.query.starts_with("own=1&"), "FC-WHK-05: {}", denial.query);
    assert_eq!(denial.parameter("hub.topic").as_deref(), Some(topic.as_str()), "FC-WHK-05");
    assert_eq!(denial.parameter("hub.events").as_deref(), Some("*-close"), "FC-WHK-05");
    assert!(denial.parameter("hub.reason").is_some_and(|reason| !reason.is_empty()), "FC-WHK-05");
    assert_eq!(denial.parameter("hub.challenge"), None, "FC-WHK-05: nothing is asked");
}
