//! Headers by which a client says that it is another, or elsewhere, or means something else.

use anyhow::{Result, ensure};
use harness::{
    attack::{
        ATTACKER,
        raw::{Raw, RawAnswer},
    },
    wait::PATIENCE,
};

use super::{
    Attack, Came, Expected, Sends,
    world::{World, say},
};

const SUBSCRIBE: &str = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*&hub.topic=";

async fn ask(world: &World, bytes: &[u8]) -> Result<RawAnswer> {
    let mut raw = Raw::connect(world.url(), ATTACKER).await?;
    say(&mut raw, bytes).await;
    raw.next(PATIENCE).await?.ok_or_else(|| anyhow::anyhow!("the hub hung up"))
}

/// Subscribes with these headers; the endpoint must be where the client is.
async fn endpoint_stays(world: &World, headers: &str) -> Result<Came> {
    let body = format!("{SUBSCRIBE}{}", world.topic);
    let headers = format!(
        "{headers}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        body.len()
    );
    let answer = ask(world, &world.request("POST /api/hub", &headers, &body)).await?;
    let expected = format!(r#""ws://{}/api/hub/ws/"#, world.host());
    ensure!(answer.status == 202 && answer.body().contains(&expected), "{answer:?}");
    Ok(Came::Seen)
}

/// A read with this method, whatever these headers say of it.
async fn stays_a_read(world: &World, headers: &str) -> Result<Came> {
    let read = world.request(&format!("GET /api/hub/{}", world.topic), headers, "");
    let answer = ask(world, &read).await?;
    ensure!(answer.status == 200 && answer.body().contains("context.type"), "{answer:?}");
    Ok(Came::Seen)
}

fn row(
    name: &'static str,
    rule: &'static str,
    bytes: fn(&World) -> Vec<u8>,
    status: u16,
    text: &'static str,
) -> Attack {
    Attack { name, rule, sends: Sends::Bytes(bytes), expected: Expected::Answer(status, text) }
}

macro_rules! seen {
    ($name:literal, $rule:literal, $steps:expr) => {
        Attack {
            name: $name,
            rule: $rule,
            sends: Sends::Steps(|world| Box::pin(async move { ($steps)(world).await })),
            expected: Expected::AsSeen,
        }
    };
}

pub fn rows() -> Vec<Attack> {
    vec![
        seen!("X-Forwarded-Host of another", "FC-SUB-02", async |world| {
            endpoint_stays(world, "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n").await
        }),
        seen!("Forwarded of another", "FC-SUB-02", async |world| {
            endpoint_stays(world, "Forwarded: for=127.0.0.1;host=evil.example;proto=https\r\n").await
        }),
        seen!("X-Forwarded-For of a trusted one", "FC-SEC-01", async |world| {
            endpoint_stays(world, "X-Forwarded-For: 10.0.0.1, 127.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n").await
        }),
        seen!("X-HTTP-Method-Override", "FC-REQ-01", async |world| {
            stays_a_read(
                world,
                "X-HTTP-Method-Override: POST\r\nX-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\n",
            )
            .await
        }),
        seen!("X-Original-URL and X-Rewrite-URL", "FC-REQ-01", async |world| {
            stays_a_read(world, "X-Original-URL: /api/hub/other\r\nX-Rewrite-URL: /metrics\r\n").await
        }),
        seen!("a preflight of a foreign origin", "FC-TRN-07", async |world: &'_ World| {
            let headers = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
            let answer = ask(world, &world.request("OPTIONS /api/hub", headers, "")).await?;
            ensure!(answer.header("access-control-allow-origin").is_empty(), "{answer:?}");
            Ok(Came::Seen)
        }),
        seen!("a read by a foreign origin", "FC-TRN-07", async |world: &'_ World| {
            let read = world.request(&format!("GET /api/hub/{}", world.topic), "Origin: null\r\n", "");
            let answer = ask(world, &read).await?;
            ensure!(answer.header("access-control-allow-origin").is_empty(), "{answer:?}");
            Ok(Came::Seen)
        }),
        row(
            "TRACE, which would show the token to scripts",
            "FC-TRN-03",
            |world| world.request("TRACE /api/hub", "", ""),
            405,
            "method",
        ),
        row(
            "CONNECT to elsewhere",
            "FC-REQ-01",
            |world| world.request("CONNECT 127.0.0.1:6379", "", ""),
            404,
            "path",
        ),
        row(
            "a method that nobody knows",
            "FC-REQ-01",
            |world| world.request("SUBSCRIBE /api/hub", "", ""),
            405,
            "method",
        ),
        row(
            "a body that is compressed",
            "FC-TRN-02",
            |world| {
                let headers =
                    "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n";
                world.request("POST /api/hub", headers, "\u{1f}nothing but bytes..")
            },
            415,
            "Content-Encoding",
        ),
        row(
            "an event of another type",
            "FC-TRN-02",
            |world| world.post("text/plain", "{}"),
            415,
            "Content-Type",
        ),
        row(
            "an event as multipart",
            "FC-TRN-02",
            |world| world.post("multipart/form-data; boundary=a", "--a--"),
            415,
            "Content-Type",
        ),
        row(
            "a type in two",
            "FC-TRN-02",
            |world| world.post("application/json, text/html", "{}"),
            415,
            "Content-Type",
        ),
    ]
}
