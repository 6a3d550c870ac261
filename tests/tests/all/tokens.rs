//! Who may ask, by the token of the request (FC-SEC-01, FC-SES-02): tokens that the hub verifies. Those about which it
//! asks are in [`crate::introspection`].

use harness::{
    callback_server::Gate,
    client::{Answer, App},
    examples::{fresh_id, fresh_topic},
    system::Hub,
    tokens::{Algorithm, Fault, Key, TokenAuthority, TokenBuilder},
    wait::{PATIENCE, eventually},
};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::json;

use crate::{
    messages::patient_open,
    setups::{Kind, ORIGIN, Setup, confirmed, on_both_setups},
};

on_both_setups![
    a_good_token_is_needed_and_enough,
    every_bad_token_is_refused_and_the_reason_named,
    a_token_is_taken_from_one_well_formed_header_and_nowhere_else,
    what_needs_no_token_is_served_without,
    a_token_for_a_topic_works_for_that_topic_alone,
    new_keys_are_fetched_once_and_forged_ones_cause_no_flood,
    an_outage_of_the_authorization_server_does_not_matter_once_its_keys_are_known,
    keys_in_a_file_may_change,
    failures_of_an_address_keep_nobody_out_who_has_a_good_token,
];

/// Two nodes, or one, with these settings.
pub async fn setup(kind: Kind, settings: Vec<(&str, String)>, more: &[(&str, &str)]) -> Setup {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    kind.own(&[settings.as_slice(), more].concat()).await
}

/// One request of each kind.
pub async fn answers(app: &App, topic: &str) -> Vec<Answer> {
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic),
        ("hub.events", "Patient-open"),
    ];
    vec![
        app.post_form(&form).await.unwrap(),
        app.publish(&patient_open(topic, "1")).await.unwrap(),
        app.current_context(topic).await.unwrap(),
    ]
}

/// What a request of each kind is answered.
pub async fn statuses(app: &App, topic: &str) -> Vec<u16> {
    answers(app, topic).await.into_iter().map(|answer| answer.status).collect()
}

/// The status of a request with this token.
pub async fn status(app: &App, token: &str) -> u16 {
    app.clone().with_token(token).current_context("t").await.unwrap().status
}

async fn a_good_token_is_needed_and_enough(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    for algorithm in [Algorithm::Rs384, Algorithm::Ps256, Algorithm::Es384] {
        authority.add_key(&Key::generate(algorithm.name(), algorithm).unwrap()).unwrap();
    }
    let setup = setup(kind, authority.settings(), &[]).await;
    let (topic, app) = (fresh_topic(), setup.subscriber());
    for answer in answers(&app, &topic).await {
        assert_eq!(answer.status, 401, "FC-SEC-01: without a token");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"fhircast\"", "FC-SEC-01, RFC 6750");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "FC-TRN-03");
    }
    for kid in ["rsa-1", "ec-1", "ed-1", "RS384", "PS256", "ES384"] {
        let key = authority.key(kid).unwrap();
        let token = authority.token().unwrap().signed_by(&key).mint().unwrap();
        let app = app.clone().with_token(&token);
        assert_eq!(statuses(&app, &topic).await, [202, 202, 200], "FC-SEC-01: {kid}");
    }
    let good = [
        ("no typ", token(&authority).header("typ", serde_json::Value::Null)),
        ("typ JWT", token(&authority).header("typ", "JWT")),
        ("several audiences", token(&authority).audience(vec!["x", harness::tokens::AUDIENCE])),
        ("expired within the leeway", token(&authority).expires_in(-5)),
        ("valid within the leeway", token(&authority).valid_in(5)),
        ("no user", token(&authority).without("sub")),
        ("no client", token(&authority).without("client_id")),
        (
            "scopes in an array",
            token(&authority).without("scope").claim("scp", vec!["openid", "fhircast/*.*"]),
        ),
    ];
    for (what, good) in good {
        assert_eq!(status(&app, &good.mint().unwrap()).await, 200, "FC-SEC-01: {what}");
    }
    let accepted = setup.a().metrics().await.unwrap();
    assert_eq!(accepted.value("fhircast_authentications_total{outcome=\"accepted\"}"), Some(26.0));
    assert_eq!(accepted.value("fhircast_authentications_total{outcome=\"missing\"}"), Some(3.0));
}

