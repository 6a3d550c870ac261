//! Requests to subscribe, and the URLs that are made of them.

use std::collections::HashMap;

use shared::{
    protocol::{
        form::Form,
        subscription_request::{Endpoint, RequestLimits, SubscriptionRequest, Terms},
        webhook::{Mode, denial_url, signature, verification_url},
    },
    store::{Channel, Subscription},
};
use url::Url;

use super::text;
use crate::{Target, seeds::texts};

const LIMITS: RequestLimits =
    RequestLimits { max_events: 20, allow_http: false, default_lease_secs: 7200, max_lease_secs: 86_400 };

const WORDS: &[&str] = &[
    "hub.channel.type=",
    "websocket",
    "webhook",
    "hub.mode=",
    "subscribe",
    "unsubscribe",
    "hub.topic=",
    "hub.events=",
    "Patient-open",
    "*",
    "hub.lease_seconds=",
    "hub.callback=",
    "https://",
    "http://",
    "hub.secret=",
    "&",
    "=",
    "%00",
    "hub.channel.endpoint=",
    "endpoint=",
    "subscriber.name=",
    "%0d%0a",
    "%ff",
    "+",
    "%2B",
    "%25",
    "@",
    "[::1]",
    "#",
    "127.0.0.1",
    "0x7f.1",
    "%E2%80%AE",
    ":65535",
    ":0",
    "?a=b",
    "%23",
    "xn--",
    "%e3%80%82",
];

pub const FORM: Target = Target { name: "form", check: check_form, seeds, words: WORDS };
pub const SUBSCRIPTION: Target = Target { name: "subscription", check: check_request, seeds, words: WORDS };

fn seeds() -> Vec<Vec<u8>> {
    texts([
        "hub.channel.type=websocket&hub.mode=subscribe&hub.topic=t&hub.events=Patient-open,*-select&hub.lease_seconds=60&subscriber.name=Acme",
        "hub.channel.type=websocket&hub.mode=subscribe&hub.topic=t&hub.events=*&endpoint=wss://h/ws/0097a8ef7b3de5d5425c12a4040163ea2fb1b952",
        "hub.channel.type=websocket&hub.mode=unsubscribe&hub.topic=t&hub.channel.endpoint=https%3A%2F%2Fh%2Fws%2F0097a8ef7b3de5d5425c12a4040163ea2fb1b952%3Fx%23y",
        "hub.channel.type=webhook&hub.mode=subscribe&hub.topic=a+b%2F&hub.events=*&hub.callback=https://app.example/cb?session=7&hub.secret=s3cret",
        "hub.channel.type=webhook&hub.mode=unsubscribe&hub.topic=t&hub.callback=https%3A%2F%2F%5B%3A%3A1%5D%3A8443%2F%3Fa%3Db%26c%3D%2525",
        "hub.channel.type=webhook&hub.mode=subscribe&hub.topic=t&hub.events=*&hub.callback=https://a%0d%0aX:%20y@b/%00",
        "hub.channel.type=webhook&hub.mode=subscribe&hub.topic=t&hub.events=*&hub.callback=https:\\\\0x7f.1\\..\\x?hub.challenge=1&hub.mode=denied",
        "hub.topic=a&hub%2Etopic=b",
        "&&==&%&%zz",
        "hub.lease_seconds=-1",
        "hub.topic=%ff%fe",
        "a=1&a=2",
        "",
    ])
}

fn check_form(bytes: &[u8]) {
    let read = Form::read(bytes);
    let naive: Vec<_> = form_urlencoded::parse(bytes).collect();
    let by_name: HashMap<_, _> = naive.iter().cloned().collect();
    let Ok(form) = read else { return };
    assert_eq!(by_name.len(), naive.len(), "FC-TRN-04: no name stands twice");
    assert!(naive.len() <= 64);
    for (name, value) in &naive {
        assert_eq!(form.get(name), Some(value.as_ref()).filter(|value| !value.is_empty()), "FC-TRN-04");
        assert!(!value.contains('\u{fffd}') || bytes.is_ascii() || text(bytes).contains('\u{fffd}'));
    }
    for name in ["hub.topic", "hub.mode", "hub.lease_seconds", "nobody"] {
        let expected = by_name.get(name).map(AsRef::as_ref).filter(|value| !value.is_empty());
        assert_eq!(form.required(name).ok(), expected);
    }
    let given = by_name.get("hub.lease_seconds").map(AsRef::as_ref);
    match form.positive::<u64>("hub.lease_seconds") {
        Ok(None) => assert_eq!(given, None, "FC-SUB-05"),
        Ok(Some(number)) => {
            let digits = given.unwrap_or_default();
            assert!(
                number > 0 && digits.trim_start_matches('0') == number.to_string(),
                "FC-SUB-05: {digits}"
            );
        }
        Err(_) => {
            assert!(given.is_some_and(|text| !text.starts_with(['1', '2']) || text.len() != 1), "FC-SUB-05")
        }
    }
}

