//! Webhook subscriptions: from the request to the end.

use std::time::Duration;

use harness::wait::{PATIENCE, eventually};
use shared::{
    protocol::{Topic, webhook::Mode},
    store::{
        Activated, Address, Claim, Position, Progress, Release, Store, Subscribed, Subscription,
        WebhookRequest,
    },
};

use crate::stores::{
    Kind, LONG, RETENTION, is_due, log, open, publish, request, revision, say, terms, topic, verification,
    verify, webhook,
};
use shared::store::Revision;

pub(super) async fn ask(store: &dyn Store, mode: Mode, subscription: &Subscription) -> WebhookRequest {
    let request = request(mode, subscription);
    assert_eq!(store.request_webhook(&request, 100).await.unwrap(), Subscribed::Accepted);
    request
}

pub(super) async fn claim(store: &dyn Store, address: Address) -> Claim {
    store.claim(address, LONG, 100).await.unwrap().expect("it is due")
}

/// Ends a webhook as its worker does, once its subscriber has confirmed that it wants that.
async fn end(store: &dyn Store, subscription: &Subscription) -> Claim {
    let goodbye = ask(store, Mode::Unsubscribe, subscription).await;
    let held = claim(store, subscription.address()).await;
    assert!(store.settle(&held, &held.progress, Some(&goodbye.nonce), Release::End("over")).await.unwrap());
    held
}

/// Gives a claim back as it was.
pub(super) async fn settle(store: &dyn Store, claim: &Claim, release: Release) {
    assert!(store.settle(claim, &claim.progress, None, release).await.unwrap());
}

pub(super) fn read_up_to(cursor: Position) -> Progress {
    Progress { cursor, ..Progress::default() }
}

pub async fn a_request_is_due_and_no_subscription_until_it_is_verified(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    publish(&*store, &topic, "e").await;
    assert!(!is_due(&*store, address).await);
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(is_due(&*store.other, address).await);
    assert!(store.subscription(subscription.id).await.unwrap().is_none());
    let claim = claim(&*store.other, address).await;
    assert_eq!((claim.lease_end, claim.entries.len()), (0, 0));
    assert_eq!((claim.address, claim.request, claim.subscription), (address, Some(request), None));
    assert_eq!(claim.progress, Progress::default());
    let now = store.now().await.unwrap();
    assert!(claim.now <= now && claim.now + 20_000 > now, "{} {now}", claim.now);
}

pub async fn a_verified_request_is_in_force(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    let head = publish(&*store, &topic, "e").await;
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let activation =
        verification(&held.token, &request, revision(&*store, address.topic, 0).await, &["open1", "open2"]);
    match store.activate(address, &activation).await.unwrap() {
        Activated::From(cursor) => assert_eq!(cursor, head),
        other => panic!("{other:?}"),
    }
    let (found, lease) = store.subscription(subscription.id).await.unwrap().unwrap();
    assert_eq!(found, subscription);
    assert!(lease <= LONG && lease > LONG - PATIENCE, "{lease:?}");
    assert_eq!(say(&log(&*store, topic.key()).await), ["e", "open1", "open2"], "FC-SUB-08");
    assert_eq!(store.session(topic.key(), None).await.unwrap().0.revision.number, 1);

    assert!(store.settle(&held, &read_up_to(head), None, Release::Idle).await.unwrap());
    let next = claim(&*store, address).await;
    assert!(next.lease() <= LONG && next.lease() > LONG - PATIENCE, "{:?}", next.lease());
    assert_eq!(
        (next.subscription, next.request, next.progress),
        (Some(subscription), None, read_up_to(head))
    );
    assert_eq!(say(&next.entries), ["open1", "open2"]);
}

