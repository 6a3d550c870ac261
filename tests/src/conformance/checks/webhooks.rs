//! The webhook channel (FC-WHK).

use std::time::Duration;

use crate::conformance::callbacks::{Reply, signature};
use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq, fail};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

/// For how long a hub may wait before it first delivers again.
const FIRST_RETRY: Duration = Duration::from_secs(10);

pub(super) const CHECKS: &[Check] = &[
    check!("FC-WHK-02", the_intent_is_verified_by_a_challenge),
    check!("FC-WHK-02", who_does_not_echo_the_challenge_is_not_subscribed),
    check!("FC-WHK-03", a_notification_is_signed_with_the_secret),
    check!("FC-WHK-07", a_retried_delivery_has_the_same_id, Waits::Secs(FIRST_RETRY.as_secs())),
];

async fn the_intent_is_verified_by_a_challenge(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.callback()?.with_query("own=1");
    probe.subscribe_webhook(&callback, &topic, "Patient-open", &[]).await?.expect_success()?;
    let intent = callback.intent("subscribe").await?;
    expect_eq("the callback's own query", "1", intent.parameter("own"))?;
    expect_eq("hub.topic", &topic, intent.parameter("hub.topic"))?;
    expect_eq("hub.events", "Patient-open", intent.parameter("hub.events"))?;
    for name in ["hub.challenge", "hub.lease_seconds"] {
        let given = intent.parameter(name).is_some_and(|value| !value.is_empty());
        expect(given, format!("{name} in the query"), &intent.query)?;
    }
    Ok(())
}

async fn who_does_not_echo_the_challenge_is_not_subscribed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (refusing, witness) = (probe.callback()?, probe.webhook(&topic, "Patient-open", &[]).await?);
    refusing.answer_by(|request| (!request.is_notification()).then(|| Reply::status(200).body("no")));
    probe.subscribe_webhook(&refusing, &topic, "Patient-open", &[]).await?.expect_success()?;
    refusing.intent("subscribe").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    witness.expect_event(&open).await?;
    // Two callbacks have no order among them. A second event makes it likely that the first would have come.
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    witness.expect_event(&marker).await?;
    match refusing.requests().iter().find(|request| request.is_notification()) {
        Some(request) => Err(fail("no notification", String::from_utf8_lossy(&request.body))),
        None => Ok(()),
    }
}

async fn a_notification_is_signed_with_the_secret(probe: Probe) -> Outcome {
    let (topic, secret) = (probe.topic(), probe.topic());
    let callback = probe.webhook(&topic, "Patient-open", &[("hub.secret", &secret)]).await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let (_, request) = callback.expect_event(&open).await?;
    expect_eq("X-Hub-Signature", signature(&secret, &request.body)?, request.header("X-Hub-Signature"))
}

async fn a_retried_delivery_has_the_same_id(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    callback.queue([Reply::status(503)]);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    callback.expect_event(&open).await?;
    let (again, _) = callback.next_event_within(FIRST_RETRY).await?;
    expect_eq("the id of the retry", open.id(), again.id())
}
