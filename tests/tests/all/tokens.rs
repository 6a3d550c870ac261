//! Who may ask, by the token of the request (FC-SEC-01, FC-SES-02).

use harness::{client::App, examples::fresh_topic, tokens::TokenAuthority};

use crate::{
    messages::patient_open,
    setups::{Kind, Setup, on_both_setups},
};

on_both_setups![a_good_token_is_needed_and_enough];

/// Two nodes, or one, that want tokens of this authority.
async fn setup(kind: Kind, settings: Vec<(&str, String)>, more: &[(&str, &str)]) -> Setup {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    kind.own(&[settings.as_slice(), more].concat()).await
}

/// What a request of every kind is answered.
async fn statuses(app: &App, topic: &str) -> Vec<u16> {
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic),
        ("hub.events", "Patient-open"),
    ];
    vec![
        app.post_form(&form).await.unwrap().status,
        app.publish(&patient_open(topic, "1")).await.unwrap().status,
        app.current_context(topic).await.unwrap().status,
    ]
}

async fn a_good_token_is_needed_and_enough(kind: Kind) {
    let authority = TokenAuthority::start().unwrap();
    let setup = setup(kind, authority.settings(), &[]).await;
    let topic = fresh_topic();
    let app = setup.subscriber();
    assert_eq!(statuses(&app, &topic).await, [401, 401, 401], "FC-SEC-01: without a token");
    for kid in ["rsa-1", "ec-1", "ed-1"] {
        let key = authority.key(kid).unwrap();
        let token = authority.token().unwrap().signed_by(&key).mint().unwrap();
        let app = app.clone().with_token(&token);
        assert_eq!(statuses(&app, &topic).await, [202, 202, 200], "FC-SEC-01: {kid}");
    }
}
