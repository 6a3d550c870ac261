//! Requesting a context change (FC-REQ).

use crate::conformance::check::{Check, Outcome, check};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[check!("FC-REQ-02", the_requester_gets_its_own_event_with_its_id)];

async fn the_requester_gets_its_own_event_with_its_id(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    app.expect_event(&open).await?;
    Ok(())
}
