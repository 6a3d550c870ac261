//! Sessions, their logs, and the workers.

use std::{sync::Arc, time::Duration};

use harness::wait::{PATIENCE, eventually};
use shared::store::{
    Announced, Announcement, Commit, Committed, Gap, LogEntry, Once, Position, Retention, Revision, Snapshot,
    Store,
};
use tokio::task::JoinSet;

use crate::stores::{
    Kind, LONG, RETENTION, assert_chained, commit, event, is_due, log, open, open_alone, publish, revision,
    say, topic, verify, webhook,
};

pub async fn a_topic_never_seen_has_revision_0_and_no_fields(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t").key();
    store.ping().await.unwrap();
    assert_eq!(store.session(topic, None).await.unwrap(), (Snapshot::default(), false));
    let page = store.log(topic, Position::START, 10).await.unwrap();
    assert_eq!((page.entries.len(), page.head), (0, Position::START));
}

pub async fn a_commit_writes_and_deletes_fields_and_counts_those_that_do(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t").key();
    let write = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let rounds = [
        (1, vec![write("a", Some("1")), write("b", Some("ü\n\"{}"))]),
        (1, vec![]),
        (2, vec![write("a", None), write("c", Some("")), write("none", None)]),
        (3, vec![write("none", None)]),
    ];
    for (round, (counted, writes)) in rounds.into_iter().enumerate() {
        let before = revision(&*store, topic, 0).await;
        let commit = Commit { writes, ..commit(before, &format!("e{round}")) };
        let Committed::At { position, revision: after } = store.commit(topic, &commit).await.unwrap() else {
            panic!("not committed")
        };
        let (snapshot, _) = store.other.session(topic, None).await.unwrap();
        assert_eq!((snapshot.revision, snapshot.head), (after, position));
        assert_eq!(after.number, counted);
    }
    let (snapshot, _) = store.session(topic, None).await.unwrap();
    let fields: Vec<(&str, &str)> = snapshot.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(fields, [("b", "ü\n\"{}"), ("c", "")]);
}

pub async fn a_commit_that_holds_on_any_revision_meets_no_conflict(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    publish(&*store, &topic, "first").await;
    let before = store.session(topic.key(), None).await.unwrap().0;
    let event = Commit { revision: None, writes: Vec::new(), ..commit(Revision::NONE, "any") };
    let committed = store.commit(topic.key(), &event).await.unwrap();
    assert!(matches!(committed, Committed::At { revision, .. } if revision == before.revision));
    let after = store.session(topic.key(), None).await.unwrap().0;
    assert_eq!((after.revision, after.fields), (before.revision, before.fields));
    assert_eq!(say(&log(&*store, topic.key()).await), ["first", "any"]);
}

pub async fn a_commit_on_another_revision_changes_nothing_and_answers_the_session(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    publish(&*store, &topic, "first").await;
    let before = store.session(topic.key(), None).await.unwrap().0;
    for further in [-1, 1] {
        let revision = revision(&*store, topic.key(), further).await;
        let late = commit(revision, "late");
        let Committed::Conflict(session) = store.commit(topic.key(), &late).await.unwrap() else {
            panic!("no conflict")
        };
        assert_eq!(session, before);
        assert_eq!(store.session(topic.key(), Some(&late.once)).await.unwrap(), (before.clone(), false));
    }
    assert_eq!(say(&log(&*store, topic.key()).await), ["first"]);
}

pub async fn the_same_commit_happens_once_whatever_its_revision(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    for once in [Once::Request("same".into()), Once::Cause("same".into())] {
        let (session, is_known) = store.session(topic.key(), Some(&once)).await.unwrap();
        assert!(!is_known, "a request and a cause are not the same");
        let event = Commit { once: once.clone(), ..commit(session.revision, "e") };
        assert!(matches!(store.commit(topic.key(), &event).await.unwrap(), Committed::At { .. }));
        for revision in [session.revision, revision(&*store, topic.key(), 0).await] {
            let again = Commit { revision: Some(revision), ..event.clone() };
            assert!(matches!(
                store.other.commit(topic.key(), &again).await.unwrap(),
                Committed::Duplicate { .. }
            ));
        }
        assert!(store.session(topic.key(), Some(&once)).await.unwrap().1);
    }
    assert_eq!(log(&*store, topic.key()).await.len(), 2);
}

