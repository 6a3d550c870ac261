//! What the programs must never print: topics, tickets, secrets, tokens, queries of callbacks, resources.
//!
//! The harness notes them as tests make or use them, without being asked. Everything that a hub or a worker started by
//! [`crate::system`] prints is searched for all of them, at the lowest log level and with the audit trail among it: when a
//! process is dropped, for those that all tests share when a test is done with them, and for one that is run to its end
//! then. So are its metrics, and the answers that refuse something. Whoever prints one of them fails a test, perhaps another one's.

use std::{
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use serde_json::Value;

use crate::examples;

/// Texts that are shorter are found everywhere, and are not looked for.
const SHORTEST: usize = 6;

/// Members of FHIR resources whose values say whom or what a resource is about.
const TELLING: [&str; 13] = [
    "id",
    "value",
    "family",
    "given",
    "birthDate",
    "display",
    "description",
    "uid",
    "reference",
    "fullUrl",
    "started",
    "issued",
    "text",
];

/// The hub shows how to post this event when it is embedded.
const SHOWN: &str = include_str!("../../hub/src/patient_open.json");

/// What must not be printed, by its first bytes.
static FORBIDDEN: LazyLock<RwLock<Forbidden>> = LazyLock::new(|| RwLock::new(Forbidden::of_the_examples()));

#[derive(Default)]
struct Forbidden(HashMap<[u8; SHORTEST], Vec<String>>);

impl Forbidden {
    fn of_the_examples() -> Self {
        let mut forbidden = Self::default();
        for (_, text) in examples::ALL {
            if let Ok(message) = serde_json::from_str(text) {
                forbidden.add_resources(&message, "", false);
            }
        }
        forbidden
    }

    fn add_resources(&mut self, value: &Value, key: &str, is_in_resource: bool) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    self.add_resources(value, key, is_in_resource || key == "resource");
                }
            }
            Value::Array(items) => {
                items.iter().for_each(|item| self.add_resources(item, key, is_in_resource))
            }
            Value::String(text) if is_in_resource && TELLING.contains(&key) && !is_a_word(text) => {
                self.add(text.rsplit('/').next().unwrap_or(text));
            }
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        if let Some(beginning) = text.as_bytes().first_chunk() {
            let same_beginning = self.0.entry(*beginning).or_default();
            if !same_beginning.iter().any(|known| known == text) {
                same_beginning.push(text.to_owned());
            }
        }
    }

    fn find(&self, text: &str) -> Option<&str> {
        let bytes = text.as_bytes();
        bytes.windows(SHORTEST).enumerate().find_map(|(at, window)| {
            let candidates = self.0.get(window)?;
            candidates.iter().find(|forbidden| is_at(bytes, at, forbidden)).map(String::as_str)
        })
    }
}

/// One word may stand anywhere.
fn is_a_word(text: &str) -> bool {
    text.chars().all(char::is_alphabetic)
}

/// A mere number counts only where it is no part of another.
fn is_at(text: &[u8], at: usize, forbidden: &str) -> bool {
    let end = at + forbidden.len();
    let is_part = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    text[at..].starts_with(forbidden.as_bytes())
        && (!forbidden.bytes().all(|byte| byte.is_ascii_digit())
            || !(is_part(at.checked_sub(1)) || is_part(Some(end))))
}

/// From now on nothing may print this. Texts of fewer than six bytes and single words are not looked for.
pub fn forbid(text: &str) {
    if is_a_word(text) {
        return;
    }
    FORBIDDEN.write().unwrap_or_else(PoisonError::into_inner).add(text);
}

/// What must not be in `text` and is.
pub fn leak(text: &str) -> Option<String> {
    let forbidden = FORBIDDEN.read().unwrap_or_else(PoisonError::into_inner);
    // The event is found by its beginning: topic and the rest are as in the file.
    match text.split_once(SHOWN.trim()) {
        Some((before, after)) => forbidden.find(before).or_else(|| forbidden.find(after)),
        None => forbidden.find(text),
    }
    .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_test_has_used_is_found_wherever_it_stands() {
        let topic = examples::fresh_topic();
        assert_eq!(leak(&format!("GET /api/hub/{topic} HTTP/1.1")), Some(topic.clone()));
        assert_eq!(leak(&topic[1..]), None);
        for common in ["a 1", "unknown"] {
            forbid(common);
            assert_eq!(leak(&format!("this endpoint is {common}")), None);
        }
    }

    #[test]
    fn the_examples_patients_are_known_but_not_numbers_within_others() {
        for told in ["4438001", "1978-11-03", "503824b8-fe8c-4227-b061-7181ba6c3926", "simple cyst"] {
            assert_eq!(leak(&format!("patient=\"{told}\"")).as_deref(), Some(told));
        }
        assert_eq!(leak("at 1744380012345 ms"), None);
        assert_eq!(leak(&format!("curl -d '{}'", SHOWN.trim())), None, "it is printed on purpose");
    }
}
