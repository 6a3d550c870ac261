//! Whose a subscription is: another owner neither renews, replaces nor ends it.

use harness::wait::{PATIENCE, eventually};
use shared::{
    protocol::webhook::Mode,
    store::{Release, Store, Subscribed, Subscription},
};

use super::webhooks::{claim, settle};
use crate::stores::{
    Kind, LONG, RETENTION, open, owner, request, revision, socket, terms, topic, verification, verify,
    webhook,
};

fn owned(subscription: Subscription, name: &str) -> Subscription {
    Subscription { owner: owner(name), ..subscription }
}

async fn ask(store: &dyn Store, mode: Mode, subscription: &Subscription) -> Subscribed {
    store.request_webhook(&request(mode, subscription), 9).await.unwrap()
}

pub async fn a_socket_is_renewed_and_ended_by_its_owner_alone(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(socket(&topic("t")), "me");
    assert_eq!(store.subscribe_websocket(&mine, 9).await.unwrap(), Subscribed::Accepted);
    let other = Subscription { terms: terms("Patient-open", 60), ..owned(mine.clone(), "other") };
    assert_eq!(store.other.renew_websocket(&other, LONG).await.unwrap(), Subscribed::Foreign);
    let ended = store.other.end_websocket(mine.address(), other.owner.as_ref(), "over").await.unwrap();
    assert_eq!(ended, Subscribed::Foreign);
    assert_eq!(store.subscription(mine.id).await.unwrap().unwrap().0, mine, "nothing has changed");

    let renewed = Subscription { terms: terms("Patient-open", 60), ..mine.clone() };
    assert_eq!(store.other.renew_websocket(&renewed, LONG).await.unwrap(), Subscribed::Accepted);
    assert_eq!(store.renew_websocket(&other, LONG).await.unwrap(), Subscribed::Foreign, "it is mine still");
    let elsewhere = Subscription { topic: topic("other"), ..other.clone() };
    assert_eq!(store.renew_websocket(&elsewhere, LONG).await.unwrap(), Subscribed::Unknown);
    let ended = store.end_websocket(mine.address(), mine.owner.as_ref(), "over").await.unwrap();
    assert_eq!(ended, Subscribed::Accepted);
    let ended = store.end_websocket(mine.address(), other.owner.as_ref(), "over").await.unwrap();
    assert_eq!(ended, Subscribed::Unknown, "what has ended is nobody's");
}

pub async fn what_is_nobodys_is_not_for_an_owner(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (socket, callback) = (socket(&topic("t")), webhook(&topic("t"), "a"));
    store.subscribe_websocket(&socket, 9).await.unwrap();
    let mine = owned(socket.clone(), "me");
    assert_eq!(store.renew_websocket(&mine, LONG).await.unwrap(), Subscribed::Foreign);
    let ended = store.end_websocket(mine.address(), mine.owner.as_ref(), "over").await.unwrap();
    assert_eq!(ended, Subscribed::Foreign);
    verify(&*store, &callback).await;
    let mine = owned(callback, "me");
    assert_eq!(ask(&*store, Mode::Subscribe, &mine).await, Subscribed::Foreign);
    assert_eq!(ask(&*store, Mode::Unsubscribe, &mine).await, Subscribed::Foreign);
}

pub async fn whoever_is_nobody_may_do_everything(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (socket, callback) = (socket(&topic("t")), webhook(&topic("t"), "a"));
    store.subscribe_websocket(&owned(socket.clone(), "me"), 9).await.unwrap();
    assert_eq!(store.renew_websocket(&socket, LONG).await.unwrap(), Subscribed::Accepted);
    let ended = store.end_websocket(socket.address(), None, "over").await.unwrap();
    assert_eq!(ended, Subscribed::Accepted);
    verify(&*store, &owned(callback.clone(), "me")).await;
    assert_eq!(ask(&*store, Mode::Subscribe, &callback).await, Subscribed::Accepted);
    assert_eq!(ask(&*store, Mode::Unsubscribe, &callback).await, Subscribed::Accepted);
}

pub async fn a_callback_in_force_is_its_owners_alone(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(webhook(&topic("t"), "a"), "me");
    let other = owned(mine.clone(), "other");
    verify(&*store, &mine).await;
    assert_eq!(ask(&*store.other, Mode::Subscribe, &other).await, Subscribed::Foreign);
    assert_eq!(ask(&*store.other, Mode::Unsubscribe, &other).await, Subscribed::Foreign);
    let claimed = store.claim(mine.address(), LONG, 9).await.unwrap();
    assert!(claimed.is_none(), "nothing of it is due");
    assert_eq!(ask(&*store.other, Mode::Subscribe, &mine).await, Subscribed::Accepted);
    assert_eq!(claim(&*store, mine.address()).await.request.unwrap().subscription, mine);
}

