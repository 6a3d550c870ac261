//! Notifying (FC-NOT).

use futures_util::future::try_join_all;
use serde_json::json;

use crate::conformance::check::{Check, Outcome, Waits, check, expect, expect_eq};
use crate::conformance::messages::{Event, element, imaging_study_open, patient_open, resource, sync_error};
use crate::conformance::probe::Probe;
use crate::conformance::subscriber::{Notification, Subscriber};
use crate::examples::fresh_id;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-NOT-01", a_notification_is_the_same_on_both_channels),
    check!("FC-NOT-01", a_notification_has_timestamp_id_and_event),
    check!("FC-NOT-02", a_refusal_is_told_to_the_others),
    check!("FC-NOT-02", a_refusal_is_not_told_to_who_refused),
    check!("FC-NOT-03", a_sync_error_names_event_and_subscriber),
    check!("FC-NOT-04", an_unanswered_notification_is_reported, Waits::AckTimeout),
    check!("FC-NOT-04", who_never_answers_is_kept, Waits::AckTimeout),
    check!("FC-NOT-04", who_vanishes_is_reported_for_what_it_misses, Waits::AckTimeout),
    check!("FC-NOT-04", who_stays_away_is_reported, Waits::Grace),
    check!("FC-NOT-05", a_goodbye_is_not_reported, Waits::Grace),
    check!("FC-NOT-05", a_refused_sync_error_is_not_reported),
    check!("FC-NOT-06", who_stays_away_is_unsubscribed, Waits::Grace),
    check!("FC-NOT-07", the_patient_of_a_study_is_told_to_who_asks_for_patients),
    check!("FC-NOT-07", nothing_is_derived_for_who_sees_the_source),
    check!("FC-NOT-07", nothing_is_derived_of_what_is_current),
    check!("FC-NOT-08", all_subscribers_see_one_order),
    check!("FC-NOT-08", two_nodes_tell_the_same_order),
];

async fn a_notification_is_the_same_on_both_channels(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let callback = probe.webhook(&topic, "Patient-open", &[]).await?;
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let (posted, _) = callback.expect_event(&open).await?;
    expect_eq("the notification at the callback", &app.expect_event(&open).await?.json, &posted.json)
}

async fn a_notification_has_timestamp_id_and_event(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let came = app.expect_event(&open).await?;
    for pointer in ["/timestamp", "/id", "/event/hub.topic", "/event/hub.event", "/event/context"] {
        let (sent, came) = (open.json.pointer(pointer), came.json.pointer(pointer));
        expect_eq(pointer, sent, came)?;
    }
    Ok(())
}

async fn a_refusal_is_told_to_the_others(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let refusing = probe.subscribe(&topic, "Patient-open").await?;
    for status in [409, 500] {
        refusing.answer_with(status);
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        let told = witness.next_event().await?;
        expect_eq("hub.event in lower case", "syncerror", told.name().to_lowercase())?;
        expect(told.text.contains(open.id()), "the SyncError to name the event's id", told.text)?;
    }
    Ok(())
}

async fn a_refusal_is_not_told_to_who_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let mut refusing = probe.subscribe(&topic, "syncerror,Patient-open").await?;
    refusing.answer_with(409);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    refusing.expect_event(&open).await?;
    witness.next_event().await?;
    refusing.answer_with(200);
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    refusing.expect_event(&marker).await?;
    Ok(())
}

/// The code of this system in the SyncError.
fn code<'m>(told: &'m Notification, system: &str) -> Option<&'m str> {
    let issue = &told.context("operationoutcome")["resource"]["issue"][0];
    let system = format!("https://fhircast.hl7.org/events/syncerror/{system}");
    let codings = issue["details"]["coding"].as_array()?;
    codings.iter().find(|coding| coding["system"] == system.as_str())?["code"].as_str()
}

