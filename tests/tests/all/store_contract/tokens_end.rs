//! No lease outlives the token that it was asked for with (FC-SUB-05, FC-SEC-04).

use std::time::Duration;

use harness::wait::{PATIENCE, eventually};
use shared::{
    protocol::webhook::Mode,
    store::{Activated, Store, Subscribed, Subscription},
};

use super::webhooks::claim;
use crate::stores::{
    Kind, LONG, RETENTION, is_due, open, request, revision, socket, topic, verification, verify, webhook,
};

/// With a token that ends so late by the store's clock.
async fn until(store: &dyn Store, subscription: Subscription, life: Duration) -> Subscription {
    let not_after = Some(store.now().await.unwrap() + life.as_millis() as u64);
    Subscription { not_after, ..subscription }
}

/// What remains of the lease, which is at most what remains of the token.
async fn lease(store: &dyn Store, subscription: &Subscription) -> Duration {
    let (found, lease) = store.subscription(subscription.id).await.unwrap().unwrap();
    assert_eq!(found, *subscription);
    // The one is read a moment after the other: it has become less meanwhile.
    let token = subscription.not_after.unwrap() - store.now().await.unwrap();
    assert!(lease <= Duration::from_millis(token) + PATIENCE, "FC-SEC-04: {lease:?} of {token} ms");
    lease
}

pub async fn a_lease_ends_with_the_token(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let short = until(&*store, socket(&topic("t")), LONG / 2).await;
    assert_eq!(store.subscribe_websocket(&short, 9).await.unwrap(), Subscribed::Accepted);
    assert!(lease(&*store, &short).await <= LONG / 2, "FC-SUB-05");
    let long = until(&*store, socket(&topic("t")), 2 * LONG).await;
    assert_eq!(store.subscribe_websocket(&long, 9).await.unwrap(), Subscribed::Accepted);
    assert!(lease(&*store, &long).await <= LONG, "FC-SUB-05: no more than asked for");

    let brief = until(&*store, socket(&topic("t")), Duration::from_secs(1)).await;
    assert_eq!(store.subscribe_websocket(&brief, 9).await.unwrap(), Subscribed::Accepted);
    eventually(PATIENCE, "it is over", || async {
        store.subscription(brief.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(is_due(&*store, brief.address()).await, "FC-SUB-07: to be denied");
}

pub async fn a_token_that_has_ended_begins_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let ended = until(&*store, socket(&topic("t")), Duration::ZERO).await;
    assert_eq!(store.subscribe_websocket(&ended, 9).await.unwrap(), Subscribed::TooLate, "FC-SEC-04");
    assert!(store.subscription(ended.id).await.unwrap().is_none());
    let living = Subscription { not_after: None, ..ended.clone() };
    store.subscribe_websocket(&living, 9).await.unwrap();
    assert_eq!(store.renew_websocket(&ended, LONG).await.unwrap(), Subscribed::TooLate, "FC-SEC-04");
    assert_eq!(store.subscription(ended.id).await.unwrap().unwrap().0, living, "as it was");

    let ended = until(&*store, webhook(&topic("t"), "a"), Duration::ZERO).await;
    let asked = store.request_webhook(&request(Mode::Subscribe, &ended), 9).await.unwrap();
    assert_eq!(asked, Subscribed::TooLate, "FC-SEC-04");
    assert!(!is_due(&*store, ended.address()).await);
    verify(&*store, &Subscription { not_after: None, ..ended.clone() }).await;
    let asked = store.request_webhook(&request(Mode::Unsubscribe, &ended), 9).await.unwrap();
    assert_eq!(asked, Subscribed::Accepted, "to end it takes no lease");
}

pub async fn a_renewal_ends_with_its_own_token(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let first = until(&*store, socket(&topic("t")), LONG / 4).await;
    store.subscribe_websocket(&first, 9).await.unwrap();
    let longer = until(&*store, first.clone(), LONG / 2).await;
    assert_eq!(store.renew_websocket(&longer, LONG).await.unwrap(), Subscribed::Accepted);
    assert!(lease(&*store, &longer).await > LONG / 4, "FC-SUB-05: the newer token counts");
    let shorter = until(&*store, first, LONG / 8).await;
    assert_eq!(store.renew_websocket(&shorter, LONG).await.unwrap(), Subscribed::Accepted);
    assert!(lease(&*store, &shorter).await <= LONG / 8, "FC-SEC-04");
}

pub async fn a_webhook_verified_late_ends_with_its_token(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = until(&*store, webhook(&topic("t"), "a"), LONG / 2).await;
    verify(&*store, &subscription).await;
    assert!(lease(&*store, &subscription).await <= LONG / 2, "FC-SUB-05");

    let brief = until(&*store, webhook(&topic("t"), "b"), Duration::from_secs(1)).await;
    let asked = request(Mode::Subscribe, &brief);
    assert_eq!(store.request_webhook(&asked, 9).await.unwrap(), Subscribed::Accepted);
    eventually(PATIENCE, "the token ends", || async {
        (store.now().await.unwrap() >= brief.not_after.unwrap()).then_some(())
    })
    .await
    .unwrap();
    let held = claim(&*store, brief.address()).await;
    let revision = revision(&*store, held.address.topic, 0).await;
    let activated = store.activate(held.address, &verification(&held.token, &asked, revision, &[])).await;
    assert!(matches!(activated.unwrap(), Activated::From(_)));
    assert!(store.subscription(brief.id).await.unwrap().is_none(), "FC-SEC-04: over at once");
}
