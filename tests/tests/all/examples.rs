//! Every message of the specification is posted as published, and comes out as it went in (FC-TRN-05).
//!
//! Of a notification the hub promises: every member of the request with the bytes of its value, in the request's
//! order; only versions are the hub's own.

use std::fmt;

use harness::{
    callback_server::CallbackServer,
    examples::{ALL, Message, fresh_id, fresh_topic},
    wait::PATIENCE,
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    messages::NO_CONTENT,
    setups::{Kind, Setup, on_both_setups},
};

on_both_setups![each_example_comes_out_as_it_went_in, an_example_without_its_anchor_is_refused,];

/// The examples whose Encounter is hidden inside the Patient.
const WITHOUT_ANCHOR: [&str; 2] = ["2.1.0-ballot/encounter-open", "2.1.0-ballot/encounter-close"];

/// The members that say which version it is.
const VERSIONS: [&str; 2] = ["context.versionId", "context.priorVersionId"];

/// A JSON object as ordered members, each with its bytes.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The members of an object: names and the exact bytes of their values.
fn members(text: &str) -> Vec<(String, String)> {
    let members: Members = serde_json::from_str(text).unwrap();
    members.0.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

fn member(text: &str, wanted: &str) -> String {
    members(text).into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value).unwrap_or_default()
}

/// The envelope and the event of a message, without what the hub may change.
fn promised(message: &str) -> [Vec<(String, String)>; 2] {
    let envelope = members(message).into_iter().map(|(name, value)| match name.as_str() {
        "event" => (name, String::new()),
        _ => (name, value),
    });
    let event = members(&member(message, "event"));
    [envelope.collect(), event.into_iter().filter(|(name, _)| !VERSIONS.contains(&name.as_str())).collect()]
}

/// The example's message for this topic, accepted by the hub's present version of its anchor, if it needs one.
async fn prepared(setup: &Setup, name: &str, topic: &str) -> Message {
    let message = Message::example(name).unwrap().topic(topic).unwrap().id(&fresh_id()).unwrap();
    let (version, file) = name.split_once('/').unwrap();
    if !file.contains("update") && !file.contains("select") {
        return message;
    }
    let open = Message::example(&format!("{version}/DiagnosticReport-open")).unwrap();
    setup.publish(open.topic(topic).unwrap().text()).await;
    let current = setup.publisher().current_context(topic).await.unwrap().json().unwrap();
    let current = current["context.versionId"].as_str().unwrap();
    // A select names no version, or one that the hub need not look at.
    message.clone().version(current).unwrap_or(message)
}

async fn each_example_comes_out_as_it_went_in(kind: Kind) {
    let setup = kind.shared().await;
    let server = CallbackServer::start().unwrap();
    for (number, (name, _)) in ALL.iter().filter(|(name, _)| !WITHOUT_ANCHOR.contains(name)).enumerate() {
        let topic = fresh_topic();
        let listener = setup.listener(&topic, "*").await;
        let path = format!("/{number}");
        setup.webhook(&server, &path, &topic, "*-*,syncerror,userLogout,userHibernate", &[]).await;
        let message = prepared(&setup, name, &topic).await;
        setup.publish(message.text()).await;
        let id: String = serde_json::from_str(&member(message.text(), "id")).unwrap();
        let frame = listener.wait_for_event(PATIENCE, &id).await.unwrap().text;
        assert_eq!(promised(&frame), promised(message.text()), "FC-TRN-05: {name} over a socket");
        let posted = server.wait_for_event(PATIENCE, &path, &id).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&posted.body), frame, "FC-NOT-01: {name} at a callback");

        let has_opened = name.ends_with("-open") && !name.ends_with("home-open") || name.ends_with("-open-1");
        if has_opened {
            let current = setup.publisher().current_context(&topic).await.unwrap().body;
            let context = member(&member(message.text(), "event"), "context");
            let elements = context.trim_end_matches(']').trim_end();
            let expected = format!("{elements},{NO_CONTENT}]");
            assert_eq!(member(&current, "context"), expected, "FC-TRN-05, FC-CTX-01: {name}");
            let late = setup.listener(&topic, "*").await;
            let replayed = late.wait_for_event(PATIENCE, &id).await.unwrap().text;
            assert_eq!(replayed, frame, "FC-TRN-05, FC-SUB-08: {name}");
        }
    }
}

async fn an_example_without_its_anchor_is_refused(kind: Kind) {
    let setup = kind.shared().await;
    for name in WITHOUT_ANCHOR {
        let message = Message::example(name).unwrap().topic(&fresh_topic()).unwrap();
        let answer = setup.publisher().publish(message.text()).await.unwrap();
        assert!(answer.status == 400 && answer.body.contains("context"), "FC-EVT-07: {name}: {answer:?}");
    }
}
