//! Subscribing (FC-SUB).

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq, fail};
use crate::conformance::messages::{encounter_open, imaging_study_open, patient_open};
use crate::conformance::probe::Probe;

/// A lease that is waited for, and how late its end may be told.
const LEASE_SECS: u64 = 2;
const LATE_SECS: u64 = 5;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-SUB-01", a_missing_parameter_is_named),
    check!("FC-SUB-01", an_unknown_value_is_named),
    check!("FC-SUB-02", endpoints_are_unique_and_long),
    check!("FC-SUB-03", events_are_a_set),
    check!("FC-SUB-04", subscribing_again_replaces_the_events),
    check!("FC-SUB-05", a_lease_is_a_positive_number),
    check!("FC-SUB-05", a_lease_is_not_lengthened),
    check!("FC-SUB-06", a_sync_error_calls_the_subscriber_by_its_name),
    check!("FC-SUB-07", a_lease_that_ends_is_denied, Waits::Secs(LEASE_SECS + LATE_SECS)),
    check!("FC-SUB-08", a_late_joiner_gets_what_is_open_oldest_first),
    check!("FC-SUB-08", a_late_joiner_gets_nothing_that_it_did_not_ask_for),
    check!("FC-SUB-09", unsubscribing_ends_the_socket_and_the_endpoint),
    check!("FC-SUB-09", the_endpoint_may_be_called_endpoint),
    check!("FC-SUB-09", what_is_not_subscribed_is_404),
    check!("FC-SUB-10", a_denial_says_what_ended),
    check!("FC-SUB-11", an_endpoint_opens_at_another_node),
];

async fn a_missing_parameter_is_named(probe: Probe) -> Outcome {
    probe.needs_websocket()?;
    let topic = probe.topic();
    for (missing, _) in form(&topic) {
        let rest: Vec<_> = form(&topic).into_iter().filter(|(name, _)| *name != missing).collect();
        probe.post_form(&rest).await?.expect_refusal(400, missing)?;
    }
    Ok(())
}