pub async fn verifying_again_puts_new_terms_into_force_and_keeps_the_cursor(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    publish(&*store, &topic, "e").await;
    let renewed = Subscription { terms: terms("Patient-open", 300), ..subscription.clone() };
    let request = ask(&*store, Mode::Subscribe, &renewed).await;
    assert_eq!(store.subscription(address.id).await.unwrap().unwrap().0, subscription, "FC-WHK-02: not yet");
    let held = claim(&*store, address).await;
    match store
        .activate(address, &verification(&held.token, &request, Revision::NONE, &["open"]))
        .await
        .unwrap()
    {
        Activated::From(cursor) => assert_eq!(cursor, Position::START),
        other => panic!("{other:?}"),
    }
    let (found, lease) = store.subscription(address.id).await.unwrap().unwrap();
    assert_eq!(found, renewed, "FC-SUB-04");
    assert!(lease <= Duration::from_secs(300), "{lease:?}");
    assert_eq!(say(&log(&*store, topic.key()).await), ["e"]);
    settle(&*store, &held, Release::Idle).await;
    let next = claim(&*store, address).await;
    assert_eq!((say(&next.entries), next.request), (vec!["e".to_owned()], None));
}

pub async fn a_verification_on_another_revision_changes_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    publish(&*store, &topic, "e").await;
    match store
        .activate(address, &verification(&held.token, &request, Revision::NONE, &["open"]))
        .await
        .unwrap()
    {
        Activated::Conflict(session) => {
            assert_eq!(session, store.session(topic.key(), None).await.unwrap().0)
        }
        other => panic!("{other:?}"),
    }
    assert!(store.subscription(address.id).await.unwrap().is_none());
    assert_eq!(say(&log(&*store, topic.key()).await), ["e"]);
    settle(&*store, &held, Release::Idle).await;
    assert_eq!(claim(&*store, address).await.request, Some(request), "it is still to be verified");
}

pub async fn a_newer_request_outlives_the_verification_of_an_older(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = webhook(&topic("t"), "a");
    let address = subscription.address();
    let older = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let newer = ask(&*store, Mode::Subscribe, &subscription).await;
    store.activate(address, &verification(&held.token, &older, Revision::NONE, &[])).await.unwrap();
    assert!(store.settle(&held, &held.progress, Some(&older.nonce), Release::Idle).await.unwrap());
    assert_eq!(claim(&*store, address).await.request, Some(newer));
}

pub async fn a_topic_has_no_more_than_its_limit(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let try_to = async |path: &str| {
        store.request_webhook(&request(Mode::Subscribe, &webhook(&topic, path)), 2).await.unwrap()
    };
    verify(&*store, &webhook(&topic, "verified")).await;
    assert_eq!(try_to("pending").await, Subscribed::Accepted);
    assert_eq!(try_to("third").await, Subscribed::TooMany);
    assert!(!is_due(&*store, webhook(&topic, "third").address()).await);
    assert_eq!(try_to("pending").await, Subscribed::Accepted, "it is no new one");
    assert_eq!(try_to("verified").await, Subscribed::Accepted, "it is no new one");
    let elsewhere = request(Mode::Subscribe, &webhook(&crate::stores::topic("other"), "third"));
    assert_eq!(store.request_webhook(&elsewhere, 2).await.unwrap(), Subscribed::Accepted);
    end(&*store, &webhook(&topic, "verified")).await;
    assert_eq!(try_to("third").await, Subscribed::Accepted);
}

pub async fn only_what_is_in_force_can_be_asked_to_end(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = webhook(&topic("t"), "a");
    let address = subscription.address();
    let end = request(Mode::Unsubscribe, &subscription);
    assert_eq!(store.request_webhook(&end, 100).await.unwrap(), Subscribed::Unknown, "FC-SUB-09");
    assert!(!is_due(&*store, address).await);
    let begin = ask(&*store, Mode::Subscribe, &subscription).await;
    assert_eq!(store.request_webhook(&end, 100).await.unwrap(), Subscribed::Unknown, "it is only asked for");
    let held = claim(&*store, address).await;
    assert_eq!(held.request, Some(begin.clone()));
    store.activate(address, &verification(&held.token, &begin, Revision::NONE, &[])).await.unwrap();
    settle(&*store, &held, Release::Idle).await;

    ask(&*store, Mode::Subscribe, &subscription).await;
    assert_eq!(store.request_webhook(&end, 0).await.unwrap(), Subscribed::Accepted);
    assert!(store.subscription(address.id).await.unwrap().is_some(), "not before it is verified");
    assert_eq!(claim(&*store, address).await.request, Some(end), "the later request counts");
}

