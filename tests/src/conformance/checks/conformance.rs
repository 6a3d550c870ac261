//! Conformance and extensions (FC-CNF, FC-EXT).

use reqwest::Method;
use serde_json::{Value, json};

use crate::conformance::catalogue::Version;
use crate::conformance::check::{Check, Outcome, check, expect, expect_eq, skip};
use crate::conformance::hub::WELL_KNOWN;
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-CNF-01", the_well_known_document_needs_no_token),
    check!("FC-CNF-01", the_well_known_document_is_complete),
    check!("FC-CNF-01", what_is_claimed_can_be_had),
    check!("FC-CNF-02", the_capability_statement_names_the_hub),
    check!("FC-EXT-01", extensions_are_passed_on),
];

async fn the_well_known_document_needs_no_token(probe: Probe) -> Outcome {
    let answer = probe.ask(Method::GET, WELL_KNOWN).without_token().send().await?.expect_status(200)?;
    let supported = answer.json()?["eventsSupported"].clone();
    expect(supported.is_array(), "eventsSupported, an array", supported)
}

async fn the_well_known_document_is_complete(probe: Probe) -> Outcome {
    let answer = probe.get(WELL_KNOWN).await?.expect_status(200)?;
    let is_json = answer.header("content-type").starts_with("application/json");
    expect(is_json, "application/json", answer.header("content-type"))?;
    let document = answer.json()?;
    expect_eq("websocketSupport", true, &document["websocketSupport"])?;
    // 3.0.0 says it among the capabilities.
    let is_get_current = document["getCurrentSupport"].is_boolean()
        || probe.spec() == Version::V3_0_0
            && document["capabilities"]["supportsGetCurrentContext"].is_boolean();
    expect(
        is_get_current,
        "getCurrentSupport or capabilities.supportsGetCurrentContext, true or false",
        &document,
    )?;
    let version = &document["fhircastVersion"];
    expect(version.as_str().is_some_and(|version| !version.is_empty()), "a fhircastVersion", version)
}

async fn what_is_claimed_can_be_had(probe: Probe) -> Outcome {
    let supported = probe.configuration().json["eventsSupported"].as_array().cloned().unwrap_or_default();
    let topic = probe.topic();
    for name in supported.iter().filter_map(Value::as_str) {
        probe.subscribe_websocket(&topic, name, &[]).await?.expect_success()?;
    }
    if probe.configuration().current_context() {
        probe.current_context(&topic).await?;
    }
    Ok(())
}

async fn the_capability_statement_names_the_hub(probe: Probe) -> Outcome {
    let answer = probe.get("/metadata").await?;
    if answer.status == 404 {
        return Err(skip("the hub has no /metadata"));
    }
    let statement = answer.expect_status(200)?.json()?;
    expect_eq("resourceType", "CapabilityStatement", &statement["resourceType"])?;
    let text = statement.to_string();
    let is_extended = text.contains("fhircast-configuration-extension") && text.contains("\"hub.url\"");
    expect(is_extended, "the FHIRcast configuration extension with hub.url", statement)
}

async fn extensions_are_passed_on(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let extension = json!({"key": "extension", "data": {"org.example": {"n": 1, "list": [true, null]}}});
    let inner = json!([{"url": "https://example.org/x", "valueString": "x"}]);
    let open = patient_open(&topic)
        .and(extension.clone())
        .with("/event/context/0/resource/extension", inner.clone());
    probe.publish(&open).await?;
    let came = app.expect_event(&open).await?;
    expect_eq("the extension element", &extension, came.context("extension"))?;
    expect_eq("the extension in a resource", &inner, &came.context("patient")["resource"]["extension"])
}
