//! Derived opens (FC-NOT-07), for broadcast, late joiners (FC-SUB-08) and those who come back.

use harness::{
    callback_server::CallbackServer,
    examples::{Message, fresh_id, fresh_topic},
    socket::Listener,
    wait::PATIENCE,
};
use serde_json::Value;

use crate::{
    messages::{event, resource},
    setups::{Kind, Setup, on_each_setup},
};

on_each_setup![
    who_sees_only_patients_is_told_of_the_patient_of_a_study,
    nothing_is_derived_for_what_is_current_already,
    late_joiners_and_those_who_come_back_get_the_same_derived_open,
    a_callback_gets_the_derived_open_too,
    an_answer_to_a_derived_open_is_an_answer,
];

/// Opens a study of a patient.
async fn open_study(setup: &Setup, topic: &str, study: &str, patient: &str) {
    let context = format!("{},{}", resource("ImagingStudy", study), resource("Patient", patient));
    setup.publish(&event(topic, &fresh_id(), "ImagingStudy-open", &context)).await;
}

/// Has all events until a proprietary one with this id: their names, and the patients in them.
async fn patients_until(setup: &Setup, topic: &str, listener: &Listener, last: &str) -> Vec<String> {
    setup.publish(&event(topic, last, "org.example.last", "")).await;
    listener.wait_for_event(PATIENCE, last).await.unwrap();
    listener.seen(|seen| {
        let events = seen.received.iter().filter(|received| received.event().is_some());
        events.filter_map(|received| patient_of(&received.json)).collect()
    })
}

fn patient_of(message: &Value) -> Option<String> {
    let elements = message["event"]["context"].as_array()?;
    let mut resources = elements.iter().rev().map(|element| &element["resource"]);
    let patient = resources.find(|resource| resource["resourceType"] == "Patient")?;
    let name = message["event"]["hub.event"].as_str()?;
    Some(format!("{name} {}", patient["id"].as_str()?))
}

const PATIENTS: &str = "Patient-open,org.example.last";

async fn who_sees_only_patients_is_told_of_the_patient_of_a_study(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let patients = setup.listener(&topic, PATIENTS).await;
    let all = setup.listener(&topic, "*").await;
    let message = Message::example("3.0.0/ImagingStudy-open").unwrap().topic(&topic).unwrap();
    setup.publish(message.text()).await;
    let sent: Value = serde_json::from_str(message.text()).unwrap();
    assert_eq!(patients_until(&setup, &topic, &patients, "1").await.len(), 1, "FC-NOT-07");
    let derived = patients.seen(|seen| seen.received[1].json.clone());
    assert_eq!(derived["event"]["hub.event"], "Patient-open", "FC-NOT-07");
    assert_eq!(derived["timestamp"], sent["timestamp"], "FC-NOT-07: the source's timestamp");
    assert_ne!(derived["id"], sent["id"], "FC-NOT-07: its own id");
    let context = derived["event"]["context"].as_array().unwrap();
    let elements = sent["event"]["context"].as_array().unwrap();
    assert!(context.len() == 1 && elements.contains(&context[0]), "FC-NOT-07: only that resource");
    let seen = patients_until(&setup, &topic, &all, "2").await;
    assert!(seen[0].starts_with("ImagingStudy-open") && seen.len() == 1, "one for one cause: {seen:?}");
}

async fn nothing_is_derived_for_what_is_current_already(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, PATIENTS).await;
    setup.publish(&event(&topic, "p", "Patient-open", &resource("Patient", "1"))).await;
    for (study, patient) in [("s1", "1"), ("s2", "2"), ("s3", "2"), ("s1", "1")] {
        open_study(&setup, &topic, study, patient).await;
    }
    let seen = patients_until(&setup, &topic, &listener, "last").await;
    assert_eq!(seen, ["Patient-open 1", "Patient-open 2", "Patient-open 1"], "FC-NOT-07");
}

async fn late_joiners_and_those_who_come_back_get_the_same_derived_open(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let mut early = setup.listener(&topic, PATIENTS).await;
    early.drop_connection().await;
    open_study(&setup, &topic, "s", "1").await;
    let late = setup.listener(&topic, PATIENTS).await;
    early.reconnect().await.unwrap();
    let mut derived = Vec::new();
    for (listener, last) in [(&early, "1"), (&late, "2")] {
        assert_eq!(
            patients_until(&setup, &topic, listener, last).await,
            ["Patient-open 1"],
            "FC-NOT-07, FC-SUB-08, FC-WSC-08"
        );
        derived.push(listener.seen(|seen| {
            let opens = seen.received.iter().filter(|received| patient_of(&received.json).is_some());
            opens.map(|received| received.text.clone()).next().unwrap()
        }));
    }
    assert_eq!(derived[0], derived[1], "FC-NOT-07: the same for all, also its id");
}

async fn a_callback_gets_the_derived_open_too(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/app", &topic, "Patient-open", &[]).await;
    let listener = setup.listener(&topic, PATIENTS).await;
    open_study(&setup, &topic, "s", "1").await;
    let sent = listener.wait_for(PATIENCE, "the derived open", |seen| {
        seen.received.iter().find(|received| patient_of(&received.json).is_some()).cloned()
    });
    let sent = sent.await.unwrap();
    let id = sent.json["id"].as_str().unwrap().to_owned();
    let came = server.wait_for_event(PATIENCE, "/app", &id).await.unwrap();
    assert_eq!(String::from_utf8(came.body.clone()).unwrap(), sent.text, "FC-NOT-01, FC-NOT-07");
}

async fn an_answer_to_a_derived_open_is_an_answer(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let reporter = setup.listener(&topic, "syncerror").await;
    let listener = setup.named_listener(&topic, PATIENTS, &[("subscriber.name", "Lister")]).await;
    listener.answer_with(|received| Some(if patient_of(&received.json).is_some() { 409 } else { 200 }));
    let context = format!("{},{}", resource("ImagingStudy", "s"), resource("Patient", "1"));
    setup.publish(&event(&topic, "opened", "ImagingStudy-open", &context)).await;
    let sync_error = crate::setups::sync_error_after(&reporter, 0).await;
    assert_eq!(crate::setups::code_of(&sync_error, "subscriber"), "Lister", "FC-NOT-02, FC-NOT-07");
    assert_eq!(
        crate::setups::code_of(&sync_error, "eventid"),
        "opened",
        "FC-NOT-03: the event that was accepted"
    );
}