fn token(authority: &TokenAuthority) -> TokenBuilder {
    authority.token().unwrap()
}

async fn every_bad_token_is_refused_and_the_reason_named(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.settings(), &[("auth.token_bytes", "4000")]).await;
    let new = || token(&authority);
    let rsa = authority.key("rsa-1").unwrap();
    let stranger = Key::generate("ed-1", Algorithm::EdDsa).unwrap();
    let other_rsa = Key::generate("rsa-1", Algorithm::Rs256).unwrap();
    let pem = rsa.public_pem().unwrap();
    let modulus = rsa.jwk().unwrap()["n"].as_str().unwrap().as_bytes().to_vec();
    let bad = [
        ("signature", "forged by another key of the same name", new().forged_by(&stranger)),
        ("signature", "forged by another RSA key", new().signed_by(&other_rsa)),
        ("signature", "an empty signature", new().signature(b"")),
        ("signature", "zeros for a signature", new().signature(&[0; 64])),
        ("alg", "alg none", new().unsigned()),
        ("alg", "HMAC with the public key", new().hmac(&pem).kid("rsa-1")),
        ("alg", "HMAC with the modulus", new().hmac(&modulus).kid("rsa-1")),
        ("alg", "an unknown algorithm", new().header("alg", "XX999")),
        ("alg", "the algorithm of another key", new().signed_by(&rsa).kid("ec-1")),
        ("kid", "an unknown key", new().kid("nobody's")),
        ("crit", "a critical extension", new().header("crit", vec!["exp"])),
        ("typ", "a token of another type", new().header("typ", "logout+jwt")),
        ("expired", "expired", new().expires_in(-60)),
        ("exp", "no end", new().without("exp")),
        ("exp", "an end that is no number", new().claim("exp", "never")),
        ("not valid yet", "not yet valid", new().valid_in(60)),
        ("not valid yet", "issued far in the future", new().claim("iat", 4_000_000_000_u64)),
        ("issuer", "a foreign issuer", new().issuer("https://elsewhere.example")),
        ("issuer", "no issuer", new().without("iss")),
        ("audience", "a foreign audience", new().audience("https://elsewhere.example")),
        ("audience", "no audience", new().without("aud")),
        ("auth.topic_claim", "a topic that is none", new().claim("hub.topic", 1)),
        ("whose it is", "nobody's", new().without("sub").without("client_id")),
        ("cnf", "bound to a key", new().claim("cnf", json!({"jkt": "x"}))),
        ("too long", "a long token", new().claim("long", "x".repeat(4000))),
    ];
    let bad = bad.map(|(reason, what, token)| (reason, what, token.mint().unwrap()));
    let more =
        [("JWT", "no JWT", fresh_id()), ("JWT", "two parts", format!("{}.{}", fresh_id(), fresh_id()))];
    for (reason, what, token) in bad.into_iter().chain(more) {
        let topic = fresh_topic();
        let app = setup.subscriber().with_token(&token);
        for answer in answers(&app, &topic).await {
            assert_eq!(answer.status, 401, "FC-SEC-01: {what}: {}", answer.body);
            let challenge = answer.header("www-authenticate");
            let named = "Bearer realm=\"fhircast\", error=\"invalid_token\", error_description=\"";
            assert!(challenge.starts_with(named), "FC-SEC-01, RFC 6750: {what}: {challenge}");
            for text in [challenge, &answer.body] {
                assert!(text.contains(reason), "FC-TRN-03: {what}: {text} does not name {reason}");
                assert!(!text.contains(&token), "FC-TRN-03: {what}: {text} repeats the token");
            }
        }
    }
    let log = setup.a().log_tail();
    assert!(!log.contains("eyJ"), "FC-SEC-01: no token stands in the log: {log}");
}