fn form(topic: &str) -> [(&'static str, &str); 4] {
    [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", topic),
        ("hub.events", "Patient-open"),
    ]
}

async fn an_unknown_value_is_named(probe: Probe) -> Outcome {
    let topic = probe.topic();
    for (name, value) in
        [("hub.channel.type", "pigeon"), ("hub.mode", "unknown"), ("hub.events", "Patient-opened")]
    {
        let changed = form(&topic).map(|(known, given)| (known, if known == name { value } else { given }));
        probe.post_form(&changed).await?.expect_refusal(400, name)?;
    }
    Ok(())
}

async fn endpoints_are_unique_and_long(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut endpoints = HashSet::new();
    for _ in 0..5 {
        let answer = probe.subscribe_websocket(&topic, "Patient-open", &[]).await?.expect_status(202)?;
        let endpoint = answer.json()?["hub.channel.endpoint"].as_str().unwrap_or_default().to_owned();
        let is_url = ["ws://", "wss://"].iter().any(|scheme| endpoint.starts_with(scheme));
        expect(is_url, "hub.channel.endpoint to be the URL of a WebSocket", &endpoint)?;
        // 128 random bits are 22 characters of base64.
        let ticket = endpoint.rsplit('/').next().unwrap_or_default();
        expect(ticket.len() >= 22, "the end of the endpoint to hold 128 bits", &endpoint)?;
        expect(endpoints.insert(endpoint.clone()), "an endpoint that was never given before", &endpoint)?;
    }
    Ok(())
}

async fn events_are_a_set(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open,Encounter-open,Patient-open,patient-OPEN").await?;
    for _ in 0..2 {
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        app.expect_event(&open).await?;
    }
    Ok(())
}

async fn subscribing_again_replaces_the_events(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let endpoint = app.endpoint().to_owned();
    let again = probe.endpoint(&topic, "Encounter-open", &[("hub.channel.endpoint", &endpoint)]).await?;
    expect_eq("the endpoint of the second answer", &endpoint, again)?;
    let confirmation = app.confirmation().await?;
    expect_eq("hub.events of the second confirmation", "Encounter-open", &confirmation["hub.events"])?;
    let patient = patient_open(&topic);
    probe.publish(&patient).await?;
    let marker = encounter_open(&topic, patient.anchor_id());
    probe.publish(&marker).await?;
    app.expect_event(&marker).await?;
    Ok(())
}

async fn a_lease_is_a_positive_number(probe: Probe) -> Outcome {
    let topic = probe.topic();
    for lease in ["0", "-1", "soon", "1.5", ""] {
        let asked =
            probe.subscribe_websocket(&topic, "Patient-open", &[("hub.lease_seconds", lease)]).await?;
        asked.expect_refusal(400, "hub.lease_seconds")?;
    }
    Ok(())
}

async fn a_lease_is_not_lengthened(probe: Probe) -> Outcome {
    let lease = async |extra: &[(&str, &str)]| {
        let endpoint = probe.endpoint(&probe.topic(), "Patient-open", extra).await?;
        let confirmation = probe.connect(&endpoint).await?.confirmation().await?;
        let lease = confirmation["hub.lease_seconds"].as_u64();
        lease.ok_or_else(|| fail("hub.lease_seconds, a number", &confirmation))
    };
    let short = lease(&[("hub.lease_seconds", "90")]).await?;
    expect(short <= 90, "a lease of at most the 90 s that were asked for", short)?;
    let default = lease(&[]).await?;
    expect(default > 0, "a lease of the hub's own", default)
}

async fn a_sync_error_calls_the_subscriber_by_its_name(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let app =
        probe.subscribe_with(&topic, "Patient-open", &[("subscriber.name", "A viewer by name")]).await?;
    app.answer_with(409);
    probe.publish(&patient_open(&topic)).await?;
    let told = witness.next_event().await?;
    expect(told.text.contains("A viewer by name"), "the SyncError to call it A viewer by name", told.text)
}

async fn a_lease_that_ends_is_denied(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let asked = LEASE_SECS.to_string();
    let endpoint = probe.endpoint(&topic, "Patient-open", &[("hub.lease_seconds", &asked)]).await?;
    let mut app = probe.connect(&endpoint).await?;
    app.confirmation().await?;
    let denial = app.denial_within(Duration::from_secs(LEASE_SECS + LATE_SECS)).await?;
    expect_eq("hub.topic", &topic, &denial["hub.topic"])?;
    app.closed().await?;
    expect_eq("the status of the upgrade afterwards", 404, probe.upgrade(&endpoint, &[]).await?)
}

async fn a_late_joiner_gets_what_is_open_oldest_first(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let superseded = patient_open(&topic);
    let study = imaging_study_open(&topic);
    let patient = patient_open(&topic);
    let closed = encounter_open(&topic, patient.anchor_id());
    for event in [&superseded, &study, &patient, &closed, &closed.clone().closed()] {
        probe.publish(event).await?;
    }
    let mut late = probe.subscribe(&topic, "*").await?;
    for open in [&study, &patient] {
        let came = late.expect_event(open).await?;
        expect_eq("the timestamp", &open.json["timestamp"], &came.json["timestamp"])?;
    }
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    late.expect_event(&marker).await?;
    Ok(())
}

async fn a_late_joiner_gets_nothing_that_it_did_not_ask_for(probe: Probe) -> Outcome {
    let topic = probe.topic();
    probe.publish(&patient_open(&topic)).await?;
    let mut late = probe.subscribe(&topic, "Patient-close,Encounter-open").await?;
    let marker = encounter_open(&topic, "p");
    probe.publish(&marker).await?;
    late.expect_event(&marker).await?;
    Ok(())
}

async fn unsubscribing_ends_the_socket_and_the_endpoint(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let endpoint = app.endpoint().to_owned();
    let answer = probe.unsubscribe_websocket(&topic, &endpoint).await?.expect_status(202)?;
    expect_eq("hub.channel.endpoint", &endpoint, &answer.json()?["hub.channel.endpoint"])?;
    app.denial().await?;
    expect_eq("the close code", 1000, app.closed().await?)?;
    expect_eq("the status of the upgrade afterwards", 404, probe.upgrade(&endpoint, &[]).await?)
}

async fn the_endpoint_may_be_called_endpoint(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    // Neither of these two ends a part of it.
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "unsubscribe"),
        ("hub.topic", topic.as_str()),
        ("endpoint", app.endpoint()),
        ("hub.events", "Encounter-open"),
        ("hub.lease_seconds", "60"),
    ];
    probe.post_form(&form).await?.expect_status(202)?;
    app.denial().await?;
    Ok(())
}

async fn what_is_not_subscribed_is_404(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let endpoint = probe.endpoint(&topic, "Patient-open", &[]).await?;
    let (before, ticket) = endpoint.rsplit_once('/').unwrap_or((&endpoint, ""));
    let unknown = format!("{before}/{}", ticket.chars().rev().collect::<String>());
    probe.unsubscribe_websocket(&topic, &unknown).await?.expect_status(404)?;
    probe.unsubscribe_websocket(&probe.topic(), &endpoint).await?.expect_status(404)?;
    // It stands all the same.
    probe.connect(&endpoint).await?.confirmation().await?;
    Ok(())
}

async fn a_denial_says_what_ended(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open,Patient-close").await?;
    let endpoint = app.endpoint().to_owned();
    probe.unsubscribe_websocket(&topic, &endpoint).await?.expect_success()?;
    let denial = app.denial().await?;
    expect_eq("hub.mode", "denied", &denial["hub.mode"])?;
    expect_eq("hub.topic", &topic, &denial["hub.topic"])?;
    expect(
        denial["hub.events"].as_str().is_some_and(|events| events.contains("Patient-open")),
        "hub.events",
        &denial,
    )?;
    let reason = &denial["hub.reason"];
    expect(matches!(reason, Value::Null | Value::String(_)), "hub.reason, a text if it is there", reason)
}

async fn an_endpoint_opens_at_another_node(probe: Probe) -> Outcome {
    let (topic, second) = (probe.topic(), probe.second_node()?);
    let endpoint = probe.endpoint(&topic, "Patient-open", &[]).await?;
    let mut app = second.connect(&second.endpoint_here(&endpoint)?).await?;
    app.confirmation().await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    app.expect_event(&open).await?;
    Ok(())
}
