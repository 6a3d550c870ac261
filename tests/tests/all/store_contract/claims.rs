//! Claims and the due set.

use std::time::Duration;

use harness::wait::{PATIENCE, eventually};
use shared::{
    protocol::{Topic, webhook::Mode},
    store::{Activated, Address, Progress, Release, Revision},
};

use super::webhooks::{ask, claim, read_up_to, settle};
use crate::stores::{
    ALL_PARTITIONS, Kind, LONG, PARTITIONS, RETENTION, clock_passes, commit, connection, first_reading,
    is_due, log, open, open_alone, publish, request, revision, say, socket, topic, verification, verify,
    webhook,
};

pub async fn a_commit_makes_due_who_is_idle_and_nobody_else(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
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
    store.commit(topic.key(), &commit(Revision::NONE, "late")).await.unwrap();
    store.commit(topic.key(), &commit(revision(&*store, topic.key(), 0).await, "e2")).await.unwrap();
    assert!(store.due(&ALL_PARTITIONS, 100).await.unwrap().is_empty());
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
        assert_eq!(claim.gap, None);
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
    let activation = verification(&first.token, &again, revision(&*store, address.topic, 0).await, &["open"]);
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
    let progress = Progress { cursor, attempts: 3, retry_at: held.now + 5000, reported, asked: 0 };
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
    let progress = Progress { attempts: 3, retry_at: held.now + 5000, asked: 2, ..Progress::default() };
    assert!(store.settle(&held, &progress, None, Release::After(Duration::ZERO)).await.unwrap());
    // A hold that is over at once, so that it can be claimed again.
    let held = store.claim(address, Duration::ZERO, 9).await.unwrap().unwrap();
    assert_eq!(held.progress, progress);
    store
        .activate(
            address,
            &verification(&held.token, &request, revision(&*store, address.topic, 0).await, &[]),
        )
        .await
        .unwrap();
    assert_eq!(claim(&*store, address).await.progress, read_up_to(head), "its deliveries begin anew");
}

pub async fn a_request_waits_for_its_pause_and_a_newer_one_does_not(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = webhook(&topic("t"), "a");
    let address = subscription.address();
    ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    let asked = Progress { asked: 2, ..Progress::default() };
    assert!(store.settle(&held, &asked, None, Release::After(LONG)).await.unwrap());
    assert!(!is_due(&*store, address).await, "FC-SEC-02: the same request waits");

    let newer = ask(&*store, Mode::Subscribe, &subscription).await;
    let held = claim(&*store, address).await;
    assert_eq!((&held.request, held.progress.asked), (&Some(newer), 0), "a newer one has its own tries");
    ask(&*store, Mode::Subscribe, &subscription).await;
    assert!(store.settle(&held, &asked, None, Release::After(LONG)).await.unwrap());
    assert!(is_due(&*store, address).await, "it came in since the claim");
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

pub async fn the_longest_due_comes_first_in_each_partition(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
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

pub async fn first_entries_and_changes_of_sockets_make_nobody_due(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let idle = verify(&*store, &webhook(&topic, "a")).await;
    let (subscription, first) = (socket(&topic), connection("first"));
    let address = subscription.address();
    store.subscribe_websocket(&subscription, 9).await.unwrap();
    store.attach(address, &first).await.unwrap().unwrap();
    store.activate(address, &first_reading(&first, Revision::NONE, &["open"])).await.unwrap();
    store.attach(address, &connection("second")).await.unwrap().unwrap();
    store.renew_websocket(&subscription, LONG).await.unwrap();
    store.end_websocket(address, None, "over").await.unwrap();
    assert_eq!(log(&*store, topic.key()).await.len(), 4);
    assert!(!is_due(&*store, idle).await);
    publish(&*store, &topic, "e").await;
    assert_eq!(claim(&*store, idle).await.entries.len(), 5, "it reads them with the next event");
}
