//! Tokens: who is let in, and what each may read and write (FC-SEC-01, FC-SEC-04, FC-SES-02, FC-SCO).
//!
//! Most of it can only be seen with tokens that allow less than the suite needs otherwise: by a token command that makes
//! them ([`Narrow`]).

use reqwest::Method;
use serde_json::Value;
use url::form_urlencoded;

use crate::conformance::ask::Ask;
use crate::conformance::catalogue::Rule;
use crate::conformance::check::{Check, Outcome, check, expect, expect_eq, fail};
use crate::conformance::messages::{encounter_open, patient_open};
use crate::conformance::probe::Probe;
use crate::conformance::token::Narrow;

pub(super) const CHECKS: &[Check] = &[
    check!("FC-SES-02", a_token_for_a_topic_works_for_that_topic_only),
    check!("FC-SCO-01", a_scope_names_an_event_in_any_case),
    check!("FC-SCO-01", a_scope_may_be_a_pattern),
    check!("FC-SCO-02", to_send_an_event_its_write_scope_is_needed),
    check!("FC-SCO-02", a_subscription_is_granted_what_may_be_read),
    check!("FC-SCO-02", nothing_granted_is_403),
    check!("FC-SCO-03", what_may_not_be_read_is_not_received),
    check!("FC-SCO-03", what_may_not_be_read_is_not_sent_to_a_late_joiner),
    check!("FC-SCO-03", what_may_not_be_read_is_not_in_the_current_context),
    check!("FC-SEC-01", without_a_token_nobody_is_served),
    check!("FC-SEC-01", a_bad_token_is_refused),
    check!("FC-SEC-04", a_lease_ends_with_the_token),
];

/// The life of a token that a lease must not outlive, in seconds.
const TOKEN_SECS: u64 = 120;

/// A request of each kind that needs a token.
fn requests<'a>(probe: &'a Probe, topic: &str) -> Vec<Ask<'a>> {
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.events", "Patient-open"),
        ])
        .finish();
    let mut requests = vec![
        probe.ask(Method::POST, "").body("application/x-www-form-urlencoded", form),
        probe.ask(Method::POST, "").body("application/json", patient_open(topic).text()),
    ];
    if probe.configuration().current_context() {
        requests.push(probe.ask(Method::GET, &format!("/{topic}")));
    }
    requests
}

async fn expect_401(request: Ask<'_>) -> Outcome {
    let answer = request.send().await?.expect_status(401)?;
    let challenge = answer.header("www-authenticate");
    let is_bearer = challenge.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    expect(is_bearer, "WWW-Authenticate: Bearer", challenge)
}

async fn without_a_token_nobody_is_served(probe: Probe) -> Outcome {
    probe.needs_token()?;
    for request in requests(&probe, &probe.topic()) {
        expect_401(request.without_token()).await?;
    }
    Ok(())
}

async fn a_bad_token_is_refused(probe: Probe) -> Outcome {
    probe.needs_token()?;
    let good = probe.hub.token.get().await?.unwrap_or_default();
    let tampered = tampered(&good);
    probe.hub.secrets.add(&tampered);
    for bad in [tampered.as_str(), "not-a-token"] {
        for request in requests(&probe, &probe.topic()) {
            expect_401(request.token(bad)).await?;
        }
    }
    Ok(())
}

/// Another token: one letter near its end, where a JWT has its signature, is another one.
fn tampered(token: &str) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    let at = letters.len().saturating_sub(1) * 9 / 10;
    if let Some(letter) = letters.get_mut(at) {
        *letter = if *letter == 'A' { 'B' } else { 'A' };
    }
    letters.into_iter().collect()
}

async fn a_token_for_a_topic_works_for_that_topic_only(probe: Probe) -> Outcome {
    let (own, other) = (probe.topic(), probe.topic());
    let bound = probe.narrowed(&Narrow { topic: Some(own.clone()), ..Narrow::default() }).await?;
    for request in requests(&bound, &own) {
        request.send().await?.expect_success()?;
    }
    for request in requests(&bound, &other) {
        request.send().await?.expect_status(403)?;
    }
    Ok(())
}

/// The status of a Patient-open that is sent with this scope alone.
async fn sent_with(probe: &Probe, scope: &str) -> Outcome<u16> {
    let narrow = probe.narrowed(&Narrow::scope(scope)).await?;
    Ok(narrow.offer(&patient_open(&probe.topic())).await?.status)
}

async fn a_scope_names_an_event_in_any_case(probe: Probe) -> Outcome {
    for (scope, is_enough) in [
        ("fhircast/Patient-open.write", true),
        ("fhircast/patient-OPEN.write", true),
        ("fhircast/Patient-open.*", true),
        ("openid fhircast/Encounter-open.read fhircast/Patient-open.write", true),
        ("fhircast/*.write", true),
        ("fhircast/Patient-close.write", false),
        ("fhircast/Patient-open.read", false),
        ("Patient-open.write patient/Patient.write", false),
    ] {
        let status = sent_with(&probe, scope).await?;
        let expected = if is_enough { "2xx" } else { "403" };
        let is_right = if is_enough { (200..300).contains(&status) } else { status == 403 };
        expect(is_right, format!("{expected} to a Patient-open with {scope}"), status)?;
    }
    Ok(())
}

