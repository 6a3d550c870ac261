//! The bells of topics and of due sets.

use std::{sync::Arc, time::Duration};

use harness::wait::PATIENCE;
use shared::{
    protocol::{Topic, TraceContext, webhook::Mode},
    store::{Committed, Listener, LogEntry, Rung},
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::stores::{
    Kind, LONG, Opened, PARTITIONS, RETENTION, assert_chained, commit, connection, first_reading, log, open,
    open_alone, publish, request, revision, say, socket, topic, webhook,
};
use shared::store::Revision;

/// How long a bell may take that may also be lost.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Opens a store whose bells can be heard: while their connection is made they may be lost.
async fn open_to_listen(kind: Kind) -> Opened {
    let opened = open(kind, RETENTION).await;
    for store in [&*opened, &*opened.other] {
        let warm_up = topic("warm-up");
        let mut listener = store.listen(warm_up.key()).await.unwrap();
        loop {
            publish(store, &warm_up, &Uuid::new_v4().to_string()).await;
            if let Ok(Rung::Entry(_)) = timeout(A_MOMENT, listener.next()).await {
                break;
            }
        }
    }
    opened
}

async fn next(listener: &mut Listener) -> Arc<LogEntry> {
    match timeout(PATIENCE, listener.next()).await.expect("the bell rings") {
        Rung::Entry(entry) => entry,
        Rung::Interrupted => panic!("nothing interrupts a listener that keeps up"),
    }
}

pub async fn an_entry_carries_its_trace_over_the_bell_and_into_the_log(kind: Kind) {
    let store = open_to_listen(kind).await;
    let topic = topic("t").key();
    let mut listener = store.other.listen(topic).await.unwrap();
    let traces =
        [TraceContext::new(u128::MAX, 1, 1, "vendor=1,a@b=2"), None, TraceContext::new(1, u64::MAX, 0, "")];
    for (number, trace) in traces.iter().enumerate() {
        let mut commit = commit(revision(&*store, topic, 0).await, &format!("e{number}"));
        commit.entry.set_trace(trace.clone());
        assert!(matches!(store.commit(topic, &commit).await.unwrap(), Committed::At { .. }));
        assert_eq!(next(&mut listener).await.entry.trace(), trace.as_ref());
    }
    let kept = log(&*store.other, topic).await;
    let kept: Vec<_> = kept.iter().map(|entry| entry.entry.trace().cloned()).collect();
    assert_eq!(kept, traces);
}

pub async fn every_entry_rings_once_in_order_in_every_process(kind: Kind) {
    let store = open_to_listen(kind).await;
    let topic = topic("t");
    let mut listeners = Vec::new();
    for process in [&*store, &*store.other, &*store, &*store.other] {
        listeners.push(process.listen(topic.key()).await.unwrap());
    }
    // No more than wait for a listener, since these listen only when all is said.
    let ids: Vec<String> = (0..20).map(|number| format!("e{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        publish(if number % 2 == 0 { &*store } else { &*store.other }, &topic, id).await;
    }
    let entries = log(&*store, topic.key()).await;
    for mut listener in listeners {
        let mut rung = Vec::new();
        for _ in &ids {
            rung.push(next(&mut listener).await);
        }
        assert_eq!(say(&rung), ids);
        assert_chained(&rung);
        let places = |entries: &[Arc<LogEntry>]| -> Vec<_> {
            entries.iter().map(|entry| (entry.position, entry.previous, entry.revision)).collect()
        };
        assert_eq!(places(&rung), places(&entries), "a bell brings what stands in the log");
    }
}

pub async fn a_bell_is_heard_in_its_topic_alone(kind: Kind) {
    let store = open_to_listen(kind).await;
    let (here, there) = (topic("here"), topic("there"));
    let mut listener = store.listen(here.key()).await.unwrap();
    publish(&*store, &there, "there").await;
    publish(&*store, &here, "here").await;
    assert_eq!(say([&next(&mut listener).await]), ["here"]);
}

pub async fn what_a_subscription_appends_rings_as_well(kind: Kind) {
    let store = open_to_listen(kind).await;
    let topic = topic("t");
    let mut listener = store.listen(topic.key()).await.unwrap();
    let (subscription, first) = (socket(&topic), connection("first"));
    let address = subscription.address();
    store.subscribe_websocket(&subscription, 9).await.unwrap();
    store.attach(address, &first).await.unwrap().unwrap();
    store.activate(address, &first_reading(&first, Revision::NONE, &["open"])).await.unwrap();
    store.renew_websocket(&subscription, LONG).await.unwrap();
    store.attach(address, &connection("second")).await.unwrap().unwrap();
    store.end_websocket(address, None, "over").await.unwrap();
    let mut rung = Vec::new();
    for _ in 0..4 {
        rung.push(next(&mut listener).await);
    }
    assert_eq!(say(&rung), say(&log(&*store, topic.key()).await));
    assert_chained(&rung);
}

pub async fn who_listens_too_slowly_is_told_to_read(kind: Kind) {
    let store = open_to_listen(kind).await;
    let topic = topic("t");
    let mut quick = store.listen(topic.key()).await.unwrap();
    let mut slow = store.listen(topic.key()).await.unwrap();
    for number in 0..600 {
        publish(&*store, &topic, &format!("e{number}")).await;
        next(&mut quick).await;
    }
    assert!(matches!(slow.next().await, Rung::Interrupted));
}

pub async fn what_becomes_due_rings_in_the_partitions_that_are_watched(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    let in_partition = |partition| {
        let mut topics = (0..).map(|number| topic(&format!("t{number}")));
        topics.find(|topic| topic.key().partition(PARTITIONS) == partition).unwrap()
    };
    let (watched, unwatched) = (in_partition(1), in_partition(2));
    let make_due = async |topic: &Topic| {
        let request = request(Mode::Subscribe, &webhook(topic, &Uuid::new_v4().to_string()));
        store.other.request_webhook(&request, 1000).await.unwrap();
    };
    let mut listener = store.due_listener();
    store.watch_due(&[1]).await.unwrap();
    // While the watching begins, bells may be lost.
    let mut rung = 0;
    loop {
        make_due(&watched).await;
        rung += 1;
        if let Ok(Some(partition)) = timeout(A_MOMENT, listener.next()).await {
            assert_eq!(partition, 1);
            break;
        }
    }
    make_due(&unwatched).await;
    for _ in 0..rung {
        make_due(&watched).await;
    }
    // The last of these rang after the unwatched partition would have.
    for _ in 0..rung {
        assert_eq!(timeout(PATIENCE, listener.next()).await.expect("the bell rings"), Some(1));
    }
}
