//! WebSocket subscriptions that nobody holds, leases that are over, and nodes that are no more (FC-NOT-04, FC-SUB-07).

use std::time::Duration;

use shared::{
    protocol::Topic,
    store::{Address, Claim, Connection, CursorMove, Departure, Parting, Release, Store, Subscribed},
};

use crate::stores::{
    ALL_PARTITIONS, Kind, LONG, RETENTION, clock_passes, connection, first_reading, is_due, log, open,
    open_alone, publish, revision, say, socket, topic,
};

async fn connect(store: &dyn Store, topic: &Topic, connection: &Connection) -> Address {
    let subscription = socket(topic);
    store.subscribe_websocket(&subscription, 100).await.unwrap();
    let address = subscription.address();
    let attached = store.attach(address, connection).await.unwrap().unwrap();
    let revision = attached.cursor.unwrap_err().revision;
    store.activate(address, &first_reading(connection, revision, &[])).await.unwrap();
    address
}

fn departure(parting: Parting, look_after: Duration) -> Departure {
    Departure { parting, grace: LONG, look_after }
}

async fn leave(store: &dyn Store, address: Address, connection: &Connection, parting: Parting) {
    store.detach(address, connection, departure(parting, Duration::ZERO)).await.unwrap();
}

async fn claim(store: &dyn Store, address: Address) -> Option<Claim> {
    store.claim(address, LONG, 9).await.unwrap()
}

pub async fn who_is_away_is_due_and_claimed_with_what_it_misses(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let address = connect(&*store, &topic, &connection).await;
    publish(&*store, &topic, "e1").await;
    assert!(claim(&*store, address).await.is_none(), "a hub looks after it");
    store.detach(address, &connection, departure(Parting::Lost, LONG)).await.unwrap();
    assert!(!is_due(&*store, address).await, "not yet");
    assert!(store.attach(address, &connection).await.unwrap().is_some());
    let now = store.now().await.unwrap();
    leave(&*store, address, &connection, Parting::SentAway).await;
    assert!(is_due(&*store.other, address).await, "FC-NOT-04");
    let held = claim(&*store.other, address).await.unwrap();
    let absence = held.absence.unwrap();
    assert_eq!(absence.parting, Parting::SentAway);
    assert!(absence.since >= now && absence.until > now, "{absence:?}");
    assert!(absence.until <= absence.since + LONG.as_millis() as u64, "{absence:?}");
    assert_eq!(say(&held.entries), ["e1"]);
    assert!(!held.is_over() && claim(&*store, address).await.is_none(), "one at a time");

    let mut progress = held.progress.clone();
    progress.reported = held.entries[0].position;
    assert!(store.settle(&held, &progress, None, Release::After(Duration::ZERO)).await.unwrap());
    let again = claim(&*store, address).await.unwrap();
    assert_eq!((again.progress, again.absence), (progress, Some(absence)), "it is kept for the next claim");
}

pub async fn why_it_is_away_is_kept(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    for parting in [Parting::Left, Parting::SentAway, Parting::Lost] {
        let address = connect(&*store, &topic, &connection).await;
        leave(&*store, address, &connection, parting).await;
        assert_eq!(claim(&*store, address).await.unwrap().absence.unwrap().parting, parting);
    }
}

pub async fn who_comes_back_is_due_no_more_and_voids_the_claim(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let address = connect(&*store, &topic, &connection).await;
    leave(&*store, address, &connection, Parting::Lost).await;
    let held = claim(&*store, address).await.unwrap();
    assert!(store.attach(address, &connection).await.unwrap().is_some(), "FC-WSC-08");
    assert!(!store.settle(&held, &held.progress, None, Release::End("too late")).await.unwrap());
    assert!(!is_due(&*store, address).await && claim(&*store, address).await.is_none());
    assert!(store.subscription(address.id).await.unwrap().is_some());
}

pub async fn who_subscribes_again_while_away_has_its_grace_anew(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let address = connect(&*store, &topic, &connection).await;
    leave(&*store, address, &connection, Parting::Lost).await;
    let held = claim(&*store, address).await.unwrap();
    clock_passes(&*store, held.now + 5).await;
    let mut renewed = socket(&topic);
    renewed.id = address.id;
    store.renew_websocket(&renewed, LONG).await.unwrap();
    assert!(!store.settle(&held, &held.progress, None, Release::End("too late")).await.unwrap(), "FC-SUB-04");
    assert!(store.attach(address, &connection).await.unwrap().is_some());
}

pub async fn what_ends_while_away_is_gone_and_nobody_is_told(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let address = connect(&*store, &topic, &connection).await;
    leave(&*store, address, &connection, Parting::Lost).await;
    let held = claim(&*store, address).await.unwrap();
    assert!(store.settle(&held, &held.progress, None, Release::End("gone")).await.unwrap(), "FC-NOT-06");
    assert!(store.subscription(address.id).await.unwrap().is_none());
    assert!(store.attach(address, &connection).await.unwrap().is_none());
    assert_eq!(store.end_websocket(address, None, "again").await.unwrap(), Subscribed::Unknown);
    assert!(!is_due(&*store, address).await && log(&*store, topic.key()).await.is_empty());
}

