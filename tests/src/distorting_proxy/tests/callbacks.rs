//! What is distorted on the way to callbacks.

use std::time::Duration;

use super::*;
use crate::callback_server::{CallbackServer, Reply, Request, signature};

const SECRET: &str = "s3cret";

/// A callback's server, and a subscription of it that is asked for.
struct Called {
    setup: Setup,
    server: CallbackServer,
}

async fn called(hub: &Hub, distortion: Distortion, on: impl FnOnce(&CallbackServer)) -> Called {
    let (setup, server) = (before(hub, distortion), CallbackServer::start().unwrap());
    on(&server);
    let (url, extra) = (server.url("/here?own=1"), [("hub.secret", SECRET)]);
    let answer = setup.app.subscribe_webhook(&setup.topic, "syncerror,org.example.probe", &url, &extra).await;
    answer.unwrap().expect_status(202).unwrap();
    Called { setup, server }
}

impl Called {
    /// Publishes probes until one has come.
    async fn is_in_force(&self) {
        let probe = crate::wait::eventually(PATIENCE, "a probe", async || {
            let id = crate::examples::fresh_id();
            self.setup.publish(&id, "org.example.probe", "").await;
            let came = |requests: &[Request]| requests.iter().any(Request::is_notification).then_some(());
            self.server.wait_for(Duration::from_millis(200), "a probe", came).await.ok()
        });
        probe.await.unwrap();
    }

