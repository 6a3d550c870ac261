//! WebSocket subscriptions whose subscriber is away, or whose lease is over.

use std::time::Duration;

use shared::{
    protocol::webhook::Mode,
    session::{EntryKind, SubscriptionChange},
    store::{Connection, Departure, Parting, Position, Subscribed, Subscription},
};

use crate::{
    callback::{Callback, Reply},
    system::{System, until},
};

const GRACE: Duration = Duration::from_secs(2);

fn connection() -> Connection {
    Connection { node: "node".into(), id: "connection".into() }
}

fn system() -> System {
    System::with(|settings| settings.reconnect_grace_secs = GRACE.as_secs())
}

async fn leave(system: &System, subscription: &Subscription, parting: Parting) {
    let departure = Departure { parting, grace: GRACE, look_after: Duration::from_millis(100) };
    system.store.detach(subscription.address(), &connection(), departure).await.unwrap();
}

async fn has_ended(system: &System, subscription: &Subscription) -> bool {
    let address = subscription.address();
    !system.exists(address).await && system.store.attach(address, &connection()).await.unwrap().is_none()
}

/// What the SyncErrors say.
async fn said(system: &System) -> Vec<String> {
    system.sync_errors().await.into_iter().map(|(_, diagnostics)| diagnostics).collect()
}

#[actix_rt::test]
async fn who_is_lost_is_reported_for_each_event_in_time_and_at_the_end_of_its_grace() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let (one, other) = (system.start(), system.start());
    system.publish("Patient-open", "1").await;
    leave(&system, &subscription, Parting::Lost).await;
    system.publish("Patient-open", "2").await;
    system.publish("syncerror", "e").await;
    until("FC-NOT-04: both are reported in time", || async { system.reported().await == ["1", "2"] }).await;
    assert!(system.exists(subscription.address()).await, "FC-NOT-04: its grace still runs");
    until("FC-NOT-06: it is unsubscribed", || has_ended(&system, &subscription)).await;
    until("FC-NOT-04: its absence is told", || async { said(&system).await.len() > 2 }).await;
    system.settled().await;
    let said = said(&system).await;
    assert_eq!(said.len(), 3, "FC-NOT-04, FC-NOT-05: one for each cause: {said:?}");
    assert!(said[2].contains("Viewer has lost its connection"), "FC-NOT-03: {said:?}");
    assert_eq!(system.reported().await[2], "Viewer", "it is about no event");
    one.stop().await;
    other.stop().await;
}

#[actix_rt::test]
async fn who_said_goodbye_is_not_reported() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    system.publish("Patient-open", "1").await;
    leave(&system, &subscription, Parting::Left).await;
    until("its subscription ends", || has_ended(&system, &subscription)).await;
    assert!(said(&system).await.is_empty(), "FC-NOT-05");
    worker.stop().await;
}

#[actix_rt::test]
async fn who_was_sent_away_is_reported_for_what_it_missed_only() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    leave(&system, &subscription, Parting::SentAway).await;
    system.publish("Patient-open", "1").await;
    until("FC-NOT-04: in time", || async { system.reported().await == ["1"] }).await;
    until("its subscription ends", || has_ended(&system, &subscription)).await;
    assert_eq!(system.reported().await, ["1"], "FC-NOT-05: not for the close itself");
    worker.stop().await;
}

#[actix_rt::test]
async fn who_comes_back_is_looked_after_no_longer() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    leave(&system, &subscription, Parting::Lost).await;
    let attached = system.store.attach(subscription.address(), &connection()).await.unwrap();
    assert!(attached.is_some());
    let watched = system.connect(&Connection { node: "node".into(), id: "other".into() }, 3600).await;
    system.store.end_websocket(watched.address(), None, "-").await.unwrap();
    system.publish("Patient-open", "1").await;
    actix_rt::time::sleep(GRACE + Duration::from_millis(300)).await;
    assert!(said(&system).await.is_empty(), "FC-NOT-04: its hub looks after it");
    assert!(system.exists(subscription.address()).await, "FC-WSC-08");
    worker.stop().await;
}