pub async fn a_lease_that_is_over_is_due_under_its_socket_and_its_node_hears_of_the_end(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let address = connect(&*store, &topic, &connection).await;
    let mut short = socket(&topic);
    (short.id, short.terms.lease_secs) = (address.id, 1);
    store.renew_websocket(&short, LONG).await.unwrap();
    assert!(!is_due(&*store, address).await);
    clock_passes(&*store, store.now().await.unwrap() + 1000).await;
    assert!(is_due(&*store.other, address).await, "FC-SUB-07");
    let held = claim(&*store.other, address).await.unwrap();
    assert!(held.is_over() && held.absence.is_none());
    assert!(store.other.settle(&held, &held.progress, None, Release::End("lease expired")).await.unwrap());
    let said = say(&log(&*store, topic.key()).await);
    let id = address.id;
    let ended = format!(r#"{{"v":2,"subscription":{{"ended":{{"id":"{id}","reason":"lease expired"}}}}}}"#);
    assert_eq!(said.last(), Some(&ended), "FC-SUB-07, FC-SUB-10");
    assert!(!is_due(&*store, address).await);
}

pub async fn a_grace_does_not_outlive_the_lease(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let mut short = socket(&topic);
    short.terms.lease_secs = 2;
    store.subscribe_websocket(&short, 9).await.unwrap();
    let address = short.address();
    store.attach(address, &connection).await.unwrap().unwrap();
    leave(&*store, address, &connection, Parting::Lost).await;
    let held = claim(&*store, address).await.unwrap();
    assert!(held.absence.unwrap().until <= held.lease_end, "{held:?}");
}

pub async fn whether_a_subscriber_answers_is_kept(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, one, other) = (topic("t"), connection("one"), connection("other"));
    let address = connect(&*store, &topic, &one).await;
    let head = publish(&*store, &topic, "e").await;
    let save = async |connection: &Connection, answers| {
        let moved = CursorMove { address, connection: connection.clone(), cursor: head, answers };
        store.save_cursors(std::slice::from_ref(&moved)).await.unwrap()
    };
    assert_eq!(save(&one, false).await, [true]);
    assert!(!store.attach(address, &one).await.unwrap().unwrap().answers);
    assert_eq!(save(&one, true).await, [true]);
    assert_eq!(save(&one, false).await, [true]);
    assert!(store.attach(address, &other).await.unwrap().unwrap().answers, "FC-NOT-04");
    assert_eq!(save(&one, true).await, [false], "it holds it no longer");
}

pub async fn who_begins_anew_reads_from_the_head(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, one, other) = (topic("t"), connection("one"), connection("other"));
    let address = connect(&*store, &topic, &one).await;
    let head = publish(&*store, &topic, "e").await;
    let mut anew = first_reading(&one, revision(&*store, address.topic, 0).await, &["told", "open"]);
    anew.is_restart = true;
    let mut by_another = first_reading(&other, revision(&*store, address.topic, 0).await, &[]);
    by_another.is_restart = true;
    assert!(matches!(store.activate(address, &by_another).await.unwrap(), shared::store::Activated::Lost));
    match store.activate(address, &anew).await.unwrap() {
        shared::store::Activated::From(cursor) => assert_eq!(cursor, head),
        other => panic!("{other:?}"),
    }
    assert_eq!(say(&log(&*store, topic.key()).await), ["e", "told", "open"]);
    assert_eq!(store.attach(address, &one).await.unwrap().unwrap().cursor, Ok(head));
}

pub async fn a_node_is_alive_as_long_as_it_says_so(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    let moment = Duration::from_millis(100);
    assert!(!store.register_node("node", LONG).await.unwrap(), "it was not known");
    assert!(store.other.register_node("node", moment).await.unwrap());
    assert!(store.lapsed_nodes().await.unwrap().is_empty());
    clock_passes(&*store, store.now().await.unwrap() + 100).await;
    assert_eq!(store.other.lapsed_nodes().await.unwrap(), ["node"]);
    assert!(!store.register_node("node", LONG).await.unwrap(), "it counted as dead");
    assert!(store.lapsed_nodes().await.unwrap().is_empty());
}

pub async fn what_a_dead_node_held_is_let_go_of(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    let topics = ["t1", "t2", "t3"].map(topic);
    let dead = |id: &str| Connection { node: "dead".into(), id: id.into() };
    let living = |id: &str| Connection { node: "living".into(), id: id.into() };
    let orphan = connect(&*store, &topics[0], &dead("a")).await;
    let other = connect(&*store, &topics[1], &living("b")).await;
    let taken_over = connect(&*store, &topics[2], &dead("c")).await;
    store.attach(taken_over, &living("d")).await.unwrap().unwrap();
    let ended = connect(&*store, &topics[0], &dead("e")).await;
    store.end_websocket(ended, None, "over").await.unwrap();
    store.register_node("dead", Duration::ZERO).await.unwrap();

    assert_eq!(store.other.orphan("dead", LONG).await.unwrap(), 1);
    assert!(is_due(&*store, orphan).await, "FC-NOT-04");
    assert_eq!(claim(&*store, orphan).await.unwrap().absence.unwrap().parting, Parting::Lost);
    assert!(claim(&*store, other).await.is_none() && claim(&*store, taken_over).await.is_none());
    assert!(store.lapsed_nodes().await.unwrap().is_empty(), "it is forgotten");
    assert_eq!(store.orphan("dead", LONG).await.unwrap(), 0, "twice is harmless");
    store.register_node("living", LONG).await.unwrap();
    store.orphan("living", LONG).await.unwrap();
    assert!(store.register_node("living", LONG).await.unwrap(), "one that lives is not forgotten");
    let due = store.due(&ALL_PARTITIONS, 99).await.unwrap();
    assert!(due.contains(&other), "though what it held is let go of: {due:?}");
}