pub async fn a_callback_that_waits_to_be_verified_is_its_owners_alone(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(webhook(&topic("t"), "a"), "me");
    let other = owned(mine.clone(), "other");
    assert_eq!(ask(&*store, Mode::Subscribe, &mine).await, Subscribed::Accepted);
    assert_eq!(ask(&*store.other, Mode::Subscribe, &other).await, Subscribed::Foreign);
    assert_eq!(ask(&*store.other, Mode::Unsubscribe, &other).await, Subscribed::Unknown, "FC-SUB-09");
    let address = mine.address();
    let taken_back = store.other.withdraw_webhook(address, other.owner.as_ref()).await.unwrap();
    assert!(!taken_back, "FC-SUB-09");
    let held = claim(&*store, mine.address()).await;
    assert_eq!(ask(&*store.other, Mode::Subscribe, &other).await, Subscribed::Foreign, "also meanwhile");
    let nonce = &held.request.as_ref().unwrap().nonce;
    assert!(store.settle(&held, &held.progress, Some(nonce), Release::Idle).await.unwrap());
    let asked = ask(&*store.other, Mode::Subscribe, &other).await;
    assert_eq!(asked, Subscribed::Accepted, "it was not verified, and is nobody's");
    assert_eq!(ask(&*store.other, Mode::Subscribe, &mine).await, Subscribed::Foreign);
    assert!(!store.withdraw_webhook(address, mine.owner.as_ref()).await.unwrap(), "FC-SUB-09");
    assert!(store.withdraw_webhook(address, other.owner.as_ref()).await.unwrap(), "FC-SUB-09");
    assert_eq!(ask(&*store.other, Mode::Subscribe, &mine).await, Subscribed::Accepted, "it is nobody's");
}

pub async fn a_callback_that_has_ended_is_free_for_another(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(webhook(&topic("t"), "a"), "me");
    let other = owned(mine.clone(), "other");
    verify(&*store, &mine).await;
    assert_eq!(ask(&*store, Mode::Unsubscribe, &mine).await, Subscribed::Accepted);
    assert_eq!(ask(&*store, Mode::Subscribe, &other).await, Subscribed::Foreign, "not yet");
    let held = claim(&*store, mine.address()).await;
    let nonce = held.request.clone().unwrap().nonce;
    assert!(store.settle(&held, &held.progress, Some(&nonce), Release::End("over")).await.unwrap());
    verify(&*store, &other).await;
    assert_eq!(ask(&*store, Mode::Subscribe, &mine).await, Subscribed::Foreign, "it has changed hands");
}

pub async fn a_callback_whose_lease_is_over_is_free_for_another(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(webhook(&topic("t"), "a"), "me");
    let other = owned(mine.clone(), "other");
    verify(&*store, &Subscription { terms: terms("*", 1), ..mine.clone() }).await;
    eventually(PATIENCE, "the lease ends", || async {
        store.subscription(mine.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    // No worker has looked at it yet: its record is there still.
    assert_eq!(ask(&*store, Mode::Subscribe, &other).await, Subscribed::Accepted);
    assert_eq!(ask(&*store, Mode::Subscribe, &mine).await, Subscribed::Foreign, "it has changed hands");
    let held = claim(&*store, mine.address()).await;
    settle(&*store, &held, Release::End("over")).await;
    assert_eq!(ask(&*store, Mode::Subscribe, &mine).await, Subscribed::Foreign, "the request is left");
    let held = claim(&*store, other.address()).await;
    let asked = held.request.as_ref().unwrap();
    assert_eq!(asked.subscription, other);
    let revision = revision(&*store, held.address.topic, 0).await;
    store.activate(held.address, &verification(&held.token, asked, revision, &[])).await.unwrap();
    settle(&*store, &held, Release::Idle).await;
    assert_eq!(store.subscription(other.id).await.unwrap().unwrap().0, other);
    assert_eq!(ask(&*store, Mode::Unsubscribe, &mine).await, Subscribed::Foreign);
    assert_eq!(ask(&*store, Mode::Unsubscribe, &other).await, Subscribed::Accepted);
}

pub async fn the_hub_ends_what_anybody_owns(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let mine = owned(webhook(&topic("t"), "a"), "me");
    verify(&*store, &mine).await;
    crate::stores::publish(&*store, &topic("t"), "e").await;
    let held = claim(&*store, mine.address()).await;
    settle(&*store, &held, Release::End("gone")).await;
    assert!(store.subscription(mine.id).await.unwrap().is_none());
    let mine = owned(socket(&topic("t")), "me");
    store.subscribe_websocket(&mine, 9).await.unwrap();
    let ended = store.end_websocket(mine.address(), None, "unanswered").await.unwrap();
    assert_eq!(ended, Subscribed::Accepted);
}
