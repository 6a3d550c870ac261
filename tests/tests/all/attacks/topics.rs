//! Another's session, reached by a name that is nearly its own, and events that are nearly what they say.

use anyhow::{Result, ensure};
use harness::{
    client::{FORM, JSON},
    tokens::TokenBuilder,
};

use super::{Attack, ask, steps, world::World};
use crate::messages::{event, patient_open, resource};

const SUBSCRIBE: &str = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*";

/// An event of this name in the attacker's own session.
fn own_event(world: &World, name: &str) -> Vec<u8> {
    world.post(JSON, &event(&world.topic, "i", name, &resource("Patient", "1")))
}

/// A token that may do only this, in the attacker's own session.
fn narrow(world: &World, scopes: &str) -> Result<TokenBuilder> {
    Ok(world.authority.token()?.subject("attacker").topic(&world.topic).scope(scopes))
}

/// Sends an event of this name with a token for these scopes.
async fn may_not_send(world: &World, scopes: &str, name: &str) -> Result<()> {
    let app = world.app_with(&narrow(world, scopes)?)?;
    let answer = app.publish(&event(&world.topic, "i", name, &resource("Patient", "1"))).await?;
    ensure!(answer.status == 403 && answer.body.contains("scope"), "{scopes} sends {name}: {answer:?}");
    Ok(())
}

/// Subscribes to these events with a token for these scopes.
async fn may_not_hear(world: &World, scopes: &str, events: &str) -> Result<()> {
    let app = world.app_with(&narrow(world, scopes)?)?;
    let form = [
        ("hub.channel.type", "websocket"),
        ("hub.mode", "subscribe"),
        ("hub.topic", &world.topic),
        ("hub.events", events),
    ];
    let answer = app.post_form(&form).await?;
    ensure!(answer.status == 403, "{scopes} hears {events}: {answer:?}");
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        ask(
            "an event in the victim's session",
            "FC-SES-02",
            |world| world.post(JSON, &patient_open(&world.victim_topic, "1")),
            403,
            "topic",
        ),
        ask(
            "the victim's topic in the body, the attacker's in the path",
            "FC-REQ-01",
            |world| {
                let path = format!("/api/hub/{}", world.topic);
                world.post_to(&path, JSON, &patient_open(&world.victim_topic, "1"))
            },
            400,
            "path",
        ),
        ask(
            "the attacker's topic in the body, the victim's in the path",
            "FC-REQ-01",
            |world| {
                let path = format!("/api/hub/{}", world.victim_topic);
                world.post_to(&path, JSON, &patient_open(&world.topic, "1"))
            },
            400,
            "path",
        ),
        ask(
            "the victim's current context",
            "FC-CTX-01",
            |world| world.get(&format!("/api/hub/{}", world.victim_topic)),
            403,
            "topic",
        ),
        ask(
            "the victim's topic in the query besides",
            "FC-SES-02",
            |world| {
                let path = format!("/api/hub?hub.topic={}", world.victim_topic);
                world.post_to(&path, FORM, &format!("{SUBSCRIBE}&hub.channel.endpoint=x"))
            },
            400,
            "hub.topic is missing",
        ),
        ask(
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
        ask(
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
        ask(
            "the victim's topic subscribed to",
            "FC-SES-02",
            |world| world.post(FORM, &format!("{SUBSCRIBE}&hub.topic={}", world.victim_topic)),
            403,
            "topic",
        ),
        ask(
            "a topic in capitals",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&world.topic.to_uppercase(), "1")),
            403,
            "topic",
        ),
        ask(
            "a topic and a blank",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&format!("{} ", world.topic), "1")),
            403,
            "topic",
        ),
        ask(
            "a topic and a nul",
            "FC-SES-01",
            |world| world.post(JSON, &patient_open(&format!("{}\0", world.topic), "1")),
            400,
            "hub.topic",
        ),
        ask(
            "a topic with a letter that looks the same",
            "FC-SES-01",
            |world| {
                let like: String = world.topic.chars().map(|c| if c == 'a' { 'а' } else { c }).collect();
                world.post(JSON, &patient_open(&format!("{like}\u{200b}"), "1"))
            },
            403,
            "topic",
        ),
        ask("all topics", "FC-SES-01", |world| world.post(JSON, &patient_open("*", "1")), 403, "topic"),
        ask(
            "an event whose dash is another",
            "FC-EVT-03",
            |world| own_event(world, "Patient\u{2010}open"),
            400,
            "hub.event",
        ),
        ask(
            "an event with a long s",
            "FC-EVT-03",
            |world| own_event(world, "\u{17f}yncerror"),
            400,
            "hub.event",
        ),
        ask("an event and a blank", "FC-EVT-03", |world| own_event(world, "Patient-open "), 400, "hub.event"),
        ask(
            "an event and a nul",
            "FC-EVT-03",
            |world| own_event(world, "Patient-open\\u0000"),
            400,
            "hub.event",
        ),
        ask("an event that is a wildcard", "FC-EVT-03", |world| own_event(world, "*-open"), 400, "hub.event"),
        ask(
            "a heartbeat of the attacker's",
            "FC-REQ-03",
            |world| {
                world.post(JSON, &event(&world.topic, "i", "HeartBeat", r#"{"key":"period","decimal":"10"}"#))
            },
            400,
            "heartbeat",
        ),
        ask(
            "a SyncError in the victim's session",
            "FC-SES-02",
            |world| world.post(JSON, &event(&world.victim_topic, "i", "syncerror", "")),
            403,
            "topic",
        ),
        steps!("an event by who may read", "FC-SCO-02", |world| may_not_send(
            world,
            "fhircast/*.read",
            "Patient-open"
        )),
        steps!("an event of another name", "FC-SCO-02", |world| may_not_send(
            world,
            "fhircast/Encounter-open.write",
            "pAtIeNt-OPEN"
        )),
        steps!("a wildcard that is a resource's", "FC-SCO-01", |world| may_not_send(
            world,
            "fhircast/Encounter-*.*",
            "Patient-open"
        )),
        steps!("a SyncError by who may open", "FC-SCO-02", |world| may_not_send(
            world,
            "fhircast/*-open.write",
            "SyncError"
        )),
        steps!("a scope with another prefix", "FC-SCO-01", |world| may_not_send(
            world,
            "fhircast2/*.* xfhircast/*.* FHIRCAST/*.*",
            "Patient-open"
        )),
        steps!("a scope of SMART on FHIR", "FC-SCO-01", |world| may_not_send(
            world,
            "patient/*.* user/*.cruds system/*.*",
            "Patient-open"
        )),
        steps!("no scope at all", "FC-SCO-01", |world| may_not_send(world, "", "Patient-open")),
        steps!("scopes with other blanks between them", "FC-SCO-01", |world| may_not_send(
            world,
            "a\u{a0}fhircast/*.*",
            "Patient-open"
        )),
        steps!("hearing by who may write", "FC-SCO-02", |world| may_not_hear(world, "fhircast/*.write", "*")),
        steps!("hearing what is not in the scope", "FC-SCO-02", |world| may_not_hear(
            world,
            "fhircast/Encounter-open.read",
            "Patient-open,*-close"
        )),
    ]
}
