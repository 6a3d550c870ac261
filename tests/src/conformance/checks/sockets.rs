//! The WebSocket channel (FC-WSC).

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq};
use crate::conformance::messages::{Event, patient_open};
use crate::conformance::probe::Probe;
use crate::conformance::subscriber::Frame;

/// In which an idle connection must be pinged: most load balancers end it after a minute.
const PING_SECS: u64 = 30;
/// In which each heartbeat must come.
const HEARTBEAT_SECS: u64 = 10;
/// Larger than any answer.
const GIANT_FRAME: usize = 2 << 20;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-WSC-01", the_first_message_is_the_confirmation),
    check!("FC-WSC-02", an_unknown_endpoint_is_404),
    check!("FC-WSC-02", the_endpoint_alone_opens_the_socket),
    check!("FC-WSC-03", a_status_is_a_number_digits_or_nothing),
    check!("FC-WSC-04", a_newer_connection_replaces_the_older),
    check!("FC-WSC-05", an_object_that_is_no_answer_is_ignored),
    check!("FC-WSC-05", ten_frames_of_garbage_close_the_socket),
    check!("FC-WSC-05", a_binary_frame_closes_the_socket),
    check!("FC-WSC-05", a_giant_frame_closes_the_socket),
    check!("FC-WSC-06", heartbeats_come_to_who_asks_for_them, Waits::Secs(2 * HEARTBEAT_SECS)),
    check!("FC-WSC-07", an_idle_socket_is_pinged, Waits::Secs(PING_SECS)),
    check!("FC-WSC-08", a_dropped_socket_gets_what_it_missed_in_order),
    check!("FC-WSC-08", a_dropped_socket_comes_back_at_another_node),
];

async fn the_first_message_is_the_confirmation(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let endpoint = probe.endpoint(&topic, "Patient-open", &[("hub.lease_seconds", "3600")]).await?;
    let mut app = probe.connect(&endpoint).await?;
    let confirmation = app.confirmation().await?;
    expect_eq("hub.topic", &topic, &confirmation["hub.topic"])?;
    expect_eq("hub.events", "Patient-open", &confirmation["hub.events"])?;
    let lease = confirmation["hub.lease_seconds"].as_u64();
    expect(lease.is_some_and(|left| left <= 3600), "hub.lease_seconds, a number up to 3600", &confirmation)?;
    let frames = app.frames();
    let is_first = matches!(frames.first(), Some(Frame::Text(text)) if text.contains("hub.mode"));
    expect(is_first, "the confirmation before all else", format!("{:?}", frames.first()))
}

async fn an_unknown_endpoint_is_404(probe: Probe) -> Outcome {
    let endpoint = probe.endpoint(&probe.topic(), "Patient-open", &[]).await?;
    let (before, ticket) = endpoint.rsplit_once('/').unwrap_or((&endpoint, ""));
    let unknown: String = ticket.chars().rev().collect();
    let status = probe.upgrade(&format!("{before}/{unknown}"), &[]).await?;
    expect_eq("the status of the upgrade", 404, status)
}

async fn the_endpoint_alone_opens_the_socket(probe: Probe) -> Outcome {
    let endpoint = probe.endpoint(&probe.topic(), "Patient-open", &[]).await?;
    // Neither a token nor an Origin that the hub knows.
    let status = probe.upgrade(&endpoint, &[("Origin", "https://unknown.example")]).await?;
    expect_eq("the status of the upgrade", 101, status)
}

async fn a_status_is_a_number_digits_or_nothing(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let opens: [Event; 5] = std::array::from_fn(|_| patient_open(&topic));
    let ids = opens.clone().map(|open| open.id().to_owned());
    app.answer_by(move |came| match ids.iter().position(|id| came.id() == *id) {
        Some(0) => Some(json!(null)),
        Some(1) => Some(json!(200)),
        Some(2) => Some(json!("202")),
        Some(3) => Some(json!("409")),
        _ => Some(json!(409)),
    });
    for open in &opens {
        probe.publish(open).await?;
        app.expect_event(open).await?;
    }
    for refused in &opens[3..] {
        let told = witness.next_event().await?;
        expect(told.text.contains(refused.id()), "a SyncError about each refused event alone", told.text)?;
    }
    Ok(())
}

