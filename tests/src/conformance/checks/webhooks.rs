//! The webhook channel (FC-WHK).

use std::time::Duration;

use crate::conformance::callbacks::{Reply, signature};
use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq, fail, skip};
use crate::conformance::messages::{Event, patient_open};
use crate::conformance::probe::Probe;

/// For how long a hub may wait before it first delivers again.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// A lease that is waited for, and how late its end may be told.
const LEASE_SECS: u64 = 2;
const LATE_SECS: u64 = 5;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-WHK-01", a_callback_is_needed),
    check!("FC-WHK-01", a_secret_is_under_200_bytes),
    check!("FC-WHK-02", the_intent_is_verified_by_a_challenge),
    check!("FC-WHK-02", who_does_not_echo_the_challenge_is_not_subscribed),
    check!("FC-WHK-02", the_end_is_verified_too),
    check!("FC-WHK-03", a_notification_is_signed_with_the_secret),
    check!("FC-WHK-03", a_notification_is_json_at_the_callbacks_own_query),
    check!("FC-WHK-04", a_refusal_is_told_and_not_tried_again),
    check!("FC-WHK-04", what_fails_is_tried_again, Waits::Secs(FIRST_RETRY.as_secs())),
    check!("FC-WHK-04", what_stays_undelivered_is_reported_once, Waits::AckTimeout),
    check!("FC-WHK-04", a_callback_that_is_gone_is_unsubscribed),
    check!("FC-WHK-05", a_lease_that_ends_is_denied_at_the_callback, Waits::Secs(LEASE_SECS + LATE_SECS)),
    check!("FC-WHK-06", deliveries_come_in_order),
    check!("FC-WHK-06", a_callback_that_hangs_delays_no_other),
    check!("FC-WHK-07", a_retried_delivery_has_the_same_id, Waits::Secs(FIRST_RETRY.as_secs())),
];

fn form<'a>(topic: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut form = vec![
        ("hub.channel.type", "webhook"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic),
        ("hub.events", "Patient-open"),
    ];
    form.extend(more);
    form
}

async fn a_callback_is_needed(probe: Probe) -> Outcome {
    probe.needs_webhook()?;
    let topic = probe.topic();
    probe.post_form(&form(&topic, &[])).await?.expect_refusal(400, "hub.callback")?;
    for callback in ["no URL", "ftp://app.example/x", ""] {
        let asked = probe.post_form(&form(&topic, &[("hub.callback", callback)])).await?;
        asked.expect_refusal(400, "hub.callback")?;
    }
    Ok(())
}

async fn a_secret_is_under_200_bytes(probe: Probe) -> Outcome {
    let (topic, callback, long) = (probe.topic(), probe.callback()?, "s".repeat(200));
    let asked = probe.subscribe_webhook(&callback, &topic, "Patient-open", &[("hub.secret", &long)]).await?;
    asked.expect_refusal(400, "hub.secret")?;
    let asked =
        probe.subscribe_webhook(&callback, &topic, "Patient-open", &[("hub.secret", &long[1..])]).await?;
    asked.expect_success()?;
    Ok(())
}

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
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    callback.expect_event(&open).await?;
    Ok(())
}

async fn who_does_not_echo_the_challenge_is_not_subscribed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (refusing, witness) = (probe.callback()?, probe.webhook(&topic, "Patient-open", &[]).await?);
    refusing.answer_by(|request| (!request.is_notification()).then(|| Reply::status(200).body("no")));
    probe.subscribe_webhook(&refusing, &topic, "Patient-open", &[]).await?.expect_success()?;
    refusing.intent("subscribe").await?;
    // Two callbacks have no order among them. More events make it likely that the first would have come.
    for _ in 0..5 {
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        witness.expect_event(&open).await?;
    }
    match refusing.notifications().first() {
        Some(request) => Err(fail("no notification", String::from_utf8_lossy(&request.body))),
        None => Ok(()),
    }
}

async fn the_end_is_verified_too(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    // Whoever asks in its name: it does not want it.
    callback.answer_by(|request| (!request.is_notification()).then(|| Reply::status(404)));
    probe.unsubscribe_webhook(&topic, &callback).await?.expect_success()?;
    callback.intent("unsubscribe").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    callback.expect_event(&open).await?;
    Ok(())
}

async fn a_notification_is_signed_with_the_secret(probe: Probe) -> Outcome {
    let (topic, secret) = (probe.topic(), probe.topic());
    let callback = probe.webhook(&topic, "Patient-open", &[("hub.secret", &secret)]).await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let (_, request) = callback.expect_event(&open).await?;
    expect_eq("X-Hub-Signature", signature(&secret, &request.body)?, request.header("X-Hub-Signature"))
}