    /// What comes of an event.
    async fn delivery(&self, id: &str) -> Request {
        self.setup.publish(id, "syncerror", "").await;
        self.server.wait_for_event(PATIENCE, "/here", id).await.unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let deliveries = self.server.notifications("/here").into_iter().map(|request| request.json());
        let deliveries = deliveries.filter(|json| json["event"]["hub.event"] == "syncerror");
        deliveries.map(|json| json["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until so many events have come.
    async fn wait_for_ids(&self, count: usize) -> Vec<String> {
        let came = |_: &[Request]| Some(self.ids()).filter(|ids| ids.len() >= count);
        self.server.wait_for(PATIENCE, "the deliveries", came).await.unwrap()
    }

    fn intents(&self) -> Vec<Request> {
        let intents = self.server.requests().into_iter().filter(|request| !request.is_notification());
        intents.filter(|request| request.parameter("hub.challenge").is_some()).collect()
    }
}

/// Answers intents with nonsense.
fn does_not_want(server: &CallbackServer) {
    server.on("/here", |request| (!request.is_notification()).then(|| Reply::status(200).body("no")));
}

#[tokio::test]
async fn an_intent_is_not_verified_or_not_as_it_should_be() {
    let hub = hub(&[]).await;
    let unverified = called(&hub, Distortion::Unverified, does_not_want).await;
    unverified.is_in_force().await;
    assert_eq!(unverified.intents().len(), 0, "FC-WHK-02");
    let any = called(&hub, Distortion::AnyChallenge, does_not_want).await;
    any.is_in_force().await;
    assert_eq!(any.intents().len(), 1, "FC-WHK-02");
    let bare = called(&hub, Distortion::VerifiedWithoutQuery, |_| ()).await;
    bare.is_in_force().await;
    assert!(bare.intents()[0].query.starts_with("hub.mode=subscribe&"), "FC-WHK-02: {:?}", bare.intents());
    assert_eq!(bare.delivery("e").await.query, "own=1", "FC-WHK-03");
    let redirected = called(&hub, Distortion::RedirectsFollowed, |server| {
        let there = server.url("/there");
        server.on("/here", move |request| {
            let there = format!("{there}?{}", request.query);
            (!request.is_notification()).then(|| Reply::status(302).header("Location", &there))
        });
    });
    let redirected = redirected.await;
    redirected.is_in_force().await;
    assert!(redirected.server.requests().iter().any(|request| request.path == "/there"), "FC-SEC-02");
}

#[tokio::test]
async fn deliveries_lose_their_signature_query_or_timestamp() {
    let hub = hub(&[]).await;
    for distortion in [
        Distortion::Unsigned,
        Distortion::SignedWithSha1,
        Distortion::DeliveredWithoutQuery,
        Distortion::CallbackWithoutTimestamp,
    ] {
        let called = called(&hub, distortion, |_| ()).await;
        called.is_in_force().await;
        let delivery = called.delivery("e").await;
        let signed = delivery.header("x-hub-signature").unwrap_or_default();
        match distortion {
            Distortion::Unsigned => assert_eq!(signed, "", "FC-WHK-03"),
            Distortion::SignedWithSha1 => {
                assert_eq!((&signed[..5], signed.len()), ("sha1=", 45), "FC-WHK-03")
            }
            _ => assert_eq!(signed, signature(SECRET, &delivery.body).unwrap(), "FC-WHK-03: {distortion:?}"),
        }
        let query = if distortion == Distortion::DeliveredWithoutQuery { "" } else { "own=1" };
        assert_eq!(delivery.query, query, "FC-WHK-03: {distortion:?}");
        let has_timestamp = delivery.json()["timestamp"].is_string();
        assert_eq!(has_timestamp, distortion != Distortion::CallbackWithoutTimestamp, "FC-NOT-01");
    }
}

#[tokio::test]
async fn a_refusal_is_tried_again_and_a_failure_is_not() {
    let hub = hub(&[]).await;
    for (distortion, status, expected) in [
        (Distortion::RefusalRetried, 400, vec!["e", "e", "last"]),
        (Distortion::NothingRetried, 503, vec!["e", "last"]),
        (Distortion::NewIdOnRetry, 503, vec!["e", "e-again", "last"]),
        (Distortion::GoneStays, 410, vec!["e", "last"]),
    ] {
        let called = called(&hub, distortion, |_| ()).await;
        called.is_in_force().await;
        let failed = std::sync::atomic::AtomicBool::new(false);
        called.server.on("/here", move |request| {
            let is_first =
                request.json()["id"] == "e" && !failed.swap(true, std::sync::atomic::Ordering::Relaxed);
            is_first.then(|| Reply::status(status))
        });
        called.delivery("e").await;
        called.setup.publish("last", "syncerror", "").await;
        called.server.wait_for_event(PATIENCE, "/here", "last").await.unwrap();
        let ids: Vec<_> =
            called.ids().into_iter().filter(|id| ["e", "e-again", "last"].contains(&id.as_str())).collect();
        assert_eq!(ids, expected, "FC-WHK-04, FC-WHK-07: {distortion:?}");
    }
}

#[tokio::test]
async fn deliveries_change_places_and_none_is_lost() {
    let hub = hub(&[]).await;
    let swapped = called(&hub, Distortion::DeliveriesSwapped, |_| ()).await;
    swapped.is_in_force().await;
    let sent = ["1", "2", "3", "4", "5", "6"];
    for id in sent {
        swapped.setup.publish(id, "syncerror", "").await;
    }
    let mut came = swapped.wait_for_ids(sent.len()).await;
    assert_ne!(came, sent, "FC-WHK-06");
    came.sort();
    assert_eq!(came, sent, "FC-WHK-07: none is lost");
}

#[tokio::test]
async fn the_denial_after_a_lease_does_not_arrive() {
    let hub = hub(&[]).await;
    let subscribe = async |distortion| {
        let (setup, server) = (before(&hub, distortion), CallbackServer::start().unwrap());
        let (url, extra) = (server.url("/here"), [("hub.lease_seconds", "1")]);
        let answer = setup.app.subscribe_webhook(&setup.topic, "syncerror", &url, &extra).await.unwrap();
        answer.expect_status(202).unwrap();
        let verified = |requests: &[Request]| requests.first().map(|_| ());
        server.wait_for(PATIENCE, "the verification", verified).await.unwrap();
        (setup, server)
    };
    let (_first, silent) = subscribe(Distortion::NoDenialToCallback).await;
    let (_second, told) = subscribe(Distortion::None).await;
    let is_denial = |request: &Request| request.parameter("hub.mode").as_deref() == Some("denied");
    let denied = |requests: &[Request]| requests.iter().any(is_denial).then_some(());
    // Its lease began later, and ends later.
    told.wait_for(PATIENCE, "the denial", denied).await.unwrap();
    assert_eq!(silent.requests().len(), 1, "FC-WHK-05: {:?}", silent.requests());
}
