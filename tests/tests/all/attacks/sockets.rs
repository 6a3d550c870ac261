//! What an attacker says on a socket of its own.

use anyhow::{Result, ensure};
use harness::{
    attack::{
        ATTACKER,
        frames::{BINARY, CLOSE, CONTINUATION, PING, Shape, TEXT},
        raw::Raw,
    },
    socket::{Incoming, Socket},
    wait::PATIENCE,
};

use super::{
    Attack, Bytes, Does, steps,
    world::{Somebody, World, say},
};

/// `limits.frame_bytes`.
const MOST_BYTES: u64 = 65_536;

fn row(name: &'static str, rule: &'static str, bytes: Bytes, code: u16) -> Attack {
    Attack { name, rule, does: Does::Say(bytes, code) }
}

/// A frame that RFC 6455 forbids.
fn forbidden(name: &'static str, bytes: Bytes) -> Attack {
    row(name, "FC-TRN-01", bytes, 1002)
}

/// What is sent on the attacker's socket has no effect: it stays open, and the attacker hears of its own events alone.
async fn without_effect(world: &World, texts: Vec<String>) -> Result<()> {
    let Somebody { app, topic, .. } = world.somebody("talker")?;
    let mut socket = Socket::connect(&app.subscribe_websocket(&topic, "*", &[]).await?).await?;
    socket.next_json(PATIENCE).await?;
    for text in texts {
        socket.send(tokio_tungstenite::tungstenite::Message::text(text)).await?;
    }
    app.publish(&crate::messages::patient_open(&topic, "own")).await?.expect_status(202)?;
    let came = socket.next_json(PATIENCE).await?;
    ensure!(came["id"] == "own", "FC-WSC-05: {came}");
    Ok(())
}

/// A message in parts that never ends.
async fn endless_parts(world: &World) -> Result<()> {
    let mut raw = Raw::upgrade(&world.own_endpoint().await?, ATTACKER).await?;
    let part = vec![b' '; 4096];
    say(&mut raw, &Shape { is_last: false, ..Shape::good(TEXT) }.frame(b"{")).await;
    for _ in 0..=MOST_BYTES / 4096 {
        say(&mut raw, &Shape { is_last: false, ..Shape::good(CONTINUATION) }.frame(&part)).await;
    }
    let code = raw.close_code(PATIENCE).await;
    ensure!(code == Some(1009), "FC-WSC-05: {code:?}");
    Ok(())
}

/// A goodbye with a code that nobody may send: the socket ends, and that is all.
async fn odd_goodbye(world: &World) -> Result<()> {
    for payload in [
        &b""[..],
        b"\x03",
        &999_u16.to_be_bytes(),
        &1005_u16.to_be_bytes(),
        &65_535_u16.to_be_bytes(),
        b"\x03\xe8\xff\xfe",
    ] {
        let mut raw = Raw::upgrade(&world.own_endpoint().await?, ATTACKER).await?;
        say(&mut raw, &Shape::good(CLOSE).frame(payload)).await;
        ensure!(raw.ends_within(PATIENCE).await, "after a close with {payload:?}");
    }
    Ok(())
}

/// A newer connection takes over, and the old one is told so: an attacker that holds a ticket cannot listen unseen.
async fn no_second_listener(world: &World) -> Result<()> {
    let endpoint = world.own_endpoint().await?;
    let mut first = Socket::connect(&endpoint).await?;
    first.next_json(PATIENCE).await?;
    let mut second = Socket::connect(&endpoint).await?;
    second.next_json(PATIENCE).await?;
    loop {
        match first.next(PATIENCE).await? {
            Incoming::Text(_) => {}
            Incoming::Closed(code) => {
                ensure!(code == Some(4000), "FC-WSC-04: {code:?}");
                return Ok(());
            }
        }
    }
}

/// A name that would break a line, a terminal or a page where it is shown.
async fn names(world: &World) -> Result<()> {
    for name in ["a\r\n{\"level\":\"ERROR\"}", "\u{1b}[2J\u{1b}[31m", "a\0b", "\u{7f}", "\u{85}", "a\tb"] {
        let form = [
            ("hub.channel.type", "websocket"),
            ("hub.mode", "subscribe"),
            ("hub.topic", &world.topic),
            ("hub.events", "*"),
            ("subscriber.name", name),
        ];
        let answer = world.app()?.post_form(&form).await?;
        ensure!(
            answer.status == 400 && answer.body.contains("subscriber.name"),
            "FC-SUB-06: {name:?}: {answer:?}"
        );
    }
    Ok(())
}