pub async fn what_nobody_has_confirmed_is_taken_back_and_no_answer_puts_it_into_force(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    let take_back = async || store.other.withdraw_webhook(address, None).await.unwrap();
    assert!(!take_back().await, "FC-SUB-09: nobody has asked");

    ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(take_back().await, "FC-SUB-09");
    assert!(!is_due(&*store, address).await && store.claim(address, LONG, 9).await.unwrap().is_none());
    assert!(!take_back().await, "it is gone");
    let other = crate::stores::request(Mode::Subscribe, &webhook(&topic, "b"));
    assert_eq!(store.request_webhook(&other, 1).await.unwrap(), Subscribed::Accepted, "its place is free");

    // The same while its callback is being asked.
    let begin = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    assert!(take_back().await, "FC-SUB-09");
    let activation = verification(&held.token, &begin, revision(&*store, address.topic, 0).await, &[]);
    assert!(matches!(store.activate(address, &activation).await.unwrap(), Activated::Lost), "FC-WHK-02");
    assert!(!store.settle(&held, &held.progress, Some(&begin.nonce), Release::Idle).await.unwrap());
    assert!(store.subscription(address.id).await.unwrap().is_none() && !is_due(&*store, address).await);

    // Whoever asks again is asked again, and the old answer is not taken for the new one.
    let again = ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(matches!(store.activate(address, &activation).await.unwrap(), Activated::Lost), "FC-WHK-02");
    assert_eq!(claim(&*store, address).await.request, Some(again));

    let in_force = webhook(&topic, "c");
    verify(&*store, &in_force).await;
    ask(&*store, Mode::Subscribe, &in_force).await;
    let taken_back = store.withdraw_webhook(in_force.address(), None).await.unwrap();
    assert!(!taken_back, "FC-WHK-02: its end is verified");
    assert!(store.subscription(in_force.id).await.unwrap().is_some());
}

