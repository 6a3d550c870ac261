//! Requesting a context change (FC-REQ).

use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::json;

use crate::conformance::check::{Check, Outcome, check, expect, expect_eq};
use crate::conformance::messages::{
    Event, encounter_open, patient_open, put, report_open, report_update, sync_error,
};
use crate::conformance::probe::Probe;
use crate::examples::fresh_id;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-REQ-01", an_accepted_event_is_202),
    check!("FC-REQ-01", an_event_may_be_posted_to_its_topic),
    check!("FC-REQ-02", the_requester_gets_its_own_event_with_its_id),
    check!("FC-REQ-02", every_subscriber_that_asked_for_it_gets_it_and_no_other),
    check!("FC-REQ-02", none_of_many_at_once_is_lost),
    check!("FC-REQ-03", a_posted_sync_error_is_told_like_any_event),
    check!("FC-REQ-03", a_posted_heartbeat_is_refused),
    check!("FC-REQ-04", a_topic_without_subscribers_keeps_its_context),
    check!("FC-REQ-05", an_event_that_is_sent_again_is_told_again),
    check!("FC-REQ-06", a_logout_ends_the_session),
    check!("FC-REQ-06", home_leaves_nothing_current),
    check!("FC-REQ-07", a_transport_retry_is_told_once),
    check!("FC-REQ-07", a_retried_update_is_no_conflict),
    check!("FC-REQ-08", an_accepted_event_is_answered_with_nothing),
];

async fn an_accepted_event_is_202(probe: Probe) -> Outcome {
    probe.offer(&patient_open(&probe.topic())).await?.expect_status(202)?;
    Ok(())
}

async fn an_event_may_be_posted_to_its_topic(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    let post = |path: String, event: &Event| {
        let text = event.text();
        let probe = probe.clone();
        async move { probe.ask(Method::POST, &path).body("application/json", text).send().await }
    };
    post(format!("/{}", probe.topic()), &open).await?.expect_status(400)?;
    post(format!("/{topic}"), &open).await?.expect_status(202)?;
    app.expect_event(&open).await?;
    Ok(())
}

async fn the_requester_gets_its_own_event_with_its_id(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    app.expect_event(&open).await?;
    Ok(())
}

async fn every_subscriber_that_asked_for_it_gets_it_and_no_other(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut first = probe.subscribe(&topic, "Patient-open").await?;
    let mut second = probe.subscribe(&topic, "Patient-open,Encounter-close").await?;
    let mut other = probe.subscribe(&topic, "Encounter-close").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    first.expect_event(&open).await?;
    second.expect_event(&open).await?;
    let marker = encounter_open(&topic, open.anchor_id());
    probe.publish(&marker).await?;
    let marker = marker.closed();
    probe.publish(&marker).await?;
    other.expect_event(&marker).await?;
    second.expect_event(&marker).await?;
    Ok(())
}

async fn none_of_many_at_once_is_lost(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let opens: Vec<Event> = (0..20).map(|_| patient_open(&topic)).collect();
    try_join_all(opens.iter().map(|open| probe.publish(open))).await?;
    let mut missing: Vec<&str> = opens.iter().map(Event::id).collect();
    for _ in &opens {
        let came = app.next_event().await?;
        let before = missing.len();
        missing.retain(|id| *id != came.id());
        expect(missing.len() < before, "each of the events once", &came.text)?;
    }
    Ok(())
}

async fn a_posted_sync_error_is_told_like_any_event(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "syncerror").await?;
    let error = sync_error(&topic, &patient_open(&topic));
    probe.publish(&error).await?;
    let came = app.expect_event(&error).await?;
    expect_eq("its context", &error.json["event"]["context"], &came.json["event"]["context"])
}

async fn a_posted_heartbeat_is_refused(probe: Probe) -> Outcome {
    let beat = Event::new(&probe.topic(), "heartbeat", json!([{"key": "period", "decimal": "10"}]));
    probe.post("application/json", beat.text()).await?.expect_status(400)?;
    Ok(())
}

async fn a_topic_without_subscribers_keeps_its_context(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let context = probe.current_context(&topic).await?;
    expect_eq("the patient", open.anchor_id(), &context["context"][0]["resource"]["id"])
}

async fn an_event_that_is_sent_again_is_told_again(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    // The same id and timestamp; not the same bytes, which might be a retry of the transport.
    for event in [open.clone(), open.with("/again", true)] {
        probe.publish(&event).await?;
        app.expect_event(&event).await?;
    }
    Ok(())
}

async fn a_logout_ends_the_session(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "userLogout").await?;
    probe.publish(&patient_open(&topic)).await?;
    let logout = Event::new(&topic, "userLogout", json!([]));
    probe.publish(&logout).await?;
    app.expect_event(&logout).await?;
    expect_eq("context.type", "", &probe.current_context(&topic).await?["context.type"])?;
    let mut late = probe.subscribe(&topic, "*").await?;
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    late.expect_event(&marker).await?;
    Ok(())
}

async fn home_leaves_nothing_current(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    probe.publish(&Event::new(&topic, "home-open", json!([]))).await?;
    expect_eq("context.type", "", &probe.current_context(&topic).await?["context.type"])?;
    // The patient is open all the same.
    probe.subscribe(&topic, "Patient-open").await?.expect_event(&open).await?;
    Ok(())
}

async fn a_transport_retry_is_told_once(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    for _ in 0..3 {
        probe.offer(&open).await?.expect_status(202)?;
    }
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    app.expect_event(&open).await?;
    app.expect_event(&marker).await?;
    Ok(())
}

async fn a_retried_update_is_no_conflict(probe: Probe) -> Outcome {
    probe.needs_content_sharing()?;
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "DiagnosticReport-open,DiagnosticReport-update").await?;
    let open = report_open(&topic);
    probe.publish(&open).await?;
    let opened = app.expect_event(&open).await?;
    let version = opened.version().as_str().unwrap_or_default();
    let update = report_update(&topic, open.anchor_id(), version, json!([put(&fresh_id())]));
    probe.offer(&update).await?.expect_status(202)?;
    probe.offer(&update).await?.expect_status(202)?;
    app.expect_event(&update).await?;
    Ok(())
}

async fn an_accepted_event_is_answered_with_nothing(probe: Probe) -> Outcome {
    let answer = probe.offer(&patient_open(&probe.topic())).await?.expect_success()?;
    expect_eq("Content-Length", "0", answer.header("content-length"))?;
    expect_eq("the body", "", &answer.body)
}
