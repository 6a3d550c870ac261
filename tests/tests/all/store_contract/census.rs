//! What there is is counted.

use shared::{
    protocol::webhook::Mode,
    store::{
        Address, Census,
        census::{Counted, Kind as Sort},
    },
};

use super::webhooks::claim;
use crate::stores::{
    ALL_PARTITIONS, Kind, LONG, PARTITIONS, RETENTION, clock_passes, connection, lost, open_alone, publish,
    request, socket, topic, verify, webhook,
};

pub async fn every_subscription_is_counted_as_what_it_is_in_its_partition(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    let topic = topic("t");
    let [new, held, gone] = [socket(&topic), socket(&topic), socket(&topic)];
    for each in [&new, &held, &gone] {
        store.subscribe_websocket(each, 9).await.unwrap();
    }
    for each in [&held, &gone] {
        store.attach(each.address(), &connection("c")).await.unwrap().unwrap();
    }
    store.detach(gone.address(), &connection("c"), lost(LONG)).await.unwrap();
    let callback = verify(&*store, &webhook(&topic, "a")).await;

    let census = store.other.census(&ALL_PARTITIONS).await.unwrap();
    assert_eq!(census.len(), usize::from(PARTITIONS));
    let here = topic.key().partition(PARTITIONS);
    for Census { partition, subscriptions, .. } in &census {
        assert!(*partition == here || subscriptions.is_empty(), "{partition}: {subscriptions:?}");
    }
    let of_it = census.iter().find(|census| census.partition == here).unwrap();
    let mut found: Vec<(Address, Sort)> = of_it.subscriptions.iter().map(|c| (c.address, c.kind)).collect();
    let mut expected = vec![
        (new.address(), Sort::Away),
        (held.address(), Sort::Connected),
        (gone.address(), Sort::Away),
        (callback, Sort::Webhook),
    ];
    found.sort_by_key(|(address, _)| address.id);
    expected.sort_by_key(|(address, _)| address.id);
    assert_eq!(found, expected);
    assert!(!of_it.subscriptions.contains(&Counted { address: callback, kind: Sort::Away }));
}

pub async fn what_is_due_is_listed_with_its_age_until_it_is_claimed(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    let topic = topic("t");
    let [first, second] = [webhook(&topic, "a"), webhook(&topic, "b")];
    let first = verify(&*store, &first).await;
    let here = [topic.key().partition(PARTITIONS)];
    let census = async || store.census(&here).await.unwrap().remove(0);
    let Census { due, due_count, .. } = census().await;
    assert_eq!((due, due_count), (vec![], 0));

    publish(&*store, &topic, "e").await;
    clock_passes(&*store, store.now().await.unwrap() + 50).await;
    store.request_webhook(&request(Mode::Subscribe, &second), 9).await.unwrap();
    let Census { due, due_count, later, .. } = census().await;
    assert_eq!(due_count, 2);
    let listed: Vec<Address> = due.iter().map(|(address, _)| *address).collect();
    assert_eq!((listed, later), (vec![first, second.address()], 0), "the longest first");
    assert!(due[0].1.as_millis() >= 50 && due[0].1 > due[1].1, "{due:?}");

    claim(&*store, first).await;
    let Census { due, due_count, later, .. } = census().await;
    assert_eq!((due.len(), due_count, later), (1, 1, 1), "one is held");
}
