//! Sessions, scopes and security (FC-SES, FC-SCO, FC-SEC).

use crate::conformance::check::{Check, Outcome, check};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[check!("FC-SES-01", topics_that_differ_in_case_are_two)];

async fn topics_that_differ_in_case_are_two(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (lower, upper) = (format!("a{topic}"), format!("A{topic}"));
    let mut app = probe.subscribe(&lower, "Patient-open").await?;
    probe.publish(&patient_open(&upper)).await?;
    let marker = patient_open(&lower);
    probe.publish(&marker).await?;
    app.expect_event(&marker).await?;
    Ok(())
}
