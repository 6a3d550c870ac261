//! What a token lets its bearer do: read and write events, use a topic, and keep a subscription as its owner, for as long
//! as the token lasts (FC-SCO-01…03, FC-SES-02, FC-SEC-04, FC-SUB-05).

use std::time::Duration;

use harness::{
    callback_server::{CallbackServer, Reply, Request},
    client::{Answer, App},
    examples::{fresh_id, fresh_topic},
    socket::Listener,
    system::Hub,
    tokens::{TokenAuthority, TokenBuilder},
    wait::PATIENCE,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    messages::{NO_CONTENT, event, patient_open, resource, versioned},
    setups::{Kind, Setup, confirmed, ids_at, ids_until, on_both_setups},
};

on_both_setups![
    a_subscription_is_granted_what_may_be_read,
    a_narrow_subscriber_gets_its_events_alone,
    what_is_open_is_sent_as_far_as_it_may_be_read,
    the_current_context_is_shown_as_far_as_it_may_be_read,
    what_no_scope_allows_is_refused_and_the_scope_is_named,
    a_token_for_a_topic_is_for_no_other,
    a_socket_is_renewed_and_ended_by_its_owner_alone,
    a_callback_is_its_owners_alone,
    a_lease_is_cut_to_the_life_of_the_token,
    a_socket_is_closed_when_the_token_ends,
    a_webhook_that_is_verified_late_ends_with_its_token,
];

/// Hubs that want tokens of this authority. All tests here use the same.
struct Guarded {
    authority: TokenAuthority,
    setup: Setup,
}

static GUARDED: [OnceCell<Guarded>; 2] = [const { OnceCell::const_new() }; 2];

/// What ends each test, and may be read by everybody in it.
const LAST: &str = "org.example.last";
/// What the hub allows beyond the end of a token.
const SLACK: Duration = Duration::from_secs(15);

impl Guarded {
    async fn of(kind: Kind) -> &'static Guarded {
        let start = || async {
            let authority = TokenAuthority::start().unwrap();
            let settings = authority.settings();
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let setup = kind.own(&settings).await;
            Guarded { authority, setup }
        };
        let place = if kind == Kind::Embedded { 0 } else { 1 };
        GUARDED[place].get_or_init(start).await
    }

    fn token(&self) -> TokenBuilder {
        self.authority.token().unwrap()
    }

    /// An app on node a that may do this.
    fn app(&self, scopes: &str) -> App {
        bearing(self.setup.a(), &self.token().scope(scopes))
    }

    /// Publishes on node b what anybody may.
    async fn publish(&self, event: &str) {
        let app = bearing(self.setup.b(), &self.token().scope("fhircast/*.write"));
        app.publish(event).await.unwrap().expect_status(202).unwrap();
    }

    async fn finish(&self, topic: &str, id: &str) {
        self.publish(&event(topic, id, LAST, "")).await;
    }
}

fn bearing(node: &Hub, token: &TokenBuilder) -> App {
    node.app().unwrap().with_token(&token.mint().unwrap())
}

async fn listen(app: &App, topic: &str, events: &str) -> Listener {
    confirmed(&app.subscribe_websocket(topic, events, &[]).await.unwrap()).await
}

fn confirmation(listener: &Listener) -> Value {
    listener.seen(|seen| seen.received[0].json.clone())
}

/// All that came, as it came.
fn everything(listener: &Listener) -> String {
    listener.seen(|seen| seen.received.iter().map(|received| received.text.as_str()).collect())
}

/// Waits for the request to a path that is in this mode.
async fn told(server: &CallbackServer, path: &str, mode: &str) -> Request {
    let is_it =
        |request: &&Request| request.path == path && request.parameter("hub.mode").as_deref() == Some(mode);
    server.wait_for(PATIENCE + SLACK, mode, |requests| requests.iter().find(is_it).cloned()).await.unwrap()
}