#[actix_rt::test]
async fn a_grace_that_ended_while_no_worker_ran_fires_once() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    leave(&system, &subscription, Parting::Lost).await;
    actix_rt::time::sleep(GRACE).await;
    let (one, other) = (system.start(), system.start());
    until("FC-NOT-04: it is told", || async { !said(&system).await.is_empty() }).await;
    system.settled().await;
    assert!(has_ended(&system, &subscription).await, "FC-NOT-06");
    assert_eq!(said(&system).await.len(), 1, "FC-NOT-04: by one of them");
    one.stop().await;
    other.stop().await;
}

#[actix_rt::test]
async fn a_lease_that_is_over_ends_the_subscription_under_its_socket() {
    let system = system();
    let subscription = system.connect(&connection(), 1).await;
    let worker = system.start();
    until("FC-SUB-07: it ends", || has_ended(&system, &subscription)).await;
    system.settled().await;
    let page = system.store.log(system.topic.key(), Position::START, 9).await.unwrap();
    let ended = page.entries.iter().filter_map(|entry| match &entry.entry.kind {
        EntryKind::Subscription(SubscriptionChange::Ended { id, reason }) => Some((*id, reason.clone())),
        _ => None,
    });
    let ended: Vec<_> = ended.collect();
    assert_eq!(ended, [(subscription.id, "lease expired".to_owned())], "FC-SUB-07, FC-SUB-10");
    assert!(said(&system).await.is_empty());
    worker.stop().await;
}

#[actix_rt::test]
async fn the_sockets_of_a_dead_node_count_as_lost() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    system.store.register_node("node", Duration::from_millis(500)).await.unwrap();
    system.publish("Patient-open", "1").await;
    until("FC-NOT-04: what it has not confirmed is reported", || async { system.reported().await == ["1"] })
        .await;
    until("FC-NOT-06: it is unsubscribed", || has_ended(&system, &subscription)).await;
    system.settled().await;
    assert_eq!(said(&system).await.len(), 2, "FC-NOT-04");
    assert!(system.store.lapsed_nodes().await.unwrap().is_empty());
    worker.stop().await;
}

#[actix_rt::test]
async fn a_node_that_lives_keeps_its_sockets() {
    let system = system();
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    for _ in 0..30 {
        system.store.register_node("node", Duration::from_millis(300)).await.unwrap();
        actix_rt::time::sleep(Duration::from_millis(100)).await;
    }
    let held = system.store.end_websocket(subscription.address(), None, "-").await.unwrap();
    assert_eq!(held, Subscribed::Accepted);
    assert!(said(&system).await.is_empty());
    worker.stop().await;
}

/// Longer than the test: nothing is overdue, what is owed is told at the end.
fn patient(grace_secs: u64) -> System {
    System::with(|settings| {
        settings.ack_timeout_secs = 600;
        settings.reconnect_grace_secs = grace_secs;
    })
}

#[actix_rt::test]
async fn who_was_sent_away_and_does_not_come_back_is_reported_for_all_that_it_missed() {
    let system = patient(1);
    let subscription = system.connect(&connection(), 3600).await;
    let worker = system.start();
    let departure =
        Departure { parting: Parting::SentAway, grace: Duration::from_secs(1), look_after: Duration::ZERO };
    system.store.detach(subscription.address(), &connection(), departure).await.unwrap();
    system.publish("Patient-open", "1").await;
    system.publish("Patient-open", "2").await;
    until("FC-NOT-04: both", || async { system.reported().await == ["1", "2"] }).await;
    until("its subscription ends", || has_ended(&system, &subscription)).await;
    worker.stop().await;
}

#[actix_rt::test]
async fn what_a_callback_has_not_got_when_its_lease_ends_is_reported() {
    let system = patient(1);
    let callback = Callback::start(|_| Reply::status(503));
    let mut subscription = system.subscription(&callback.url("/"), "*");
    subscription.terms.lease_secs = 1;
    let worker = system.start();
    let address = system.request(Mode::Subscribe, &subscription).await;
    until("it is in force", || system.exists(address)).await;
    system.publish("Patient-open", "1").await;
    until("FC-WHK-04: given up with the lease", || async { system.reported().await == ["1"] }).await;
    until("FC-SUB-07: it ends", || async { !system.exists(address).await }).await;
    worker.stop().await;
}