pub async fn a_request_is_recognised_for_the_time_of_resends_and_a_cause_longer(kind: Kind) {
    let store = open(kind, Retention { resend: Duration::from_millis(300), ..RETENTION }).await;
    let topic = topic("t").key();
    let (request, cause) = (Once::Request("r".into()), Once::Cause("c".into()));
    for once in [&cause, &request] {
        let event = Commit { once: once.clone(), ..commit(revision(&*store, topic, 0).await, "e") };
        assert!(matches!(store.commit(topic, &event).await.unwrap(), Committed::At { .. }));
    }
    eventually(PATIENCE, "the request is forgotten", || async {
        (!store.session(topic, Some(&request)).await.unwrap().1).then_some(())
    })
    .await
    .unwrap();
    let again = Commit { once: request, ..commit(revision(&*store, topic, 0).await, "e") };
    assert!(matches!(store.commit(topic, &again).await.unwrap(), Committed::At { .. }), "FC-REQ-05");
    assert!(store.session(topic, Some(&cause)).await.unwrap().1);
}

pub async fn an_announcement_is_made_once_for_as_far_as_it_goes(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let hook = verify(&*store, &webhook(&topic, "a")).await;
    let first = publish(&*store, &topic, "first").await;
    let second = publish(&*store, &topic, "second").await;
    let present = revision(&*store, topic.key(), 0).await;
    let announce = async |cause: &str, up_to: Position, revision: Revision, ids: [&str; 2]| {
        let (cause, entries) = (cause.into(), ids.map(event).into());
        let announcement = Announcement { cause, up_to, revision, entries };
        store.other.announce(topic.key(), &announcement).await.unwrap()
    };
    assert_eq!(announce("c", first, Revision::NONE, ["x", "y"]).await, Announced::Conflict);
    assert_eq!(announce("c", first, present, ["a", "b"]).await, Announced::Now { from: second });
    let further = log(&*store, topic.key()).await.last().unwrap().position;
    assert_eq!(announce("c", first, present, ["x", "y"]).await, Announced::Before { from: second });
    assert_eq!(
        announce("c", second, present, ["c", "d"]).await,
        Announced::Now { from: further },
        "it goes further"
    );
    assert_eq!(announce("c", first, Revision::NONE, ["x", "y"]).await, Announced::Before { from: further });
    let another = announce("other", first, present, ["e", "f"]).await;
    assert!(matches!(another, Announced::Now { .. }), "another cause");
    assert_eq!(revision(&*store, topic.key(), 0).await, present, "it is no change of the session");
    let entries = log(&*store, topic.key()).await;
    assert_eq!(say(&entries), ["first", "second", "a", "b", "c", "d", "e", "f"]);
    assert_chained(&entries);
    assert!(is_due(&*store, hook).await);
}

pub async fn topics_share_nothing(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let (here, there) = (topic("here"), topic("there"));
    publish(&*store, &here, "e").await;
    assert_eq!(store.session(there.key(), None).await.unwrap().0, Snapshot::default());
    publish(&*store, &there, "e").await;
    assert_eq!(log(&*store, here.key()).await.len(), 1);
}

