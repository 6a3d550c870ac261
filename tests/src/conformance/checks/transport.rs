//! Transport and format (FC-TRN).

use reqwest::Method;

use crate::conformance::check::{Check, Outcome, check, expect, expect_eq};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-TRN-01", what_is_said_is_json),
    check!("FC-TRN-02", events_are_json_or_fhir_json),
    check!("FC-TRN-02", any_other_content_type_is_415),
    check!("FC-TRN-03", an_error_describes_itself_as_text),
    check!("FC-TRN-03", an_error_echoes_no_secret),
    check!("FC-TRN-04", a_repeated_form_parameter_is_refused),
    check!("FC-TRN-04", an_unknown_form_parameter_is_ignored),
    check!("FC-TRN-05", numbers_and_unknown_members_pass_through_untouched),
    check!("FC-TRN-06", slashes_do_not_matter),
    check!("FC-TRN-07", browsers_are_let_in_by_their_origin),
];

async fn what_is_said_is_json(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let answer = probe.subscribe_websocket(&topic, "Patient-open", &[]).await?.expect_success()?;
    let is_json = answer.header("content-type").starts_with("application/json");
    expect(is_json, "application/json", answer.header("content-type"))?;
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    // A notification that comes as another frame than text, or is no JSON, is none.
    app.expect_event(&open).await?;
    Ok(())
}

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
        let answer = probe.post(content_type, open.as_str()).await?.expect_status(415)?;
        expect(
            answer.header("content-type").starts_with("text/plain"),
            "a reason in text/plain",
            answer.shown(),
        )?;
    }
    Ok(())
}

async fn an_error_describes_itself_as_text(probe: Probe) -> Outcome {
    let topic = probe.topic();
    for answer in [
        probe.post("application/json", "{}").await?,
        probe.post("application/json", "no JSON").await?,
        probe.subscribe_websocket(&topic, "", &[]).await?,
        probe.unsubscribe_websocket(&topic, "unknown").await?,
    ] {
        expect((400..500).contains(&answer.status), "an error", answer.shown())?;
        expect(answer.header("content-type").starts_with("text/plain"), "text/plain", answer.shown())?;
        expect(!answer.body.trim().is_empty(), "a description", answer.shown())?;
    }
    Ok(())
}

async fn an_error_echoes_no_secret(probe: Probe) -> Outcome {
    let (topic, secret) = (probe.topic(), "a-very-secret-secret");
    let form = [
        ("hub.channel.type", "webhook"),
        ("hub.mode", "unknown"),
        ("hub.topic", topic.as_str()),
        ("hub.events", "Patient-open"),
        ("hub.callback", "https://app.example/callback?key=also-a-secret"),
        ("hub.secret", secret),
    ];
    let answer = probe.post_form(&form).await?.expect_status(400)?;
    let is_told = answer.body.contains(secret) || answer.body.contains("also-a-secret");
    expect(!is_told, "an error without the secret", answer.shown())
}

async fn a_repeated_form_parameter_is_refused(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let twice = [("hub.topic", topic.as_str())];
    probe.subscribe_websocket(&topic, "Patient-open", &twice).await?.expect_refusal(400, "hub.topic")?;
    Ok(())
}

async fn an_unknown_form_parameter_is_ignored(probe: Probe) -> Outcome {
    let unknown = [("hub.unknown", "x"), ("org.example", "y")];
    probe.subscribe_websocket(&probe.topic(), "Patient-open", &unknown).await?.expect_success()?;
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
    expect(came.text.contains(unknown), format!("{unknown} in the notification"), came.text)?;
    let mut late = probe.subscribe(&topic, "Patient-open").await?;
    let came = late.expect_event(&open).await?;
    expect(came.text.contains(unknown), format!("{unknown} in the replay"), came.text)?;
    if probe.configuration().current_context() {
        let answer = probe.get(&format!("/{topic}")).await?;
        expect(
            answer.body.contains(unknown),
            format!("{unknown} in the current context"),
            answer.body.clone(),
        )?;
    }
    Ok(())
}

async fn slashes_do_not_matter(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut app = probe.subscribe(&topic, "Patient-open").await?;
    for path in ["/", "//"] {
        let open = patient_open(&topic);
        let posted = probe.ask(Method::POST, path).body("application/json", open.text()).send().await?;
        posted.expect_success()?;
        app.expect_event(&open).await?;
    }
    if probe.configuration().current_context() {
        probe.get(&format!("//{topic}")).await?.expect_status(200)?;
    }
    Ok(())
}

async fn browsers_are_let_in_by_their_origin(probe: Probe) -> Outcome {
    let preflight = |origin: &str| {
        let ask = probe.ask(Method::OPTIONS, "").without_token().header("Origin", origin);
        let ask = ask.header("Access-Control-Request-Method", "POST");
        ask.header("Access-Control-Request-Headers", "authorization,content-type").send()
    };
    let origin = probe.origin()?;
    let known = preflight(origin).await?;
    expect((200..300).contains(&known.status), "a preflight without a token to be answered", known.shown())?;
    expect_eq("Access-Control-Allow-Origin", origin, known.header("access-control-allow-origin"))?;
    let headers = known.header("access-control-allow-headers").to_lowercase();
    expect(headers.contains("authorization"), "Authorization among the headers", headers)?;
    let unknown = preflight("https://unknown.example").await?;
    let allowed = unknown.header("access-control-allow-origin");
    expect(allowed != "https://unknown.example" && allowed != "*", "another origin not to be let in", allowed)
}
