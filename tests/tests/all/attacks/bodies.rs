//! Bodies that are too much, or not what they say.

use anyhow::{Result, ensure};
use harness::{
    attack::{ATTACKER, raw::Raw},
    client::{FORM, JSON},
    wait::PATIENCE,
};

use super::{
    Attack, Bytes, ask, steps,
    world::{World, say},
};
use crate::messages::{event, patient_open};

fn refused(name: &'static str, rule: &'static str, bytes: Bytes, text: &'static str) -> Attack {
    ask(name, rule, bytes, 400, text)
}

/// An event about which these bytes are wrong.
fn raw_event(world: &World, bytes: &[u8]) -> Vec<u8> {
    [head(world, &format!("Content-Length: {}\r\n", bytes.len())), bytes.to_vec()].concat()
}

/// The head of an event, with these headers.
fn head(world: &World, headers: &str) -> Vec<u8> {
    world.request("POST /api/hub", &format!("Content-Type: {JSON}\r\n{headers}"), "")
}

/// Says that a body of this length comes, and sends none of it.
async fn announced(world: &World, length: u64) -> Result<()> {
    let answer = world.answer(&head(world, &format!("Content-Length: {length}\r\n"))).await?;
    ensure!(answer.status == 413, "{answer:?}");
    Ok(())
}

/// Chunks without end; the hub must not take more than it may.
async fn endless(world: &World) -> Result<()> {
    let mut raw = Raw::connect(world.url(), ATTACKER).await?;
    say(&mut raw, &head(world, "Transfer-Encoding: chunked\r\n")).await;
    let chunk = [&b"10000\r\n"[..], &[b' '; 1 << 16], b"\r\n"].concat();
    for _ in 0..256 {
        say(&mut raw, &chunk).await;
    }
    let answer = raw.next(PATIENCE).await.ok().flatten();
    ensure!(answer.as_ref().is_none_or(|answer| answer.status == 413), "{answer:?}");
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        refused(
            "brackets without end",
            "FC-EVT-01",
            |world| world.post(JSON, &"[".repeat(100_000)),
            "nested",
        ),
        refused(
            "braces without end",
            "FC-EVT-01",
            |world| world.post(JSON, &r#"{"a":"#.repeat(50_000)),
            "nested",
        ),
        refused(
            "brackets in an extension",
            "FC-EXT-01",
            |world| {
                let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
                world.post(JSON, &event(&world.topic, "i", "org.example.deep", &deep))
            },
            "nested",
        ),
        refused(
            "two topics in one event",
            "FC-SES-02",
            |world| {
                let own = patient_open(&world.topic, "two");
                world.post(
                    JSON,
                    &own.replacen(
                        r#""hub.topic""#,
                        &format!(r#""hub.topic":"{}","hub.topic""#, world.victim_topic),
                        1,
                    ),
                )
            },
            "more than once",
        ),
        refused(
            "two topics in two spellings",
            "FC-SES-02",
            |world| {
                let own = patient_open(&world.topic, "two");
                let other = format!(r#""hub\u002etopic":"{}","hub.topic""#, world.victim_topic);
                world.post(JSON, &own.replacen(r#""hub.topic""#, &other, 1))
            },
            "more than once",
        ),
        refused(
            "two events in one body",
            "FC-EVT-01",
            |world| {
                let own = patient_open(&world.topic, "two");
                world.post(JSON, &format!("{own}{}", patient_open(&world.victim_topic, "two")))
            },
            "JSON",
        ),
        refused(
            "an array of events",
            "FC-EVT-01",
            |world| world.post(JSON, &format!("[{}]", patient_open(&world.victim_topic, "array"))),
            "object",
        ),
        refused(
            "bytes that are no text",
            "FC-EVT-01",
            |world| raw_event(world, b"{\"timestamp\":\"\xff\xfe\"}"),
            "UTF-8",
        ),
        refused(
            "UTF-16",
            "FC-EVT-01",
            |world| {
                let event: Vec<u8> =
                    patient_open(&world.topic, "i").encode_utf16().flat_map(u16::to_le_bytes).collect();
                raw_event(world, &event)
            },
            "JSON",
        ),
        refused(
            "half a surrogate",
            "FC-EVT-01",
            |world| world.post(JSON, r#"{"timestamp":"\ud800","id":"i","event":{}}"#),
            "surrogate",
        ),
        refused(
            "an id of ten thousand bytes",
            "FC-EVT-01",
            |world| world.post(JSON, &patient_open(&world.topic, &"i".repeat(10_000))),
            "id",
        ),
        refused(
            "ten thousand context elements",
            "FC-EVT-05",
            |world| {
                world.post(JSON, &event(&world.topic, "i", "org.example.many", &vec!["{}"; 10_000].join(",")))
            },
            "event.context",
        ),
        refused(
            "ten thousand members",
            "FC-EVT-01",
            |world| {
                let members: String = (0..10_000).map(|number| format!(r#""m{number}":1,"#)).collect();
                world.post(JSON, &format!("{{{members}{}", &patient_open(&world.topic, "i")[1..]))
            },
            "members",
        ),
        refused(
            "a hundred thousand parameters",
            "FC-TRN-04",
            |world| {
                let parameters: String = (0..100_000).map(|number| format!("p{number}=1&")).collect();
                world.post(FORM, &parameters)
            },
            "parameters",
        ),
        refused("a form that is no text", "FC-TRN-04", |world| world.post(FORM, "hub.topic=%ff%fe"), "UTF-8"),
        steps!("a body of many gigabytes, announced", "FC-CNT-08", |world| announced(world, 1 << 40)),
        steps!("chunks without end", "FC-CNT-08", |world| endless(world)),
    ]
}