async fn a_token_is_taken_from_one_well_formed_header_and_nowhere_else(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.settings(), &[]).await;
    let app = setup.subscriber();
    let good = token(&authority).mint().unwrap();
    let ask = async |headers: &[String]| {
        let request = app.request(Method::GET, "/t");
        let request = headers.iter().fold(request, |request, header| request.header(AUTHORIZATION, header));
        app.send(request).await.unwrap()
    };
    for header in [format!("Bearer {good}"), format!("bearer {good}"), format!("BEARER  {good}")] {
        assert_eq!(ask(&[header]).await.status, 200, "FC-SEC-01: the scheme has no case");
    }
    for headers in [
        vec![format!("Bearer {good}"), format!("Bearer {good}")],
        vec![format!("Bearer {good}"), "Basic YTpi".to_owned()],
        vec![format!("Basic {good}")],
        vec![good.clone()],
        vec!["Bearer".to_owned()],
        vec!["Bearer ".to_owned()],
        vec![format!("Bearer \"{good}\"")],
        vec![format!("Bearer {good} {good}")],
        vec![format!("Bearer {good}, Bearer {good}")],
    ] {
        let answer = ask(&headers).await;
        assert_eq!(answer.status, 401, "FC-SEC-01: {}", headers.len());
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_request\""), "FC-SEC-01, RFC 6750: {challenge}");
    }
    let in_query = app.get(&format!("/t?access_token={good}")).await.unwrap();
    assert_eq!(in_query.status, 401, "FC-SEC-01: a token in the query is none");
    let in_form = [("access_token", good.as_str()), ("hub.mode", "subscribe")];
    assert_eq!(app.post_form(&in_form).await.unwrap().status, 401, "FC-SEC-01: nor one in the body");
}

async fn what_needs_no_token_is_served_without(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.settings(), &[("cors.allowed_origins", ORIGIN)]).await;
    let (app, topic) = (setup.subscriber(), fresh_topic());
    for path in ["/.well-known/fhircast-configuration", "/metadata"] {
        assert_eq!(app.get(path).await.unwrap().status, 200, "FC-CNF-01, FC-CNF-02: {path}");
    }
    let preflight = app
        .request(Method::OPTIONS, "")
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization");
    let preflight = app.send(preflight).await.unwrap();
    assert_eq!(preflight.status, 200, "FC-TRN-07: a preflight has no token");
    assert_eq!(preflight.header("access-control-allow-headers"), "authorization", "FC-TRN-07");

    let refused = app.send(app.request(Method::GET, "/t").header("Origin", ORIGIN)).await.unwrap();
    assert_eq!(refused.status, 401, "FC-SEC-01");
    assert_eq!(refused.header("access-control-allow-origin"), ORIGIN, "FC-TRN-07: a page may see the error");
    let exposed = refused.header("access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.contains("www-authenticate"), "FC-TRN-07: {exposed}");

    let good = app.clone().with_token(&token(&authority).mint().unwrap());
    let endpoint = good.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    confirmed(&endpoint).await; // FC-WSC-02: the endpoint is the ticket.

    let unknown = app.unsubscribe_websocket(&topic, &endpoint.replace("/ws/", "/ws/x")).await.unwrap();
    let known = app.unsubscribe_websocket(&topic, &endpoint).await.unwrap();
    assert_eq!((unknown.status, known.status), (401, 401), "FC-SEC-01: before any endpoint is looked at");
    assert_eq!(unknown.body, known.body, "FC-SEC-01: nothing is told of endpoints");
}

