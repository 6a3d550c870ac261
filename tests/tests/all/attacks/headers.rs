//! Headers by which a client says that it is another, or elsewhere, or means something else.

use anyhow::{Result, ensure};
use harness::client::FORM;

use super::{Attack, ask, steps, world::World};

const SUBSCRIBE: &str = "hub.channel.type=websocket&hub.mode=subscribe&hub.events=*&hub.topic=";

/// Subscribes with these headers; the endpoint must be where the client is.
async fn endpoint_stays(world: &World, headers: &str) -> Result<()> {
    let body = format!("{SUBSCRIBE}{}", world.topic);
    let headers = format!("{headers}Content-Type: {FORM}\r\nContent-Length: {}\r\n", body.len());
    let answer = world.answer(&world.request("POST /api/hub", &headers, &body)).await?;
    let expected = format!(r#""ws://{}/api/hub/ws/"#, world.host());
    ensure!(answer.status == 202 && answer.body().contains(&expected), "{answer:?}");
    Ok(())
}

/// A read with this method, whatever these headers say of it.
async fn stays_a_read(world: &World, headers: &str) -> Result<()> {
    let read = world.request(&format!("GET /api/hub/{}", world.topic), headers, "");
    let answer = world.answer(&read).await?;
    ensure!(answer.status == 200 && answer.body().contains("context.type"), "{answer:?}");
    Ok(())
}

/// A page of another origin may not read the answer.
async fn hidden_from_pages(world: &World, request: Vec<u8>) -> Result<()> {
    let answer = world.answer(&request).await?;
    ensure!(answer.header("access-control-allow-origin").is_empty(), "{answer:?}");
    Ok(())
}

pub fn rows() -> Vec<Attack> {
    vec![
        steps!("X-Forwarded-Host of another", "FC-SUB-02", |world| {
            endpoint_stays(world, "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n")
        }),
        steps!("Forwarded of another", "FC-SUB-02", |world| {
            endpoint_stays(world, "Forwarded: for=127.0.0.1;host=evil.example;proto=https\r\n")
        }),
        steps!("X-Forwarded-For of a trusted one", "FC-SEC-01", |world| {
            endpoint_stays(world, "X-Forwarded-For: 10.0.0.1, 127.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n")
        }),
        steps!("X-HTTP-Method-Override", "FC-REQ-01", |world| {
            stays_a_read(
                world,
                "X-HTTP-Method-Override: POST\r\nX-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\n",
            )
        }),
        steps!("X-Original-URL and X-Rewrite-URL", "FC-REQ-01", |world| {
            stays_a_read(world, "X-Original-URL: /api/hub/other\r\nX-Rewrite-URL: /metrics\r\n")
        }),
        steps!("a preflight of a foreign origin", "FC-TRN-07", |world| {
            let headers = "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
            hidden_from_pages(world, world.request("OPTIONS /api/hub", headers, ""))
        }),
        steps!("a read by a foreign origin", "FC-TRN-07", |world| {
            let line = format!("GET /api/hub/{}", world.topic);
            hidden_from_pages(world, world.request(&line, "Origin: null\r\n", ""))
        }),
        ask(
            "TRACE, which would show the token to scripts",
            "FC-TRN-03",
            |world| world.request("TRACE /api/hub", "", ""),
            405,
            "method",
        ),
        ask(
            "CONNECT to elsewhere",
            "FC-REQ-01",
            |world| world.request("CONNECT 127.0.0.1:6379", "", ""),
            404,
            "path",
        ),
        ask(
            "a method that nobody knows",
            "FC-REQ-01",
            |world| world.request("SUBSCRIBE /api/hub", "", ""),
            405,
            "method",
        ),
        ask(
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
        ask(
            "an event of another type",
            "FC-TRN-02",
            |world| world.post("text/plain", "{}"),
            415,
            "Content-Type",
        ),
        ask(
            "an event as multipart",
            "FC-TRN-02",
            |world| world.post("multipart/form-data; boundary=a", "--a--"),
            415,
            "Content-Type",
        ),
        ask(
            "a type in two",
            "FC-TRN-02",
            |world| world.post("application/json, text/html", "{}"),
            415,
            "Content-Type",
        ),
    ]
}
