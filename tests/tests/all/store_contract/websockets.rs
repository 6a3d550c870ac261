//! WebSocket subscriptions: leases, connections, cursors.

use std::time::Duration;

use harness::wait::{PATIENCE, eventually};
use shared::{
    protocol::Topic,
    store::{
        Activated, Address, Connection, CursorMove, Position, Snapshot, Store, Subscribed, Subscription,
    },
};

use crate::stores::{
    Kind, LONG, RETENTION, assert_chained, clock_passes, connection, first_reading, is_due, log, lost, open,
    publish, revision, say, socket, terms, topic, verify, webhook,
};
use shared::store::Revision;

async fn subscribe(store: &dyn Store, topic: &Topic) -> Subscription {
    let subscription = socket(topic);
    assert_eq!(store.subscribe_websocket(&subscription, 100).await.unwrap(), Subscribed::Accepted);
    subscription
}

/// A subscription that this connection holds and has activated.
async fn connect(store: &dyn Store, topic: &Topic, connection: &Connection) -> (Address, Position) {
    let address = subscribe(store, topic).await.address();
    let attached = store.attach(address, connection).await.unwrap().unwrap();
    let revision = attached.cursor.unwrap_err().revision;
    match store.activate(address, &first_reading(connection, revision, &[])).await.unwrap() {
        Activated::From(cursor) => (address, cursor),
        other => panic!("{other:?}"),
    }
}

async fn save(store: &dyn Store, address: Address, connection: &Connection, cursor: Position) {
    store
        .save_cursors(&[CursorMove { address, connection: connection.clone(), cursor, answers: false }])
        .await
        .unwrap();
}

/// The cursor, as the connection that holds it would have it when it comes again.
async fn cursor(store: &dyn Store, address: Address, connection: &Connection) -> Result<Position, Snapshot> {
    store.attach(address, connection).await.unwrap().unwrap().cursor
}

async fn said(store: &dyn Store, topic: &Topic) -> Vec<String> {
    say(&log(store, topic.key()).await)
}

pub async fn a_subscription_is_found_by_its_id_with_its_lease(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = subscribe(&*store, &topic("t")).await;
    let (found, lease) = store.other.subscription(subscription.id).await.unwrap().unwrap();
    assert_eq!(found, subscription);
    assert!(lease <= LONG && lease > LONG - PATIENCE, "{lease:?}");
    assert!(store.subscription(socket(&topic("t")).id).await.unwrap().is_none());
}

pub async fn a_topic_has_no_more_than_its_limit(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (full, other) = (topic("full"), topic("other"));
    for expected in [Subscribed::Accepted, Subscribed::Accepted, Subscribed::TooMany] {
        assert_eq!(store.subscribe_websocket(&socket(&full), 2).await.unwrap(), expected);
    }
    assert_eq!(store.subscribe_websocket(&socket(&other), 2).await.unwrap(), Subscribed::Accepted);
    let refused = socket(&full);
    assert_eq!(store.subscribe_websocket(&refused, 2).await.unwrap(), Subscribed::TooMany);
    assert!(store.subscription(refused.id).await.unwrap().is_none());
}

pub async fn what_has_ended_leaves_its_place_to_another(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let first = subscribe(&*store, &topic).await;
    assert_eq!(store.subscribe_websocket(&socket(&topic), 1).await.unwrap(), Subscribed::TooMany);
    assert_eq!(store.end_websocket(first.address(), None, "over").await.unwrap(), Subscribed::Accepted);
    assert_eq!(store.subscribe_websocket(&socket(&topic), 1).await.unwrap(), Subscribed::Accepted);
}