async fn hook(app: &App, server: &CallbackServer, path: &str, topic: &str, events: &str) -> Answer {
    app.subscribe_webhook(topic, events, &server.url(path), &[("hub.lease_seconds", "600")]).await.unwrap()
}

async fn a_subscription_is_granted_what_may_be_read(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("openid fhircast/Patient-open.read fhircast/*-CLOSE.* fhircast/heartbeat.read");
    for (number, (asked, granted)) in [
        ("*", "Patient-open,*-CLOSE"),
        ("patient-OPEN,Encounter-open", "patient-OPEN"),
        ("Encounter-*,syncerror", "Encounter-CLOSE"),
        ("heartbeat,Encounter-close", "heartbeat,Encounter-close"),
    ]
    .into_iter()
    .enumerate()
    {
        let listener = listen(&app, &topic, asked).await;
        assert_eq!(confirmation(&listener)["hub.events"], granted, "FC-SCO-01, FC-SCO-02: {asked}");
        let path = format!("/{number}");
        hook(&app, &server, &path, &topic, asked).await.expect_status(202).unwrap();
        let intent = told(&server, &path, "subscribe").await;
        assert_eq!(intent.parameter("hub.events").as_deref(), Some(granted), "FC-SCO-02: {asked}");
    }
    // Another token for the same subscription: what it may read counts from now on.
    let listener = listen(&app, &topic, "*").await;
    let endpoint = listener.endpoint().to_owned();
    let again = [("hub.channel.endpoint", endpoint.as_str())];
    hub.app("fhircast/Encounter-open.read").subscribe_websocket(&topic, "*", &again).await.unwrap();
    let second = listener.wait_for(PATIENCE, "the confirmation", |seen| seen.received.get(1).cloned()).await;
    assert_eq!(second.unwrap().json["hub.events"], "Encounter-open", "FC-SCO-02, FC-SUB-04");
}

async fn a_narrow_subscriber_gets_its_events_alone(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("fhircast/PATIENT-open.read fhircast/org.example.last.read fhircast/*.write");
    hub.publish(&patient_open(&topic, "0")).await;
    let listener = listen(&app, &topic, "*").await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    server.wait_for_event(PATIENCE, "/cb", "0").await.expect("FC-SUB-08");
    for (id, name, of) in [
        ("1", "Encounter-open", "Encounter"),
        ("2", "patient-OPEN", "Patient"),
        ("3", "Patient-close", "Patient"),
        ("4", "Patient-select", "Patient"),
        ("5", "Patient-open", "Patient"),
    ] {
        hub.publish(&event(&topic, id, name, &resource(of, "x"))).await;
    }
    hub.publish(&event(&topic, "6", "syncerror", "")).await;
    hub.finish(&topic, "7").await;
    assert_eq!(ids_until(&listener, "7").await, ["0", "2", "5", "7"], "FC-SCO-03");
    server.wait_for_event(PATIENCE, "/cb", "7").await.unwrap();
    assert_eq!(ids_at(&server, "/cb"), ["0", "2", "5", "7"], "FC-SCO-03");
}

async fn what_is_open_is_sent_as_far_as_it_may_be_read(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let app = hub.app("fhircast/Patient-open.read fhircast/org.example.last.read");
    let early = listen(&app, &topic, "*").await;
    let study = format!("{},{}", resource("ImagingStudy", "the-study"), resource("Patient", "the-patient"));
    hub.publish(&event(&topic, "1", "ImagingStudy-open", &study)).await;
    hub.publish(&event(&topic, "2", "Encounter-open", &resource("Encounter", "the-encounter"))).await;
    let late = listen(&app, &topic, "*").await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let of_patient =
        |requests: &[Request]| requests.iter().find(|request| request.is_notification()).cloned();
    server.wait_for(PATIENCE, "what is open", of_patient).await.unwrap();
    hub.finish(&topic, "3").await;
    server.wait_for_event(PATIENCE, "/cb", "3").await.unwrap();
    let body = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    let posted: String = server.notifications("/cb").iter().map(body).collect();
    for (who, listener) in [("early", early), ("late", late)] {
        assert_eq!(ids_until(&listener, "3").await.len(), 2, "FC-NOT-07, FC-SUB-08: {who}");
        let seen = everything(&listener);
        assert!(seen.contains("the-patient"), "FC-NOT-07: {who}: {seen}");
        assert!(!seen.contains("the-study") && !seen.contains("the-encounter"), "FC-SCO-03: {who}: {seen}");
    }
    assert!(posted.contains("the-patient"), "FC-NOT-07: {posted}");
    assert!(!posted.contains("the-study") && !posted.contains("the-encounter"), "FC-SCO-03: {posted}");
}

