//! Webhook subscriptions: requests, claims, and the due set.

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
    ALL_PARTITIONS, Kind, LONG, PARTITIONS, RETENTION, clock_passes, commit, connection, first_reading,
    is_due, log, open, publish, request, say, socket, terms, topic, verification, verify, webhook,
};

async fn ask(store: &dyn Store, mode: Mode, subscription: &Subscription) -> WebhookRequest {
    let request = request(mode, subscription);
    assert_eq!(store.request_webhook(&request, 100).await.unwrap(), Subscribed::Accepted);
    request
}

async fn claim(store: &dyn Store, address: Address) -> Claim {
    store.claim(address, LONG, 100).await.unwrap().expect("it is due")
}

/// Gives a claim back as it was.
async fn settle(store: &dyn Store, claim: &Claim, release: Release) {
    assert!(store.settle(claim, &claim.progress, None, release).await.unwrap());
}

fn read_up_to(cursor: Position) -> Progress {
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
    assert_eq!((claim.address, claim.request, claim.subscription), (address, Some(request), None));
    assert_eq!((claim.lease, claim.progress, claim.entries.len()), (Duration::ZERO, Progress::default(), 0));
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
    let activation = verification(&held.token, &request, 1, &["open1", "open2"]);
    match store.activate(address, &activation).await.unwrap() {
        Activated::From(cursor) => assert_eq!(cursor, head),
        other => panic!("{other:?}"),
    }
    let (found, lease) = store.subscription(subscription.id).await.unwrap().unwrap();
    assert_eq!(found, subscription);
    assert!(lease <= LONG && lease > LONG - PATIENCE, "{lease:?}");
    assert_eq!(say(&log(&*store, topic.key()).await), ["e", "open1", "open2"], "FC-SUB-08");
    assert_eq!(store.session(topic.key(), None).await.unwrap().0.revision, 1);

    assert!(store.settle(&held, &read_up_to(head), None, Release::Idle).await.unwrap());
    let next = claim(&*store, address).await;
    assert_eq!(
        (next.subscription, next.request, next.progress),
        (Some(subscription), None, read_up_to(head))
    );
    assert_eq!(say(&next.entries), ["open1", "open2"]);
    assert!(next.lease <= LONG && next.lease > LONG - PATIENCE, "{:?}", next.lease);
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
    match store.activate(address, &verification(&held.token, &request, 0, &["open"])).await.unwrap() {
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
    match store.activate(address, &verification(&held.token, &request, 0, &["open"])).await.unwrap() {
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
    store.activate(address, &verification(&held.token, &older, 0, &[])).await.unwrap();
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
    assert!(store.end(webhook(&topic, "verified").address(), "over").await.unwrap());
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
    store.activate(address, &verification(&held.token, &begin, 0, &[])).await.unwrap();
    settle(&*store, &held, Release::Idle).await;

    ask(&*store, Mode::Subscribe, &subscription).await;
    assert_eq!(store.request_webhook(&end, 0).await.unwrap(), Subscribed::Accepted);
    assert!(store.subscription(address.id).await.unwrap().is_some(), "not before it is verified");
    assert_eq!(claim(&*store, address).await.request, Some(end), "the later request counts");
}

pub async fn a_commit_makes_due_who_is_idle_and_nobody_else(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let [idle, waiting, held] = ["idle", "waiting", "held"].map(|path| webhook(&topic, path));
    let elsewhere = verify(&*store, &webhook(&crate::stores::topic("other"), "a")).await;
    for each in [&idle, &waiting, &held] {
        verify(&*store, each).await;
    }
    publish(&*store, &topic, "e").await;
    settle(&*store, &claim(&*store, waiting.address()).await, Release::After(LONG)).await;
    claim(&*store, held.address()).await;
    let before = claim(&*store, idle.address()).await;
    let cursor = before.entries[0].position;
    assert!(store.settle(&before, &read_up_to(cursor), None, Release::Idle).await.unwrap());
    assert!(store.due(&ALL_PARTITIONS, 100).await.unwrap().is_empty());

    publish(&*store.other, &topic, "e2").await;
    assert_eq!(store.due(&ALL_PARTITIONS, 100).await.unwrap(), [idle.address()], "nor {elsewhere:?}");
    let before = claim(&*store, idle.address()).await;
    assert!(
        store.settle(&before, &read_up_to(before.entries[0].position), None, Release::Idle).await.unwrap()
    );
    // What is not committed makes nobody due.
    store.commit(topic.key(), &commit(0, "late")).await.unwrap();
    store.commit(topic.key(), &commit(2, "e2")).await.unwrap();
    assert!(store.due(&ALL_PARTITIONS, 100).await.unwrap().is_empty());
}

pub async fn first_entries_and_changes_of_sockets_make_nobody_due(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let idle = verify(&*store, &webhook(&topic, "a")).await;
    let (subscription, first) = (socket(&topic), connection("first"));
    let address = subscription.address();
    store.subscribe_websocket(&subscription, 9).await.unwrap();
    store.attach(address, &first).await.unwrap().unwrap();
    store.activate(address, &first_reading(&first, 0, &["open"])).await.unwrap();
    store.attach(address, &connection("second")).await.unwrap().unwrap();
    store.renew_websocket(&subscription).await.unwrap();
    store.end(address, "over").await.unwrap();
    assert_eq!(log(&*store, topic.key()).await.len(), 4);
    assert!(!is_due(&*store, idle).await);
    publish(&*store, &topic, "e").await;
    assert_eq!(claim(&*store, idle).await.entries.len(), 5, "it reads them with the next event");
}

pub async fn a_claim_reads_what_comes_after_the_cursor_up_to_its_bound(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    publish(&*store, &topic, "before").await;
    let address = verify(&*store, &webhook(&topic, "a")).await;
    for number in 0..5 {
        publish(&*store, &topic, &format!("e{number}")).await;
    }
    let mut read = Vec::new();
    while let Some(claim) = store.claim(address, LONG, 2).await.unwrap() {
        assert!(!claim.entries.is_empty() && claim.entries.len() <= 2);
        let cursor = claim.entries.last().unwrap().position;
        assert_eq!(claim.progress.cursor, claim.entries[0].previous);
        read.extend(say(&claim.entries));
        assert!(store.settle(&claim, &read_up_to(cursor), None, Release::Idle).await.unwrap());
    }
    assert_eq!(read, ["e0", "e1", "e2", "e3", "e4"]);
}

pub async fn a_claim_holds_until_its_time_is_over_and_the_next_makes_it_void(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    assert!(store.claim(address, LONG, 9).await.unwrap().is_none(), "it is not due");
    let head = publish(&*store, &topic, "e").await;
    let first = claim(&*store, address).await;
    assert!(!is_due(&*store, address).await);
    assert!(store.other.claim(address, LONG, 9).await.unwrap().is_none(), "it is held");
    settle(&*store, &first, Release::Hold(Duration::from_millis(50))).await;
    let second = eventually(PATIENCE, "the hold is over", || async {
        if !is_due(&*store.other, address).await {
            return None;
        }
        store.other.claim(address, LONG, 9).await.unwrap()
    })
    .await
    .unwrap();
    assert_ne!(first.token, second.token);
    assert_eq!(say(&second.entries), ["e"]);
    for release in [Release::Idle, Release::After(Duration::ZERO), Release::Hold(Duration::ZERO)] {
        assert!(!store.settle(&first, &read_up_to(head), None, release).await.unwrap());
    }
    let again = request(Mode::Subscribe, &subscription);
    let activation = verification(&first.token, &again, 1, &["open"]);
    assert!(matches!(store.activate(address, &activation).await.unwrap(), Activated::Lost));
    assert!(!is_due(&*store, address).await, "the second claim holds");
    settle(&*store, &second, Release::After(Duration::ZERO)).await;
    assert_eq!(claim(&*store, address).await.progress, second.progress, "the first has moved nothing");
    assert!(
        !store.settle(&second, &read_up_to(head), None, Release::Idle).await.unwrap(),
        "it was given back"
    );
}

pub async fn progress_is_kept_for_the_next_claim(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let address = verify(&*store, &webhook(&topic, "a")).await;
    let cursor = publish(&*store, &topic, "e").await;
    let reported = publish(&*store, &topic, "e2").await;
    let held = claim(&*store, address).await;
    let progress = Progress { cursor, attempts: 3, retry_at: held.now + 5000, reported };
    assert!(store.settle(&held, &progress, None, Release::After(Duration::ZERO)).await.unwrap());
    let next = claim(&*store.other, address).await;
    assert_eq!((&next.progress, say(&next.entries)), (&progress, vec!["e2".to_owned()]));
}

pub async fn the_tries_of_a_verification_are_kept_as_well(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let head = publish(&*store, &topic, "e").await;
    let subscription = webhook(&topic, "a");
    let address = subscription.address();
    let request = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let progress = Progress { attempts: 3, retry_at: held.now + 5000, ..Progress::default() };
    assert!(store.settle(&held, &progress, None, Release::After(Duration::ZERO)).await.unwrap());
    // A hold that is over at once, so that it can be claimed again.
    let held = store.claim(address, Duration::ZERO, 9).await.unwrap().unwrap();
    assert_eq!(held.progress, progress);
    store.activate(address, &verification(&held.token, &request, 1, &[])).await.unwrap();
    assert_eq!(claim(&*store, address).await.progress, read_up_to(head), "its deliveries begin anew");
}

pub async fn who_goes_idle_with_entries_left_is_due_at_once(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let address = verify(&*store, &webhook(&topic, "a")).await;
    let first = publish(&*store, &topic, "e1").await;
    let held = claim(&*store, address).await;
    let second = publish(&*store, &topic, "e2").await;
    assert!(!is_due(&*store, address).await, "a commit leaves a claim alone");
    assert!(store.settle(&held, &read_up_to(first), None, Release::Idle).await.unwrap());
    assert!(is_due(&*store, address).await);
    let held = claim(&*store, address).await;
    assert_eq!(say(&held.entries), ["e2"]);
    assert!(store.settle(&held, &read_up_to(second), None, Release::Idle).await.unwrap());
    assert!(!is_due(&*store, address).await);
}

pub async fn who_gives_back_for_later_is_due_then(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let address = verify(&*store, &webhook(&topic, "a")).await;
    publish(&*store, &topic, "e").await;
    let held = claim(&*store, address).await;
    let before = store.now().await.unwrap();
    settle(&*store, &held, Release::After(Duration::from_millis(500))).await;
    let next =
        eventually(PATIENCE, "the pause is over", || async { store.claim(address, LONG, 9).await.unwrap() })
            .await
            .unwrap();
    assert!(next.now >= before + 500, "{} {before}", next.now);
}

pub async fn who_holds_on_stays_the_holder(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let address = verify(&*store, &webhook(&topic, "a")).await;
    let head = publish(&*store, &topic, "e").await;
    let held = store.claim(address, Duration::from_millis(1), 9).await.unwrap().unwrap();
    settle(&*store, &held, Release::Hold(LONG)).await;
    clock_passes(&*store, held.now + 2).await;
    assert!(store.claim(address, LONG, 9).await.unwrap().is_none());
    assert!(store.settle(&held, &read_up_to(head), None, Release::Hold(Duration::ZERO)).await.unwrap());
    // Its time is over, and nobody else has come yet.
    assert!(store.settle(&held, &read_up_to(head), None, Release::Hold(Duration::ZERO)).await.unwrap());
    let next = claim(&*store, address).await;
    assert_eq!(next.progress, read_up_to(head));
    assert!(!store.settle(&held, &held.progress, None, Release::Idle).await.unwrap());
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
    assert!(!store.end(address, "over").await.unwrap());
    publish(&*store, &topic, "e2").await;
    assert!(!is_due(&*store, address).await);
    let other = crate::stores::request(Mode::Subscribe, &webhook(&topic, "b"));
    assert_eq!(store.request_webhook(&other, 1).await.unwrap(), Subscribed::Accepted, "its place is free");
}

pub async fn a_lease_that_is_over_leaves_nothing_to_deliver(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let short = Subscription { terms: terms("*", 1), ..webhook(&topic, "a") };
    let address = verify(&*store, &short).await;
    eventually(PATIENCE, "the lease ends", || async {
        store.subscription(short.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        store.request_webhook(&request(Mode::Unsubscribe, &short), 9).await.unwrap(),
        Subscribed::Unknown
    );
    publish(&*store, &topic, "e").await;
    let held = claim(&*store, address).await;
    assert_eq!((held.lease, held.entries.len()), (Duration::ZERO, 0));
    assert_eq!(held.subscription, Some(short), "FC-SUB-07: its worker knows whom to deny");
    assert!(store.end(address, "lease expired").await.unwrap());
}

pub async fn what_has_ended_is_gone_from_everywhere(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = webhook(&topic, "a");
    let address = verify(&*store, &subscription).await;
    publish(&*store, &topic, "e").await;
    let held = claim(&*store, address).await;
    let in_another_topic = Address { topic: crate::stores::topic("other").key(), ..address };
    assert!(!store.end(in_another_topic, "over").await.unwrap());
    assert!(store.end(address, "over").await.unwrap());
    assert!(!store.end(address, "over").await.unwrap());
    assert!(!store.settle(&held, &held.progress, None, Release::After(Duration::ZERO)).await.unwrap());
    let again = request(Mode::Subscribe, &subscription);
    let activation = verification(&held.token, &again, 1, &[]);
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

pub async fn the_longest_due_comes_first_in_each_partition(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topics: Vec<Topic> = (0..20).map(|number| topic(&format!("t{number}"))).collect();
    let partition = |topic: &Topic| topic.key().partition(PARTITIONS);
    let mut asked = Vec::new();
    for topic in &topics {
        let subscription = webhook(topic, "a");
        ask(&*store, Mode::Subscribe, &subscription).await;
        asked.push(subscription.address());
        clock_passes(&*store, store.now().await.unwrap()).await;
    }
    for number in ALL_PARTITIONS {
        let expected: Vec<Address> = asked
            .iter()
            .zip(&topics)
            .filter(|(_, topic)| partition(topic) == number)
            .map(|(address, _)| *address)
            .collect();
        assert!(expected.len() >= 2, "these topics are in every partition");
        assert_eq!(store.due(&[number], 100).await.unwrap(), expected);
        assert_eq!(store.due(&[number], 1).await.unwrap(), expected[..1]);
    }
    assert_eq!(store.due(&ALL_PARTITIONS, 100).await.unwrap().len(), topics.len());
    assert_eq!(store.due(&ALL_PARTITIONS, 1).await.unwrap().len(), 4, "the limit is for each");
    assert!(store.due(&[], 100).await.unwrap().is_empty());
}
