//! Redis comes back without the last of what it had acknowledged: that is never silent, and nothing takes the place
//! of what is lost unnoticed.
//!
//! A server that was told to save, was written to, and is killed, has gone back in time, as a replica has that takes
//! over before it had everything.

use std::sync::Arc;

use harness::{
    callback_server::{CallbackServer, Gate, Reply},
    examples::fresh_topic,
    redis_server::{Durability, RedisServer},
    socket::{Listener, upgrade_status},
    system::System,
    wait::PATIENCE,
};
use serde_json::Value;
use shared::{
    protocol::Topic,
    store::{Committed, Gap, History, Position, Revision},
};

use crate::{
    messages::patient_open,
    setups::{Setup, code_of, confirmed, ids_at, sync_error_after},
    stores::{Kind, RETENTION, assert_chained, commit, log, open, publish, revision, say},
};

async fn save(redis: &RedisServer) {
    let mut connection = redis.connection().await.unwrap();
    redis::cmd("SAVE").query_async::<()>(&mut connection).await.unwrap();
}

fn is_loss(sync_error: &Value) -> bool {
    sync_error.to_string().contains("the hub has lost events")
        && code_of(sync_error, "subscriber") == "the hub"
}

/// The ids that a listener has got.
fn ids(listener: &Listener) -> Vec<String> {
    listener.seen(|seen| {
        seen.received.iter().filter_map(|received| Some(received.event()?.0.to_owned())).collect()
    })
}

/// Two hubs and a worker on a Redis that keeps only what it is told to save.
async fn forgetful() -> (Setup, CallbackServer) {
    let builder = System::builder().hubs(2).durability(Durability::None).set("retry.initial_secs", "0.1");
    (Setup::Cluster(Box::new(builder.start().await.unwrap())), CallbackServer::start().unwrap())
}

async fn go_back(setup: &mut Setup) {
    let Setup::Cluster(system) = setup else { unreachable!() };
    system.redis.single().kill().unwrap();
    system.redis.single().start_again().await.unwrap();
}

fn redis_of(setup: &Setup) -> &RedisServer {
    let Setup::Cluster(system) = setup else { unreachable!() };
    &system.redis.servers()[0]
}

#[tokio::test]
async fn whoever_has_seen_what_is_lost_is_told_so_and_sent_what_is_open() {
    let ((mut setup, server), topic) = (forgetful().await, fresh_topic());
    let here = setup.listener(&topic, "*").await;
    let there = confirmed(
        &setup.b().app().unwrap().subscribe_websocket(&topic, "Patient-open,syncerror", &[]).await.unwrap(),
    )
    .await;
    setup.webhook(&server, "/hook", &topic, "Patient-open,syncerror", &[]).await;
    setup.publish(&patient_open(&topic, "kept")).await;
    for listener in [&here, &there] {
        listener.wait_for_event(PATIENCE, "kept").await.unwrap();
    }
    server.wait_for_event(PATIENCE, "/hook", "kept").await.unwrap();
    save(redis_of(&setup)).await;
    setup.publish(&patient_open(&topic, "lost")).await;
    for listener in [&here, &there] {
        listener.wait_for_event(PATIENCE, "lost").await.unwrap();
    }
    server.wait_for_event(PATIENCE, "/hook", "lost").await.unwrap();

    go_back(&mut setup).await;
    let told = sync_error_after(&here, 0).await;
    assert!(is_loss(&told), "{told}");
    let error = told["id"].as_str().unwrap();
    server.wait_for_event(PATIENCE, "/hook", error).await.unwrap();
    setup.publish(&patient_open(&topic, "next")).await;
    server.wait_for_event(PATIENCE, "/hook", "next").await.unwrap();
    for listener in [&here, &there] {
        listener.wait_for_event(PATIENCE, "next").await.unwrap();
        let seen: Vec<String> =
            ids(listener).into_iter().filter(|id| !id.contains('-') || id == error).collect();
        assert_eq!(seen, ["kept", "lost", error, "kept", "next"]);
        assert_eq!(listener.seen(|seen| (seen.connections, seen.closed.len())), (1, 0), "it stays open");
    }
    // What the worker was about when Redis went back may come again; if it has sent what is lost, the callback is told
    // once more, in case it was told too early.
    let at_callback = ids_at(&server, "/hook");
    assert_eq!(at_callback[..2], ["kept", "lost"]);
    assert!(at_callback.iter().any(|id| id == error), "{at_callback:?}");
    let [.., told_last, open, next] = &at_callback[..] else { panic!("{at_callback:?}") };
    assert!(told_last.contains('-') && (&**open, &**next) == ("kept", "next"), "{at_callback:?}");
    for node in setup.nodes() {
        let context = node.app().unwrap().current_context(&topic).await.unwrap().body;
        assert!(context.contains("p-next"), "{context}");
    }
}

/// A callback has an event in its hands that Redis has lost, and does not answer before the gate opens.
async fn holding_what_is_lost() -> (Setup, CallbackServer, Gate) {
    let ((mut setup, server), topic) = (forgetful().await, fresh_topic());
    setup.webhook(&server, "/hook", &topic, "Patient-open,syncerror", &[]).await;
    setup.publish(&patient_open(&topic, "kept")).await;
    server.wait_for_event(PATIENCE, "/hook", "kept").await.unwrap();
    save(redis_of(&setup)).await;
    let gate = Gate::closed();
    let holds = gate.clone();
    server.on("/hook", move |request| {
        (request.json()["id"] == "lost").then(|| Reply::status(200).held_by(&holds))
    });
    setup.publish(&patient_open(&topic, "lost")).await;
    server.wait_for_event(PATIENCE, "/hook", "lost").await.unwrap();
    go_back(&mut setup).await;
    (setup, server, gate)
}

