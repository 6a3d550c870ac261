//! Events (FC-EVT).

use crate::conformance::check::{Check, Outcome, check, expect_eq};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[check!("FC-EVT-02", names_match_in_any_case_and_come_as_written)];

async fn names_match_in_any_case_and_come_as_written(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "pATIENT-oPEN").await?;
    let open = patient_open(&topic).with("/event/hub.event", "PATIENT-open");
    probe.publish(&open).await?;
    expect_eq("hub.event", open.name(), app.expect_event(&open).await?.name())
}