async fn the_current_context_is_shown_as_far_as_it_may_be_read(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let report = format!("{},{}", resource("DiagnosticReport", "r"), resource("Patient", "p"));
    hub.publish(&event(&topic, "1", "DiagnosticReport-open", &report)).await;
    let show = |scopes: &'static str| {
        let (app, topic) = (hub.app(scopes), topic.clone());
        async move { app.current_context(&topic).await.unwrap() }
    };
    let opened = show("fhircast/*.read").await.json().unwrap();
    let version = opened["context.versionId"].as_str().unwrap().to_owned();
    let observation = r#"{"key":"updates","resource":{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"PUT"},"resource":{"resourceType":"Observation","id":"o"}}]}}"#;
    let update = format!("{},{observation}", resource("DiagnosticReport", "r"));
    hub.publish(&versioned(&event(&topic, "2", "DiagnosticReport-update", &update), &version)).await;

    let whole = show("fhircast/DiagnosticReport-open.read fhircast/DiagnosticReport-update.read").await;
    let whole = whole.expect_status(200).unwrap();
    assert!(whole.body.contains("Observation") && whole.body.contains(&report), "FC-CTX-04: {whole:?}");
    let present = whole.json().unwrap()["context.versionId"].clone();
    assert_ne!(present, version.as_str());

    for scopes in [
        "fhircast/DiagnosticReport-open.read",
        "fhircast/DiagnosticReport-open.read fhircast/Patient-update.read fhircast/*.write",
    ] {
        let shown = show(scopes).await.expect_status(200).unwrap();
        assert!(shown.body.contains(&format!("[{report},{NO_CONTENT}]")), "FC-SCO-03: {scopes}: {shown:?}");
        assert_eq!(shown.json().unwrap()["context.versionId"], present, "FC-CTX-01");
    }

    let derived = show("fhircast/Patient-open.read fhircast/DiagnosticReport-update.read").await;
    let derived = derived.expect_status(200).unwrap();
    let patient = format!("[{},{NO_CONTENT}]", resource("Patient", "p"));
    assert!(derived.body.contains(&patient), "FC-CTX-01, FC-NOT-07, FC-SCO-03: {derived:?}");
    assert_eq!(derived.json().unwrap()["context.type"], "Patient", "FC-CTX-01");
    assert_eq!(derived.json().unwrap()["context.versionId"], present, "FC-CTX-01");

    for scopes in
        ["fhircast/Encounter-*.read", "fhircast/DiagnosticReport-update.read", "fhircast/*-close.read"]
    {
        let empty = show(scopes).await.expect_status(200).unwrap().json().unwrap();
        assert_eq!(empty["context.type"], "", "FC-CTX-01, FC-SCO-03: {scopes}");
        assert_eq!(empty["context"], serde_json::json!([]), "FC-CTX-01, FC-SCO-03: {scopes}");
    }
    for scopes in ["fhircast/*.write", "openid patient/*.read", "fhircast/*.READ", "FHIRcast/*.read"] {
        let refused = show(scopes).await;
        assert_eq!(refused.status, 403, "FC-SCO-02: {scopes}: {refused:?}");
        assert!(!refused.body.contains("Patient"), "FC-SCO-03: {refused:?}");
    }
}

