//! Notifying (FC-NOT).

use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-NOT-02", a_refusal_is_told_to_the_others),
    check!("FC-NOT-04", an_unanswered_notification_is_reported, Waits::AckTimeout),
    check!("FC-NOT-08", two_nodes_tell_the_same_order),
];

async fn a_refusal_is_told_to_the_others(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let refusing = probe.subscribe(&topic, "Patient-open").await?;
    refusing.answer_with(409);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let told = witness.next_event().await?;
    expect_eq("hub.event in lower case", "syncerror", told.name().to_lowercase())?;
    expect(told.text.contains(open.id()), "the SyncError to name the event's id", told.text)
}

async fn an_unanswered_notification_is_reported(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let mut silent = probe.subscribe(&topic, "Patient-open").await?;
    // Who has never answered need not be reported.
    let answered = patient_open(&topic);
    probe.publish(&answered).await?;
    silent.expect_event(&answered).await?;
    silent.answer_nothing();
    let unanswered = patient_open(&topic);
    probe.publish(&unanswered).await?;
    silent.expect_event(&unanswered).await?;
    let told = witness.next_event_within(probe.timing().ack_timeout).await?;
    expect(told.text.contains(unanswered.id()), "the SyncError to name the event's id", told.text)
}

async fn two_nodes_tell_the_same_order(probe: Probe) -> Outcome {
    let (topic, second) = (probe.topic(), probe.second_node()?);
    let mut here = probe.subscribe(&topic, "Patient-open").await?;
    let mut there = second.subscribe(&topic, "Patient-open").await?;
    let opens: Vec<_> = (0..20).map(|_| patient_open(&topic)).collect();
    for (number, open) in opens.iter().enumerate() {
        (if number % 2 == 0 { &probe } else { &second }).publish(open).await?;
    }
    for open in &opens {
        here.expect_event(open).await?;
        there.expect_event(open).await?;
    }
    Ok(())
}
