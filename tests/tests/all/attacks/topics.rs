//! Another's session, reached by a name that is nearly its own, and events that are nearly what they say.

use anyhow::{Result, ensure};
use harness::tokens::TokenBuilder;

use super::{Attack, Came, Expected, Sends, world::World};
use crate::messages::{event, patient_open, resource};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const SUBSCRIBE: &str = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*";

fn row(
    name: &'static str,
    rule: &'static str,
    bytes: fn(&World) -> Vec<u8>,
    status: u16,
    text: &'static str,
) -> Attack {
    Attack { name, rule, sends: Sends::Bytes(bytes), expected: Expected::Answer(status, text) }
}

/// An event of this name in the attacker's own session.
fn own_event(world: &World, name: &str) -> Vec<u8> {
    world.post(JSON, &event(&world.topic, "i", name, &resource("Patient", "1")))
}

/// A token that may do only this, in the attacker's own session.
fn narrow(world: &World, scopes: &str) -> Result<TokenBuilder> {
    Ok(world.authority.token()?.subject("attacker").topic(&world.topic).scope(scopes))
}

/// Sends an event of this name with a token for these scopes.
async fn may_not_send(world: &World, scopes: &str, name: &str) -> Result<Came> {
    let app = world.app_with(&narrow(world, scopes)?)?;
    let answer = app.publish(&event(&world.topic, "i", name, &resource("Patient", "1"))).await?;
    ensure!(answer.status == 403 && answer.body.contains("scope"), "{scopes} sends {name}: {answer:?}");
    Ok(Came::Seen)
}

/// Subscribes to these events with a token for these scopes.
async fn may_not_hear(world: &World, scopes: &str, events: &str) -> Result<Came> {
    let app = world.app_with(&narrow(world, scopes)?)?;
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", &world.topic),
        ("hub.events", events),
    ];
    let answer = app.post_form(&form).await?;
    ensure!(answer.status == 403, "{scopes} hears {events}: {answer:?}");
    Ok(Came::Seen)
}

macro_rules! steps {
    ($name:literal, $rule:literal, $function:ident($scopes:literal, $what:literal)) => {
        Attack {
            name: $name,
            rule: $rule,
            sends: Sends::Steps(|world| Box::pin($function(world, $scopes, $what))),
            expected: Expected::AsSeen,
        }
    };
}