fn assert_missing(answer: &Answer, scope: &str) {
    assert_eq!(answer.status, 403, "FC-SEC-01, FC-SCO-02: {answer:?}");
    assert!(answer.body.contains(scope), "FC-TRN-03: {answer:?}");
    let asked = answer.header("www-authenticate");
    assert!(asked.contains("insufficient_scope") && asked.contains(scope), "FC-SEC-01: {answer:?}");
}

async fn what_no_scope_allows_is_refused_and_the_scope_is_named(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let witness = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    let app = hub.app("fhircast/Encounter-*.write fhircast/Patient-open.read fhircast/Patient-close.write");
    let refused = app.publish(&patient_open(&topic, "1")).await.unwrap();
    assert_missing(&refused, "fhircast/Patient-open.write");
    let sync_error = app.publish(&event(&topic, "2", "syncerror", "")).await.unwrap();
    assert_missing(&sync_error, "fhircast/syncerror.write");
    let allowed = event(&topic, "3", "ENCOUNTER-open", &resource("Encounter", "e"));
    app.publish(&allowed).await.unwrap().expect_status(202).expect("FC-SCO-01");
    assert_eq!(ids_until(&witness, "3").await, ["3"], "FC-SCO-02: what was refused did not happen");

    let form = |events| {
        let websocket = [("hub.channel.type", "websocket"), ("hub.mode", "subscribe")];
        [websocket.as_slice(), &[("hub.topic", topic.as_str()), ("hub.events", events)]].concat()
    };
    let refused = app.post_form(&form("Patient-close")).await.unwrap();
    assert_missing(&refused, "fhircast/Patient-close.read");
    let refused = app.post_form(&form("heartbeat,Encounter-*")).await.unwrap();
    assert_missing(&refused, "fhircast/Encounter-*.read");
    let heartbeat = hub.app("fhircast/heartbeat.read");
    assert_missing(&heartbeat.post_form(&form("*")).await.unwrap(), "fhircast/*.read");
    assert_missing(&hook(&app, &server, "/cb", &topic, "syncerror").await, "fhircast/syncerror.read");
    assert!(server.requests().is_empty(), "FC-SCO-02: nobody is asked");
}

async fn a_token_for_a_topic_is_for_no_other(kind: Kind) {
    let (hub, own, other) = (Guarded::of(kind).await, fresh_topic(), fresh_topic());
    let app = bearing(hub.setup.a(), &hub.token().topic(&own));
    let server = CallbackServer::start().unwrap();
    let subscribe = |topic: String| {
        let app = app.clone();
        let form = [
            ("hub.channel.type", "websocket".to_owned()),
            ("hub.mode", "subscribe".to_owned()),
            ("hub.topic", topic),
            ("hub.events", "*".to_owned()),
        ];
        async move { app.post_form(&form.each_ref().map(|(name, value)| (*name, value.as_str()))).await.unwrap() }
    };
    assert_eq!(subscribe(own.clone()).await.status, 202, "FC-SES-02");
    assert_eq!(subscribe(other.clone()).await.status, 403, "FC-SES-02");
    assert_eq!(subscribe(own.to_uppercase()).await.status, 403, "FC-SES-01, FC-SES-02");
    assert_eq!(hook(&app, &server, "/cb", &other, "*").await.status, 403, "FC-SES-02");
    app.publish(&patient_open(&own, "1")).await.unwrap().expect_status(202).expect("FC-SES-02");
    assert_eq!(app.publish(&patient_open(&other, "1")).await.unwrap().status, 403, "FC-SES-02");
    app.current_context(&own).await.unwrap().expect_status(200).expect("FC-SES-02");
    assert_eq!(app.current_context(&other).await.unwrap().status, 403, "FC-SES-02");
    let theirs = hub.app("fhircast/*.*").subscribe_websocket(&other, "*", &[]).await.unwrap();
    assert_eq!(app.unsubscribe_websocket(&other, &theirs).await.unwrap().status, 403, "FC-SES-02");
    assert_eq!(app.unsubscribe_websocket(&own, &theirs).await.unwrap().status, 404, "FC-SUB-09");
}