pub async fn a_lease_that_is_over_ends_the_subscription(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let long = subscribe(&*store, &topic).await;
    assert!(store.attach(long.address(), &connection("c")).await.unwrap().is_some());
    let short = Subscription { terms: terms("*", 1), ..long };
    assert_eq!(store.renew_websocket(&short, LONG).await.unwrap(), Subscribed::Accepted);
    eventually(PATIENCE, "the lease ends", || async {
        store.subscription(short.id).await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
    assert!(store.attach(short.address(), &connection("c")).await.unwrap().is_none());
    assert_eq!(store.renew_websocket(&short, LONG).await.unwrap(), Subscribed::Unknown);
    let ended = store.end_websocket(short.address(), None, "over").await.unwrap();
    assert_eq!(ended, Subscribed::Unknown, "FC-SUB-09: what is over is told from none by nothing");
    assert_eq!(store.subscribe_websocket(&socket(&topic), 1).await.unwrap(), Subscribed::Accepted);
}

pub async fn renewing_replaces_the_terms_and_tells_who_holds_it(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = subscribe(&*store, &topic).await;
    publish(&*store, &topic, "e").await;
    let renewed = Subscription { terms: terms("Patient-open", 300), ..subscription.clone() };
    assert_eq!(store.renew_websocket(&renewed, LONG).await.unwrap(), Subscribed::Accepted);
    assert_eq!(store.subscription(subscription.id).await.unwrap().unwrap().0, renewed, "FC-SUB-04");
    assert_eq!(said(&*store, &topic).await, ["e"], "nobody is there to be told");

    store.attach(subscription.address(), &connection("c")).await.unwrap().unwrap();
    assert_eq!(store.other.renew_websocket(&subscription, LONG).await.unwrap(), Subscribed::Accepted);
    assert_eq!(store.subscription(subscription.id).await.unwrap().unwrap().0, subscription);
    let entries = log(&*store, topic.key()).await;
    let id = subscription.id;
    let change = format!(r#"{{"v":2,"subscription":{{"renewed":{{"id":"{id}"}}}}}}"#);
    assert_eq!(say(&entries), ["e", &change]);
    assert_chained(&entries);
    assert_eq!(entries[1].revision.number, 1, "it is no change of the session");
    assert_eq!(store.session(topic.key(), None).await.unwrap().0.revision.number, 1);
}

pub async fn renewing_gives_the_lease_anew(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let subscription = subscribe(&*store, &topic("t")).await;
    for secs in [60, 500] {
        let renewed = Subscription { terms: terms("*", secs), ..subscription.clone() };
        assert_eq!(store.renew_websocket(&renewed, LONG).await.unwrap(), Subscribed::Accepted);
        let (_, lease) = store.subscription(subscription.id).await.unwrap().unwrap();
        let whole = Duration::from_secs(secs);
        assert!(lease <= whole && lease > whole - PATIENCE, "{lease:?}");
    }
}

pub async fn what_is_not_there_cannot_be_renewed(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = subscribe(&*store, &topic).await;
    let elsewhere: Vec<Topic> = (0..10).map(|number| crate::stores::topic(&format!("t{number}"))).collect();
    let in_other_topics = elsewhere.into_iter().map(|topic| Subscription { topic, ..subscription.clone() });
    let callback = webhook(&topic, "a");
    verify(&*store, &callback).await;
    let of_a_webhook = Subscription { id: callback.id, ..subscription.clone() };
    for unknown in in_other_topics.chain([socket(&topic), of_a_webhook]) {
        assert_eq!(store.renew_websocket(&unknown, LONG).await.unwrap(), Subscribed::Unknown, "{unknown:?}");
    }
    assert_eq!(store.subscription(subscription.id).await.unwrap().unwrap().0, subscription);
    assert_eq!(
        store.end_websocket(subscription.address(), None, "over").await.unwrap(),
        Subscribed::Accepted
    );
    assert_eq!(store.renew_websocket(&subscription, LONG).await.unwrap(), Subscribed::Unknown);
}

pub async fn attaching_gives_the_session_until_there_is_a_cursor(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    publish(&*store, &topic, "e").await;
    let subscription = subscribe(&*store, &topic).await;
    let (address, connection) = (subscription.address(), connection("c"));
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    for _ in 0..2 {
        let attached = store.attach(address, &connection).await.unwrap().unwrap();
        assert_eq!(attached.subscription, subscription);
        assert!(attached.lease <= LONG && attached.lease > LONG - PATIENCE, "{:?}", attached.lease);
        assert_eq!(attached.cursor, Err(session.clone()));
    }
    store
        .activate(address, &first_reading(&connection, revision(&*store, address.topic, 0).await, &[]))
        .await
        .unwrap();
    assert_eq!(cursor(&*store, address, &connection).await, Ok(session.head));
    assert_eq!(said(&*store, &topic).await, ["e"], "the same connection replaces nobody");
}

pub async fn a_newer_connection_takes_over_and_the_older_is_told(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let address = subscribe(&*store, &topic).await.address();
    store.attach(address, &connection("first")).await.unwrap().unwrap();
    assert!(said(&*store, &topic).await.is_empty());
    let second = store.other.attach(address, &connection("second")).await.unwrap().unwrap();
    let head = store.session(topic.key(), None).await.unwrap().0.head;
    assert_eq!(second.head, head, "the older one has lost it up to there");
    let id = address.id;
    let change = format!(r#"{{"v":2,"subscription":{{"replaced":{{"id":"{id}","connection":"first"}}}}}}"#);
    assert_eq!(said(&*store, &topic).await, [change], "FC-WSC-04");
    assert_eq!(store.session(topic.key(), None).await.unwrap().0.revision, Revision::NONE);
}

pub async fn what_is_not_there_cannot_be_attached(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let subscription = subscribe(&*store, &topic).await;
    let callback = webhook(&topic, "a");
    verify(&*store, &callback).await;
    let in_another_topic = Address { id: subscription.id, topic: crate::stores::topic("other").key() };
    for unknown in [socket(&topic).address(), callback.address(), in_another_topic] {
        assert!(store.attach(unknown, &connection("c")).await.unwrap().is_none(), "FC-WSC-02: {unknown:?}");
    }
}

pub async fn within_its_grace_a_subscription_is_taken_again(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let (first, second) = (connection("first"), connection("second"));
    let (address, _) = connect(&*store, &topic, &first).await;
    let grace = Duration::from_secs(3);
    store.detach(address, &first, lost(grace)).await.unwrap();
    let end_of_grace = store.now().await.unwrap() + 3000;
    assert!(store.attach(address, &second).await.unwrap().is_some());
    assert!(said(&*store, &topic).await.is_empty(), "there was nobody to replace");
    clock_passes(&*store, end_of_grace).await;
    assert!(store.attach(address, &second).await.unwrap().is_some(), "the grace ended when it was taken");
}

pub async fn renewing_within_its_grace_ends_the_grace(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let (address, start) = connect(&*store, &topic, &connection).await;
    store.detach(address, &connection, lost(Duration::from_secs(3))).await.unwrap();
    let end_of_grace = store.now().await.unwrap() + 3000;
    let again = Subscription { id: address.id, ..socket(&topic) };
    assert_eq!(store.renew_websocket(&again, LONG).await.unwrap(), Subscribed::Accepted);
    clock_passes(&*store, end_of_grace).await;
    assert_eq!(cursor(&*store, address, &connection).await, Ok(start), "FC-SUB-04: it waits, as a new one");
}

pub async fn after_its_grace_a_subscription_is_lost(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (topic, connection) = (topic("t"), connection("c"));
    let (address, _) = connect(&*store, &topic, &connection).await;
    store.detach(address, &connection, lost(Duration::from_millis(50))).await.unwrap();
    clock_passes(&*store, store.now().await.unwrap() + 50).await;
    assert!(store.attach(address, &connection).await.unwrap().is_none());
    let again = Subscription { id: address.id, ..socket(&topic) };
    assert_eq!(
        store.renew_websocket(&again, LONG).await.unwrap(),
        Subscribed::Unknown,
        "202 would promise too much"
    );
}

pub async fn an_activation_appends_behind_its_cursor(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    publish(&*store, &topic, "e1").await;
    let head = publish(&*store, &topic, "e2").await;
    let connection = connection("c");
    let address = subscribe(&*store, &topic).await.address();
    store.attach(address, &connection).await.unwrap().unwrap();
    for further in [0, 0, -1] {
        let revision = revision(&*store, topic.key(), further).await;
        let activation = first_reading(&connection, revision, &["open1", "open2"]);
        match store.activate(address, &activation).await.unwrap() {
            Activated::From(cursor) => assert_eq!(cursor, head, "the first activation counts"),
            other => panic!("{other:?}"),
        }
        assert_eq!(said(&*store, &topic).await, ["e1", "e2", "open1", "open2"], "FC-SUB-08");
    }
    let after = store.log(topic.key(), head, 9).await.unwrap();
    assert_eq!(say(&after.entries), ["open1", "open2"]);
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    assert_eq!((session.revision.number, session.head), (2, after.entries[1].position));
    assert_chained(&log(&*store, topic.key()).await);
    assert_eq!(cursor(&*store, address, &connection).await, Ok(head));
}

pub async fn an_activation_on_another_revision_changes_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let connection = connection("c");
    let address = subscribe(&*store, &topic).await.address();
    store.attach(address, &connection).await.unwrap().unwrap();
    publish(&*store, &topic, "e").await;
    let (session, _) = store.session(topic.key(), None).await.unwrap();
    match store.activate(address, &first_reading(&connection, Revision::NONE, &["open"])).await.unwrap() {
        Activated::Conflict(snapshot) => assert_eq!(snapshot, session),
        other => panic!("{other:?}"),
    }
    assert_eq!(said(&*store, &topic).await, ["e"]);
    assert_eq!(cursor(&*store, address, &connection).await, Err(session));
}

pub async fn only_who_holds_it_activates(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let (first, second) = (connection("first"), connection("second"));
    let address = subscribe(&*store, &topic).await.address();
    let is_lost = async |connection: &Connection| {
        let activation = first_reading(connection, Revision::NONE, &["open"]);
        matches!(store.activate(address, &activation).await.unwrap(), Activated::Lost)
    };
    assert!(is_lost(&first).await, "nobody holds it");
    store.attach(address, &first).await.unwrap().unwrap();
    store.attach(address, &second).await.unwrap().unwrap();
    assert!(is_lost(&first).await, "another holds it");
    store.detach(address, &second, lost(LONG)).await.unwrap();
    assert!(is_lost(&second).await, "it has let go");
    store.attach(address, &second).await.unwrap().unwrap();
    store.end_websocket(address, None, "over").await.unwrap();
    assert!(is_lost(&second).await, "it has ended");
    assert!(!said(&*store, &topic).await.contains(&"open".to_owned()));
}

pub async fn a_cursor_moves_forward_only_and_not_before_the_activation(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let connection = connection("c");
    let mut positions = Vec::new();
    for id in ["e1", "e2", "e3"] {
        positions.push(publish(&*store, &topic, id).await);
    }
    let address = subscribe(&*store, &topic).await.address();
    store.attach(address, &connection).await.unwrap().unwrap();
    save(&*store, address, &connection, positions[1]).await;
    assert!(cursor(&*store, address, &connection).await.is_err(), "it has not been activated");

    let (address, start) = connect(&*store, &topic, &connection).await;
    let later = publish(&*store, &topic, "e4").await;
    save(&*store, address, &connection, positions[0]).await;
    assert_eq!(cursor(&*store, address, &connection).await, Ok(start));
    // As numbers, not as text; several at once, and one that is not there.
    let far = Position { sequence: later.sequence + 10, ..later };
    let near = Position { sequence: later.sequence + 9, ..far };
    let to = |address, cursor| CursorMove { address, connection: connection.clone(), cursor, answers: false };
    let moves =
        [to(socket(&topic).address(), later), to(address, later), to(address, far), to(address, near)];
    store.save_cursors(&moves).await.unwrap();
    assert_eq!(cursor(&*store, address, &connection).await, Ok(far));
    store.save_cursors(&[]).await.unwrap();
}

pub async fn an_older_connection_moves_nothing_and_lets_go_of_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let (first, second) = (connection("first"), connection("second"));
    let (address, start) = connect(&*store, &topic, &first).await;
    let later = publish(&*store, &topic, "e").await;
    assert_eq!(cursor(&*store, address, &second).await, Ok(start));
    save(&*store, address, &first, later).await;
    store.detach(address, &first, lost(Duration::ZERO)).await.unwrap();
    assert_eq!(cursor(&*store, address, &second).await, Ok(start), "it is neither moved nor let go");
    save(&*store, address, &second, later).await;
    assert_eq!(cursor(&*store, address, &second).await, Ok(later));
    store.detach(address, &second, lost(LONG)).await.unwrap();
    save(&*store, address, &second, publish(&*store, &topic, "e2").await).await;
    assert_eq!(cursor(&*store, address, &second).await, Ok(later), "who has let go moves nothing");
}

pub async fn ending_removes_it_and_tells_who_holds_it(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let unheld = subscribe(&*store, &topic).await.address();
    let (held, _) = connect(&*store, &topic, &connection("c")).await;
    let (detached, _) = connect(&*store, &topic, &connection("d")).await;
    store.detach(detached, &connection("d"), lost(LONG)).await.unwrap();
    let in_another_topic = Address { topic: crate::stores::topic("other").key(), ..held };
    assert_eq!(store.end_websocket(in_another_topic, None, "over").await.unwrap(), Subscribed::Unknown);
    for address in [unheld, detached, held] {
        assert_eq!(store.end_websocket(address, None, "\"over\"").await.unwrap(), Subscribed::Accepted);
        assert!(store.subscription(address.id).await.unwrap().is_none());
        assert!(store.attach(address, &connection("c")).await.unwrap().is_none(), "FC-SUB-09");
        assert_eq!(store.end_websocket(address, None, "over").await.unwrap(), Subscribed::Unknown);
    }
    let id = held.id;
    let change = format!(r#"{{"v":2,"subscription":{{"ended":{{"id":"{id}","reason":"\"over\""}}}}}}"#);
    assert_eq!(said(&*store, &topic).await, [change]);
}

pub async fn ending_a_websocket_touches_no_webhook(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let callback = webhook(&topic, "a");
    let address = verify(&*store, &callback).await;
    assert_eq!(store.end_websocket(address, None, "over").await.unwrap(), Subscribed::Unknown);
    assert_eq!(store.subscription(address.id).await.unwrap().unwrap().0, callback);
    publish(&*store, &topic, "e").await;
    assert!(is_due(&*store, address).await);
    assert_eq!(said(&*store, &topic).await, ["e"]);
}