async fn a_token_for_a_topic_works_for_that_topic_alone(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.settings(), &[]).await;
    let (own, other) = (fresh_topic(), fresh_topic());
    let app = setup.subscriber().with_token(&token(&authority).topic(&own).mint().unwrap());
    assert_eq!(statuses(&app, &own).await, [202, 202, 200], "FC-SES-02");
    for answer in answers(&app, &other).await {
        assert_eq!(answer.status, 403, "FC-SES-02: {}", answer.body);
        assert!(answer.body.contains("hub.topic"), "FC-TRN-03: {}", answer.body);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"insufficient_scope\""), "RFC 6750: {challenge}");
        assert!(!answer.body.contains(&own), "FC-TRN-03: it names no topic");
    }
    let read_only = token(&authority).scope("fhircast/*.read").mint().unwrap();
    let refused = setup.subscriber().with_token(&read_only).publish(&patient_open(&own, "2")).await.unwrap();
    assert_eq!(refused.status, 403, "FC-SCO-02");
    let challenge = refused.header("www-authenticate");
    assert!(challenge.ends_with("scope=\"fhircast/Patient-open.write\""), "RFC 6750: {challenge}");
}

async fn new_keys_are_fetched_once_and_forged_ones_cause_no_flood(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    // Who waited for keys that nobody reads would wait for longer than an app does.
    let settings = [
        ("auth.jwks_cooldown_secs", "3600"),
        ("auth.jwks_refresh_secs", "86400"),
        ("auth.timeout_secs", "60"),
    ];
    let setup = setup(kind, authority.fetching_settings(), &settings).await;
    let nodes = setup.nodes().len();
    for node in setup.nodes() {
        ready(node).await;
    }
    assert_eq!(authority.keys_fetched(), nodes, "FC-SEC-01: each node has fetched them at its start");

    let new = Key::generate("new", Algorithm::Es256).unwrap();
    let old = token(&authority).mint().unwrap();
    authority.replace_keys(&new).unwrap();
    let rotated = token(&authority).mint().unwrap();
    let app = setup.subscriber();
    // Many at once: they wait for one fetch.
    let asked = (0..20).map(|_| status(&app, &rotated));
    let asked = futures_util::future::join_all(asked).await;
    assert!(asked.iter().all(|status| *status == 200), "FC-SEC-01: a new key, without a restart: {asked:?}");
    assert_eq!(authority.keys_fetched(), nodes + 1, "FC-SEC-01: it is fetched once");
    assert_eq!(status(&app, &old).await, 401, "FC-SEC-01: a key that is gone is worth nothing");

    let stranger = Key::generate("x", Algorithm::Es256).unwrap();
    let forged: Vec<_> = (0..200)
        .map(|number| {
            token(&authority).signed_by(&stranger.named(&format!("forged-{number}"))).mint().unwrap()
        })
        .collect();
    let asked = futures_util::future::join_all(forged.iter().map(|token| status(&app, token))).await;
    assert!(asked.iter().all(|status| *status == 401), "FC-SEC-01: {asked:?}");
    assert_eq!(authority.keys_fetched(), nodes + 1, "FC-SEC-01: forged kids cause no fetch in the cooldown");
    assert_eq!(status(&app, &rotated).await, 200);
}