/// Apps of others who may do everything, but are not `user-1` with `app-1`.
fn others(hub: &Guarded) -> Vec<(&'static str, App)> {
    [
        ("another user", hub.token().subject("user-2")),
        ("another app", hub.token().client("app-2")),
        ("both", hub.token().subject("user-2").client("app-2")),
        ("the other way round", hub.token().subject("app-1").client("user-1")),
        ("no app", hub.token().without("client_id")),
        ("no user", hub.token().without("sub")),
    ]
    .map(|(who, token)| (who, bearing(hub.setup.b(), &token)))
    .into()
}

fn assert_foreign(answer: &Answer, who: &str) {
    assert_eq!(answer.status, 403, "FC-SEC-01: {who}: {answer:?}");
    assert!(answer.body.contains("belongs to another client"), "FC-TRN-03: {who}: {answer:?}");
}

async fn a_socket_is_renewed_and_ended_by_its_owner_alone(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let listener = listen(&hub.app("fhircast/*.read"), &topic, "Patient-open").await;
    let endpoint = listener.endpoint().to_owned();
    let again = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic.as_str()),
        ("hub.events", "Encounter-open"),
        ("hub.channel.endpoint", endpoint.as_str()),
    ];
    for (who, other) in others(hub) {
        assert_foreign(&other.post_form(&again).await.unwrap(), who);
        assert_foreign(&other.unsubscribe_websocket(&topic, &endpoint).await.unwrap(), who);
    }
    hub.publish(&patient_open(&topic, "1")).await;
    listener.wait_for_event(PATIENCE, "1").await.expect("FC-SUB-04: it is as it was");

    // The owner with another token, which need not have been allowed to read: to end it takes no scope.
    let owner = bearing(hub.setup.b(), &hub.token().scope("fhircast/Encounter-open.read"));
    owner.post_form(&again).await.unwrap().expect_status(202).expect("FC-SUB-04");
    let owner = bearing(hub.setup.b(), &hub.token().without("scope"));
    owner.unsubscribe_websocket(&topic, &endpoint).await.unwrap().expect_status(202).expect("FC-SUB-09");
    assert_eq!(listener.wait_closed(PATIENCE).await.unwrap(), Some(1000), "FC-SUB-09");
}

