//! Current context (FC-CTX).

use serde_json::json;

use crate::conformance::check::{Check, Outcome, check, expect_eq};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[check!("FC-CTX-03", after_the_close_the_context_is_empty)];

async fn after_the_close_the_context_is_empty(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    probe.publish(&open.closed()).await?;
    let context = probe.current_context(&topic).await?;
    expect_eq("context.type", "", &context["context.type"])?;
    expect_eq("context", json!([]), &context["context"])
}