async fn a_notification_is_json_at_the_callbacks_own_query(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.callback()?.with_query("own=1&other=%20x");
    probe.subscribe_webhook(&callback, &topic, "Patient-open", &[]).await?.expect_success()?;
    callback.intent("subscribe").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let (_, request) = callback.expect_event(&open).await?;
    let content_type = request.header("content-type").unwrap_or_default();
    expect(content_type.starts_with("application/json"), "application/json", content_type)?;
    expect_eq("the callback's own query", "1", request.parameter("own"))?;
    expect_eq("the rest of it", " x", request.parameter("other"))?;
    expect_eq("X-Hub-Signature, without a secret", None::<&str>, request.header("X-Hub-Signature"))
}

async fn a_refusal_is_told_and_not_tried_again(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    for status in [409, 404] {
        callback.queue([Reply::status(status)]);
        let (refused, marker) = (patient_open(&topic), patient_open(&topic));
        probe.publish(&refused).await?;
        callback.expect_event(&refused).await?;
        let told = witness.next_event().await?;
        expect(told.text.contains(refused.id()), "the SyncError to name the event's id", told.text)?;
        probe.publish(&marker).await?;
        callback.expect_event(&marker).await?;
    }
    Ok(())
}

async fn what_fails_is_tried_again(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    for status in [503, 429] {
        callback.queue([Reply::status(status)]);
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        callback.expect_event(&open).await?;
        let (again, _) = callback.next_event_within(FIRST_RETRY).await?;
        expect_eq("the id of the next delivery", open.id(), again.id())?;
    }
    Ok(())
}

async fn what_stays_undelivered_is_reported_once(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    callback.answer_by(|request| request.is_notification().then(|| Reply::status(500)));
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let told = witness.next_event_within(probe.timing().ack_timeout).await?;
    expect(told.text.contains(open.id()), "the SyncError to name the event's id", &told.text)?;
    let marker = crate::conformance::messages::sync_error(&topic, &open);
    probe.publish(&marker).await?;
    witness.expect_event(&marker).await?;
    Ok(())
}

async fn a_callback_that_is_gone_is_unsubscribed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let stays = probe.webhook(&topic, "Patient-open", &[]).await?;
    // Subscribed last: no probe is on its way to it that would get the answer.
    let gone = probe.webhook(&topic, "Patient-open", &[]).await?;
    gone.queue([Reply::status(410)]);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    gone.expect_event(&open).await?;
    stays.expect_event(&open).await?;
    witness.next_event().await?;
    for _ in 0..5 {
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        stays.expect_event(&open).await?;
    }
    let came = gone.notifications().len();
    expect_eq("the number of deliveries to a callback that answered 410", 1, came)
}

async fn a_lease_that_ends_is_denied_at_the_callback(probe: Probe) -> Outcome {
    let (topic, callback, lease) = (probe.topic(), probe.callback()?, LEASE_SECS.to_string());
    let asked =
        probe.subscribe_webhook(&callback, &topic, "Patient-open", &[("hub.lease_seconds", &lease)]).await?;
    asked.expect_success()?;
    let intent = callback.intent("subscribe").await?;
    if intent.parameter("hub.lease_seconds").is_none_or(|given| given != lease) {
        return Err(skip(format!("the hub grants no lease of {lease} s")));
    }
    let denial = callback.intent_within("denied", Duration::from_secs(LEASE_SECS + LATE_SECS)).await?;
    expect_eq("hub.topic", &topic, denial.parameter("hub.topic"))?;
    expect_eq("hub.events", "Patient-open", denial.parameter("hub.events"))?;
    expect(denial.parameter("hub.reason").is_some(), "a hub.reason", &denial.query)
}

async fn deliveries_come_in_order(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    let opens: Vec<Event> = (0..20).map(|_| patient_open(&topic)).collect();
    for open in &opens {
        probe.publish(open).await?;
    }
    let mut last: Option<&Event> = None;
    for open in &opens {
        callback.expect_event_after(last, open).await?;
        last = Some(open);
    }
    Ok(())
}

async fn a_callback_that_hangs_delays_no_other(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (hangs, other) = (
        probe.webhook(&topic, "Patient-open", &[]).await?,
        probe.webhook(&topic, "Patient-open", &[]).await?,
    );
    let long = 2 * probe.timing().timeout;
    hangs.answer_by(move |request| request.is_notification().then(|| Reply::status(200).after(long)));
    for _ in 0..3 {
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        other.expect_event(&open).await?;
    }
    Ok(())
}

async fn a_retried_delivery_has_the_same_id(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    callback.queue([Reply::status(503)]);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let (first, _) = callback.expect_event(&open).await?;
    let (again, _) = callback.next_event_within(FIRST_RETRY).await?;
    expect_eq("the id of the retry", open.id(), again.id())?;
    expect_eq("the body of the retry", first.text, again.text)
}
