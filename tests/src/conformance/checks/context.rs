//! Current context (FC-CTX).

use serde_json::{Value, json};

use crate::conformance::check::{Check, Outcome, check, expect, expect_eq};
use crate::conformance::messages::{element, encounter_open, imaging_study_open, patient_open, report_open};
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-CTX-01", the_current_context_is_what_was_opened),
    check!("FC-CTX-02", the_last_opened_is_current),
    check!("FC-CTX-02", closing_another_leaves_the_current),
    check!("FC-CTX-02", closing_the_current_leaves_none),
    check!("FC-CTX-03", after_the_close_the_context_is_empty),
    check!("FC-CTX-03", a_topic_never_seen_has_the_empty_context),
    check!("FC-CTX-04", the_context_ends_with_its_content),
];

/// The elements of a current context without its content.
fn opened(context: &Value) -> Vec<Value> {
    let elements = context["context"].as_array().cloned().unwrap_or_default();
    elements.into_iter().filter(|element| element["key"] != "content").collect()
}

async fn the_current_context_is_what_was_opened(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "ImagingStudy-open").await?;
    let open = imaging_study_open(&topic);
    probe.publish(&open).await?;
    let came = app.expect_event(&open).await?;
    let context = probe.current_context(&topic).await?;
    expect_eq("context.type", "ImagingStudy", &context["context.type"])?;
    expect_eq("context", &open.json["event"]["context"], opened(&context))?;
    if probe.needs_content_sharing().is_ok() {
        expect(context["context.versionId"].is_string(), "a context.versionId", &context)?;
        expect_eq("context.versionId", came.version(), &context["context.versionId"])?;
    }
    Ok(())
}

async fn the_last_opened_is_current(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let patient = patient_open(&topic);
    let encounter = encounter_open(&topic, patient.anchor_id());
    for open in [&patient, &encounter, &patient.clone().again()] {
        probe.publish(open).await?;
        let context = probe.current_context(&topic).await?;
        expect_eq("context", &open.json["event"]["context"], opened(&context))?;
    }
    Ok(())
}

async fn closing_another_leaves_the_current(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let patient = patient_open(&topic);
    let encounter = encounter_open(&topic, patient.anchor_id());
    for event in [&patient, &encounter, &patient.clone().closed()] {
        probe.publish(event).await?;
    }
    let context = probe.current_context(&topic).await?;
    expect_eq("context.type", "Encounter", &context["context.type"])
}

async fn closing_the_current_leaves_none(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let patient = patient_open(&topic);
    let encounter = encounter_open(&topic, patient.anchor_id());
    for event in [&patient, &encounter, &encounter.clone().closed()] {
        probe.publish(event).await?;
    }
    let context = probe.current_context(&topic).await?;
    expect_eq("context.type", "", &context["context.type"])
}

async fn after_the_close_the_context_is_empty(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    probe.publish(&open.closed()).await?;
    is_empty(&probe.current_context(&topic).await?)
}

async fn a_topic_never_seen_has_the_empty_context(probe: Probe) -> Outcome {
    is_empty(&probe.current_context(&probe.topic()).await?)
}

fn is_empty(context: &Value) -> Outcome {
    expect_eq("context.type", "", &context["context.type"])?;
    expect_eq("context", json!([]), &context["context"])
}

async fn the_context_ends_with_its_content(probe: Probe) -> Outcome {
    probe.needs_content_sharing()?;
    let topic = probe.topic();
    let open = report_open(&topic);
    probe.publish(&open).await?;
    let context = probe.current_context(&topic).await?;
    let last =
        context["context"].as_array().and_then(|elements| elements.last()).cloned().unwrap_or_default();
    expect_eq("the key of the last element", "content", &last["key"])?;
    expect_eq("its resourceType", "Bundle", &last["resource"]["resourceType"])?;
    expect_eq("its type", "collection", &last["resource"]["type"])?;
    let entries = last["resource"]["entry"].as_array().map_or(0, Vec::len);
    expect_eq("the number of its entries", 0, entries)?;
    let message = json!({"event": {"context": context["context"]}});
    expect_eq("the report", open.context("report"), element(&message, "report"))
}
