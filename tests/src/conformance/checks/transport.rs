//! Transport and format (FC-TRN).

use crate::conformance::check::{Check, Outcome, check, expect};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-TRN-02", events_are_json_or_fhir_json),
    check!("FC-TRN-02", any_other_content_type_is_415),
    check!("FC-TRN-04", a_repeated_form_parameter_is_refused),
    check!("FC-TRN-05", numbers_and_unknown_members_pass_through_untouched),
];

async fn events_are_json_or_fhir_json(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/fhir+json",
        "application/fhir+json;charset=utf-8",
    ] {
        let open = patient_open(&topic);
        probe.post(content_type, open.text()).await?.expect_success()?;
        app.expect_event(&open).await?;
    }
    Ok(())
}

async fn any_other_content_type_is_415(probe: Probe) -> Outcome {
    let open = patient_open(&probe.topic()).text();
    for content_type in ["text/plain", "application/xml", "application/fhir+xml"] {
        probe.post(content_type, open.as_str()).await?.expect_status(415)?;
    }
    Ok(())
}

async fn a_repeated_form_parameter_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let twice = [("hub.topic", topic.as_str())];
    probe.subscribe_websocket(&topic, "Patient-open", &twice).await?.expect_refusal(400, "hub.topic")?;
    Ok(())
}

async fn numbers_and_unknown_members_pass_through_untouched(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic).with("/event/context/0/resource/unknown", "HERE");
    let unknown = r#"{"z":1.10,"a":100000000000000000000,"m":1e2}"#;
    let text = open.text().replace("\"HERE\"", unknown);
    probe.needs_event(open.name())?;
    probe.post("application/json", text).await?.expect_success()?;
    let came = app.expect_event(&open).await?;
    expect(came.text.contains(unknown), format!("{unknown} in the notification"), came.text)
}
