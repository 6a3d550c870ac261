//! The embedded hub: everything in one process, for a desk or a demo.

use std::io::Write;

use shared::settings::Settings;

/// Says what the embedded hub is, and is not.
pub fn announce(settings: &Settings) {
    tracing::warn!(
        "embedded: sessions are in this process's memory and gone when it ends; one process only, no cluster"
    );
    tracing::warn!(
        listen = %settings.listen,
        only_loopback = settings.listen.ip().is_loopback(),
        authentication = settings.auth.mode.as_str(),
        http_callbacks = settings.callbacks.allow_http,
        callback_networks = ?settings.callbacks.allowed_networks,
        "embedded: for a desk or a demo"
    );
}

/// Prints three commands that show the hub at work; README.md and docs/INTEGRATING.md begin with the same.
pub fn print_commands(out: &mut impl Write, hub: &str) -> std::io::Result<()> {
    let event = include_str!("patient_open.json").trim();
    writeln!(
        out,
        r#"
The hub is at {hub}. Three commands to see it work:

1. Subscribe (keeps the WebSocket endpoint that the hub answers in ENDPOINT):

   ENDPOINT=$(curl -sS {hub} -d hub.channel.type=websocket -d hub.mode=subscribe -d hub.topic=demo -d hub.events=Patient-open,Patient-close | cut -d'"' -f4); echo "$ENDPOINT"

2. Listen, in the same shell:

   /usr/bin/python3 -m websockets "$ENDPOINT"

3. Publish, in another shell:

   curl -sS -i {hub} -H 'Content-Type: application/json' -d '{event}'
"#
    )
}