async fn a_callback_is_its_owners_alone(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let owner = hub.app("fhircast/*.read");
    hub.publish(&patient_open(&topic, "0")).await;
    hook(&owner, &server, "/cb", &topic, "Patient-open").await.expect_status(202).unwrap();
    server.wait_for_event(PATIENCE, "/cb", "0").await.unwrap();
    let asked = server.requests().len();
    for (who, other) in others(hub) {
        assert_foreign(&hook(&other, &server, "/cb", &topic, "Encounter-open").await, who);
        assert_foreign(&other.unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap(), who);
    }
    hub.publish(&patient_open(&topic, "1")).await;
    server.wait_for_event(PATIENCE, "/cb", "1").await.expect("it is as it was");
    assert_eq!(server.requests().len(), asked + 1, "FC-WHK-02: nobody was asked");

    let goodbye = bearing(hub.setup.b(), &hub.token().without("scope"));
    let answer = goodbye.unsubscribe_webhook(&topic, &server.url("/cb")).await.unwrap();
    answer.expect_status(202).expect("FC-SUB-09");
    told(&server, "/cb", "unsubscribe").await;
    // Once it has ended the callback is free.
    let (_, other) = others(hub).remove(0);
    let deadline = std::time::Instant::now() + PATIENCE;
    while hook(&other, &server, "/cb", &topic, "Encounter-open").await.status != 202 {
        assert!(std::time::Instant::now() < deadline, "what has ended is nobody's");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_lease_is_cut_to_the_life_of_the_token(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    let long = [("hub.lease_seconds", "600")];
    let app = bearing(hub.setup.a(), &hub.token().expires_in(100));
    let endpoint = app.subscribe_websocket(&topic, "*", &long).await.unwrap();
    let lease = confirmation(&confirmed(&endpoint).await)["hub.lease_seconds"].as_u64().unwrap();
    assert!((1..=100).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let intent = told(&server, "/cb", "subscribe").await;
    let lease: u64 = intent.parameter("hub.lease_seconds").unwrap().parse().unwrap();
    assert!((1..=100).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");

    // A newer token of the same owner lasts longer, and so does what is subscribed again with it.
    let listener = confirmed(&endpoint).await;
    let again = [long[0], ("hub.channel.endpoint", endpoint.as_str())];
    let app = bearing(hub.setup.b(), &hub.token().expires_in(400));
    app.subscribe_websocket(&topic, "*", &again).await.unwrap();
    let second = listener.wait_for(PATIENCE, "the confirmation", |seen| seen.received.get(1).cloned()).await;
    let lease = second.unwrap().json["hub.lease_seconds"].as_u64().unwrap();
    assert!((101..=400).contains(&lease), "FC-SUB-05, FC-SEC-04: {lease}");

    // The hub lets the clocks differ; a lease of nothing it does not give.
    let ended = bearing(hub.setup.a(), &hub.token().expires_in(-2));
    let answer = hook(&ended, &server, "/ended", &topic, "*").await;
    assert!(answer.status == 401 && answer.body.contains("expired"), "FC-SEC-04: {answer:?}");
}

async fn a_socket_is_closed_when_the_token_ends(kind: Kind) {
    let (hub, topic) = (Guarded::of(kind).await, fresh_topic());
    let app = bearing(hub.setup.a(), &hub.token().expires_in(5));
    let endpoint = app.subscribe_websocket(&topic, "*", &[("hub.lease_seconds", "600")]).await.unwrap();
    let listener = confirmed(&endpoint).await;
    let code = listener.wait_closed(PATIENCE + SLACK).await.unwrap();
    let last = listener.seen(|seen| seen.received.last().unwrap().json.clone());
    assert_eq!(last["hub.mode"], "denied", "FC-SEC-04, FC-SUB-07: {last}");
    assert_eq!((&last["hub.reason"], code), (&"lease expired".into(), Some(1000)), "FC-SUB-07");
    assert!(Listener::connect(&endpoint).await.is_err(), "FC-WSC-02: the endpoint has ended");
}

async fn a_webhook_that_is_verified_late_ends_with_its_token(kind: Kind) {
    let (hub, topic, server) = (Guarded::of(kind).await, fresh_topic(), CallbackServer::start().unwrap());
    server.on("/cb", |request| {
        let challenge = request.parameter("hub.challenge")?;
        Some(Reply::status(200).body(challenge).after(Duration::from_secs(2)))
    });
    let app = bearing(hub.setup.a(), &hub.token().expires_in(6));
    hub.publish(&patient_open(&topic, "0")).await;
    hook(&app, &server, "/cb", &topic, "*").await.expect_status(202).unwrap();
    let lease: u64 =
        told(&server, "/cb", "subscribe").await.parameter("hub.lease_seconds").unwrap().parse().unwrap();
    assert!(lease <= 6, "FC-SUB-05, FC-SEC-04: {lease}");
    server.wait_for_event(PATIENCE, "/cb", "0").await.unwrap();
    let denial = told(&server, "/cb", "denied").await;
    assert_eq!(denial.parameter("hub.reason").as_deref(), Some("lease expired"), "FC-SEC-04, FC-WHK-05");
    let (before, id) = (server.requests().len(), fresh_id());
    hub.publish(&patient_open(&topic, &id)).await;
    let witness = listen(&hub.app("fhircast/*.read"), &topic, "*").await;
    witness.wait_for_event(PATIENCE, &id).await.unwrap();
    assert_eq!(server.requests().len(), before, "FC-SEC-04: nothing after the token");
}
