//! Endpoints are tickets: they are not guessed, told apart, or used by another.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use harness::{
    attack::{
        ATTACKER,
        frames::upgrade,
        raw::{Raw, RawAnswer},
    },
    socket::{Incoming, Socket, upgrade_status},
    wait::PATIENCE,
};

use super::{
    Attack, steps,
    world::{Somebody, World, say},
};

/// The request for the socket of an endpoint.
fn upgrade_of(endpoint: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    upgrade(path(endpoint), headers).into_bytes()
}

async fn answer_to(world: &World, endpoint: &str, headers: &[(&str, &str)]) -> Result<RawAnswer> {
    world.answer(&upgrade_of(endpoint, headers)).await
}

/// What stands behind the host of an endpoint, as it is.
fn path(endpoint: &str) -> &str {
    endpoint.find("/api/").map_or("/", |at| &endpoint[at..])
}

fn endpoint(world: &World, id: &str) -> String {
    format!("{}/ws/{id}", world.url().replacen("http", "ws", 1))
}

/// Somebody who is neither attacker nor victim, and an endpoint of theirs.
async fn another(world: &World) -> Result<(Somebody, String)> {
    let other = world.somebody("other")?;
    let endpoint = other.app.subscribe_websocket(&other.topic, "*", &[]).await?;
    Ok((other, endpoint))
}

/// An endpoint of the attacker's own that has ended.
async fn ended(world: &World) -> Result<String> {
    let endpoint = world.own_endpoint().await?;
    world.app()?.unsubscribe_websocket(&world.topic, &endpoint).await?.expect_status(202)?;
    Ok(endpoint)
}

/// What is no endpoint, what is none any more, and what never was one are answered alike.
async fn all_alike(world: &World) -> Result<()> {
    let ended = ended(world).await?;
    let live = world.own_endpoint().await?;
    let id = live.rsplit('/').next().context("no id")?;
    let mut seen = HashSet::new();
    for endpoint in [
        ended,
        endpoint(world, &"0".repeat(40)),
        endpoint(world, "x"),
        endpoint(world, &id[1..]),
        endpoint(world, &id.to_uppercase()),
        endpoint(world, &format!("{id}00")),
        endpoint(world, &format!("{id}%00")),
        endpoint(world, &format!("%30{}", &id[1..])),
        endpoint(world, &format!("../ws/{id}")),
        endpoint(world, &format!("{}*", &id[..10])),
    ] {
        let answer = answer_to(world, &endpoint, &[]).await?;
        ensure!(answer.status == 404, "FC-WSC-02: {endpoint}: {answer:?}");
        seen.insert(answer.body().to_owned());
    }
    ensure!(seen.len() == 1, "FC-WSC-02: they can be told apart: {seen:?}");
    Ok(())
}

/// Nor by the time that it takes: the middle of many, one kind beside the other.
async fn as_fast(world: &World) -> Result<()> {
    let ended = ended(world).await?;
    let id = ended.rsplit('/').next().context("no id")?;
    let never = endpoint(world, &format!("{}{}", &id[..4], "0".repeat(36)));
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..60 {
        let kind = round % 2;
        let mut raw = Raw::connect(world.url(), ATTACKER).await?;
        let begun = Instant::now();
        say(&mut raw, &upgrade_of([&ended, &never][kind], &[])).await;
        raw.answer(PATIENCE).await?;
        times[kind].push(begun.elapsed());
    }
    let [ended, never] = times.map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    });
    let (less, more) = (ended.min(never), ended.max(never));
    ensure!(more < less * 3 + Duration::from_millis(20), "FC-WSC-02: ended {ended:?}, never {never:?}");
    Ok(())
}

/// Endpoints of one topic have nothing in common but what names their partition.
async fn without_structure(world: &World) -> Result<()> {
    let app = world.app()?;
    let mut ids = Vec::new();
    for _ in 0..64 {
        let endpoint = app.subscribe_websocket(&world.topic, "*", &[]).await?;
        ids.push(endpoint.rsplit('/').next().context("no id")?.to_owned());
    }
    let distinct = |from: usize, to: usize| ids.iter().map(|id| &id[from..to]).collect::<HashSet<_>>().len();
    ensure!(ids.iter().all(|id| id.len() == 40) && distinct(0, 40) == 64, "FC-SUB-02");
    // Of 64 random 36-bit numbers two are the same once in thirty million tries.
    for from in (4..31).step_by(9) {
        ensure!(distinct(from, from + 9) == 64, "FC-SUB-02: digits {from} to {}: {ids:?}", from + 9);
    }
    // Each of 144 bits is set in about half of them: 64 tosses of a coin are not all but 4 the same.
    let bits = |id: &String| -> Vec<bool> {
        let digits = id[4..].chars().filter_map(|digit| digit.to_digit(16));
        digits.flat_map(|digit| (0..4).map(move |bit| digit >> bit & 1 == 1)).collect()
    };
    let bits: Vec<Vec<bool>> = ids.iter().map(bits).collect();
    for bit in 0..144 {
        let set = bits.iter().filter(|bits| bits[bit]).count();
        ensure!((6..=58).contains(&set), "FC-SUB-02: bit {bit} is set in {set} of 64");
    }
    Ok(())
}

