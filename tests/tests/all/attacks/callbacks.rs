//! Callbacks that lead where only the worker can go, and what comes of them: nobody knocks at the canary.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{
    callback_server::Reply,
    examples::fresh_id,
    wait::{PATIENCE, eventually},
};

use super::{Attack, steps, world::World};

/// Callbacks to the canary, in every spelling: the port stands for `{}`.
const SPELLINGS: [&str; 18] = [
    "http://127.0.0.2:{}/",
    "https://127.0.0.2:{}/",
    "http://127.2:{}/",
    "http://2130706434:{}/",
    "http://0x7f000002:{}/",
    "http://0x7f.0.0.0x2:{}/",
    "http://0177.0.0.2:{}/",
    "http://127.0.0.2.:{}/",
    "http://%31%32%37.0.0.2:{}/",
    "http://[::1]:{}/",
    "http://[0:0:0:0:0:0:0:1]:{}/",
    "http://[::ffff:127.0.0.2]:{}/",
    "http://[::ffff:7f00:2]:{}/",
    "http://[::127.0.0.2]:{}/",
    "http://[64:ff9b::7f00:2]:{}/",
    "http://\u{ff11}27.0.0.2:{}/",
    "http:\\\\127.0.0.2:{}\\",
    "http:127.0.0.2:{}/",
];

/// Addresses where clouds and networks keep what is theirs.
const SPECIAL: [&str; 8] = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
];

/// Callbacks that are no callbacks: refused at once.
const REFUSED: [&str; 12] = [
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "redis://127.0.0.1:6379/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "//127.0.0.1/",
    "/callback",
    "http://user:s3cret@127.0.0.1/",
    "http://127.0.0.1@evil.example:80@x/",
    "http://127.0.0.1/#fragment",
    "http:///",
];

async fn subscribe(world: &World, callback: &str) -> Result<harness::client::Answer> {
    world.app()?.subscribe_webhook(&world.topic, "*", callback, &[]).await
}

/// Whatever is answered at once, nothing but a refusal or a verification that fails may come of it.
async fn never_knocks(world: &World, callbacks: &[&str]) -> Result<()> {
    for callback in callbacks {
        let callback = callback.replace("{}", &world.canary.port.to_string());
        let answer = subscribe(world, &callback).await?;
        ensure!([202, 400, 403, 429].contains(&answer.status), "FC-SEC-02: {callback}: {answer:?}");
        ensure!(
            !answer.body.contains("127.0.0.2") && !answer.body.contains("169.254"),
            "FC-TRN-03: {answer:?}"
        );
    }
    // A verification of the attacker's own that was asked for later has been made: those before it have been tried.
    let path = format!("/after-{}", fresh_id());
    subscribe(world, &world.server.url(&path)).await?.expect_status(202)?;
    world.is_asked_for(&path).await?;
    ensure!(world.canary.visits() == 0, "FC-SEC-02: the canary was visited");
    Ok(())
}

async fn refused(world: &World) -> Result<()> {
    for callback in REFUSED {
        let answer = subscribe(world, callback).await?;
        ensure!(
            answer.status == 400 && answer.body.contains("hub.callback"),
            "FC-WHK-01: {callback}: {answer:?}"
        );
        ensure!(!answer.body.contains("s3cret"), "FC-TRN-03: {answer:?}");
    }
    Ok(())
}

/// A server that is allowed sends the worker to one that is not.
async fn redirected(world: &World) -> Result<()> {
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/redirect-{}", fresh_id());
        let target = format!("http://127.0.0.2:{}/", world.canary.port);
        world.server.on(&path, move |_| Some(Reply::status(status).header("Location", &target)));
        subscribe(world, &world.server.url(&path)).await?.expect_status(202)?;
        world.is_asked_for(&path).await?;
    }
    never_knocks(world, &[]).await
}

/// Bytes that end a line, in every part of a callback: no header of the worker's is the attacker's.
async fn no_header_of_the_attackers(world: &World) -> Result<()> {
    let mark = fresh_id();
    for ending in ["\r\n", "%0d%0a", "%0D%0AX-Evil:%20", "\n", "\u{2028}", "\u{10a}", "\0"] {
        let callback =
            world.server.url(&format!("/crlf-{mark}{ending}X-Evil: {mark}{ending}?a={ending}X-Evil: b"));
        subscribe(world, &callback).await?;
    }
    never_knocks(world, &[]).await?;
    let evil = world.server.requests().into_iter().filter(|request| request.path.contains(&mark));
    for request in evil {
        ensure!(request.header("x-evil").is_none(), "FC-SEC-02: {request:?}");
    }
    Ok(())
}

/// The callback's own query says that it was verified already, or denied: what the hub adds comes last, and the challenge is
/// its own.
async fn own_query(world: &World) -> Result<()> {
    let path = format!("/query-{}", fresh_id());
    let callback = world.server.url(&format!("{path}?hub.challenge=mine&hub.mode=denied"));
    let topic = world.topic.clone();
    world.server.on(&path, |_| Some(Reply::status(200).body("mine")));
    subscribe(world, &callback).await?.expect_status(202)?;
    world.is_asked_for(&path).await?;
    // It was not confirmed: no notification comes of it.
    let before = fresh_id();
    world.app()?.publish(&crate::messages::patient_open(&topic, &before)).await?.expect_status(202)?;
    never_knocks(world, &[]).await?;
    ensure!(world.server.notifications(&path).is_empty(), "FC-WHK-02: it was not verified");
    Ok(())
}

/// Who asks for many verifications at one victim is slowed, and the victim asked a bounded number of times.
async fn flood(world: &World) -> Result<()> {
    let flooder = world.somebody("flooder")?;
    let base = format!("/flood-{}", fresh_id());
    world.server.on(&base, |_| Some(Reply::status(404)));
    for number in 0..100 {
        let callback = world.server.url(&format!("{base}?{number}"));
        let answer = flooder.app.subscribe_webhook(&flooder.topic, "*", &callback, &[]).await?;
        ensure!([202, 429].contains(&answer.status), "{answer:?}");
    }
    let asked = || world.server.requests().iter().filter(|request| request.path == base).count();
    let settled = || async {
        let before = asked();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (asked() == before).then_some(before)
    };
    let asked = eventually(PATIENCE, "the verifications end", settled).await?;
    ensure!(asked <= 100, "FC-WHK-02: a refusal is not asked again: {asked}");
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        steps!("a callback to this machine, in every spelling", "FC-SEC-02", |world| never_knocks(
            world, &SPELLINGS
        )),
        steps!("a callback to what is special", "FC-SEC-02", |world| never_knocks(world, &SPECIAL)),
        steps!("a callback by a name of this machine", "FC-SEC-02", |world| {
            never_knocks(
                world,
                &["http://localhost:{}/", "http://LOCALHOST.:{}/", "http://ip6-localhost:{}/"],
            )
        }),
        steps!("a callback that is none", "FC-WHK-01", |world| refused(world)),
        steps!("a callback that redirects", "FC-SEC-02", |world| redirected(world)),
        steps!("a callback with a line's end", "FC-SEC-02", |world| no_header_of_the_attackers(world)),
        steps!("a callback that brings its own challenge", "FC-WHK-02", |world| own_query(world)),
        steps!("many verifications at one victim", "FC-WHK-02", |world| flood(world)),
    ]
}
