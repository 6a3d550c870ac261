//! Requests whose beginning and end two readers could see in different places. A hub that refuses all of them agrees with
//! every proxy that lets them through.

use super::{Attack, Expected, Sends, world::World};

fn row(name: &'static str, bytes: fn(&World) -> Vec<u8>) -> Attack {
    Attack { name, rule: "FC-SEC-01", sends: Sends::Bytes(bytes), expected: Expected::NoAnswerBut400 }
}

const JSON: &str = "Content-Type: application/json\r\n";

/// A chunk of nothing, behind which another request hides.
fn chunked(world: &World, headers: &str) -> Vec<u8> {
    let hidden = format!("0\r\n\r\n{}", world.smuggled());
    world.request("POST /api/hub", &format!("{JSON}{headers}"), &hidden)
}

pub fn rows() -> Vec<Attack> {
    vec![
        row("a length and chunks", |world| {
            chunked(world, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
        }),
        row("chunks and a length", |world| {
            chunked(world, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")
        }),
        row("two lengths that differ", |world| {
            let headers = format!("{JSON}Content-Length: 0\r\nContent-Length: 9\r\n");
            world.request("POST /api/hub", &headers, &world.smuggled())
        }),
        row("two lengths in one header", |world| {
            world.request("POST /api/hub", &format!("{JSON}Content-Length: 0, 9\r\n"), &world.smuggled())
        }),
        row("a length with a sign", |world| {
            world.request("POST /api/hub", &format!("{JSON}Content-Length: +0\r\n"), &world.smuggled())
        }),
        row("a length that is hexadecimal", |world| {
            world.request("POST /api/hub", &format!("{JSON}Content-Length: 0x5\r\n"), &world.smuggled())
        }),
        row("a length beyond all numbers", |world| {
            let headers = format!("{JSON}Content-Length: 18446744073709551621\r\n");
            world.request("POST /api/hub", &headers, &world.smuggled())
        }),
        row("a negative length", |world| {
            world.request("POST /api/hub", &format!("{JSON}Content-Length: -1\r\n"), &world.smuggled())
        }),
        row("an encoding that is not the last", |world| {
            chunked(world, "Transfer-Encoding: chunked, identity\r\n")
        }),
        row("an encoding that nearly is chunked", |world| chunked(world, "Transfer-Encoding: xchunked\r\n")),
        row("an encoding twice", |world| {
            chunked(world, "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n")
        }),
        row("an encoding behind a vertical tab", |world| {
            chunked(world, "Transfer-Encoding: \u{b}chunked\r\n")
        }),
        row("an encoding on a folded line", |world| chunked(world, "Transfer-Encoding:\r\n chunked\r\n")),
        row("a header on a folded line", |world| {
            chunked(world, "X-Other: a\r\n Transfer-Encoding: chunked\r\n")
        }),
        row("a blank before the colon", |world| chunked(world, "Transfer-Encoding : chunked\r\n")),
        row("a blank before the name", |world| chunked(world, " Transfer-Encoding: chunked\r\n")),
        row("a header without a name", |world| chunked(world, ": chunked\r\n")),
        row("a nul in a header", |world| chunked(world, "X-Other: a\0b\r\n")),
        row("a carriage return in a header", |world| {
            chunked(world, "X-Other: a\rTransfer-Encoding: chunked\r\n")
        }),
        row("a chunk larger than all memory", |world| {
            let hidden = format!("fffffffffffffffff1\r\n{}", world.smuggled());
            world.request("POST /api/hub", &format!("{JSON}Transfer-Encoding: chunked\r\n"), &hidden)
        }),
        row("a chunk whose size is no number", |world| {
            let hidden = format!("5;\n\r\n+5\r\n{}", world.smuggled());
            world.request("POST /api/hub", &format!("{JSON}Transfer-Encoding: chunked\r\n"), &hidden)
        }),
        row("a chunk that does not end where it says", |world| {
            let hidden = format!("1\r\n{{{}", world.smuggled());
            world.request("POST /api/hub", &format!("{JSON}Transfer-Encoding: chunked\r\n"), &hidden)
        }),
        row("a request of HTTP/0.9", |world| format!("GET /api/hub/{}\r\n\r\n", world.topic).into_bytes()),
        row("the beginning of HTTP/2", |_| b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        row("a version that is none", |world| {
            format!("GET /api/hub/{} HTTP/1.9\r\n\r\n", world.topic).into_bytes()
        }),
        row("a TLS handshake where none is spoken", |_| {
            [&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], &[7; 500]].concat()
        }),
        row("nothing but noise", |_| (0..2000_u32).map(|number| (number * 7919 % 251) as u8).collect()),
    ]
}
