//! Conformance and extensions (FC-CNF, FC-EXT).

use reqwest::Method;

use crate::conformance::check::{Check, Outcome, check, expect};
use crate::conformance::hub::WELL_KNOWN;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[check!("FC-CNF-01", the_well_known_document_needs_no_token)];

async fn the_well_known_document_needs_no_token(probe: Probe) -> Outcome {
    let answer = probe.ask(Method::GET, WELL_KNOWN).without_token().send().await?.expect_status(200)?;
    let supported = answer.json()?["eventsSupported"].clone();
    expect(supported.is_array(), "eventsSupported, an array", supported)
}