#[tokio::test]
async fn a_loss_that_no_cursor_knows_of_is_told_by_the_hub_that_had_accepted_it() {
    let (_setup, server, _gate) = holding_what_is_lost().await;
    let told = server.wait_for(PATIENCE, "a SyncError, and what is open", |requests| {
        let mut messages =
            requests.iter().map(|request| request.json()).skip_while(|message| !is_loss(message));
        (messages.next().is_some() && messages.any(|message| message["id"] == "kept")).then_some(())
    });
    told.await.unwrap();
}

#[tokio::test]
async fn who_subscribed_to_what_is_lost_is_sent_away_and_finds_out() {
    let ((mut setup, _server), topic) = (forgetful().await, fresh_topic());
    save(redis_of(&setup)).await;
    let mut late = setup.listener(&topic, "*").await;
    go_back(&mut setup).await;
    assert_eq!(late.wait_closed(PATIENCE).await.unwrap(), Some(1001));
    let error = late.reconnect().await.unwrap_err();
    assert_eq!(upgrade_status(&error), Some(404), "FC-WSC-02: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_back_knows_no_position_and_no_revision_of_what_it_lost() {
    let mut store = open(Kind::Redis, RETENTION).await;
    let topic: Topic = "t".parse().unwrap();
    let key = topic.key();
    let kept = publish(&*store, &topic, "kept").await;
    save(store.server()).await;
    let lost = publish(&*store, &topic, "lost").await;
    let known = revision(&*store, key, 0).await;
    store.server_mut().kill().unwrap();
    store.server_mut().start_again().await.unwrap();

    assert_eq!(store.log(key, kept, 9).await.unwrap().gap, None, "it goes on from there");
    assert_eq!(store.log(key, lost, 9).await.unwrap().gap, Some(Gap::Lost));
    let new = publish(&*store, &topic, "new").await;
    assert_eq!(revision(&*store, key, 0).await.number, known.number, "counted as the lost one was");
    assert_ne!(new.history, lost.history);
    let on_the_lost = store.commit(key, &commit(known, "late")).await.unwrap();
    assert!(matches!(on_the_lost, Committed::Conflict(_)), "{on_the_lost:?}");

    // Whatever the clocks of the two servers say.
    for millis in [lost.millis, new.millis, u64::MAX >> 12, 1] {
        let lost = Position { millis, ..lost };
        assert_eq!(store.log(key, lost, 9).await.unwrap().gap, Some(Gap::Lost), "{lost}");
    }
    let same_place = Position { history: History(lost.history.0 ^ 1), ..new };
    assert_eq!(store.log(key, same_place, 9).await.unwrap().gap, Some(Gap::Lost), "of another event");
    let entries = log(&*store, key).await;
    assert_eq!(say(&entries), ["kept", "new"]);
    assert_chained(&entries);
    assert_eq!(store.log(key, kept, 9).await.unwrap().gap, None);
    assert!(matches!(
        store.commit(key, &commit(Revision { history: kept.history, ..known }, "later")).await.unwrap(),
        Committed::Conflict(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_very_beginning_is_lost_was_not_trimmed() {
    let mut store = open(Kind::Redis, RETENTION).await;
    let topic: Topic = "t".parse().unwrap();
    save(store.server()).await;
    let lost = publish(&*store, &topic, "lost").await;
    store.server_mut().kill().unwrap();
    store.server_mut().start_again().await.unwrap();
    assert_eq!(store.log(topic.key(), lost, 9).await.unwrap().gap, Some(Gap::Lost), "of an empty log");
    publish(&*store, &topic, "new").await;
    assert_eq!(store.log(topic.key(), lost, 9).await.unwrap().gap, Some(Gap::Lost));
}

/// The worker's part: what it had in flight arrives when its claim is lost, with the entry.
#[tokio::test]
async fn a_callback_that_was_sent_what_is_lost_by_a_void_claim_is_told_once_more() {
    let (_setup, server, gate) = holding_what_is_lost().await;
    let losses = |requests: &[harness::callback_server::Request]| -> Vec<Value> {
        requests.iter().map(|request| request.json()).filter(is_loss).collect()
    };
    let first =
        server.wait_for(PATIENCE, "the loss", |requests| losses(requests).into_iter().next()).await.unwrap();
    gate.open();
    let again =
        server.wait_for(PATIENCE, "the loss, once more", |requests| losses(requests).into_iter().nth(1));
    assert_ne!(again.await.unwrap()["id"], first["id"], "who knows the first does not pass over the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_again_is_counted() {
    let mut store = open(Kind::Redis, RETENTION).await;
    let topic: Topic = "t".parse().unwrap();
    let _listener = store.listen(topic.key()).await.unwrap();
    let before = store.interruptions();
    store.server_mut().kill().unwrap();
    store.server_mut().start_again().await.unwrap();
    let share = store.share();
    harness::wait::eventually(PATIENCE, "the connection is made again", || {
        let share = Arc::clone(&share);
        async move { (share.interruptions() > before).then_some(()) }
    })
    .await
    .unwrap();
}
