//! What is an event, and what its names and contexts may be (FC-EVT-01…07, FC-EXT-01).

use harness::{
    examples::{fresh_id, fresh_topic},
    wait::PATIENCE,
};
use serde_json::Value;

use crate::{
    messages::{NO_CONTENT, event, patient_open, resource},
    setups::{Kind, ids_until, on_each_setup},
};

on_each_setup![
    an_event_that_lacks_a_member_or_has_it_of_another_type_is_refused_by_its_name,
    an_odd_timestamp_is_passed_on_and_counted,
    names_are_compared_without_case_and_passed_on_as_written,
    the_catalogue_and_reverse_domain_names_are_events_and_nothing_else_is,
    an_open_replaces_what_was_open_before,
    elements_of_any_shape_pass_unchanged_and_what_is_no_element_is_refused,
    wildcards_match_what_nobody_had_sent_when_they_were_asked_for,
    the_anchor_is_known_by_its_type_and_not_by_its_key,
    an_open_or_close_without_its_anchor_is_refused,
];

async fn an_event_that_lacks_a_member_or_has_it_of_another_type_is_refused_by_its_name(kind: Kind) {
    let setup = kind.shared().await;
    let (app, topic) = (setup.publisher(), fresh_topic());
    let whole: Value = serde_json::from_str(&patient_open(&topic, "e")).unwrap();
    for (path, name) in [
        ("/timestamp", "timestamp"),
        ("/id", "id"),
        ("/event", "event"),
        ("/event/hub.topic", "hub.topic"),
        ("/event/hub.event", "hub.event"),
        ("/event/context", "context"),
    ] {
        let (parent, member) = path.rsplit_once('/').unwrap();
        let mut lacking = whole.clone();
        lacking.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member);
        let mut mistyped = whole.clone();
        *mistyped.pointer_mut(path).unwrap() = 7.into();
        let mut nothing = whole.clone();
        *nothing.pointer_mut(path).unwrap() = Value::Null;
        for wrong in [lacking, mistyped, nothing] {
            let answer = app.publish(&wrong.to_string()).await.unwrap();
            assert_eq!(answer.status, 400, "FC-EVT-01: {wrong}");
            assert!(answer.body.contains(name), "FC-EVT-01: {name} is named in {:?}", answer.body);
        }
    }
    for empty in ["timestamp", "id"] {
        let mut wrong = whole.clone();
        wrong[empty] = "".into();
        let answer = app.publish(&wrong.to_string()).await.unwrap();
        assert!(answer.status == 400 && answer.body.contains(empty), "FC-EVT-01: {answer:?}");
    }
    for no_object in ["[]", "7", "null", r#""event""#, "{", ""] {
        assert_eq!(app.publish(no_object).await.unwrap().status, 400, "FC-EVT-01: {no_object}");
    }
}

async fn an_odd_timestamp_is_passed_on_and_counted(kind: Kind) {
    let setup = kind.own(&[]).await;
    let topic = fresh_topic();
    let listener = setup.listener(&topic, "Patient-open").await;
    for (id, timestamp, counted) in
        [("iso", "2026-01-01T00:00:00.123+01:00", 0.0), ("odd", "2023-04-01T010:38:04.16", 1.0)]
    {
        setup.publish(&patient_open(&topic, id).replace("2026-01-01T00:00:00Z", timestamp)).await;
        let received = listener.wait_for_event(PATIENCE, id).await.unwrap();
        assert_eq!(received.json["timestamp"], timestamp, "FC-EVT-01");
        let count = setup.b().metrics().await.unwrap().value("fhircast_odd_timestamps_total");
        assert_eq!(count, Some(counted), "FC-EVT-01: {timestamp}");
    }
}

async fn names_are_compared_without_case_and_passed_on_as_written(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "patient-OPEN,SYNCERROR").await;
    setup.publish(&event(&topic, "1", "PATIENT-oPen", &resource("Patient", "1"))).await;
    setup.publish(&event(&topic, "2", "SyncError", "")).await;
    for (id, name) in [("1", "PATIENT-oPen"), ("2", "SyncError")] {
        let received = listener.wait_for_event(PATIENCE, id).await.unwrap();
        assert_eq!(received.json["event"]["hub.event"], name, "FC-EVT-02");
    }
    let current = setup.subscriber().current_context(&topic).await.unwrap().json().unwrap();
    assert_eq!(current["context.type"], "Patient", "FC-EVT-02");
}

async fn the_catalogue_and_reverse_domain_names_are_events_and_nothing_else_is(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let app = setup.publisher();
    let context = resource("DiagnosticReport", "1");
    for name in [
        "DiagnosticReport-open",
        "DiagnosticReport-select",
        "DiagnosticReport-close",
        "syncerror",
        "userLogout",
        "userHibernate",
        "home-open",
        "org.example.patient_transmogrify",
    ] {
        let answer = app.publish(&event(&topic, &fresh_id(), name, &context)).await.unwrap();
        assert_eq!(answer.status, 202, "FC-EVT-03: {name}: {answer:?}");
    }
    for name in [
        "",
        "patient",
        "Patient-opened",
        "Patient_open",
        "-open",
        "Patient-",
        "a-b-open",
        "Patient open",
        "org.example-x.y",
        "*",
        "*-open",
        "Patient-*",
    ] {
        let answer = app.publish(&event(&topic, &fresh_id(), name, &context)).await.unwrap();
        assert_eq!(answer.status, 400, "FC-EVT-03: {name:?}");
        assert!(answer.body.contains("hub.event"), "FC-EVT-03: {answer:?}");
    }
}

