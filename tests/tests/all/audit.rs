//! The audit trail: one record for each thing that is done, and what happens when it cannot be written.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use futures_util::future::join_all;
use harness::{
    callback_server::{CallbackServer, Reply},
    examples::{fresh_id, fresh_topic},
    socket::{Socket, upgrade_status},
    system::Hub,
    tokens::TokenAuthority,
    wait::{PATIENCE, eventually},
};
use serde_json::Value;
use shared::protocol::Topic;

use crate::{
    messages::{event, patient_open, resource},
    setups::{Kind, Setup, on_both_setups},
};

on_both_setups![
    everything_that_is_done_is_recorded_once_with_who_what_and_outcome,
    events_of_fhir_tell_the_same
];

/// A folder, and the path of an audit trail in it.
fn trail() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    (folder, path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn records_in(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a record a line")).collect()
}

/// All that a setup's programs have written to their standard output about a topic.
fn records_of(setup: &Setup, topic: &str) -> Vec<Value> {
    let key = topic.parse::<Topic>().unwrap().key().to_string();
    let lines = setup.log_lines().into_iter().filter(|line| line.contains(&key));
    lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
}

/// What a record is about, in either form.
fn kind_of(record: &Value) -> String {
    let fhir = record["subtype"].as_array().and_then(|all| all.last()).map(|coding| &coding["code"]);
    fhir.unwrap_or(&record["kind"]).as_str().unwrap_or_default().to_owned()
}

fn is_success(record: &Value) -> bool {
    record["outcome"] == "success" || record["outcome"] == "0"
}

/// How many records there are of each kind and success.
fn counted(records: &[Value]) -> BTreeMap<(String, bool), usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry((kind_of(record), is_success(record))).or_default() += 1;
    }
    counts
}

/// Everything that can be done to a topic, each once; returns its records when they are complete.
async fn one_of_each(setup: &Setup) -> (String, Vec<Value>) {
    let (topic, app) = (fresh_topic(), setup.subscriber());
    let server = CallbackServer::start().unwrap();
    let refused = app.subscribe_websocket(&topic, "Patient-open", &[("hub.lease_seconds", "never")]).await;
    assert!(refused.is_err());

    let endpoint = app.subscribe_websocket(&topic, "Patient-open", &[]).await.unwrap();
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    socket.next_json(PATIENCE).await.unwrap();
    let secret = [("hub.secret", "a-secret"), ("subscriber.name", "Acme Viewer")];
    let callback = server.url("/cb?ticket=of-the-callback");
    server.on("/unwilling", |_| Some(Reply::status(404)));
    let unwilling = server.url("/unwilling");
    for callback in [&callback, &unwilling] {
        let asked = app.subscribe_webhook(&topic, "Encounter-open", callback, &secret).await.unwrap();
        asked.expect_status(202).unwrap();
    }
    let has = |kind: &'static str, success: bool, count: usize| {
        let topic = topic.clone();
        async move {
            let look = || async {
                let counts = counted(&records_of(setup, &topic));
                (counts.get(&(kind.to_owned(), success)).copied().unwrap_or_default() >= count).then_some(())
            };
            eventually(PATIENCE, &format!("{count} {kind} ({success})"), look).await.unwrap();
        }
    };
    has("grant", true, 2).await;
    has("denial", false, 1).await;

    let published = setup.publisher();
    let request = published.request(reqwest::Method::POST, "").header("Content-Type", "application/json");
    let request = request.header("X-Request-Id", "0af7651916cd43dd8448eb211c80319c");
    let id = fresh_id();
    published.send(request.body(patient_open(&topic, &id))).await.unwrap().expect_status(202).unwrap();
    assert_eq!(socket.next_json(PATIENCE).await.unwrap()["id"], id.as_str());
    socket.answer(&id, 409).await.unwrap();
    server.queue("/cb", [Reply::status(409)]);
    let encounter =
        event(&topic, "the encounter of John Smith", "Encounter-open", &resource("Encounter", "1"));
    setup.publish(&encounter).await;
    setup
        .publisher()
        .publish(&event(&topic, "3", "heartbeat", ""))
        .await
        .unwrap()
        .expect_status(400)
        .unwrap();
    setup.publisher().current_context(&topic).await.unwrap().expect_status(200).unwrap();
    has("delivery-refusal", false, 2).await;

    app.unsubscribe_websocket(&topic, &endpoint).await.unwrap().expect_status(202).unwrap();
    let gone = Socket::connect(&endpoint).await.err().unwrap();
    assert_eq!(upgrade_status(&gone), Some(404));
    server.on("/cb", |_| Some(Reply::status(410)));
    app.unsubscribe_webhook(&topic, &callback).await.unwrap().expect_status(202).unwrap();
    has("unsubscribe", false, 1).await;
    server.on("/cb", |_| None);
    app.unsubscribe_webhook(&topic, &callback).await.unwrap().expect_status(202).unwrap();
    has("unsubscribe", true, 4).await;
    let lease = [("hub.lease_seconds", "1")];
    app.subscribe_webhook(&topic, "Encounter-open", &callback, &lease)
        .await
        .unwrap()
        .expect_status(202)
        .unwrap();
    has("denial", false, 2).await;
    (topic.clone(), records_of(setup, &topic))
}

