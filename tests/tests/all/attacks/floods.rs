//! Too many, and too slow. Each row comes from an address of its own, so that what is counted for it is its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{
    attack::{
        ATTACKER,
        frames::{Shape, TEXT},
        raw::Raw,
    },
    wait::PATIENCE,
};

use super::{
    Attack, Came, Expected, Sends,
    world::{World, address, say},
};
use crate::messages::patient_open;

/// Connections of one row.
const MANY: usize = 400;

/// Connections that say this much and no more; they are held while the app beside is served.
async fn held_open(world: &World, last: u8, said: &[u8]) -> Result<Came> {
    let mut held = Vec::new();
    for _ in 0..MANY {
        // Beyond what the system's queue holds, the hub may turn them away.
        if let Ok(Ok(mut raw)) =
            tokio::time::timeout(Duration::from_millis(500), Raw::connect(world.url(), address(last))).await
        {
            say(&mut raw, said).await;
            held.push(raw);
        }
    }
    ensure!(held.len() >= MANY / 2, "only {} could be opened", held.len());
    // The hub serves others at once, also from the same address.
    let mut raw = Raw::connect(world.url(), address(last)).await?;
    say(&mut raw, &world.request(&format!("GET /api/hub/{}", world.topic), "", "")).await;
    let answer = raw.next(PATIENCE).await?;
    ensure!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}");
    Ok(Came::Seen)
}

/// A request whose parts come too slowly is cut off.
async fn cut_off(world: &World, bytes: Vec<u8>) -> Result<Came> {
    let mut raw = Raw::connect(world.url(), address(3)).await?;
    let all = raw.send_slowly(&bytes, Duration::from_millis(300)).await;
    ensure!(!all, "it could take all its time");
    let answers = raw.answers(Duration::from_millis(100)).await;
    ensure!(answers.iter().all(|answer| answer.status == 408), "{answers:?}");
    Ok(Came::Seen)
}

/// Tokens that are none, one after the other: at some time they are not even looked at.
async fn guessing(world: &World) -> Result<Came> {
    let mut raw = Raw::connect(world.url(), address(4)).await?;
    let (mut statuses, host) = ([0_usize; 2], world.host());
    for number in 0..600 {
        let request = format!(
            "GET /api/hub/{} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer a.b.c{number}\r\n\r\n",
            world.victim_topic
        );
        say(&mut raw, request.as_bytes()).await;
        match raw.next(PATIENCE).await?.map(|answer| answer.status) {
            Some(401) => statuses[0] += 1,
            Some(429) => {
                statuses[1] += 1;
                break;
            }
            None => raw = Raw::connect(world.url(), address(4)).await?,
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(statuses[0] > 0 && statuses[1] > 0, "401 and 429: {statuses:?}");
    Ok(Came::Seen)
}

/// Publishes in the attacker's own session as fast as it can.
async fn publishing(world: &World) -> Result<Came> {
    let mut raw = Raw::connect(world.url(), address(5)).await?;
    let topic = harness::examples::fresh_topic();
    let token = world.authority.token()?.subject("fast").client("fast").topic(&topic).mint()?;
    let mut limited = false;
    for number in 0..3000 {
        let event = patient_open(&topic, &number.to_string());
        let request = format!(
            "POST /api/hub HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
            world.host(),
            event.len()
        );
        say(&mut raw, request.as_bytes()).await;
        match raw.next(PATIENCE).await?.map(|answer| answer.status) {
            Some(202) => {}
            Some(429) => {
                limited = true;
                break;
            }
            None => raw = Raw::connect(world.url(), address(5)).await?,
            other => anyhow::bail!("{other:?}"),
        }
    }
    ensure!(limited, "3000 in a row were all accepted");
    Ok(Came::Seen)
}

/// A socket that never reads what it is sent costs nobody anything.
async fn deaf(world: &World) -> Result<Came> {
    let topic = harness::examples::fresh_topic();
    let app = world.app_with(&world.authority.token()?.subject("deaf").client("deaf").topic(&topic))?;
    let endpoint = app.subscribe_websocket(&topic, "*", &[]).await?;
    let _raw = Raw::upgrade(&endpoint, ATTACKER).await?;
    let large = crate::messages::event(
        &topic,
        "i",
        "org.example.large",
        &format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000)),
    );
    for _ in 0..20 {
        let answer = app.publish(&large).await?;
        ensure!([202, 429].contains(&answer.status), "{answer:?}");
    }
    Ok(Came::Seen)
}

/// Requests behind each other, without waiting for an answer.
async fn pipelined(world: &World) -> Result<Came> {
    let mut raw = Raw::connect(world.url(), address(6)).await?;
    let one = world.request("GET /api/hub/.well-known/fhircast-configuration", "", "");
    say(&mut raw, &one.repeat(200)).await;
    for _ in 0..200 {
        let answer = raw.next(PATIENCE).await?;
        ensure!(answer.as_ref().is_none_or(|answer| [200, 429].contains(&answer.status)), "{answer:?}");
    }
    Ok(Came::Seen)
}

/// Sockets that are opened and dropped at once, with half a frame.
async fn opened_and_dropped(world: &World) -> Result<Came> {
    let endpoint = world.own_endpoint().await?;
    for _ in 0..50 {
        let mut raw = Raw::upgrade(&endpoint, ATTACKER).await?;
        say(&mut raw, &Shape::good(TEXT).frame(b"{}")[..3]).await;
    }
    Ok(Came::Seen)
}

macro_rules! row {
    ($name:literal, $rule:literal, |$world:ident| $steps:expr) => {
        Attack {
            name: $name,
            rule: $rule,
            sends: Sends::Steps(|$world| Box::pin(async move { $steps.await })),
            expected: Expected::AsSeen,
        }
    };
}

pub fn rows() -> Vec<Attack> {
    vec![
        row!("connections that say nothing", "FC-TRN-01", |world| held_open(world, 1, b"")),
        row!("connections that say half a request", "FC-TRN-01", |world| {
            held_open(world, 2, b"POST /api/hub HTTP/1.1\r\nHost: a\r\nX-")
        }),
        row!("a head that comes byte by byte", "FC-TRN-01", |world| cut_off(
            world,
            world.request("GET /api/hub/t", "", "")
        )),
        row!("a body that comes byte by byte and stops", "FC-TRN-01", |world| {
            let _ = world;
            stopped_body(world)
        }),
        row!("tokens that are guessed", "FC-SEC-01", |world| guessing(world)),
        row!("events without a pause", "FC-REQ-01", |world| publishing(world)),
        row!("a socket that never reads", "FC-NOT-08", |world| deaf(world)),
        row!("two hundred requests at once on one connection", "FC-TRN-01", |world| pipelined(world)),
        row!("sockets that are dropped with half a frame", "FC-WSC-08", |world| opened_and_dropped(world)),
    ]
}

/// A body that begins and does not go on.
async fn stopped_body(world: &World) -> Result<Came> {
    let mut raw = Raw::connect(world.url(), address(7)).await?;
    say(
        &mut raw,
        &world.request(
            "POST /api/hub",
            "Content-Type: application/json\r\nContent-Length: 1000\r\n",
            "{\"id\":",
        ),
    )
    .await;
    let answer = raw.next(PATIENCE).await?;
    ensure!(answer.as_ref().is_none_or(|answer| answer.status == 408), "{answer:?}");
    Ok(Came::Seen)
}