pub fn rows() -> Vec<Attack> {
    vec![
        row(
            "an event in the victim's session",
            "FC-SES-02",
            |world| world.post(JSON, &patient_open(&world.victim_topic, "1")),
            403,
            "topic",
        ),
        row(
            "the victim's topic in the body, the attacker's in the path",
            "FC-REQ-01",
            |world| {
                let body = patient_open(&world.victim_topic, "1");
                let headers = format!("Content-Type: {JSON}\r\nContent-Length: {}\r\n", body.len());
                world.request(&format!("POST /api/hub/{}", world.topic), &headers, &body)
            },
            400,
            "path",
        ),
        row(
            "the attacker's topic in the body, the victim's in the path",
            "FC-REQ-01",
            |world| {
                let body = patient_open(&world.topic, "1");
                let headers = format!("Content-Type: {JSON}\r\nContent-Length: {}\r\n", body.len());
                world.request(&format!("POST /api/hub/{}", world.victim_topic), &headers, &body)
            },
            400,
            "path",
        ),
        row(
            "the victim's current context",
            "FC-CTX-01",
            |world| world.request(&format!("GET /api/hub/{}", world.victim_topic), "", ""),
            403,
            "topic",
        ),
        row(
            "the victim's topic in the query besides",
            "FC-SES-02",
            |world| {
                let body = format!("{SUBSCRIBE}&hub.channel.endpoint=x");
                let headers = format!("Content-Type: {FORM}\r\nContent-Length: {}\r\n", body.len());
                world.request(&format!("POST /api/hub?hub.topic={}", world.victim_topic), &headers, &body)
            },
            400,
            "hub.topic is missing",
        ),
        row(
            "two topics in one form",
            "FC-TRN-04",
            |world| {
                world.post(
                    FORM,
                    &format!("{SUBSCRIBE}&hub.topic={}&hub.topic={}", world.topic, world.victim_topic),
                )
            },
            400,
            "more than once",
        ),
        row(
            "two topics in two spellings of a form",
            "FC-TRN-04",
            |world| {
                world.post(
                    FORM,
                    &format!("{SUBSCRIBE}&hub.topic={}&hub%2Etopic={}", world.topic, world.victim_topic),
                )
            },
            400,
            "more than once",
        ),
        row(
            "the victim's topic subscribed to",
            "FC-SES-02",
            |world| world.post(FORM, &format!("{SUBSCRIBE}&hub.topic={}", world.victim_topic)),
            403,
            "topic",
        ),
        row(
            "a topic in capitals",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&world.topic.to_uppercase(), "1")),
            403,
            "topic",
        ),
        row(
            "a topic and a blank",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&format!("{} ", world.topic), "1")),
            403,
            "topic",
        ),
        row(
            "a topic and a nul",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&format!("{}\0", world.topic), "1")),
            400,
            "hub.topic",
        ),
        row(
            "a topic with a letter that looks the same",
            "FC-SES-01",
            |world| {
                let like: String = world.topic.chars().map(|c| if c == 'a' { 'а' } else { c }).collect();
                world.post(JSON, &patient_open(&format!("{like}\u{200b}"), "1"))
            },
            403,
            "topic",
        ),
        row("all topics", "FC-SES-01", |world| world.post(JSON, &patient_open("*", "1")), 403, "topic"),
        row(
            "an event whose dash is another",
            "FC-EVT-03",
            |world| own_event(world, "Patient\u{2010}open"),
            400,
            "hub.event",
        ),
        row(
            "an event with a long s",
            "FC-EVT-03",
            |world| own_event(world, "\u{17f}yncerror"),
            400,
            "hub.event",
        ),
        row("an event and a blank", "FC-EVT-03", |world| own_event(world, "Patient-open "), 400, "hub.event"),
        row(
            "an event and a nul",
            "FC-EVT-03",
            |world| own_event(world, "Patient-open\\u0000"),
            400,
            "hub.event",
        ),
        row("an event that is a wildcard", "FC-EVT-03", |world| own_event(world, "*-open"), 400, "hub.event"),
        row(
            "a heartbeat of the attacker's",
            "FC-REQ-03",
            |world| {
                world.post(JSON, &event(&world.topic, "i", "HeartBeat", r#"{"key":"period","decimal":"10"}"#))
            },
            400,
            "heartbeat",
        ),
        row(
            "a SyncError in the victim's session",
            "FC-SES-02",
            |world| world.post(JSON, &event(&world.victim_topic, "i", "syncerror", "")),
            403,
            "topic",
        ),
        steps!("an event by who may read", "FC-SCO-02", may_not_send("fhircast/*.read", "Patient-open")),
        steps!(
            "an event of another name",
            "FC-SCO-02",
            may_not_send("fhircast/Encounter-open.write", "pAtIeNt-OPEN")
        ),
        steps!(
            "a wildcard that is a resource's",
            "FC-SCO-01",
            may_not_send("fhircast/Encounter-*.*", "Patient-open")
        ),
        steps!(
            "a SyncError by who may open",
            "FC-SCO-02",
            may_not_send("fhircast/*-open.write", "SyncError")
        ),
        steps!(
            "a scope with another prefix",
            "FC-SCO-01",
            may_not_send("fhircast2/*.* xfhircast/*.* FHIRCAST/*.*", "Patient-open")
        ),
        steps!(
            "a scope of SMART on FHIR",
            "FC-SCO-01",
            may_not_send("patient/*.* user/*.cruds system/*.*", "Patient-open")
        ),
        steps!("no scope at all", "FC-SCO-01", may_not_send("", "Patient-open")),
        steps!(
            "scopes with other blanks between them",
            "FC-SCO-01",
            may_not_send("a\u{a0}fhircast/*.*", "Patient-open")
        ),
        steps!("hearing by who may write", "FC-SCO-02", may_not_hear("fhircast/*.write", "*")),
        steps!(
            "hearing what is not in the scope",
            "FC-SCO-02",
            may_not_hear("fhircast/Encounter-open.read", "Patient-open,*-close")
        ),
    ]
}