/// Waits until the node says that it is ready.
async fn ready(node: &Hub) {
    let app = App::new(node.admin_url()).unwrap();
    eventually(PATIENCE, "readiness", || async {
        (app.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await
    .unwrap();
}

async fn an_outage_of_the_authorization_server_does_not_matter_once_its_keys_are_known(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    authority.keys_fault(Some(Fault::Status(500)));
    let settings = [("auth.jwks_refresh_secs", "1"), ("auth.timeout_secs", "1")];
    let setup = setup(kind, authority.fetching_settings(), &settings).await;
    let app = setup.subscriber();
    let good = token(&authority).mint().unwrap();
    let answer = app.clone().with_token(&good).current_context("t").await.unwrap();
    assert_eq!(
        answer.status, 503,
        "FC-SEC-01: nobody can be believed before there are keys: {}",
        answer.body
    );
    assert!(!answer.header("retry-after").is_empty(), "FC-SEC-01: it says when to come again");
    let admin = App::new(setup.a().admin_url()).unwrap();
    let readiness = admin.get("/readyz").await.unwrap();
    assert_eq!(readiness.status, 503, "not ready without keys");
    assert!(readiness.body.contains("keys: "), "{}", readiness.body);

    authority.keys_fault(None);
    ready(setup.a()).await;
    assert_eq!(status(&app, &good).await, 200, "FC-SEC-01: with the keys the hub serves");

    let readings = async |outcome: &str| {
        let metrics = setup.a().metrics().await.unwrap();
        metrics.value(&format!("fhircast_keys_readings_total{{outcome=\"{outcome}\"}}")).unwrap()
    };
    let elsewhere = TokenAuthority::start().unwrap();
    for (fault, outcome) in [
        (Fault::Status(503), "failed"),
        (Fault::Held(Gate::closed()), "failed"),
        (Fault::Redirect(elsewhere.jwks_url()), "failed"),
        (Fault::Body("<html>".to_owned()), "refused"),
        (Fault::Body("{\"keys\":[]}".to_owned()), "refused"),
    ] {
        // After a failure it is tried again in 30 s at the latest, here in one.
        let before = readings(outcome).await;
        authority.keys_fault(Some(fault.clone()));
        eventually(PATIENCE, "a reading that is not taken", || async {
            (readings(outcome).await >= before + 2.0).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(status(&app, &good).await, 200, "FC-SEC-01: the last keys stand through {fault:?}");
        ready(setup.a()).await;
    }
    assert_eq!(elsewhere.keys_fetched(), 0, "FC-SEC-01: no redirect is followed");
}

async fn keys_in_a_file_may_change(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("auth.jwks_refresh_secs", "86400"), ("auth.jwks_cooldown_secs", "3600")];
    let setup = setup(kind, authority.settings(), &settings).await;
    let app = setup.publisher();
    let old = token(&authority).mint().unwrap();
    assert_eq!(status(&app, &old).await, 200);
    authority.replace_keys(&Key::generate("second", Algorithm::Rs256).unwrap()).unwrap();
    eventually(PATIENCE, "the new keys", || async { (status(&app, &old).await == 401).then_some(()) })
        .await
        .expect("FC-SEC-01: what has gone from the file is not taken any more");
    assert_eq!(status(&app, &token(&authority).mint().unwrap()).await, 200, "FC-SEC-01");
}

async fn failures_of_an_address_keep_nobody_out_who_has_a_good_token(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("limits.auth_failures_per_min", "3"), ("auth.jwks_cooldown_secs", "1")];
    let setup = setup(kind, authority.fetching_settings(), &settings).await;
    ready(setup.a()).await;
    let app = setup.subscriber();
    let good = token(&authority).mint().unwrap();
    for _ in 0..10 {
        assert_eq!(app.current_context("t").await.unwrap().status, 401, "no token is no failure");
    }
    let bad = token(&authority).audience("https://elsewhere.example").mint().unwrap();
    let answers = futures_util::future::join_all((0..10).map(|_| status(&app, &bad))).await;
    assert!(answers.contains(&401) && answers.contains(&429), "FC-SEC-01: {answers:?}");
    let fetched = authority.keys_fetched();
    let unknown = token(&authority).signed_by(&Key::generate("x", Algorithm::Es256).unwrap()).mint().unwrap();
    assert_eq!(status(&app, &unknown).await, 429, "FC-SEC-01: what has failed too often");
    assert_eq!(authority.keys_fetched(), fetched, "FC-SEC-01: is a reason to ask for nothing");
    assert_eq!(status(&app, &good).await, 200, "FC-SEC-01: others at that address");
    assert_eq!(app.current_context("t").await.unwrap().status, 401);
}
