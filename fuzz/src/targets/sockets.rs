//! What subscribers send over a socket.

use hub::edge::{Frames, Heard};
use serde_json::Value;
use shared::{protocol::answer::Frame, settings::Settings};

use super::text;
use crate::{Target, seeds::texts};

const WORDS: &[&str] = &[
    "{",
    "}",
    "\"id\"",
    "\"status\"",
    ":",
    ",",
    "200",
    "\"409\"",
    "null",
    "\"a\"",
    "[",
    "1e999",
    "\\u0000",
    "\n",
];

pub const ANSWER: Target = Target { name: "answer", check: check_answer, seeds, words: WORDS };
pub const PARTS: Target = Target { name: "parts", check: check_parts, seeds, words: WORDS };

fn seeds() -> Vec<Vec<u8>> {
    texts([
        r#"{"id":"a","status":200}"#,
        r#"{"id":"a","status":"409"}"#,
        r#"{"id":"a","timestamp":"2026"}"#,
        r#" {"id":"a","status":null}"#,
        r#"{"id":7}"#,
        r#"{"id":"a","id":"b"}"#,
        r#"{"id":"a","status":1e2}"#,
        r#"{"id":"a","status":70000}"#,
        r#"{"hub.channel.endpoint":"wss://x"}"#,
        "[]",
        "{",
        "ping",
        "",
    ])
}

fn check_answer(bytes: &[u8]) {
    let text = text(bytes);
    let frame = Frame::read(&text);
    let value = serde_json::from_str::<Value>(&text).ok();
    let object = value.as_ref().and_then(Value::as_object);
    match &frame {
        Frame::Answer { id, status } => {
            assert!((100..600).contains(status), "FC-WSC-03");
            // Deeper than the parser looks, or a number that it does not take: then it is no answer.
            if let Some(object) = object {
                assert_eq!(object.get("id").and_then(Value::as_str), Some(id.as_str()), "FC-WSC-03");
                let given = object.get("status").filter(|status| !status.is_null());
                let naive = given.map_or(Some(200), |status| match status {
                    Value::String(digits) => digits.trim().trim_start_matches('+').parse::<u16>().ok(),
                    other => other.as_u64().and_then(|status| u16::try_from(status).ok()),
                });
                assert_eq!(Some(*status), naive, "FC-WSC-03");
            }
        }
        Frame::Other => assert!(text.trim_start().starts_with('{'), "FC-WSC-05"),
        Frame::Broken => {
            let has_repeats =
                text.matches("id").count() + text.matches("status").count() + text.matches("\\u").count() > 1;
            assert!(object.is_none() || has_repeats, "FC-WSC-05: an object is not broken: {text}");
        }
    }
}

/// The first bytes say where the message is cut; in parts it says what it says as a whole.
fn check_parts(bytes: &[u8]) {
    let [first, second, message @ ..] = bytes else { return };
    const MAX_BYTES: usize = 200;
    let (mut at, mut to) = (*first as usize % (message.len() + 1), *second as usize % (message.len() + 1));
    if at > to {
        std::mem::swap(&mut at, &mut to);
    }
    let limits = Settings::default().limits;
    let (mut in_parts, mut whole) = (Frames::new(&limits), Frames::new(&limits));
    in_parts.first(&message[..at]);
    let middle = in_parts.part(&message[at..to], false, MAX_BYTES);
    if to > MAX_BYTES {
        assert!(matches!(middle, Heard::Close(_)), "FC-WSC-05");
        return;
    }
    assert_eq!(middle, Heard::Nothing);
    let last = in_parts.part(&message[to..], true, MAX_BYTES);
    if message.len() > MAX_BYTES {
        assert!(matches!(last, Heard::Close(_)), "FC-WSC-05");
        return;
    }
    match std::str::from_utf8(message) {
        Ok(message) => assert_eq!(last, whole.text(message), "FC-WSC-03"),
        Err(_) => {
            assert!(matches!(last, Heard::Close(_)), "FC-WSC-05");
            return;
        }
    }
    for _ in 0..20 {
        let heard = (in_parts.text("no object"), whole.text("no object"));
        assert_eq!(heard.0, heard.1, "what was broken counts the same");
    }
}
