//! Requests whose beginning and end two readers could see in different places. A hub that refuses all of them agrees with
//! every proxy that lets them through.

use super::{Attack, Bytes, Does, world::World};

fn row(name: &'static str, bytes: Bytes) -> Attack {
    Attack { name, rule: "FC-SEC-01", does: Does::Confuse(bytes) }
}

/// An event with these headers, whose body is this and, wherever it ends, a request of the smuggler's.
fn before_another(world: &World, headers: &str, body: &str) -> Vec<u8> {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    world.request("POST /api/hub", &headers, &format!("{body}{}", world.smuggled()))
}

/// With no body but by these headers.
fn of_length(world: &World, headers: &str) -> Vec<u8> {
    before_another(world, headers, "")
}

/// A chunk of nothing.
fn chunked(world: &World, headers: &str) -> Vec<u8> {
    before_another(world, headers, "0\r\n\r\n")
}

/// One chunk like this.
fn chunk(world: &World, chunk: &str) -> Vec<u8> {
    before_another(world, "Transfer-Encoding: chunked\r\n", chunk)
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
            of_length(world, "Content-Length: 0\r\nContent-Length: 9\r\n")
        }),
        row("two lengths in one header", |world| of_length(world, "Content-Length: 0, 9\r\n")),
        row("a length with a sign", |world| of_length(world, "Content-Length: +0\r\n")),
        row("a length that is hexadecimal", |world| of_length(world, "Content-Length: 0x5\r\n")),
        row("a length beyond all numbers", |world| {
            of_length(world, "Content-Length: 18446744073709551621\r\n")
        }),
        row("a negative length", |world| of_length(world, "Content-Length: -1\r\n")),
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
        row("a chunk larger than all memory", |world| chunk(world, "fffffffffffffffff1\r\n")),
        row("a chunk whose size is no number", |world| chunk(world, "5;\n\r\n+5\r\n")),
        row("a chunk that does not end where it says", |world| chunk(world, "1\r\n{")),
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