async fn a_sync_error_names_event_and_subscriber(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let name = format!("viewer {}", fresh_id());
    let refusing = probe.subscribe_with(&topic, "Patient-open", &[("subscriber.name", &name)]).await?;
    refusing.answer_with(409);
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let told = witness.next_event().await?;
    let outcome = &told.context("operationoutcome")["resource"];
    expect_eq("the resourceType", "OperationOutcome", &outcome["resourceType"])?;
    expect_eq("the number of issues", 1, outcome["issue"].as_array().map_or(0, Vec::len))?;
    let issue = &outcome["issue"][0];
    expect_eq("the issue's code", "processing", &issue["code"])?;
    let severity = issue["severity"].as_str().unwrap_or_default();
    expect(["error", "warning"].contains(&severity), "a severity of error or warning", severity)?;
    let diagnostics = issue["diagnostics"].as_str().unwrap_or_default();
    expect(diagnostics.contains(&name), "diagnostics that name the subscriber", diagnostics)?;
    expect_eq("the coding eventid", open.id(), code(&told, "eventid"))?;
    expect_eq("the coding eventname", open.name(), code(&told, "eventname"))?;
    let subscriber = code(&told, "subscriber").or(code(&told, "subscribername"));
    expect_eq("the coding subscriber", &name, subscriber)
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

async fn who_never_answers_is_kept(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let never = [("subscriber.name", "Never answers")];
    let mut never = probe.subscribe_with(&topic, "Patient-open", &never).await?;
    never.answer_nothing();
    let mut fell_silent = probe.subscribe(&topic, "Patient-open").await?;
    let answered = patient_open(&topic);
    probe.publish(&answered).await?;
    fell_silent.expect_event(&answered).await?;
    fell_silent.answer_nothing();
    probe.publish(&patient_open(&topic)).await?;
    // The one that fell silent is reported after the other would have been.
    let told = witness.next_event_within(probe.timing().ack_timeout).await?;
    let is_kept = !told.text.contains("Never answers");
    expect(is_kept, "no SyncError about who has never answered: viewers in the field do so", told.text)?;
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    never.next_event().await?;
    never.next_event().await?;
    never.expect_event(&marker).await?;
    Ok(())
}

/// A subscriber whose connection drops.
async fn vanished(probe: &Probe, topic: &str, name: &str) -> Outcome<Subscriber> {
    let mut app = probe.subscribe_with(topic, "Patient-open", &[("subscriber.name", name)]).await?;
    app.drop_connection().await;
    Ok(app)
}

async fn who_vanishes_is_reported_for_what_it_misses(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let _away = vanished(&probe, &topic, "Vanished").await?;
    let missed = patient_open(&topic);
    probe.publish(&missed).await?;
    let told = witness.next_event_within(probe.timing().ack_timeout).await?;
    expect_eq("the coding eventid", missed.id(), code(&told, "eventid"))?;
    expect(told.text.contains("Vanished"), "the SyncError to name the subscriber", told.text)
}

async fn who_stays_away_is_reported(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let _away = vanished(&probe, &topic, "Vanished").await?;
    let told = witness.next_event_within(probe.timing().grace).await?;
    expect(told.text.contains("Vanished"), "the SyncError to name the subscriber", told.text)
}

async fn a_goodbye_is_not_reported(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    for code in [1000, 1001] {
        let mut leaving =
            probe.subscribe_with(&topic, "Patient-open", &[("subscriber.name", "Leaving")]).await?;
        leaving.close(code).await?;
        leaving.closed().await?;
    }
    // Who vanishes after them is reported after they would have been.
    let _away = vanished(&probe, &topic, "Vanished").await?;
    if let Ok(told) = witness.next_event_within(probe.timing().grace).await {
        expect(!told.text.contains("Leaving"), "no SyncError about who closed with 1000 or 1001", told.text)?;
        return Ok(());
    }
    // A hub that reports nobody reports them neither.
    let marker = sync_error(&topic, &patient_open(&topic));
    probe.publish(&marker).await?;
    witness.expect_event(&marker).await?;
    Ok(())
}

async fn a_refused_sync_error_is_not_reported(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let mut refusing = probe.subscribe(&topic, "syncerror").await?;
    refusing.answer_with(409);
    let error = sync_error(&topic, &patient_open(&topic));
    probe.publish(&error).await?;
    witness.expect_event(&error).await?;
    refusing.expect_event(&error).await?;
    refusing.answer_with(200);
    let marker = sync_error(&topic, &patient_open(&topic));
    probe.publish(&marker).await?;
    refusing.expect_event(&marker).await?;
    witness.expect_event(&marker).await?;
    Ok(())
}

async fn who_stays_away_is_unsubscribed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "syncerror").await?;
    let away = vanished(&probe, &topic, "Vanished").await?;
    witness.next_event_within(probe.timing().grace).await?;
    let ended = probe.unsubscribe_websocket(&topic, away.endpoint()).await?;
    // The SyncError comes first, the end right after it.
    if ended.status == 202 {
        return Ok(());
    }
    ended.expect_status(404)?;
    expect_eq("the status of the upgrade afterwards", 404, probe.upgrade(away.endpoint(), &[]).await?)
}