/// A subscription that was in force until its lease ended.
async fn whose_lease_is_over(store: &dyn Store, topic: &Topic) -> (Subscription, Address) {
    let short = Subscription { terms: terms("*", 1), ..webhook(topic, "a") };
    let address = verify(store, &short).await;
    eventually(PATIENCE, "the lease ends", || async {
        store.subscription(short.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    (short, address)
}

pub async fn what_is_taken_back_after_a_lease_leaves_the_end_to_be_told(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let (short, address) = whose_lease_is_over(&*store, &topic).await;
    ask(&*store, Mode::Subscribe, &short).await;
    let held = claim(&*store, address).await;
    assert!(store.withdraw_webhook(address, None).await.unwrap(), "FC-SUB-09");
    assert!(!store.settle(&held, &held.progress, None, Release::Idle).await.unwrap());
    let held = claim(&*store, address).await;
    assert_eq!((held.request, held.subscription, held.lease_end > 0), (None, Some(short), true), "FC-WHK-05");
}

pub async fn a_request_waits_for_the_claim_and_then_for_nobody(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    for release in [Release::Idle, Release::After(LONG)] {
        let head = publish(&*store, &topic, &format!("{release:?}")).await;
        let held = claim(&*store, address).await;
        let request = ask(&*store, Mode::Unsubscribe, &subscription).await;
        assert!(!is_due(&*store, address).await, "a worker holds it");
        assert!(store.settle(&held, &read_up_to(head), None, release).await.unwrap());
        assert!(is_due(&*store, address).await, "{release:?}");
        let held = claim(&*store, address).await;
        assert_eq!(held.request.as_ref(), Some(&request));
        assert!(store.settle(&held, &read_up_to(head), Some(&request.nonce), Release::Idle).await.unwrap());
        assert!(!is_due(&*store, address).await, "it is done with");
    }
    publish(&*store, &topic, "e").await;
    settle(&*store, &claim(&*store, address).await, Release::After(LONG)).await;
    ask(&*store, Mode::Unsubscribe, &subscription).await;
    assert!(is_due(&*store, address).await, "a pause between retries is no claim");
}

pub async fn an_answered_request_is_gone_and_another_stays(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = webhook(&topic("t"), "a");
    let address = verify(&*store, &subscription).await;
    let older = ask(&*store, Mode::Unsubscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let newer = ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(store.settle(&held, &held.progress, Some(&older.nonce), Release::Idle).await.unwrap());
    let held = claim(&*store, address).await;
    assert_eq!(held.request.as_ref(), Some(&newer));
    assert!(
        store
            .settle(&held, &held.progress, Some(&newer.nonce), Release::After(Duration::ZERO))
            .await
            .unwrap()
    );
    assert_eq!(claim(&*store, address).await.request, None);
    assert!(store.subscription(address.id).await.unwrap().is_some(), "what was in force stays so");
}

pub async fn what_was_never_verified_and_is_answered_is_gone(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    publish(&*store, &topic, "e").await;
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    settle(&*store, &held, Release::Idle).await;
    let held = claim(&*store, address).await;
    assert!(store.settle(&held, &held.progress, Some(&request.nonce), Release::Idle).await.unwrap());
    assert!(!is_due(&*store, address).await);
    assert!(store.claim(address, LONG, 9).await.unwrap().is_none());
    publish(&*store, &topic, "e2").await;
    assert!(!is_due(&*store, address).await);
    let other = crate::stores::request(Mode::Subscribe, &webhook(&topic, "b"));
    assert_eq!(store.request_webhook(&other, 1).await.unwrap(), Subscribed::Accepted, "its place is free");
}

pub async fn a_lease_that_is_over_leaves_nothing_to_deliver(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let (short, address) = whose_lease_is_over(&*store, &topic).await;
    assert_eq!(
        store.request_webhook(&request(Mode::Unsubscribe, &short), 9).await.unwrap(),
        Subscribed::Unknown
    );
    assert!(is_due(&*store, address).await, "FC-WHK-05: without an event, too");
    let held = claim(&*store, address).await;
    assert_eq!((held.lease(), held.entries.len()), (Duration::ZERO, 0));
    assert_eq!(held.subscription, Some(short), "FC-WHK-05: its worker knows whom to deny");
    assert!(!is_due(&*store, address).await && store.other.claim(address, LONG, 9).await.unwrap().is_none());
    settle(&*store, &held, Release::End("over")).await;
    assert!(!is_due(&*store, address).await);
    assert!(store.claim(address, LONG, 9).await.unwrap().is_none(), "nothing is left");
}

pub async fn an_end_by_the_claim_spares_a_newer_request(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    let goodbye = ask(&*store, Mode::Unsubscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let newer = ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(store.settle(&held, &held.progress, Some(&goodbye.nonce), Release::End("over")).await.unwrap());
    assert!(store.subscription(subscription.id).await.unwrap().is_none());
    let next = claim(&*store, address).await;
    assert_eq!((next.request, next.subscription, next.progress), (Some(newer), None, Progress::default()));
}

pub async fn verifying_again_after_the_lease_begins_anew(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    verify(&*store, &Subscription { terms: terms("*", 1), ..subscription.clone() }).await;
    eventually(PATIENCE, "the lease ends", || async {
        store.subscription(subscription.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    publish(&*store, &topic, "between").await;
    let address = verify(&*store, &subscription).await;
    publish(&*store, &topic, "after").await;
    let again = eventually(PATIENCE, "its turn", || async { store.claim(address, LONG, 9).await.unwrap() });
    assert_eq!(say(&again.await.unwrap().entries), ["after"]);
}

pub async fn what_has_ended_is_gone_from_everywhere(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    publish(&*store, &topic, "e").await;
    let held = end(&*store, &subscription).await;
    assert!(!store.settle(&held, &held.progress, None, Release::After(Duration::ZERO)).await.unwrap());
    let again = request(Mode::Subscribe, &subscription);
    let activation = verification(&held.token, &again, revision(&*store, address.topic, 0).await, &[]);
    assert!(matches!(store.activate(address, &activation).await.unwrap(), Activated::Lost));
    assert!(store.subscription(address.id).await.unwrap().is_none());
    publish(&*store, &topic, "e2").await;
    assert!(!is_due(&*store, address).await);
    assert!(store.claim(address, LONG, 9).await.unwrap().is_none());
    assert_eq!(say(&log(&*store, topic.key()).await), ["e", "e2"], "no socket is to be told");
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    assert_eq!((held.request, held.subscription, held.progress), (Some(request), None, Progress::default()));
}
