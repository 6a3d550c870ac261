//! The well-known document, and that it is true (FC-CNF-01).

use harness::examples::{fresh_id, fresh_topic};
use serde_json::Value;

use crate::{
    messages::{event, resource, versioned},
    setups::{Kind, ids_until, on_both_setups},
};

on_both_setups![
    the_document_says_what_the_hub_is,
    every_event_that_it_names_can_be_asked_for_and_is_delivered,
    the_capability_statement_names_the_hub,
];

async fn document(kind: Kind) -> Value {
    let answer = kind.shared().await.subscriber().get("/.well-known/fhircast-configuration").await.unwrap();
    assert_eq!(answer.status, 200, "FC-CNF-01: {answer:?}");
    assert!(answer.header("content-type").starts_with("application/json"), "FC-CNF-01: {answer:?}");
    answer.json().unwrap()
}

async fn the_document_says_what_the_hub_is(kind: Kind) {
    let document = document(kind).await;
    for member in ["websocketSupport", "webhookSupport", "getCurrentSupport"] {
        assert_eq!(document[member], true, "FC-CNF-01: {member} in {document}");
    }
    assert_eq!(document["capabilities"]["supportsGetCurrentContext"], true, "FC-CNF-01");
    assert!(
        document["capabilities"]["supportsNonCurrentContextUpdates"].is_boolean(),
        "FC-CNF-01, FC-CNT-09"
    );
    for member in ["fhircastVersion", "fhirVersion"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "FC-CNF-01: {member}");
    }
}

/// What an update has to bring besides its anchor.
const NO_UPDATES: &str = r#"{"key":"updates","resource":{"resourceType":"Bundle","type":"transaction"}}"#;

async fn every_event_that_it_names_can_be_asked_for_and_is_delivered(kind: Kind) {
    let document = document(kind).await;
    let setup = kind.shared().await;
    let names = document["eventsSupported"].as_array().unwrap();
    assert!(!names.is_empty(), "FC-CNF-01");
    // The hub alone sends heartbeats: they have tests of their own.
    for name in names.iter().map(|name| name.as_str().unwrap()).filter(|name| *name != "heartbeat") {
        let (topic, id) = (fresh_topic(), fresh_id());
        let listener = setup.listener(&topic, name).await;
        let sent = name.replace('*', "DiagnosticReport");
        let anchor = resource(sent.split('-').next().unwrap(), "1");
        let context =
            if name.ends_with("-update") { format!("{anchor},{NO_UPDATES}") } else { anchor.clone() };
        let mut sent = event(&topic, &id, &sent, &context);
        if name.ends_with("-select") || name.ends_with("-update") {
            setup.publish(&event(&topic, "open", "DiagnosticReport-open", &anchor)).await;
            let context = setup.subscriber().current_context(&topic).await.unwrap().json().unwrap();
            sent = versioned(&sent, context["context.versionId"].as_str().unwrap());
        }
        setup.publish(&sent).await;
        assert!(ids_until(&listener, &id).await.contains(&id), "FC-CNF-01: {name}");
    }
}

async fn the_capability_statement_names_the_hub(kind: Kind) {
    let setup = kind.shared().await;
    let answer = setup.subscriber().get("/metadata").await.unwrap();
    assert_eq!(answer.status, 200, "FC-CNF-02: {answer:?}");
    assert!(answer.header("content-type").starts_with("application/fhir+json"), "FC-CNF-02: {answer:?}");
    let statement = answer.json().unwrap();
    assert_eq!(statement["resourceType"], "CapabilityStatement", "FC-CNF-02");
    let extension = &statement["extension"][0];
    assert!(extension["url"].as_str().unwrap().ends_with("/fhircast-configuration-extension"), "FC-CNF-02");
    assert_eq!(
        extension["extension"][0],
        serde_json::json!({"url": "hub.url", "valueUrl": setup.a().url()}),
        "FC-CNF-02"
    );
}