async fn the_patient_of_a_study_is_told_to_who_asks_for_patients(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut patients = probe.subscribe(&topic, "Patient-open").await?;
    let study = imaging_study_open(&topic);
    probe.publish(&study).await?;
    for _ in 0..2 {
        let derived = patients.next_event().await?;
        expect_eq("hub.event", "Patient-open", derived.name())?;
        expect(derived.id() != study.id(), "an id of its own", derived.id())?;
        expect_eq("the timestamp", &study.json["timestamp"], &derived.json["timestamp"])?;
        expect_eq("the context", json!([study.context("patient")]), &derived.json["event"]["context"])?;
        // And the same for who joins late.
        patients = probe.subscribe(&topic, "Patient-open").await?;
    }
    Ok(())
}

async fn nothing_is_derived_for_who_sees_the_source(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "ImagingStudy-open,Patient-open").await?;
    for _ in 0..2 {
        let study = imaging_study_open(&topic);
        probe.publish(&study).await?;
        app.expect_event(&study).await?;
    }
    Ok(())
}

async fn nothing_is_derived_of_what_is_current(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let patient = patient_open(&topic);
    probe.publish(&patient).await?;
    app.expect_event(&patient).await?;
    let element = element(&patient.json, "patient").clone();
    let study = resource("study", "ImagingStudy", &fresh_id());
    probe.publish(&Event::new(&topic, "ImagingStudy-open", json!([study, element]))).await?;
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    app.expect_event(&marker).await?;
    Ok(())
}

async fn all_subscribers_see_one_order(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut apps = Vec::new();
    for _ in 0..4 {
        apps.push(probe.subscribe(&topic, "Patient-open").await?);
    }
    let opens: Vec<Event> = (0..20).map(|_| patient_open(&topic)).collect();
    try_join_all(opens.iter().map(|open| probe.publish(open))).await?;
    same_order(&mut apps, opens.len()).await
}

async fn two_nodes_tell_the_same_order(probe: Probe) -> Outcome {
    let (topic, second) = (probe.topic(), probe.second_node()?);
    let mut apps =
        vec![probe.subscribe(&topic, "Patient-open").await?, second.subscribe(&topic, "Patient-open").await?];
    let opens: Vec<Event> = (0..20).map(|_| patient_open(&topic)).collect();
    let at = |number: usize| if number.is_multiple_of(2) { &probe } else { &second };
    try_join_all(opens.iter().enumerate().map(|(number, open)| at(number).publish(open))).await?;
    same_order(&mut apps, opens.len()).await
}

/// All of them get as many events, in the same order.
async fn same_order(apps: &mut [Subscriber], count: usize) -> Outcome {
    let mut orders = Vec::new();
    for app in apps {
        let mut order = Vec::new();
        for _ in 0..count {
            order.push(app.next_event().await?.id().to_owned());
        }
        orders.push(order);
    }
    for order in &orders[1..] {
        expect_eq("the order of the events", &orders[0], order)?;
    }
    Ok(())
}
