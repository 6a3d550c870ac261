//! Tokens about which the hub asks the authorization server (FC-SEC-01, RFC 7662).

use harness::{
    callback_server::Gate,
    examples::{fresh_id, fresh_topic},
    tokens::{Fault, TokenAuthority},
    wait::{PATIENCE, eventually},
};

use serde_json::json;

use crate::{
    setups::{Kind, on_both_setups},
    tokens::{setup, status, statuses},
};

on_both_setups![
    a_token_is_worth_what_the_authorization_server_says_of_it,
    what_was_said_is_gone_by_for_a_while_and_asked_once,
    nobody_is_let_in_while_the_authorization_server_is_away,
    who_fails_too_often_is_a_reason_to_ask_nothing_and_in_nobodys_way,
    questions_that_are_not_answered_are_failures_of_who_caused_them,
    what_is_no_longer_gone_by_lets_nobody_in_while_nobody_may_be_asked,
];

async fn a_token_is_worth_what_the_authorization_server_says_of_it(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.asking_settings(), &[]).await;
    let (app, topic) = (setup.subscriber(), fresh_topic());
    let good = authority.token().unwrap().opaque().unwrap();
    assert_eq!(statuses(&app, &topic).await, [401, 401, 401], "FC-SEC-01: without a token");
    assert_eq!(statuses(&app.clone().with_token(&good), &topic).await, [202, 202, 200], "FC-SEC-01");
    let asked = authority.introspections();
    assert_eq!(status(&app, &fresh_id()).await, 401, "FC-SEC-01: not active");
    assert_eq!(authority.introspections(), asked + 1);

    let token = || authority.token().unwrap();
    for (what, other) in [
        ("a foreign issuer", token().issuer("https://elsewhere.example")),
        ("a foreign audience", token().audience("https://elsewhere.example")),
        ("an end that has passed", token().expires_in(-60)),
        ("not yet valid", token().valid_in(60)),
        ("nobody's", token().without("sub").without("client_id")),
        ("a refresh token", token().claim("token_type", "refresh_token")),
        ("bound to a key", token().claim("cnf", json!({"x5t#S256": "x"}))),
    ] {
        assert_eq!(status(&app, &other.opaque().unwrap()).await, 401, "FC-SEC-01: {what}");
    }
    let bearer = token().claim("token_type", "bearer").opaque().unwrap();
    assert_eq!(status(&app, &bearer).await, 200, "FC-SEC-01");
    let twice = "{\"active\":true,\"sub\":\"a\",\"sub\":\"b\"}".to_owned();
    authority.introspection_fault(Some(Fault::Body(twice)));
    assert_eq!(status(&app, &fresh_id()).await, 401, "FC-SEC-01: what can be read in two ways");
    authority.introspection_fault(None);
    let bound = token().topic(&topic).opaque().unwrap();
    let bound = app.clone().with_token(&bound);
    assert_eq!(statuses(&bound, &topic).await, [202, 202, 200], "FC-SES-02");
    assert_eq!(statuses(&bound, &fresh_topic()).await, [403, 403, 403], "FC-SES-02");
    let may_not = app.with_token(&token().scope("fhircast/Patient-open.read").opaque().unwrap());
    assert_eq!(statuses(&may_not, &topic).await[1], 403, "FC-SCO-02");
}

async fn what_was_said_is_gone_by_for_a_while_and_asked_once(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.asking_settings(), &[("auth.introspection_cache_secs", "5")]).await;
    let app = setup.subscriber();
    let good = authority.token().unwrap().opaque().unwrap();
    let asked = (0..30).map(|_| status(&app, &good));
    let asked = futures_util::future::join_all(asked).await;
    assert!(asked.iter().all(|status| *status == 200), "{asked:?}");
    assert_eq!(authority.introspections(), 1, "FC-SEC-01: many requests at once ask once");

    authority.revoke(&good);
    eventually(PATIENCE, "an end of what was remembered", || async {
        (status(&app, &good).await == 401).then_some(())
    })
    .await
    .expect("FC-SEC-01: a token that was revoked is refused after auth.introspection_cache_secs");
}

