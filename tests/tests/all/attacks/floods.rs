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
    Attack, steps,
    world::{Somebody, World, address, say},
};
use crate::messages::{event, patient_open};

/// Connections of one row.
const MANY: usize = 400;

/// Connections that say this much and no more; they are held while the app beside is served.
async fn held_open(world: &World, last: u8, said: &[u8]) -> Result<()> {
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
    let read = world.get(&format!("/api/hub/{}", world.topic));
    let answer = world.answer_or_end(address(last), &read).await?;
    ensure!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{answer:?}");
    Ok(())
}

/// A request whose parts come too slowly is cut off.
async fn cut_off(world: &World, bytes: Vec<u8>) -> Result<()> {
    let mut raw = Raw::connect(world.url(), address(3)).await?;
    let all = raw.send_slowly(&bytes, Duration::from_millis(300)).await;
    ensure!(!all, "it could take all its time");
    let answers = raw.answers(Duration::from_millis(100)).await;
    ensure!(answers.iter().all(|answer| answer.status == 408), "{answers:?}");
    Ok(())
}

/// A body that begins and does not go on.
async fn stopped_body(world: &World) -> Result<()> {
    let headers = "Content-Type: application/json\r\nContent-Length: 1000\r\n";
    let begun = world.request("POST /api/hub", headers, "{\"id\":");
    let answer = world.answer_or_end(address(7), &begun).await?;
    ensure!(answer.as_ref().is_none_or(|answer| answer.status == 408), "{answer:?}");
    Ok(())
}

/// Tokens that are none, one after the other: at some time they are not even looked at.
async fn guessing(world: &World) -> Result<()> {
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
    Ok(())
}

/// Publishes in the attacker's own session as fast as it can.
async fn publishing(world: &World) -> Result<()> {
    let mut raw = Raw::connect(world.url(), address(5)).await?;
    let Somebody { topic, token, .. } = world.somebody("fast")?;
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
    Ok(())
}

/// A socket that never reads what it is sent costs nobody anything.
async fn deaf(world: &World) -> Result<()> {
    let Somebody { app, topic, .. } = world.somebody("deaf")?;
    let endpoint = app.subscribe_websocket(&topic, "*", &[]).await?;
    let _raw = Raw::upgrade(&endpoint, ATTACKER).await?;
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    let large = event(&topic, "i", "org.example.large", &large);
    for _ in 0..20 {
        let answer = app.publish(&large).await?;
        ensure!([202, 429].contains(&answer.status), "{answer:?}");
    }
    Ok(())
}

/// Requests behind each other, without waiting for an answer.
async fn pipelined(world: &World) -> Result<()> {
    let mut raw = Raw::connect(world.url(), address(6)).await?;
    let one = world.get("/api/hub/.well-known/fhircast-configuration");
    say(&mut raw, &one.repeat(200)).await;
    for _ in 0..200 {
        let answer = raw.next(PATIENCE).await?;
        ensure!(answer.as_ref().is_none_or(|answer| [200, 429].contains(&answer.status)), "{answer:?}");
    }
    Ok(())
}

/// Sockets that are opened and dropped at once, with half a frame.
async fn opened_and_dropped(world: &World) -> Result<()> {
    let endpoint = world.own_endpoint().await?;
    for _ in 0..50 {
        let mut raw = Raw::upgrade(&endpoint, ATTACKER).await?;
        say(&mut raw, &Shape::good(TEXT).frame(b"{}")[..3]).await;
    }
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        steps!("connections that say nothing", "FC-TRN-01", |world| held_open(world, 1, b"")),
        steps!("connections that say half a request", "FC-TRN-01", |world| {
            held_open(world, 2, b"POST /api/hub HTTP/1.1\r\nHost: a\r\nX-")
        }),
        steps!("a head that comes byte by byte", "FC-TRN-01", |world| cut_off(
            world,
            world.get("/api/hub/t")
        )),
        steps!("a body that comes byte by byte and stops", "FC-TRN-01", |world| stopped_body(world)),
        steps!("tokens that are guessed", "FC-SEC-01", |world| guessing(world)),
        steps!("events without a pause", "FC-REQ-01", |world| publishing(world)),
        steps!("a socket that never reads", "FC-NOT-08", |world| deaf(world)),
        steps!("two hundred requests at once on one connection", "FC-TRN-01", |world| pipelined(world)),
        steps!("sockets that are dropped with half a frame", "FC-WSC-08", |world| opened_and_dropped(world)),
    ]
}