async fn an_open_replaces_what_was_open_before(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let first = format!("{},{}", resource("Patient", "1"), resource("Encounter", "2"));
    setup.publish(&event(&topic, "1", "Patient-open", &first)).await;
    setup.publish(&event(&topic, "2", "Patient-open", &resource("Patient", "1"))).await;
    let current = setup.subscriber().current_context(&topic).await.unwrap().json().unwrap();
    let expected: Value =
        serde_json::from_str(&format!("[{},{NO_CONTENT}]", resource("Patient", "1"))).unwrap();
    assert_eq!(current["context"], expected, "FC-EVT-04: no delta");
    let late = setup.listener(&topic, "Patient-open,syncerror").await;
    setup.publish(&event(&topic, "last", "syncerror", "")).await;
    assert_eq!(ids_until(&late, "last").await, ["2", "last"], "FC-EVT-04, FC-SUB-08");
}

async fn elements_of_any_shape_pass_unchanged_and_what_is_no_element_is_refused(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "org.example.shapes").await;
    let elements = [
        r#"{"key":"period","decimal":10}"#,
        r#"{"key":"p","reference":{"reference":"Patient/1"}}"#,
        r#"{"key":"d","data":"x"}"#,
        r#"{"key":"extension","data":{"any":[{}]}}"#,
        r#"{"extension":[{"url":"http://x.example/y","valueString":"z"}]}"#,
        r#"{"select":[{"resourceType":"Observation"}]}"#,
        "{}",
    ];
    setup.publish(&event(&topic, "e", "org.example.shapes", &elements.join(", "))).await;
    let frame = listener.wait_for_event(PATIENCE, "e").await.unwrap().text;
    assert!(
        frame.contains(&format!(r#""context":[{}]"#, elements.join(", "))),
        "FC-EVT-05, FC-EXT-01: {frame}"
    );
    for wrong in ["1", "null", r#""patient""#, "[]", "{},true"] {
        let message = event(&topic, &fresh_id(), "org.example.shapes", wrong);
        let answer = setup.publisher().publish(&message).await.unwrap();
        assert_eq!(answer.status, 400, "FC-EVT-05: {wrong}");
        assert!(answer.body.contains("context"), "FC-EVT-05: {answer:?}");
    }
}

async fn wildcards_match_what_nobody_had_sent_when_they_were_asked_for(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let all = setup.listener(&topic, "*").await;
    let dashed = setup.listener(&topic, "*-*,syncerror").await;
    let patients = setup.listener(&topic, "Patient-*,syncerror").await;
    let selects = setup.listener(&topic, "*-select,syncerror").await;
    for (id, name, resource_type) in [
        ("1", "Patient-open", "Patient"),
        ("2", "Basic-open", "Basic"),
        ("3", "Basic-select", "Basic"),
        ("4", "org.example.thing", "Basic"),
        ("5", "PATIENT-close", "Patient"),
        ("6", "syncerror", "Basic"),
    ] {
        setup.publish(&event(&topic, id, name, &resource(resource_type, "x"))).await;
    }
    assert_eq!(ids_until(&all, "6").await, ["1", "2", "3", "4", "5", "6"], "FC-EVT-06: *");
    assert_eq!(ids_until(&dashed, "6").await, ["1", "2", "3", "5", "6"], "FC-EVT-06: *-*");
    assert_eq!(ids_until(&patients, "6").await, ["1", "5", "6"], "FC-EVT-06: Patient-*");
    assert_eq!(ids_until(&selects, "6").await, ["3", "6"], "FC-EVT-06: *-select");
}

async fn the_anchor_is_known_by_its_type_and_not_by_its_key(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let study = resource("ImagingStudy", "7").replace("imagingstudy", "study");
    let context = format!("{},{study}", resource("Patient", "1"));
    setup.publish(&event(&topic, "1", "ImagingStudy-open", &context)).await;
    let current = || async { setup.subscriber().current_context(&topic).await.unwrap().json().unwrap() };
    assert_eq!(current().await["context.type"], "ImagingStudy", "FC-EVT-07");
    let reference = r#"{"key":"study","reference":{"reference":"ImagingStudy/7"}}"#;
    setup.publish(&event(&topic, "2", "ImagingStudy-select", reference)).await;
    // Identified by an identifier alone, under a key of its own.
    let by_identifier = r#"{"key":"who","resource":{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"v"}]}}"#;
    setup.publish(&event(&topic, "3", "Patient-open", by_identifier)).await;
    assert_eq!(current().await["context.type"], "Patient", "FC-EVT-07");
    setup.publish(&event(&topic, "4", "Patient-close", by_identifier)).await;
    assert_eq!(current().await["context.type"], "", "FC-EVT-07, FC-CTX-02");
    setup.publish(&event(&topic, "5", "home-open", "")).await;
}

async fn an_open_or_close_without_its_anchor_is_refused(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let anonymous = r#"{"key":"patient","resource":{"resourceType":"Patient"}}"#;
    let reference = r#"{"key":"patient","reference":{"reference":"Patient/1"}}"#;
    let nested = format!(
        r#"{{"key":"encounter","resource":{{"resourceType":"Encounter","id":"1","contained":[{}]}}}}"#,
        r#"{"resourceType":"Patient","id":"1"}"#
    );
    for name in ["Patient-open", "Patient-close"] {
        for context in ["", anonymous, reference, &nested, &resource("Encounter", "1")] {
            let answer = setup.publisher().publish(&event(&topic, &fresh_id(), name, context)).await.unwrap();
            assert_eq!(answer.status, 400, "FC-EVT-07: {name} with [{context}]");
            assert!(answer.body.contains("context"), "FC-EVT-07: {answer:?}");
        }
    }
}
