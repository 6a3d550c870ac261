//! Paths that lead elsewhere, or name another topic than they seem to.

use super::{Attack, Bytes, ask};

/// A path that only looks as if it left the hub's: as opaque as any topic, and not the attacker's.
fn foreign(name: &'static str, bytes: Bytes) -> Attack {
    ask(name, "FC-SES-02", bytes, 403, "topic")
}

fn bad_topic(name: &'static str, bytes: Bytes) -> Attack {
    ask(name, "FC-SES-01", bytes, 400, "hub.topic")
}

pub fn rows() -> Vec<Attack> {
    vec![
        foreign("dots out of the hub's path", |world| world.get("/api/hub/../../metrics")),
        foreign("encoded dots", |world| world.get("/api/hub/%2e%2e/%2e%2e/metrics")),
        foreign("encoded slashes", |world| world.get("/api/hub/..%2f..%2fetc%2fpasswd")),
        foreign("backslashes", |world| world.get("/api/hub/..\\..\\metrics")),
        foreign("a parameter of the path", |world| world.get(&format!("/api/hub/{};x=1", world.topic))),
        foreign("a topic encoded twice", |world| {
            let encoded: String = world.topic.bytes().map(|byte| format!("%25{byte:02x}")).collect();
            world.get(&format!("/api/hub/{encoded}"))
        }),
        foreign("the victim's topic behind the attacker's", |world| {
            world.get(&format!("/api/hub/{}/../{}", world.topic, world.victim_topic))
        }),
        ask("the admin's metrics at the hub's port", "FC-TRN-06", |world| world.get("/metrics"), 404, "path"),
        ask(
            "the admin's readiness at the hub's port",
            "FC-TRN-06",
            |world| world.get("/readyz"),
            404,
            "path",
        ),
        ask(
            "the hub's path in capitals",
            "FC-TRN-06",
            |world| world.get(&format!("/API/HUB/{}", world.topic)),
            404,
            "path",
        ),
        ask(
            "another host's URL",
            "FC-SES-02",
            |world| world.get(&format!("http://evil.example/api/hub/{}", world.victim_topic)),
            403,
            "topic",
        ),
        bad_topic("a name of the hub's own, encoded", |world| world.get("/api/hub/%77s")),
        bad_topic("a nul", |world| world.get(&format!("/api/hub/{}%00", world.topic))),
        bad_topic("a line's end", |world| world.get(&format!("/api/hub/{}%0d%0aX:%20y", world.topic))),
        bad_topic("UTF-8 that is too long for its character", |world| world.get("/api/hub/%c0%af")),
        bad_topic("half a character", |world| world.get("/api/hub/%e2%82")),
        bad_topic("a topic of ten thousand bytes", |world| {
            world.get(&format!("/api/hub/{}", "t".repeat(10_000)))
        }),
        ask(
            "a file of the well-known folder",
            "FC-CNF-01",
            |world| world.get("/api/hub/.well-known/../ws/0000"),
            404,
            "path",
        ),
    ]
}