pub async fn each_entry_names_its_predecessor_and_pages_join(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t");
    let ids: Vec<String> = (0..7).map(|number| format!("e{number}")).collect();
    let mut head = Position::START;
    for id in &ids {
        head = publish(&*store, &topic, id).await;
    }
    let (mut read, mut cursor) = (Vec::new(), Position::START);
    loop {
        let page = store.other.log(topic.key(), cursor, 3).await.unwrap();
        assert!(page.entries.len() <= 3 && page.head == head);
        assert_eq!(page.has_more, page.entries.len() == 3);
        let Some(last) = page.entries.last() else { break };
        cursor = last.position;
        read.extend(page.entries);
    }
    assert_eq!((say(&read), cursor), (ids, head));
    assert_chained(&read);
    assert_eq!(read[0].previous, Position::START);
    assert_eq!(read.iter().map(|entry| entry.revision.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
}

pub async fn positions_are_of_the_stores_clock(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let before = store.now().await.unwrap();
    let position = publish(&*store, &topic("t"), "e").await;
    let after = store.now().await.unwrap();
    assert!((before..=after).contains(&position.millis), "{before} {position} {after}");
}

pub async fn of_eight_writers_on_one_revision_one_wins(kind: Kind) {
    let store = open(kind, RETENTION).await;
    let topic = topic("t").key();
    for round in 0..20 {
        let before = revision(&*store, topic, 0).await;
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let store: Arc<dyn Store> = if writer % 2 == 0 { store.share() } else { store.other.clone() };
            let commit = commit(before, &format!("{round}/{writer}"));
            writers.spawn(async move { store.commit(topic, &commit).await.unwrap() });
        }
        let outcomes = writers.join_all().await;
        let won = outcomes.iter().filter(|outcome| matches!(outcome, Committed::At { .. })).count();
        assert_eq!(won, 1, "FC-CNT-05: {outcomes:?}");
        for outcome in outcomes {
            match outcome {
                Committed::At { revision, .. } => assert_eq!(revision.number, round + 1),
                Committed::Conflict(session) => assert_eq!(session.revision.number, round + 1),
                Committed::Duplicate { .. } | Committed::Refused(_) => panic!("each commit is its own"),
            }
        }
    }
    let entries = log(&*store, topic).await;
    assert_eq!(entries.len(), 20);
    assert_chained(&entries);
}

pub async fn a_log_is_trimmed_by_count_and_the_gap_can_be_seen(kind: Kind) {
    let store = open(kind, Retention { log_entries: 10, ..RETENTION }).await;
    let topic = topic("t");
    let mut head = Position::START;
    for number in 0..300 {
        head = publish(&*store, &topic, &format!("e{number}")).await;
    }
    let entries = log(&*store, topic.key()).await;
    assert!((10..=210).contains(&entries.len()), "roughly 10: {}", entries.len());
    assert_chained(&entries);
    assert_eq!(entries.last().unwrap().position, head);
    assert_ne!(entries[0].previous, Position::START);
    let page = store.log(topic.key(), Position::START, 1).await.unwrap();
    assert_eq!(page.gap, Some(Gap::Trimmed), "a reader at the start knows that it missed some");
    for known in [entries[0].previous, entries[0].position, head] {
        assert_eq!(store.log(topic.key(), known, 1).await.unwrap().gap, None, "{known}");
    }
}

pub async fn a_log_is_trimmed_by_bytes_and_the_gap_can_be_seen(kind: Kind) {
    const MOST: usize = 1 << 16;
    let store = open(kind, Retention { log_bytes: MOST, ..RETENTION }).await;
    let topic = topic("t");
    let large = "x".repeat(4000);
    let mut head = Position::START;
    for number in 0..100 {
        head = publish(&*store, &topic, &format!("{large}{number}")).await;
        let message = |entry: &Arc<LogEntry>| entry.entry.as_event().unwrap().message.get().len();
        let kept: usize = log(&*store, topic.key()).await.iter().map(message).sum();
        assert!(kept <= MOST, "{kept} after {number}");
    }
    let entries = log(&*store, topic.key()).await;
    assert!(entries.len() > 4, "no more than needed: {}", entries.len());
    assert_chained(&entries);
    assert_eq!(entries.last().unwrap().position, head);
    let page = store.log(topic.key(), Position::START, 1).await.unwrap();
    assert_eq!(page.gap, Some(Gap::Trimmed), "a reader at the start knows that it missed some");
    let huge = publish(&*store, &topic, &"y".repeat(2 * MOST)).await;
    let entries = log(&*store, topic.key()).await;
    assert_eq!(entries.last().unwrap().position, huge, "the last one stays");
    assert_eq!(entries.len(), 1);
}

pub async fn a_log_is_trimmed_by_age_and_its_head_stays(kind: Kind) {
    let store = open(kind, Retention { log: Duration::from_millis(500), ..RETENTION }).await;
    let topic = topic("t");
    let mut head = Position::START;
    for number in 0..210 {
        head = publish(&*store, &topic, &format!("e{number}")).await;
    }
    crate::stores::clock_passes(&*store, head.millis + 500).await;
    assert_eq!(
        store.session(topic.key(), None).await.unwrap().0.head,
        head,
        "whatever has become of the log"
    );
    publish(&*store, &topic, "late").await;
    assert_eq!(store.log(topic.key(), head, 1).await.unwrap().gap, None, "it has missed nothing");
    let entries = log(&*store, topic.key()).await;
    assert!(entries.len() < 210, "roughly those of the last half second: {}", entries.len());
    assert_eq!(say(&entries).last().unwrap(), "late");
    assert_chained(&entries);
    assert_ne!(entries[0].previous, Position::START);
}

pub async fn the_living_workers_are_known_to_all(kind: Kind) {
    let store = open_alone(kind, RETENTION).await;
    assert_eq!(store.register_worker("b", LONG).await.unwrap(), ["b"]);
    assert_eq!(store.other.register_worker("a", LONG).await.unwrap(), ["a", "b"]);
    assert_eq!(
        store.register_worker("b", Duration::from_millis(1)).await.unwrap(),
        ["a", "b"],
        "it is alive now"
    );
    eventually(PATIENCE, "b counts as dead", || async {
        (store.register_worker("c", LONG).await.unwrap() == ["a", "c"]).then_some(())
    })
    .await
    .unwrap();
}