async fn a_scope_may_be_a_pattern(probe: Probe) -> Outcome {
    let has_patterns = Rule::find("FC-EVT-06").is_some_and(|rule| rule.level(probe.spec()).is_some());
    let patterns = [("fhircast/Patient-*.write", true), ("fhircast/*-open.write", true)];
    for (scope, is_enough) in patterns.into_iter().filter(|_| has_patterns).chain([
        ("fhircast/Encounter-*.write", false),
        ("fhircast/*-close.write", false),
        ("fhircast/*.read", false),
    ]) {
        let status = sent_with(&probe, scope).await?;
        let is_right = if is_enough { (200..300).contains(&status) } else { status == 403 };
        expect(is_right, format!("{scope} to be enough for a Patient-open: {is_enough}"), status)?;
    }
    Ok(())
}

async fn to_send_an_event_its_write_scope_is_needed(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let mut witness = probe.subscribe(&topic, "Patient-open,Patient-close").await?;
    let reader = probe.narrowed(&Narrow::scope("fhircast/*.read fhircast/Patient-close.write")).await?;
    reader.offer(&patient_open(&topic)).await?.expect_status(403)?;
    let marker = patient_open(&topic);
    probe.publish(&marker).await?;
    witness.expect_event(&marker).await?;
    let close = marker.closed();
    reader.publish(&close).await?;
    witness.expect_event(&close).await?;
    Ok(())
}

async fn a_subscription_is_granted_what_may_be_read(probe: Probe) -> Outcome {
    let reader =
        probe.narrowed(&Narrow::scope("fhircast/patient-open.read fhircast/Encounter-open.write")).await?;
    let topic = probe.topic();
    let endpoint = reader.endpoint(&topic, "Patient-open,Encounter-open", &[]).await?;
    let confirmation = probe.connect(&endpoint).await?.confirmation().await?;
    let granted = confirmation["hub.events"].as_str().unwrap_or_default().to_ascii_lowercase();
    expect_eq("hub.events of the confirmation, in small letters", "patient-open", granted)
}

async fn nothing_granted_is_403(probe: Probe) -> Outcome {
    for scope in ["fhircast/Encounter-open.read", "fhircast/*.write"] {
        let other = probe.narrowed(&Narrow::scope(scope)).await?;
        other.subscribe_websocket(&probe.topic(), "Patient-open", &[]).await?.expect_status(403)?;
    }
    Ok(())
}

async fn what_may_not_be_read_is_not_received(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let reader = probe.narrowed(&Narrow::scope("fhircast/Patient-open.read")).await?;
    let mut app = reader.subscribe(&topic, "Patient-open,Patient-close").await?;
    let first = patient_open(&topic);
    let marker = patient_open(&topic);
    for event in [&first, &first.clone().closed(), &marker] {
        probe.publish(event).await?;
    }
    app.expect_event(&first).await?;
    app.expect_event(&marker).await?;
    Ok(())
}

async fn what_may_not_be_read_is_not_sent_to_a_late_joiner(probe: Probe) -> Outcome {
    let topic = probe.topic();
    probe.publish(&patient_open(&topic)).await?;
    let reader = probe.narrowed(&Narrow::scope("fhircast/Encounter-open.read")).await?;
    let mut late = reader.subscribe(&topic, "Patient-open,Encounter-open").await?;
    let marker = encounter_open(&topic, "p");
    probe.publish(&marker).await?;
    late.expect_event(&marker).await?;
    Ok(())
}

async fn what_may_not_be_read_is_not_in_the_current_context(probe: Probe) -> Outcome {
    let topic = probe.topic();
    let open = patient_open(&topic);
    probe.publish(&open).await?;
    let reader = probe.narrowed(&Narrow::scope("fhircast/Encounter-open.read")).await?;
    let shown = reader.current_context(&topic).await?;
    expect(!shown.to_string().contains(open.anchor_id()), "a context without the patient", &shown)?;
    expect(matches!(shown["context"], Value::Array(_)), "context, an array", &shown)
}

async fn a_lease_ends_with_the_token(probe: Probe) -> Outcome {
    let narrow = Narrow { expires_in: Some(TOKEN_SECS), ..Narrow::default() };
    let short = probe.narrowed(&narrow).await?;
    for extra in [vec![], vec![("hub.lease_seconds", "3600")]] {
        let endpoint = short.endpoint(&probe.topic(), "Patient-open", &extra).await?;
        let confirmation = probe.connect(&endpoint).await?.confirmation().await?;
        let lease = confirmation["hub.lease_seconds"].as_u64();
        let lease = lease.ok_or_else(|| fail("hub.lease_seconds, a number", &confirmation))?;
        expect(lease <= TOKEN_SECS, format!("a lease of at most the {TOKEN_SECS} s of the token"), lease)?;
    }
    Ok(())
}
