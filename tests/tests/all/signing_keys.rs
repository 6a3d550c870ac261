//! The keys that tokens are signed with, as the authorization server shows them (FC-SEC-01): new ones, forged ones, ones
//! that are withdrawn, and outages.

use harness::{
    callback_server::Gate,
    client::App,
    system::Hub,
    tokens::{Algorithm, Fault, Key, TokenAuthority},
    wait::{PATIENCE, eventually},
};
use serde_json::json;

use crate::{
    setups::{Kind, on_both_setups},
    tokens::{setup, status},
};

on_both_setups![
    new_keys_are_fetched_once_and_forged_ones_cause_no_flood,
    an_outage_of_the_authorization_server_does_not_matter_once_its_keys_are_known,
    keys_that_the_authorization_server_does_not_show_any_more_are_withdrawn_all_of_them_too,
    keys_that_could_not_be_read_for_too_long_are_not_believed_until_they_are,
    keys_in_a_file_may_change,
];

async fn new_keys_are_fetched_once_and_forged_ones_cause_no_flood(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    // Who waited for keys that nobody reads would wait for longer than an app does.
    let settings = [
        ("auth.jwks_cooldown_secs", "3600"),
        ("auth.jwks_refresh_secs", "43200"),
        ("auth.timeout_secs", "60"),
    ];
    let setup = setup(kind, authority.fetching_settings(), &settings).await;
    let nodes = setup.nodes().len();
    for node in setup.nodes() {
        ready(node).await;
    }
    assert_eq!(authority.keys_fetched(), nodes, "FC-SEC-01: each node has fetched them at its start");

    let new = Key::generate("new", Algorithm::Es256).unwrap();
    let old = authority.token().unwrap().mint().unwrap();
    authority.replace_keys(&new).unwrap();
    let rotated = authority.token().unwrap().mint().unwrap();
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
            authority.token().unwrap().signed_by(&stranger.named(&format!("forged-{number}"))).mint().unwrap()
        })
        .collect();
    let asked = futures_util::future::join_all(forged.iter().map(|token| status(&app, token))).await;
    assert!(asked.iter().all(|status| *status == 401), "FC-SEC-01: {asked:?}");
    assert_eq!(authority.keys_fetched(), nodes + 1, "FC-SEC-01: forged kids cause no fetch in the cooldown");
    assert_eq!(status(&app, &rotated).await, 200);
}

/// Waits until the node says that it is ready.
pub async fn ready(node: &Hub) {
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
    let good = authority.token().unwrap().mint().unwrap();
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

    let readings = async |outcome: &str| readings(setup.a(), outcome).await;
    let elsewhere = TokenAuthority::start().unwrap();
    for (fault, outcome) in [
        (Fault::Status(503), "failed"),
        (Fault::Held(Gate::closed()), "failed"),
        (Fault::Redirect(elsewhere.jwks_url()), "failed"),
        (Fault::Body("<html>".to_owned()), "refused"),
        (Fault::Body("{\"key\":[]}".to_owned()), "refused"),
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

/// How many readings of the keys had this outcome.
async fn readings(node: &Hub, outcome: &str) -> f64 {
    let metrics = node.metrics().await.unwrap();
    metrics.value(&format!("fhircast_keys_readings_total{{outcome=\"{outcome}\"}}")).unwrap()
}

/// Waits until a request with this token is answered so.
async fn answered(app: &App, token: &str, expected: u16) {
    let answered = eventually(PATIENCE, "another answer", || async {
        (status(app, token).await == expected).then_some(())
    });
    answered.await.unwrap_or_else(|error| panic!("FC-SEC-01: {expected}: {error}"));
}

async fn keys_that_the_authorization_server_does_not_show_any_more_are_withdrawn_all_of_them_too(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let none = Fault::Body("{\"keys\":[]}".to_owned());
    let unusable =
        r#"{"keys":[{"kty":"oct","kid":"ed-1","k":"AAAA"},{"kty":"EC","crv":"P-256","use":"enc"},7]}"#;
    authority.keys_fault(Some(none.clone()));
    let settings = [("auth.jwks_refresh_secs", "1")];
    let setup = setup(kind, authority.fetching_settings(), &settings).await;
    let (app, good) = (setup.subscriber(), authority.token().unwrap().mint().unwrap());
    answered(&app, &good, 401).await;
    let admin = App::new(setup.a().admin_url()).unwrap();
    let readiness = admin.get("/readyz").await.unwrap();
    assert_eq!(readiness.status, 503, "a hub that has never had a key is not ready");
    assert!(readiness.body.contains("keys: auth.jwks holds no key"), "{}", readiness.body);

    authority.keys_fault(None);
    ready(setup.a()).await;
    for fault in [none, Fault::Body(unusable.to_owned())] {
        answered(&app, &good, 200).await;
        let before = readings(setup.a(), "empty").await;
        authority.keys_fault(Some(fault));
        answered(&app, &good, 401).await;
        assert!(readings(setup.a(), "empty").await > before, "FC-SEC-01");
        ready(setup.a()).await;
        assert!(setup.a().log_tail().contains("auth.jwks holds no key that verifies signatures"));
        authority.keys_fault(None);
    }
    answered(&app, &good, 200).await;
}

async fn keys_that_could_not_be_read_for_too_long_are_not_believed_until_they_are(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let good = authority.token().unwrap().mint().unwrap();
    let limits = [("auth.jwks_refresh_secs", "1"), ("auth.jwks_max_age_secs", "2")];
    for settings in [authority.fetching_settings(), authority.settings()] {
        let setup = setup(kind, settings, &limits).await;
        let (app, admin) = (setup.subscriber(), App::new(setup.a().admin_url()).unwrap());
        ready(setup.a()).await;
        answered(&app, &good, 200).await;
        authority.keys_fault(Some(Fault::Status(500)));
        std::fs::remove_file(authority.jwks_file()).unwrap();
        answered(&app, &good, 503).await;
        let answer = app.clone().with_token(&good).current_context("t").await.unwrap();
        assert!(!answer.header("retry-after").is_empty(), "FC-SEC-01: it says when to come again");
        eventually(PATIENCE, "a hub that is not ready", || async {
            let readiness = admin.get("/readyz").await.unwrap();
            (readiness.status == 503 && readiness.body.contains("keys: ")).then_some(())
        })
        .await
        .unwrap();
        assert!(setup.a().log_tail().contains("its keys are not believed any more"), "FC-SEC-01");
        authority.keys_fault(None);
        authority.show(json!({"kty": "new"})).unwrap();
        ready(setup.a()).await;
        answered(&app, &good, 200).await;
    }
}

async fn keys_in_a_file_may_change(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("auth.jwks_refresh_secs", "43200"), ("auth.jwks_cooldown_secs", "3600")];
    let setup = setup(kind, authority.settings(), &settings).await;
    let app = setup.publisher();
    let old = authority.token().unwrap().mint().unwrap();
    assert_eq!(status(&app, &old).await, 200);
    authority.replace_keys(&Key::generate("second", Algorithm::Rs256).unwrap()).unwrap();
    eventually(PATIENCE, "the new keys", || async { (status(&app, &old).await == 401).then_some(()) })
        .await
        .expect("FC-SEC-01: what has gone from the file is not taken any more");
    assert_eq!(status(&app, &authority.token().unwrap().mint().unwrap()).await, 200, "FC-SEC-01");
}