fn check_request(bytes: &[u8]) {
    let Ok(form) = Form::read(bytes) else { return };
    let Ok(request) = SubscriptionRequest::read(&form, &LIMITS) else { return };
    assert_eq!(Some(request.topic().as_str()), form.get("hub.topic"), "FC-SES-01");
    match &request {
        SubscriptionRequest::SubscribeWebsocket { terms, endpoint, .. } => {
            check_terms(terms, &form);
            if let Some(Endpoint::Known(id)) = endpoint {
                let given = form.get("hub.channel.endpoint").or_else(|| form.get("endpoint"));
                assert!(given.is_some_and(|given| given.contains(&id.to_string())), "FC-SUB-09");
            }
        }
        SubscriptionRequest::UnsubscribeWebsocket { .. } => {}
        SubscriptionRequest::SubscribeWebhook { topic, terms, callback, secret } => {
            check_terms(terms, &form);
            assert!(
                secret.as_ref().is_none_or(|secret| (1..200).contains(&secret.as_bytes().len())),
                "FC-WHK-01"
            );
            assert_eq!(
                secret.as_ref().map(|secret| secret.as_bytes()),
                form.get("hub.secret").map(str::as_bytes)
            );
            let url = callback.url();
            check_callback(url);
            let events = terms.events.to_string();
            let verification =
                verification_url(callback, Mode::Subscribe, topic, &terms.events, "c+4 &", terms.lease_secs);
            let lease = terms.lease_secs.to_string();
            let own = [
                ("hub.mode", "subscribe"),
                ("hub.topic", topic.as_str()),
                ("hub.events", &events),
                ("hub.challenge", "c+4 &"),
                ("hub.lease_seconds", &lease),
            ];
            check_appended(url, &verification, &own);
            let denial = denial_url(callback, topic, &terms.events, "lease expired");
            let own = [
                ("hub.mode", "denied"),
                ("hub.topic", topic.as_str()),
                ("hub.events", &events),
                ("hub.reason", "lease expired"),
            ];
            check_appended(url, &denial, &own);
            if let Some(secret) = secret {
                let signed = signature(secret, bytes);
                assert!(
                    signed.len() == 71 && signed != signature(secret, &[bytes, b"x"].concat()),
                    "FC-WHK-03"
                );
                assert!(
                    !format!("{secret:?} {callback:?}")
                        .contains(&*String::from_utf8_lossy(secret.as_bytes()))
                        || secret.as_bytes().len() < 12,
                    "FC-SEC-03"
                );
            }
            let id = shared::protocol::SubscriptionId::of_callback(1, topic, url.as_str());
            let (callback, secret) = (callback.clone(), secret.clone());
            let channel = Channel::Webhook { callback, secret };
            let kept = Subscription {
                id,
                topic: topic.clone(),
                channel,
                terms: terms.clone(),
                owner: None,
                not_after: Some(1),
            };
            let stored = serde_json::to_string(&kept).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Subscription>(&stored).ok(), Some(kept));
        }
        SubscriptionRequest::UnsubscribeWebhook { callback, .. } => check_callback(callback.url()),
    }
}

fn check_terms(terms: &Terms, form: &Form<'_>) {
    assert!((1..=LIMITS.max_lease_secs).contains(&terms.lease_secs), "FC-SUB-05");
    assert!(terms.events.to_string().split(',').count() <= LIMITS.max_events, "FC-SUB-01");
    assert_eq!(terms.subscriber_name.as_deref(), form.get("subscriber.name"), "FC-SUB-06");
    let is_printable = |name: &String| name.len() <= 256 && !name.contains(char::is_control);
    assert!(terms.subscriber_name.as_ref().is_none_or(is_printable), "no name breaks a line of a log");
}

fn check_callback(url: &Url) {
    assert_eq!(url.scheme(), "https", "FC-WHK-01");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "FC-WHK-01");
    assert!(url.host_str().is_some_and(|host| !host.is_empty()), "FC-WHK-01");
    assert!(
        url.as_str().is_ascii() && !url.as_str().contains(|c: char| c.is_ascii_control() || c == ' '),
        "FC-WHK-01"
    );
    assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url), "it reads as itself");
}

/// The callback's own query stays as it is, and what the hub adds comes last and reads as it was meant.
fn check_appended(callback: &Url, made: &Url, own: &[(&str, &str)]) {
    check_callback(made);
    assert_eq!((made.origin(), made.path()), (callback.origin(), callback.path()), "FC-WHK-02");
    let query = made.query().unwrap_or_default();
    assert!(query.starts_with(callback.query().unwrap_or_default()), "FC-WHK-02: {query}");
    let pairs: Vec<(String, String)> = made.query_pairs().into_owned().collect();
    let last = pairs.iter().rev().take(own.len()).rev();
    let last: Vec<(&str, &str)> = last.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(last, own, "FC-WHK-02, FC-WHK-05");
}
