//! Sessions and security (FC-SES, FC-SEC); what has to do with tokens is in [`super::tokens`].

use crate::conformance::callbacks::Reply;
use crate::conformance::check::{Check, Outcome, check, expect, expect_eq};
use crate::conformance::messages::patient_open;
use crate::conformance::probe::Probe;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-SES-01", topics_that_differ_in_case_are_two),
    check!("FC-SES-01", a_topic_may_have_any_printable_characters),
    check!("FC-SES-01", the_hubs_own_names_are_no_topics),
    check!("FC-SEC-02", a_callbacks_redirect_is_not_followed),
    check!("FC-SEC-03", a_secret_is_never_returned),
];

async fn topics_that_differ_in_case_are_two(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (lower, upper) = (format!("a{topic}"), format!("A{topic}"));
    let mut app = probe.subscribe(&lower, "Patient-open").await?;
    probe.publish(&patient_open(&upper)).await?;
    let marker = patient_open(&lower);
    probe.publish(&marker).await?;
    app.expect_event(&marker).await?;
    Ok(())
}

async fn a_topic_may_have_any_printable_characters(probe: Probe) -> Outcome {
    for form in ["{} with spaces", "{}/a/b", "{}?x=1&y#z", "{}:;,+%41", "{}äöü日本"] {
        let topic = form.replace("{}", &probe.topic());
        let mut app = probe.subscribe(&topic, "Patient-open").await?;
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        let came = app.expect_event(&open).await?;
        expect_eq("hub.topic", &topic, &came.json["event"]["hub.topic"])?;
    }
    Ok(())
}

async fn the_hubs_own_names_are_no_topics(probe: Probe) -> Outcome {
    for topic in ["metadata", ".well-known", ""] {
        probe.subscribe_websocket(topic, "Patient-open", &[]).await?.expect_refusal(400, "hub.topic")?;
    }
    Ok(())
}

async fn a_callbacks_redirect_is_not_followed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let (callback, elsewhere, witness) =
        (probe.callback()?, probe.callback()?, probe.webhook(&topic, "Patient-open", &[]).await?);
    let location = elsewhere.url().to_owned();
    callback.answer_by(move |request| {
        let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
        Some(Reply::status(302).header("Location", &format!("{location}{query}")))
    });
    probe.subscribe_webhook(&callback, &topic, "Patient-open", &[]).await?.expect_success()?;
    callback.intent("subscribe").await?;
    for _ in 0..5 {
        let open = patient_open(&topic);
        probe.publish(&open).await?;
        witness.expect_event(&open).await?;
    }
    expect_eq("the number of requests to where the redirect leads", 0, elsewhere.requests().len())
}

async fn a_secret_is_never_returned(probe: Probe) -> Outcome {
    let (topic, secret) = (probe.topic(), format!("secret-{}", probe.topic()));
    let callback = probe.callback()?;
    let answer =
        probe.subscribe_webhook(&callback, &topic, "Patient-open", &[("hub.secret", &secret)]).await?;
    let is_told =
        answer.body.contains(&secret) || answer.headers.values().any(|value| value == secret.as_str());
    expect(!is_told, "an answer without the secret", answer.shown())?;
    let intent = callback.intent("subscribe").await?;
    expect(!intent.query.contains(&secret), "a verification without the secret", &intent.query)
}