const EXPECTED: [(&str, bool, usize); 9] = [
    ("delivery-refusal", false, 2),
    // An intent that was not confirmed, a lease that ended.
    ("denial", false, 2),
    ("grant", true, 3),
    ("publish", false, 1),
    ("publish", true, 2),
    ("read", true, 1),
    ("subscribe", true, 4),
    // A webhook's end is asked for twice, and confirmed once.
    ("unsubscribe", false, 1),
    ("unsubscribe", true, 4),
];

fn assert_expected(records: &[Value]) {
    let expected = EXPECTED.map(|(kind, success, count)| ((kind.to_owned(), success), count));
    assert_eq!(counted(records), BTreeMap::from(expected), "each once: {records:#?}");
}

async fn everything_that_is_done_is_recorded_once_with_who_what_and_outcome(kind: Kind) {
    let setup = kind.own(&[]).await;
    let (_, records) = one_of_each(&setup).await;
    assert_expected(&records);
    for record in &records {
        for field in ["time", "program", "host", "node"] {
            assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {record}");
        }
        // What a client asked for came from somewhere, and was answered.
        let is_asked = !matches!(kind_of(record).as_str(), "grant" | "denial" | "delivery-refusal")
            && record["reason"] != "confirmed: the subscription has ended"
            && record["reason"] != "not verified: status 410";
        assert_eq!(record["address"] == "127.0.0.1", is_asked || record["status"] == 101, "{record}");
        assert!(!is_asked || record["status"].is_u64(), "{record}");
        assert!(is_success(record) || record["reason"].is_string(), "it says why: {record}");
    }
    let one = |kind: &str, field: &str, value: &Value| {
        let is_it = |record: &&Value| kind_of(record) == kind && record[field] == *value;
        let found: Vec<&Value> = records.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{kind} with {field}={value}: {records:#?}");
        found[0].clone()
    };
    let publish = one("publish", "request_id", &"0af7651916cd43dd8448eb211c80319c".into());
    assert_eq!((&publish["event"], &publish["status"]), (&"Patient-open".into(), &202.into()));
    let refusal = one("delivery-refusal", "entry", &publish["entry"]);
    assert_eq!((&refusal["status"], &refusal["event_id"]), (&409.into(), &publish["event_id"]));
    one("publish", "status", &400.into());
    one("denial", "reason", &"lease expired".into());
    one("denial", "reason", &"not verified: status 404".into());
    let by_socket = one("grant", "events", &"Patient-open".into());
    assert_eq!(by_socket["lease_secs"], 7200, "what was granted");
    let by_callback = one("delivery-refusal", "event", &"Encounter-open".into());
    assert!(by_callback["callback"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{by_callback}");
    assert!(!by_callback.to_string().contains("John"), "an id may say something: {by_callback}");
    // What must not be in it is what the harness looks for, when the programs end.
}

async fn events_of_fhir_tell_the_same(kind: Kind) {
    let setup = kind.own(&[("audit.format", "fhir")]).await;
    let (topic, records) = one_of_each(&setup).await;
    assert_expected(&records);
    let key = topic.parse::<Topic>().unwrap().key().to_string();
    for record in &records {
        assert_eq!(record["resourceType"], "AuditEvent");
        assert_eq!(record["entity"][0]["what"]["identifier"]["value"], key.as_str(), "{record}");
        assert!(
            is_success(record) || record["outcome"] == "4" && record["outcomeDesc"].is_string(),
            "{record}"
        );
    }
    let of = |kind: &str| records.iter().find(|record| kind_of(record) == kind).unwrap();
    for (kind, action) in [("publish", "C"), ("read", "R"), ("grant", "U"), ("unsubscribe", "D")] {
        assert_eq!(of(kind)["action"], action, "{kind}");
    }
    assert_eq!(of("read")["agent"][0]["network"]["address"], "127.0.0.1");
}

async fn is_ready(hub: &Hub) -> (bool, String) {
    let answer = reqwest::get(format!("{}/readyz", hub.admin_url())).await.unwrap();
    (answer.status().as_u16() == 200, answer.text().await.unwrap())
}

async fn until_ready_is(hub: &Hub, expected: bool) -> String {
    let look = || async {
        let (ready, text) = is_ready(hub).await;
        (ready == expected).then_some(text)
    };
    eventually(PATIENCE, &format!("readiness {expected}"), look).await.unwrap()
}

async fn publish(hub: &Hub) -> u16 {
    hub.app().unwrap().publish(&patient_open(&fresh_topic(), &fresh_id())).await.unwrap().status
}

async fn until_answered(hub: &Hub, expected: u16) {
    let look = || async { (publish(hub).await == expected).then_some(()) };
    eventually(PATIENCE, &format!("{expected} to a publish"), look).await.unwrap();
}

/// The lines about the trail that are no records.
fn told_of_the_trail(hub: &Hub, level: &str) -> usize {
    let is_it =
        |line: &&String| line.contains(&format!("\"level\":\"{level}\"")) && line.contains("the audit trail");
    hub.log_lines().iter().filter(is_it).count()
}

#[tokio::test]
async fn a_required_trail_whose_folder_vanishes_refuses_requests_until_it_is_back() {
    let (folder, _) = trail();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("audit");
    let hub = Hub::start_embedded(&[("audit.to", text(&path)), ("audit.required", "true")]).await.unwrap();
    until_ready_is(&hub, true).await;
    until_answered(&hub, 202).await;
    fs::remove_dir_all(&inner).unwrap();
    until_answered(&hub, 503).await;
    assert!(until_ready_is(&hub, false).await.contains("audit: cannot be written"));
    let app = hub.app().unwrap();
    let topic = fresh_topic();
    let refused = app.subscribe_websocket(&topic, "*", &[]).await.unwrap_err().to_string();
    assert!(refused.contains("503") && refused.contains("audit"), "{refused}");
    app.current_context(&topic).await.unwrap().expect_status(503).unwrap();
    app.get("/.well-known/fhircast-configuration").await.unwrap().expect_status(200).unwrap();
    fs::create_dir(&inner).unwrap();
    until_ready_is(&hub, true).await;
    until_answered(&hub, 202).await;
    assert_eq!(told_of_the_trail(&hub, "ERROR"), 1, "an outage is told once");
    assert_eq!(told_of_the_trail(&hub, "WARN"), 1, "and its end");
    let look = || async { records_in(&path).last().map(|last| last["outcome"] == "success") };
    assert!(eventually(PATIENCE, "a record after it", look).await.unwrap());
}

#[tokio::test]
async fn a_full_disk_refuses_requests_only_where_the_trail_is_required() {
    let full = ("audit.to", "/dev/full");
    let hub = Hub::start_embedded(&[full, ("audit.required", "true")]).await.unwrap();
    until_answered(&hub, 503).await;
    assert!(until_ready_is(&hub, false).await.contains("audit: cannot be written"));

    let hub = Hub::start_embedded(&[full, ("audit.waiting_records", "5")]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(publish(&hub).await, 202);
    }
    assert!(is_ready(&hub).await.0);
    assert!(hub.metrics().await.unwrap().value("fhircast_audit_lost_total").unwrap() >= 15.0);
    assert_eq!(told_of_the_trail(&hub, "ERROR"), 1, "an outage is told once");
}

#[tokio::test]
async fn a_trail_that_is_moved_away_is_begun_anew_and_loses_nothing() {
    let (folder, path) = trail();
    let hub = Hub::start_embedded(&[("audit.to", text(&path))]).await.unwrap();
    let moved = folder.path().join("audit.1");
    let at = |path: PathBuf, count| async move {
        let look = || async { (records_in(&path).len() == count).then_some(()) };
        eventually(PATIENCE, "the records", look).await.unwrap();
    };
    for _ in 0..3 {
        assert_eq!(publish(&hub).await, 202);
    }
    at(path.clone(), 3).await;
    fs::rename(&path, &moved).unwrap();
    for _ in 0..2 {
        assert_eq!(publish(&hub).await, 202);
    }
    at(path.clone(), 2).await;
    at(moved, 3).await;
}

#[tokio::test]
async fn what_waits_is_written_before_the_process_ends() {
    let (_folder, path) = trail();
    let mut hub = Hub::start_embedded(&[("audit.to", text(&path))]).await.unwrap();
    let answers = join_all((0..200).map(|_| publish(&hub))).await;
    assert!(answers.iter().all(|status| *status == 202));
    assert!(hub.stop(PATIENCE).await.unwrap().success());
    assert_eq!(records_in(&path).len(), 200);
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_slows_no_answer() {
    let (_folder, path) = trail();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let hub =
        Hub::start_embedded(&[("audit.to", text(&path)), ("audit.waiting_records", "10")]).await.unwrap();
    let timed = join_all((0..300).map(|_| async {
        let asked = Instant::now();
        (publish(&hub).await, asked.elapsed())
    }));
    let (timed, whole) = (tokio::time::timeout(PATIENCE, timed).await.unwrap(), PATIENCE / 2);
    assert!(timed.iter().all(|(status, took)| *status == 202 && *took < whole), "{timed:?}");
    assert_eq!(hub.metrics().await.unwrap().value("fhircast_audit_lost_total"), Some(290.0));

    let settings = [("audit.to", text(&path)), ("audit.required", "true")];
    let hub = Hub::start_embedded(&settings).await.unwrap();
    assert_eq!(publish(&hub).await, 503);
    let (ready, told) = is_ready(&hub).await;
    assert!(!ready && told.contains("audit: starting"), "{told}");
    let reader = tokio::task::spawn_blocking(move || fs::File::open(path).unwrap());
    let reader = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    until_ready_is(&hub, true).await;
    assert_eq!(publish(&hub).await, 202);
    drop(reader);
}

#[tokio::test]
async fn strangers_do_not_fill_the_trail_and_are_not_recorded_without_end() {
    let (_folder, path) = trail();
    let authority = TokenAuthority::start().unwrap();
    let settings = authority.settings();
    let mut settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    settings.extend([
        ("audit.to", text(&path)),
        ("audit.required", "true"),
        ("limits.auth_failures_per_min", "5"),
    ]);
    let hub = Hub::start_embedded(&settings).await.unwrap();
    until_ready_is(&hub, true).await;
    let app = hub.app().unwrap();
    for _ in 0..40 {
        assert_eq!(app.current_context("t").await.unwrap().status, 401);
    }
    let bad = app.clone().with_token(&fresh_id());
    let answers = join_all((0..40).map(|_| async { bad.current_context("t").await.unwrap().status })).await;
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert!(refused >= 30, "{answers:?}");
    assert!(counted_limit(&hub).await >= refused as f64, "they are counted");
    let good = app.with_token(&authority.token().unwrap().mint().unwrap());
    good.current_context("t").await.unwrap().expect_status(200).unwrap();
    let is_read = |record: &Value| kind_of(record) == "read" && is_success(record);
    let look = || async { records_in(&path).iter().any(is_read).then_some(()) };
    eventually(PATIENCE, "the record of who is known", look).await.unwrap();
    let records = records_in(&path);
    let strangers = records.iter().filter(|record| kind_of(record) == "authentication-failure").count();
    assert!((2..=20).contains(&strangers), "{strangers} of 80");
    assert!(is_ready(&hub).await.0);
}

async fn counted_limit(hub: &Hub) -> f64 {
    let metrics = hub.metrics().await.unwrap();
    metrics.value("fhircast_limited_total{limit=\"auth_failures_per_min\"}").unwrap()
}