async fn nobody_is_let_in_while_the_authorization_server_is_away(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("auth.introspection_cache_secs", "0"), ("auth.timeout_secs", "1")];
    let setup = setup(kind, authority.asking_settings(), &settings).await;
    let app = setup.subscriber();
    let good = authority.token().unwrap().opaque().unwrap();
    assert_eq!(status(&app, &good).await, 200);
    let elsewhere = TokenAuthority::start().unwrap();
    for fault in [
        Fault::Status(500),
        Fault::Status(401),
        Fault::Body("true".to_owned()),
        Fault::Redirect(elsewhere.jwks_url()),
        Fault::Held(Gate::closed()),
    ] {
        authority.introspection_fault(Some(fault.clone()));
        let answer = app.clone().with_token(&good).current_context("t").await.unwrap();
        assert_eq!(answer.status, 503, "FC-SEC-01: {fault:?}: {}", answer.body);
        assert!(!answer.header("retry-after").is_empty(), "FC-SEC-01: {fault:?}");
    }
    // A body without `active` is an answer: it is not.
    authority.introspection_fault(Some(Fault::Body("{\"sub\":\"user-1\"}".to_owned())));
    assert_eq!(status(&app, &good).await, 401, "FC-SEC-01");
    assert_eq!(elsewhere.keys_fetched(), 0, "FC-SEC-01: no redirect is followed");
    authority.introspection_fault(None);
    assert_eq!(status(&app, &good).await, 200, "FC-SEC-01: and it goes on");
    assert!(!setup.a().log_tail().contains(&good), "FC-SEC-01: no token stands in the log");
}

async fn who_fails_too_often_is_a_reason_to_ask_nothing_and_in_nobodys_way(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("limits.auth_failures_per_min", "3"), ("auth.introspection_cache_secs", "60")];
    let setup = setup(kind, authority.asking_settings(), &settings).await;
    let app = setup.subscriber();
    let good = authority.token().unwrap().opaque().unwrap();
    assert_eq!(status(&app, &good).await, 200);
    let bad = (0..10).map(|_| fresh_id());
    let answers = futures_util::future::join_all(bad.map(|bad| {
        let app = app.clone();
        async move { status(&app, &bad).await }
    }));
    let answers = answers.await;
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "FC-SEC-01: {answers:?}");
    let asked = authority.introspections();
    assert_eq!(status(&app, &fresh_id()).await, 429, "FC-SEC-01");
    assert_eq!(authority.introspections(), asked, "FC-SEC-01: nobody is asked");
    assert_eq!(status(&app, &good).await, 200, "FC-SEC-01: who is known is served");
    assert_eq!(app.current_context("t").await.unwrap().status, 401, "FC-SEC-01: no token is no failure");
}

async fn questions_that_are_not_answered_are_failures_of_who_caused_them(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let settings = [("limits.auth_failures_per_min", "3"), ("auth.timeout_secs", "1")];
    let setup = setup(kind, authority.asking_settings(), &settings).await;
    authority.introspection_fault(Some(Fault::Status(500)));
    let app = setup.subscriber();
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(status(&app, &fresh_id()).await);
    }
    assert_eq!(answers, [503, 503, 503, 429, 429], "FC-SEC-01");
    assert_eq!(authority.introspections(), 3, "FC-SEC-01");
}

async fn what_is_no_longer_gone_by_lets_nobody_in_while_nobody_may_be_asked(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    // After one failure nobody is asked for a minute.
    let settings = [("limits.auth_failures_per_min", "1"), ("auth.introspection_cache_secs", "2")];
    let setup = setup(kind, authority.asking_settings(), &settings).await;
    let app = setup.subscriber();
    let good = authority.token().unwrap().opaque().unwrap();
    assert_eq!(status(&app, &good).await, 200);
    authority.revoke(&good);
    assert_eq!(status(&app, &fresh_id()).await, 401, "FC-SEC-01");
    let asked = authority.introspections();
    eventually(PATIENCE, "an end of what was remembered", || async {
        (status(&app, &good).await == 429).then_some(())
    })
    .await
    .expect("FC-SEC-01: a token that was revoked is refused after auth.introspection_cache_secs");
    assert_eq!(authority.introspections(), asked, "FC-SEC-01: nobody is asked");
}
