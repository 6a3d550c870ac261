//! What subscribers send over the socket (FC-WSC-03, FC-WSC-05).

use serde::Deserialize;
use serde_json::Value;

/// A text frame from a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The answer to a notification.
    Answer {
        /// The `id` of the notification.
        id: String,
        /// The HTTP status that the subscriber gives; 200 when it gives none.
        status: u16,
    },
    /// A JSON object that answers nothing: some viewers send one first.
    Other,
    /// Not a JSON object.
    Broken,
}

#[derive(Deserialize)]
struct Members {
    id: Option<Value>,
    status: Option<Value>,
}

impl Frame {
    /// Reads a frame. The frame's size is limited by the socket.
    pub fn read(text: &str) -> Self {
        if !text.trim_start().starts_with('{') {
            return Self::Broken;
        }
        match serde_json::from_str::<Members>(text) {
            Ok(Members { id: Some(Value::String(id)), status }) => {
                match status.map_or(Some(200), |status| status_code(&status)) {
                    Some(status) => Self::Answer { id, status },
                    None => Self::Other,
                }
            }
            Ok(_) => Self::Other,
            Err(_) => Self::Broken,
        }
    }
}

/// A number or a string of digits, in the range of HTTP.
fn status_code(status: &Value) -> Option<u16> {
    let code = match status {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok()?,
        Value::String(digits) => digits.trim().parse().ok()?,
        _ => return None,
    };
    (100..600).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: &str, status: u16) -> Frame {
        Frame::Answer { id: id.into(), status }
    }

    #[test]
    fn answers_come_in_all_the_forms_that_clients_use() {
        for (text, expected) in [
            (r#"{"id":"a","status":200}"#, answer("a", 200)),
            (r#"{"id":"a","status":"409"}"#, answer("a", 409)),
            (r#"{"id":"a","timestamp":"2026"}"#, answer("a", 200)),
            (r#" {"id":"a","status":null}"#, answer("a", 200)),
            (r#"{"hub.channel.endpoint":"wss://x"}"#, Frame::Other),
            (r#"{"id":7,"status":200}"#, Frame::Other),
            (r#"{"id":"a","status":"fine"}"#, Frame::Other),
            (r#"{"id":"a","status":70000}"#, Frame::Other),
            ("[]", Frame::Broken),
            ("ping", Frame::Broken),
            ("{", Frame::Broken),
            ("", Frame::Broken),
        ] {
            assert_eq!(Frame::read(text), expected, "FC-WSC-03, FC-WSC-05: {text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,100}") {
            let _ = Frame::read(&text);
        }
    }
}