async fn a_newer_connection_replaces_the_older(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut older = probe.subscribe(&topic, "Patient-open").await?;
    let mut newer = probe.connect(older.endpoint()).await?;
    newer.confirmation().await?;
    expect_eq("the close code of the older connection", 4000, older.closed().await?)?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    newer.expect_event(&open).await?;
    Ok(())
}

async fn an_object_that_is_no_answer_is_ignored(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    for frame in [r#"{"hub.channel.endpoint":"x"}"#, r#"{"id":"unknown","status":"200"}"#, "{}"] {
        app.send_text(frame).await?;
    }
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    app.expect_event(&open).await?;
    Ok(())
}

async fn ten_frames_of_garbage_close_the_socket(probe: Probe) -> Outcome {
    let mut app = probe.subscribe(&probe.topic(), "Patient-open").await?;
    for _ in 0..10 {
        app.send_text("no JSON object").await?;
    }
    expect_eq("the close code", 1008, app.closed().await?)
}

async fn a_binary_frame_closes_the_socket(probe: Probe) -> Outcome {
    let mut app = probe.subscribe(&probe.topic(), "Patient-open").await?;
    app.send(Message::Binary(vec![1, 2, 3].into())).await?;
    expect_eq("the close code", 1003, app.closed().await?)
}

async fn a_giant_frame_closes_the_socket(probe: Probe) -> Outcome {
    let mut app = probe.subscribe(&probe.topic(), "Patient-open").await?;
    // The hub may hang up before it has all.
    let _ = app.send_text(&format!(r#"{{"x":"{}"}}"#, "x".repeat(GIANT_FRAME))).await;
    match app.closed().await? {
        // What was still on its way when the hub had closed breaks the connection.
        Some(1009) | None => Ok(()),
        other => expect_eq("the close code", 1009, other),
    }
}

async fn heartbeats_come_to_who_asks_for_them(probe: Probe) -> Outcome {
    probe.needs_event("heartbeat")?;
    let topic = probe.topic();
    let mut wild = probe.subscribe(&topic, "*").await?;
    let mut app = probe.subscribe(&topic, "heartbeat,Patient-open").await?;
    for _ in 0..2 {
        let came = app.next_event_within(Duration::from_secs(HEARTBEAT_SECS)).await?;
        expect_eq("hub.event in lower case", "heartbeat", came.name().to_lowercase())?;
        expect(!came.context("period")["decimal"].is_null(), "a period with a decimal", &came.text)?;
    }
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    // A bare wildcard does not ask for it.
    wild.expect_event(&marker).await?;
    Ok(())
}

async fn an_idle_socket_is_pinged(probe: Probe) -> Outcome {
    let app = probe.subscribe(&probe.topic(), "Patient-open").await?;
    let is_ping = |frames: &[Frame]| frames.contains(&Frame::Ping).then_some(());
    app.wait_for(Duration::from_secs(PING_SECS), "a ping", is_ping).await
}

async fn a_dropped_socket_gets_what_it_missed_in_order(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    app.drop_connection().await;
    let missed = publish_three(&probe, &topic).await?;
    app.reconnect().await?;
    app.confirmation().await?;
    for open in &missed {
        app.expect_event(open).await?;
    }
    Ok(())
}

async fn a_dropped_socket_comes_back_at_another_node(probe: Probe) -> Outcome {
    let (topic, second) = (probe.topic(), probe.second_node()?);
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    app.drop_connection().await;
    let missed = publish_three(&probe, &topic).await?;
    let there = second.endpoint_here(app.endpoint())?;
    app.reconnect_to(&there).await?;
    app.confirmation().await?;
    for open in &missed {
        app.expect_event(open).await?;
    }
    Ok(())
}

async fn publish_three(probe: &Probe, topic: &str) -> Outcome<[Event; 3]> {
    let opens = [patient_open(topic), patient_open(topic), patient_open(topic)];
    for open in &opens {
        probe.publish(open).await?;
    }
    Ok(opens)
}
