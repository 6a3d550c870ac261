//! Events (FC-EVT).

use serde_json::{Value, json};

use crate::conformance::check::{Check, Outcome, check, expect, expect_eq};
use crate::conformance::messages::{Event, encounter_open, imaging_study_open, patient_open, resource};
use crate::conformance::probe::Probe;
use crate::examples::fresh_id;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-EVT-01", a_missing_member_is_named),
    check!("FC-EVT-01", a_member_of_another_type_is_named),
    check!("FC-EVT-01", an_odd_timestamp_is_passed_on),
    check!("FC-EVT-02", names_match_in_any_case_and_come_as_written),
    check!("FC-EVT-03", a_name_of_another_form_is_refused),
    check!("FC-EVT-03", a_proprietary_event_is_told),
    check!("FC-EVT-04", opening_again_replaces_what_was_open),
    check!("FC-EVT-05", elements_of_any_shape_pass),
    check!("FC-EVT-05", an_element_that_is_no_object_is_refused),
    check!("FC-EVT-06", wildcards_match),
    check!("FC-EVT-06", everything_matches_what_was_never_seen),
    check!("FC-EVT-07", the_anchor_is_found_by_its_type),
    check!("FC-EVT-07", an_open_without_its_anchor_is_refused),
];

async fn a_missing_member_is_named(probe: Probe) -> Outcome {
    for pointer in ["/timestamp", "/id", "/event", "/event/hub.topic", "/event/hub.event", "/event/context"] {
        let open = patient_open(&probe.topic()).without(pointer);
        let name = pointer.rsplit('/').next().unwrap_or_default();
        probe.post("application/json", open.text()).await?.expect_refusal(400, name)?;
    }
    probe.post("application/json", "{no JSON").await?.expect_status(400)?;
    Ok(())
}

async fn a_member_of_another_type_is_named(probe: Probe) -> Outcome {
    for (pointer, value) in [
        ("/timestamp", json!(7)),
        ("/timestamp", json!("")),
        ("/id", json!({})),
        ("/event", json!([])),
        ("/event/hub.event", json!(7)),
        ("/event/context", json!({})),
    ] {
        let open = patient_open(&probe.topic()).with(pointer, value);
        let name = pointer.rsplit('/').next().unwrap_or_default();
        probe.post("application/json", open.text()).await?.expect_refusal(400, name)?;
    }
    Ok(())
}

async fn an_odd_timestamp_is_passed_on(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    // As the specification's own examples have it.
    let open = patient_open(&topic).with("/timestamp", "2023-04-01T010:38:04.16");
    probe.publish(&open).await?;
    let came = app.expect_event(&open).await?;
    expect_eq("the timestamp", &open.json["timestamp"], &came.json["timestamp"])
}

async fn names_match_in_any_case_and_come_as_written(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "pATIENT-oPEN").await?;
    let open = patient_open(&topic).with("/event/hub.event", "PATIENT-open");
    probe.publish(&open).await?;
    expect_eq("hub.event", open.name(), app.expect_event(&open).await?.name())
}

async fn a_name_of_another_form_is_refused(probe: Probe) -> Outcome {
    for name in ["Patient-opened", "Patient", "Patient-open-now", "org.example-thing", "", "*"] {
        let open = patient_open(&probe.topic()).with("/event/hub.event", name);
        probe.post("application/json", open.text()).await?.expect_status(400)?;
    }
    Ok(())
}

async fn a_proprietary_event_is_told(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "org.example.transmogrify").await?;
    let event = Event::new(&topic, "org.example.transmogrify", json!([{"key": "x", "data": {"n": 1}}]));
    probe.publish(&event).await?;
    let came = app.expect_event(&event).await?;
    expect_eq("its context", &event.json["event"]["context"], &came.json["event"]["context"])
}

async fn opening_again_replaces_what_was_open(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    let more = open.clone().and(json!({"key": "more", "data": {}}));
    probe.publish(&more).await?;
    probe.publish(&open.clone().again()).await?;
    let context = probe.current_context(&topic).await?;
    let more = context["context"].as_array().into_iter().flatten().find(|element| element["key"] == "more");
    expect(more.is_none(), "nothing of the first open", &context)
}

async fn elements_of_any_shape_pass(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let mut open = patient_open(&topic);
    for element in [
        json!({"key": "period", "decimal": 1}),
        json!({"key": "nested", "data": {"a": [1, {"b": null}]}}),
        json!({"without": "a key"}),
        json!({"key": 7}),
    ] {
        open = open.and(element);
    }
    probe.publish(&open).await?;
    let came = app.expect_event(&open).await?;
    expect_eq("the context", &open.json["event"]["context"], &came.json["event"]["context"])
}

async fn an_element_that_is_no_object_is_refused(probe: Probe) -> Outcome {
    for element in [json!(7), json!("x"), json!([]), Value::Null] {
        probe.offer(&patient_open(&probe.topic()).and(element)).await?.expect_refusal(400, "context")?;
    }
    Ok(())
}

async fn wildcards_match(probe: Probe) -> Outcome {
    for (pattern, is_patient) in
        [("*", true), ("*-*", true), ("Patient-*", true), ("*-open", true), ("*-close", false)]
    {
        let topic = probe.topic();
        let mut app = probe.subscribe(&topic, pattern).await?;
        let patient = patient_open(&topic);
        probe.publish(&patient).await?;
        let close = patient.clone().closed();
        probe.publish(&close).await?;
        if is_patient {
            app.expect_event(&patient).await?;
        }
        if pattern != "*-open" {
            app.expect_event(&close).await?;
        }
        let marker = patient_open(&topic);
        probe.publish(&marker).await?;
        if is_patient {
            app.expect_event(&marker).await?;
        }
    }
    Ok(())
}

async fn everything_matches_what_was_never_seen(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "*").await?;
    let unseen = Event::new(&topic, "org.example.never_seen", json!([]));
    probe.publish(&unseen).await?;
    app.expect_event(&unseen).await?;
    Ok(())
}

async fn the_anchor_is_found_by_its_type(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = imaging_study_open(&topic);
    let odd = open.with("/event/context/0/key", "whatever");
    probe.offer(&odd).await?.expect_status(202)?;
    let context = probe.current_context(&topic).await?;
    expect_eq("context.type", "ImagingStudy", &context["context.type"])
}

async fn an_open_without_its_anchor_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let wrong_type =
        Event::new(&topic, "Patient-open", json!([resource("patient", "Encounter", &fresh_id())]));
    let nothing = Event::new(&topic, "Patient-open", json!([]));
    let nameless = patient_open(&topic)
        .without("/event/context/0/resource/id")
        .without("/event/context/0/resource/identifier");
    let close = encounter_open(&topic, "p").without("/event/context/0/resource").closed();
    for event in [wrong_type, nothing, nameless, close] {
        probe.offer(&event).await?.expect_refusal(400, "context")?;
    }
    Ok(())
}