/// With the attacker's token: the endpoint of another, in the attacker's topic and in the other's.
async fn not_anothers(world: &World, mode: &str) -> Result<()> {
    let (Somebody { app, topic, .. }, endpoint) = another(world).await?;
    let mut socket = Socket::connect(&endpoint).await?;
    socket.next_json(PATIENCE).await?;
    for (topic, statuses) in [(&world.topic, &[403, 404][..]), (&topic, &[403])] {
        let form = [
            ("hub.channel.type", "websocket"),
            ("hub.mode", mode),
            ("hub.topic", topic),
            ("hub.events", "org.example.nothing"),
            ("hub.channel.endpoint", &endpoint),
        ];
        let answer = world.app()?.post_form(&form).await?;
        ensure!(statuses.contains(&answer.status), "FC-SUB-09: {mode}: {answer:?}");
    }
    let event = crate::messages::patient_open(&topic, "still-there");
    app.publish(&event).await?.expect_status(202)?;
    let came = socket.next_json(PATIENCE).await?;
    ensure!(came["id"] == "still-there", "FC-SUB-09: its subscription is as it was: {came}");
    Ok(())
}

/// In one topic, with a token of another user for that topic.
async fn not_a_neighbours(world: &World) -> Result<()> {
    let (Somebody { topic, .. }, endpoint) = another(world).await?;
    let neighbour =
        world.app_with(&world.authority.token()?.subject("neighbour").client("its-app").topic(&topic))?;
    let answer = neighbour.unsubscribe_websocket(&topic, &endpoint).await?;
    ensure!([403, 404].contains(&answer.status), "FC-SUB-09: {answer:?}");
    Socket::connect(&endpoint).await.context("FC-SUB-09: it can still be connected to")?;
    Ok(())
}

/// An ended subscription's endpoint opens nothing any more, and its socket is closed.
async fn not_after_its_end(world: &World) -> Result<()> {
    let endpoint = world.own_endpoint().await?;
    let mut socket = Socket::connect(&endpoint).await?;
    socket.next_json(PATIENCE).await?;
    world.app()?.unsubscribe_websocket(&world.topic, &endpoint).await?.expect_status(202)?;
    let denial = socket.next_json(PATIENCE).await?;
    ensure!(denial["hub.mode"] == "denied", "FC-SUB-09: {denial}");
    match socket.next(PATIENCE).await? {
        Incoming::Closed(Some(1000)) => {}
        other => bail!("FC-SUB-09: {other:?}"),
    }
    let again = Socket::connect(&endpoint).await.err().context("FC-SUB-09: it opens again")?;
    ensure!(upgrade_status(&again) == Some(404), "FC-WSC-02: {again:?}");
    Ok(())
}

/// An upgrade that is none, of an endpoint that lives.
async fn no_upgrade(world: &World, headers: &[(&str, &str)]) -> Result<()> {
    let answer = answer_to(world, &world.own_endpoint().await?, headers).await?;
    ensure!(answer.status == 400, "FC-WSC-01: {headers:?}: {answer:?}");
    Ok(())
}

/// Extensions are not taken, protocols not invented, and an origin is nobody's ticket nor anybody's bar.
async fn plain_upgrade(world: &World) -> Result<()> {
    let headers = [
        ("Origin", "https://evil.example"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"),
        ("Sec-WebSocket-Protocol", "evil, chat"),
    ];
    let answer = answer_to(world, &world.own_endpoint().await?, &headers).await?;
    ensure!(answer.status == 101, "FC-WSC-02: {answer:?}");
    ensure!(answer.header("sec-websocket-extensions").is_empty(), "{answer:?}");
    ensure!(answer.header("sec-websocket-protocol").is_empty(), "{answer:?}");
    // From a page of another origin, without the endpoint: nothing.
    let guess = answer_to(world, &endpoint(world, &"1".repeat(40)), &headers).await?;
    ensure!(guess.status == 404, "FC-WSC-02: {guess:?}");
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        steps!("endpoints that are none, told apart by the answer", "FC-WSC-02", |world| all_alike(world)),
        steps!("endpoints that are none, told apart by the time", "FC-WSC-02", |world| as_fast(world)),
        steps!("the next endpoint, reckoned from others", "FC-SUB-02", |world| without_structure(world)),
        steps!("another's endpoint, unsubscribed", "FC-SUB-09", |world| not_anothers(world, "unsubscribe")),
        steps!("another's endpoint, subscribed again", "FC-SUB-04", |world| not_anothers(world, "subscribe")),
        steps!("a neighbour's endpoint in the same session, unsubscribed", "FC-SUB-09", |world| {
            not_a_neighbours(world)
        }),
        steps!("an endpoint after its end", "FC-WSC-02", |world| not_after_its_end(world)),
        steps!("an upgrade of an old version", "FC-WSC-01", |world| no_upgrade(
            world,
            &[("Sec-WebSocket-Version", "8")]
        )),
        steps!("an upgrade without a version", "FC-WSC-01", |world| no_upgrade(
            world,
            &[("Sec-WebSocket-Version", "")]
        )),
        steps!("an upgrade without a key", "FC-WSC-01", |world| no_upgrade(
            world,
            &[("Sec-WebSocket-Key", "")]
        )),
        steps!("an upgrade to something else", "FC-WSC-01", |world| no_upgrade(world, &[("Upgrade", "h2c")])),
        steps!("an upgrade that the connection does not have", "FC-WSC-01", |world| {
            no_upgrade(world, &[("Connection", "keep-alive")])
        }),
        steps!("an upgrade from a foreign page, with extensions", "FC-WSC-02", |world| plain_upgrade(world)),
    ]
}
