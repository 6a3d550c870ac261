//! The targets, a room for each part of the hub that reads what others wrote.

mod addresses;
mod callers;
mod events;
mod names;
mod paths;
mod redis;
mod sessions;
mod settings;
mod sockets;
mod stored;
mod subscriptions;
mod updates;

use crate::Target;

/// All of them.
pub static ALL: [Target; 33] = [
    events::EVENT,
    events::UNAMBIGUOUS,
    events::CONTEXT_ELEMENT,
    updates::UPDATES,
    sessions::SESSION,
    names::EVENT_NAME,
    names::FILTER,
    names::TOPIC,
    names::SUBSCRIPTION_ID,
    paths::ROUTE,
    subscriptions::FORM,
    subscriptions::SUBSCRIPTION,
    sockets::ANSWER,
    sockets::PARTS,
    callers::AUTHORIZATION_HEADER,
    callers::CLAIMS,
    callers::TOKEN,
    callers::JWKS,
    callers::INTROSPECTION,
    callers::SCOPES,
    callers::FORWARDED_FOR,
    callers::TRACE_CONTEXT,
    addresses::ADDRESS,
    addresses::RETRY_AFTER,
    stored::POSITION,
    stored::ENTRY,
    stored::FIELDS,
    stored::RECORD,
    redis::SEALED,
    redis::BELL,
    redis::REPLY,
    settings::SETTINGS,
    settings::REDIS_URL,
];

/// The bytes as text, with what is no text replaced.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Words of FHIRcast's JSON.
const JSON_WORDS: &[&str] = &[
    "\"timestamp\":",
    "\"id\":",
    "\"event\":",
    "\"hub.topic\":",
    "\"hub.event\":",
    "\"context\":",
    "\"key\":",
    "\"resource\":",
    "\"reference\":",
    "\"resourceType\":",
    "\"identifier\":",
    "\"system\":",
    "\"value\":",
    "\"context.versionId\":",
    "\"context.priorVersionId\":",
    "\"versionId\":",
    "\"type\":",
    "\"updates\"",
    "\"Bundle\"",
    "\"transaction\"",
    "\"entry\":",
    "\"request\":",
    "\"method\":",
    "\"PUT\"",
    "\"POST\"",
    "\"DELETE\"",
    "\"fullUrl\":",
    "\"url\":",
    "\"Patient\"",
    "\"Patient-open\"",
    "\"Patient-close\"",
    "\"DiagnosticReport-update\"",
    "\"DiagnosticReport\"",
    "\"Patient/1\"",
    "\"/_history/\"",
    "1.10",
    "1e999",
    "-0",
    "\\u0000",
    "\\ud800",
    "\\u0061",
    "\u{feff}",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[[[[[[[",
    "{\"a\":",
    "\"userLogout\"",
    "\"home-open\"",
];
