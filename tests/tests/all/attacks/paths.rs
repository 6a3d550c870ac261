//! Paths that lead elsewhere, or name another topic than they seem to.

use super::{Attack, Expected, Sends, world::World};

fn row(
    name: &'static str,
    rule: &'static str,
    bytes: fn(&World) -> Vec<u8>,
    status: u16,
    text: &'static str,
) -> Attack {
    Attack { name, rule, sends: Sends::Bytes(bytes), expected: Expected::Answer(status, text) }
}

/// A path that only looks as if it left the hub's: as opaque as any topic, and not the attacker's.
fn foreign(name: &'static str, bytes: fn(&World) -> Vec<u8>) -> Attack {
    row(name, "FC-SES-02", bytes, 403, "topic")
}

fn bad_topic(name: &'static str, bytes: fn(&World) -> Vec<u8>) -> Attack {
    row(name, "FC-SES-01", bytes, 400, "hub.topic")
}

pub fn rows() -> Vec<Attack> {
    vec![
        foreign("dots out of the hub's path", |world| world.request("GET /api/hub/../../metrics", "", "")),
        foreign("encoded dots", |world| world.request("GET /api/hub/%2e%2e/%2e%2e/metrics", "", "")),
        foreign("encoded slashes", |world| world.request("GET /api/hub/..%2f..%2fetc%2fpasswd", "", "")),
        foreign("backslashes", |world| world.request("GET /api/hub/..\\..\\metrics", "", "")),
        foreign("a parameter of the path", |world| {
            world.request(&format!("GET /api/hub/{};x=1", world.topic), "", "")
        }),
        foreign("a topic encoded twice", |world| {
            let encoded: String = world.topic.bytes().map(|byte| format!("%25{byte:02x}")).collect();
            world.request(&format!("GET /api/hub/{encoded}"), "", "")
        }),
        foreign("the victim's topic behind the attacker's", |world| {
            world.request(&format!("GET /api/hub/{}/../{}", world.topic, world.victim_topic), "", "")
        }),
        row(
            "the admin's metrics at the hub's port",
            "FC-TRN-06",
            |world| world.request("GET /metrics", "", ""),
            404,
            "path",
        ),
        row(
            "the admin's readiness at the hub's port",
            "FC-TRN-06",
            |world| world.request("GET /readyz", "", ""),
            404,
            "path",
        ),
        row(
            "the hub's path in capitals",
            "FC-TRN-06",
            |world| world.request(&format!("GET /API/HUB/{}", world.topic), "", ""),
            404,
            "path",
        ),
        row(
            "another host's URL",
            "FC-SES-02",
            |world| {
                let line = format!("GET http://evil.example/api/hub/{}", world.victim_topic);
                world.request(&line, "", "")
            },
            403,
            "topic",
        ),
        bad_topic("a name of the hub's own, encoded", |world| world.request("GET /api/hub/%77s", "", "")),
        bad_topic("a nul", |world| world.request(&format!("GET /api/hub/{}%00", world.topic), "", "")),
        bad_topic("a line's end", |world| {
            world.request(&format!("GET /api/hub/{}%0d%0aX:%20y", world.topic), "", "")
        }),
        bad_topic("UTF-8 that is too long for its character", |world| {
            world.request("GET /api/hub/%c0%af", "", "")
        }),
        bad_topic("half a character", |world| world.request("GET /api/hub/%e2%82", "", "")),
        bad_topic("a topic of ten thousand bytes", |world| {
            world.request(&format!("GET /api/hub/{}", "t".repeat(10_000)), "", "")
        }),
        row(
            "a file of the well-known folder",
            "FC-CNF-01",
            |world| world.request("GET /api/hub/.well-known/../ws/0000", "", ""),
            404,
            "path",
        ),
    ]
}