fn texts_of_others(world: &World) -> Vec<String> {
    let victim = &world.victim_topic;
    vec![
        crate::messages::patient_open(victim, "over-the-socket"),
        format!(r#"{{"hub.mode":"subscribe","hub.topic":"{victim}","hub.events":"*"}}"#),
        format!(r#"{{"hub.mode":"denied","hub.topic":"{victim}"}}"#),
        r#"{"id":"never-sent","status":500}"#.to_owned(),
        r#"{"id":"never-sent","status":-1}"#.to_owned(),
        r#"{"id":"never-sent","status":"2e2"}"#.to_owned(),
        r#"{"id":{},"status":[]}"#.to_owned(),
        format!(r#"{{"id":"{}"}}"#, "i".repeat(60_000)),
        format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100)),
    ]
}

pub fn rows() -> Vec<Attack> {
    vec![
        forbidden("a frame that is not masked", |_| {
            Shape { is_masked: false, ..Shape::good(TEXT) }.frame(b"{}")
        }),
        forbidden("a frame with a reserved bit: compressed", |_| {
            Shape { reserved: 0x40, ..Shape::good(TEXT) }.frame(b"{}")
        }),
        forbidden("a frame with another reserved bit", |_| {
            Shape { reserved: 0x10, ..Shape::good(TEXT) }.frame(b"{}")
        }),
        forbidden("a frame of a reserved kind", |_| Shape::good(3).frame(b"{}")),
        forbidden("a control frame of a reserved kind", |_| Shape::good(11).frame(b"")),
        forbidden("a ping of 126 bytes", |_| Shape::good(PING).frame(&[b'p'; 126])),
        forbidden("a ping in parts", |_| Shape { is_last: false, ..Shape::good(PING) }.frame(b"p")),
        row(
            "a message within another's parts",
            "FC-WSC-05",
            |_| {
                let first = Shape { is_last: false, ..Shape::good(TEXT) }.frame(b"{");
                [first, Shape::good(TEXT).frame(b"{}")].concat()
            },
            1002,
        ),
        row(
            "the end of a message that has not begun",
            "FC-WSC-05",
            |_| Shape::good(CONTINUATION).frame(b"}"),
            1002,
        ),
        row("a binary message", "FC-WSC-05", |_| Shape::good(BINARY).frame(b"{}"), 1003),
        row(
            "a binary message in parts",
            "FC-WSC-05",
            |_| Shape { is_last: false, ..Shape::good(BINARY) }.frame(b"{"),
            1003,
        ),
        row("a text that is none", "FC-WSC-05", |_| Shape::good(TEXT).frame(b"{\"a\":\"\xff\xfe\"}"), 1007),
        row(
            "a frame that is one byte too large",
            "FC-WSC-05",
            |_| Shape { announced: Some(MOST_BYTES + 1), ..Shape::good(TEXT) }.frame(b"{"),
            1009,
        ),
        row(
            "a frame of nine exabytes",
            "FC-WSC-05",
            |_| Shape { announced: Some(u64::MAX >> 1), ..Shape::good(TEXT) }.frame(b"{"),
            1009,
        ),
        row(
            "a frame whose length is negative",
            "FC-WSC-05",
            |_| Shape { announced: Some(u64::MAX), ..Shape::good(TEXT) }.frame(b"{"),
            1009,
        ),
        row(
            "ten messages that are no objects",
            "FC-WSC-05",
            |_| Shape::good(TEXT).frame(b"[]").repeat(10),
            1008,
        ),
        row("ten thousand pings", "FC-WSC-05", |_| Shape::good(PING).frame(b"p").repeat(10_000), 1008),
        row(
            "ten thousand messages that answer nothing",
            "FC-WSC-05",
            |_| Shape::good(TEXT).frame(b"{}").repeat(10_000),
            1008,
        ),
        steps!("a message in parts without end", "FC-WSC-05", |world| endless_parts(world)),
        steps!("a goodbye that is none", "FC-TRN-01", |world| odd_goodbye(world)),
        steps!("a second listener at one endpoint", "FC-WSC-04", |world| no_second_listener(world)),
        steps!("a name with control characters", "FC-SUB-06", |world| names(world)),
        steps!("events, requests and answers of others on a socket", "FC-WSC-05", |world| {
            without_effect(world, texts_of_others(world))
        }),
    ]
}
