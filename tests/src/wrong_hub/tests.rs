//! The hub itself: that it conforms when nothing is wrong, and that what is wrong shows.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Wrong, WrongHub};
use crate::client::App;
use crate::examples::fresh_topic;
use crate::socket::{Incoming, Socket, upgrade_status};
use crate::wait::PATIENCE;

const REPORT: &str = r#"{"key":"report","resource":{"resourceType":"DiagnosticReport","id":"1","n":1.10}}"#;
const REFERENCE: &str = r#"{"key":"report","reference":{"reference":"DiagnosticReport/1"}}"#;
const PATIENT: &str = r#"{"key":"patient","resource":{"resourceType":"Patient","id":"p"}}"#;

/// A hub, a user of it, and a topic.
struct Setup {
    _hub: WrongHub,
    app: App,
    topic: String,
}

fn setup(wrong: Wrong) -> Setup {
    let hub = WrongHub::start(wrong).unwrap();
    Setup { app: App::new(hub.url()).unwrap(), _hub: hub, topic: fresh_topic() }
}

impl Setup {
    fn event(&self, id: &str, name: &str, version: &str, elements: &str) -> String {
        let version = match version {
            "" => String::new(),
            version => format!(r#""context.versionId":"{version}","#),
        };
        format!(
            r#"{{"timestamp":"T","id":"{id}","event":{{"hub.topic":"{}","hub.event":"{name}",{version}"context":[{elements}]}}}}"#,
            self.topic
        )
    }

    /// Posts an event, and answers with the status.
    async fn publish(&self, id: &str, name: &str, version: &str, elements: &str) -> u16 {
        self.app.publish(&self.event(id, name, version, elements)).await.unwrap().status
    }

    async fn endpoint(&self, events: &str) -> String {
        self.app.subscribe_websocket(&self.topic, events, &[("subscriber.name", "Acme")]).await.unwrap()
    }

    /// A socket whose confirmation has been read.
    async fn socket(&self, events: &str) -> Socket {
        let mut socket = Socket::connect(&self.endpoint(events).await).await.unwrap();
        let confirmation = socket.next_json(PATIENCE).await.unwrap();
        assert_eq!(confirmation["hub.mode"], "subscribe", "FC-WSC-01: {confirmation}");
        socket
    }

    async fn context(&self) -> Value {
        self.app.current_context(&self.topic).await.unwrap().json().unwrap()
    }
}

async fn next(socket: &mut Socket) -> Value {
    socket.next_json(PATIENCE).await.unwrap()
}

fn updates(entries: &str) -> String {
    format!(
        r#"{REFERENCE},{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}}}"#
    )
}

const PUT: &str =
    r#"{"request":{"method":"PUT"},"resource":{"resourceType":"Observation","id":"o","n":2.50}}"#;

#[tokio::test]
async fn with_nothing_wrong_an_event_reaches_everybody_and_the_late_joiner_byte_for_byte() {
    let setup = setup(Wrong::Nothing);
    let endpoint = setup.endpoint("Patient-open,*-close,DiagnosticReport-*").await;
    let mut early = Socket::connect(&endpoint).await.unwrap();
    let confirmation = next(&mut early).await;
    let expected = json!({"hub.mode": "subscribe", "hub.topic": setup.topic, "hub.lease_seconds": 7200,
        "hub.events": "Patient-open,*-close,DiagnosticReport-*"});
    assert_eq!(confirmation, expected, "FC-WSC-01");
    let open = setup.event("r", "diagnosticreport-OPEN", "", REPORT);
    let answer = setup.app.post("/", "application/fhir+json; charset=utf-8", open.as_bytes()).await.unwrap();
    assert_eq!((answer.status, answer.header("content-length")), (202, "0"), "FC-REQ-08, FC-TRN-06");
    let Incoming::Text(frame) = early.next(PATIENCE).await.unwrap() else { panic!("FC-REQ-02") };
    let version = setup.context().await["context.versionId"].as_str().unwrap().to_owned();
    let versioned =
        open.replacen(r#""event":{"#, &format!(r#""event":{{"context.versionId":"{version}","#), 1);
    assert_eq!(frame, versioned, "FC-TRN-05, FC-CNT-01");
    assert_eq!(setup.publish("s", "ImagingStudy-select", "", PATIENT).await, 400, "FC-EVT-07");
    let mut late = setup.socket("*").await;
    assert_eq!(late.next(PATIENCE).await.unwrap(), Incoming::Text(frame), "FC-SUB-08");
    assert_eq!(setup.publish("c", "DiagnosticReport-close", "", REPORT).await, 202);
    for socket in [&mut early, &mut late] {
        assert_eq!(next(socket).await["id"], "c", "FC-REQ-02, FC-EVT-06");
    }
    assert_eq!(setup.context().await, json!({"context.type": "", "context": []}), "FC-CTX-03");
    assert_eq!(setup.app.unsubscribe_websocket(&setup.topic, &endpoint).await.unwrap().status, 202);
    assert_eq!(next(&mut early).await["hub.mode"], "denied", "FC-SUB-10");
    assert_eq!(early.next(PATIENCE).await.unwrap(), Incoming::Closed(Some(1000)), "FC-SUB-09");
    let refused = Socket::connect(&endpoint).await.err().unwrap();
    assert_eq!(upgrade_status(&refused), Some(404), "FC-WSC-02");
}

#[tokio::test]
async fn with_nothing_wrong_content_follows_its_versions() {
    let setup = setup(Wrong::Nothing);
    let mut socket = setup.socket("*").await;
    assert_eq!(setup.publish("o", "DiagnosticReport-open", "", REPORT).await, 202);
    let first = next(&mut socket).await["event"]["context.versionId"].as_str().unwrap().to_owned();
    assert_eq!(setup.publish("u", "DiagnosticReport-update", &first, &updates(PUT)).await, 202);
    let update = next(&mut socket).await;
    assert_eq!(update["event"]["context.priorVersionId"], first.as_str(), "FC-CNT-04");
    let second = update["event"]["context.versionId"].as_str().unwrap().to_owned();
    assert_ne!(first, second, "FC-CNT-04");
    assert_eq!(
        setup.publish("stale", "DiagnosticReport-update", &first, &updates("")).await,
        409,
        "FC-CNT-02"
    );
    let half = format!(r#"{},{{"request":{{"method":"PATCH"}}}}"#, PUT.replace("\"o\"", "\"o2\""));
    assert_eq!(setup.publish("half", "DiagnosticReport-update", &second, &updates(&half)).await, 400);
    let of_open = r#"{"fullUrl":"DiagnosticReport/1","request":{"method":"DELETE"}}"#;
    let refused = setup.publish("d", "DiagnosticReport-update", &second, &updates(of_open)).await;
    assert_eq!(refused, 409, "FC-CNT-03");
    assert_eq!(setup.publish("again", "DiagnosticReport-open", "", REPORT).await, 202);
    let answer = setup.app.current_context(&setup.topic).await.unwrap().body;
    let content = r#"{"key":"content","resource":{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Observation","id":"o","n":2.50}}]}}"#;
    assert!(answer.contains(&format!("[{REPORT},{content}]")), "FC-CTX-04, FC-CNT-10, FC-TRN-05: {answer}");
    assert_eq!(setup.publish("s", "DiagnosticReport-select", "", REFERENCE).await, 202, "FC-CNT-06");
    assert_eq!(setup.publish("c", "DiagnosticReport-close", "", REPORT).await, 202);
    assert_eq!(setup.publish("s2", "DiagnosticReport-select", "", REFERENCE).await, 409, "FC-CNT-06");
    assert_eq!(setup.publish("anew", "DiagnosticReport-open", "", REPORT).await, 202);
    let context = setup.context().await;
    assert_eq!(context["context"][1]["resource"]["entry"], json!([]), "FC-CNT-07: {context}");
}

#[tokio::test]
async fn with_nothing_wrong_a_refusal_is_told_to_the_others_once() {
    let setup = setup(Wrong::Nothing);
    let (mut refuser, mut other) =
        (setup.socket("Patient-open,syncerror").await, setup.socket("syncerror").await);
    assert_eq!(setup.publish("e", "Patient-open", "", PATIENT).await, 202);
    assert_eq!(next(&mut refuser).await["id"], "e");
    refuser.send(Message::text(r#"{"hub.channel.endpoint":"x"}"#)).await.unwrap();
    refuser.answer("e", 409).await.unwrap();
    let sync_error = next(&mut other).await;
    let issue = &sync_error["event"]["context"][0]["resource"]["issue"][0];
    assert_eq!(issue["details"]["coding"][0]["code"], "e", "FC-NOT-03: {sync_error}");
    assert_eq!(issue["details"]["coding"][2]["code"], "Acme", "FC-SUB-06: {sync_error}");
    other.answer(sync_error["id"].as_str().unwrap(), 500).await.unwrap();
    other.send(Message::binary(b"{}".to_vec())).await.unwrap();
    // Its answer was heard before this.
    assert_eq!(other.next(PATIENCE).await.unwrap(), Incoming::Closed(Some(1003)), "FC-WSC-05");
    assert_eq!(setup.publish("last", "SyncError", "", "").await, 202, "FC-REQ-03");
    assert_eq!(next(&mut refuser).await["id"], "last", "FC-NOT-02, FC-NOT-05: no SyncError between");
}

#[tokio::test]
async fn with_nothing_wrong_mistakes_are_refused_by_their_names() {
    let setup = setup(Wrong::Nothing);
    let form = "hub.channel.type=websocket&hub.mode=subscribe&hub.topic=t&hub.events=*";
    let app = &setup.app;
    let post = |body: String| async move {
        let answer = app.post("", "application/x-www-form-urlencoded", body.as_bytes()).await.unwrap();
        assert!(answer.status == 202 || answer.header("content-type").starts_with("text/plain"), "FC-TRN-03");
        (answer.status, answer.body)
    };
    assert_eq!(post(format!("{form}&hub.lease_seconds=60&unknown=1")).await.0, 202, "FC-TRN-04, FC-SUB-05");
    for (body, name) in [
        (format!("{form}&hub.topic=t"), "hub.topic"),
        (format!("{form}&hub.lease_seconds=0"), "hub.lease_seconds"),
        (form.replace("=websocket", "=webhook"), "hub.channel.type"),
        (form.replace("=subscribe", "=denied"), "hub.mode"),
        (form.replace("=t", "=ws"), "hub.topic"),
        (form.replace("=*", "=Patient-opened"), "hub.events"),
    ] {
        let (status, reason) = post(body.clone()).await;
        assert!(status == 400 && reason.contains(name), "FC-SUB-01: {body}: {status} {reason}");
    }
}

#[test]
fn every_wrong_names_a_rule_and_what_it_does_like_no_other() {
    let wrongs: HashSet<&str> = Wrong::ALL.iter().map(|wrong| wrong.what()).collect();
    assert_eq!(wrongs.len(), Wrong::ALL.len());
    assert!(Wrong::ALL.iter().all(|wrong| wrong.rule().starts_with("FC-") && *wrong != Wrong::Nothing));
}

#[tokio::test]
async fn a_wrong_content_type_a_float_and_a_version_of_its_own_show() {
    let any_type = setup(Wrong::AnyContentType);
    let open = any_type.event("e", "Patient-open", "", PATIENT);
    assert_eq!(any_type.app.post("", "text/plain", open.as_bytes()).await.unwrap().status, 202);
    let floats = setup(Wrong::NumbersAsFloats);
    let mut socket = floats.socket("*").await;
    floats.publish("e", "DiagnosticReport-open", "", REPORT).await;
    let Incoming::Text(frame) = socket.next(PATIENCE).await.unwrap() else { panic!("no notification") };
    assert!(frame.contains(r#""n":1.1,"#), "{frame}");
    let one = setup(Wrong::OneVersion);
    for id in ["a", "b"] {
        one.publish(id, "Patient-open", "", &PATIENT.replace("\"p\"", &format!("\"{id}\""))).await;
        assert_eq!(one.context().await["context.versionId"], "1");
    }
}

#[tokio::test]
async fn sockets_that_end_or_begin_wrong_show() {
    let silent = setup(Wrong::NoConfirmation);
    silent.publish("e", "Patient-open", "", PATIENT).await;
    let mut socket = Socket::connect(&silent.endpoint("*").await).await.unwrap();
    assert_eq!(next(&mut socket).await["id"], "e");
    let cut = setup(Wrong::ClosesWith1006);
    let endpoint = cut.endpoint("*").await;
    let mut socket = Socket::connect(&endpoint).await.unwrap();
    next(&mut socket).await;
    cut.app.unsubscribe_websocket(&cut.topic, &endpoint).await.unwrap();
    assert_eq!(next(&mut socket).await["hub.mode"], "denied");
    assert_eq!(socket.next(PATIENCE).await.unwrap(), Incoming::Closed(None));
    let shared = setup(Wrong::SharedEndpoint);
    assert_eq!(shared.endpoint("*").await, shared.endpoint("*").await);
}

#[tokio::test]
async fn half_a_bundle_and_two_winners_show() {
    let half = setup(Wrong::HalfABundle);
    half.publish("o", "DiagnosticReport-open", "", REPORT).await;
    let version = half.context().await["context.versionId"].as_str().unwrap().to_owned();
    let entries = updates(&format!("{PUT},{PUT}"));
    assert_eq!(half.publish("u", "DiagnosticReport-update", &version, &entries).await, 400);
    assert_eq!(half.context().await["context"][1]["resource"]["entry"][0]["resource"]["id"], "o");
    let both = setup(Wrong::BothWin);
    both.publish("o", "DiagnosticReport-open", "", REPORT).await;
    let version = both.context().await["context.versionId"].as_str().unwrap().to_owned();
    let elements = updates(PUT);
    let update = |id: &'static str| both.publish(id, "DiagnosticReport-update", &version, &elements);
    assert_eq!(tokio::join!(update("a"), update("b")), (202, 202));
    assert_eq!(update("c").await, 409);
}

#[tokio::test]
async fn one_of_two_at_once_is_lost_and_every_fifth_comes_late_to_the_second() {
    let loses = setup(Wrong::LosesOneOfTwo);
    let mut socket = loses.socket("syncerror").await;
    let send = |id: &'static str| loses.publish(id, "syncerror", "", "");
    assert_eq!(tokio::join!(send("a"), send("b")), (202, 202));
    assert_eq!(send("last").await, 202);
    next(&mut socket).await;
    assert_eq!(next(&mut socket).await["id"], "last");
    let reorders = setup(Wrong::Reorders);
    let mut sockets = [reorders.socket("*").await, reorders.socket("*").await];
    for id in ["1", "2", "3", "4", "5", "6"] {
        reorders.publish(id, "syncerror", "", "").await;
    }
    let mut orders = Vec::new();
    for socket in &mut sockets {
        for _ in 0..6 {
            orders.push(next(socket).await["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(orders.concat(), "123456123465");
}
