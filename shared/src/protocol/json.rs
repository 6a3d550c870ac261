//! JSON that passes through: objects read as ordered members with their values left as the
//! sender's own bytes (FC-TRN-05).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Invalid, unambiguous};

/// Reads the body as text, and refuses what its readers could understand differently (see [`unambiguous`]).
///
/// `max_depth` is the number of brackets and braces that may be open at once: subscribers parse
/// what we pass on, and their parsers may be recursive.
pub fn text(body: &[u8], max_depth: usize) -> Result<&str, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Invalid::Body("is not valid UTF-8".into()))?;
    unambiguous::check(text, max_depth)?;
    Ok(text)
}

/// Parses JSON that the sender wrote; the message says where it went wrong, and quotes nothing.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Invalid> {
    serde_json::from_str(text).map_err(|error| Invalid::Body(problem(&error)))
}

/// What is wrong with JSON, and where. `serde_json`'s own message may quote a value, which may be
/// PHI or a secret.
pub fn problem(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "does not have the right shape" } else { "is not valid JSON" };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// The members of a JSON object, in order, values as they stand in the text.
#[derive(Debug, Default, Clone)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads an object. A member that stands twice is refused: which of the two a subscriber
    /// would take is anybody's guess.
    pub fn read(field: &'static str, value: &'a str) -> Result<Self, Invalid> {
        if !value.trim_start().starts_with('{') {
            // Distinguishes an object from other JSON, and leaves broken JSON to the parser.
            parse::<&RawValue>(value)?;
            return Err(Invalid::value(field, "must be a JSON object"));
        }
        let members: Self = parse(value)?;
        for (at, (name, _)) in members.0.iter().enumerate() {
            if members.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Invalid::Repeated(format!("a member of {field}")));
            }
        }
        Ok(members)
    }

    /// The value of a member, as it stands in the text.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find_map(|(key, value)| (key == name).then(|| value.get()))
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value.get()))
    }

    /// The value of a member that must be there and be of type `T`.
    pub fn required<T: DeserializeOwned>(
        &self,
        path: &'static str,
        name: &str,
        must_be: &'static str,
    ) -> Result<T, Invalid> {
        let value = self.get(name).ok_or(Invalid::missing(path))?;
        serde_json::from_str(value).map_err(|_| Invalid::value(path, must_be))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(name)) = map.next_key()? {
                    if members.len() == MAX_MEMBERS {
                        return Err(serde::de::Error::custom("too many members"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

/// The most members that an event or its envelope may have; keeps the search for repeats cheap.
pub const MAX_MEMBERS: usize = 256;

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Appends `,` unless `object` has just been opened, then the member.
pub fn push_member(object: &mut String, name: &str, raw_value: &str) {
    if !object.ends_with('{') {
        object.push(',');
    }
    object.push_str(&string(name));
    object.push(':');
    object.push_str(raw_value);
}

/// A JSON string literal.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_keep_their_order_and_bytes() {
        let members = Members::read("event", r#"{"b": 1.10, "a" : { "x":[ 1 ] } }"#).unwrap();
        let seen: Vec<_> = members.iter().collect();
        assert_eq!(seen, [("b", "1.10"), ("a", r#"{ "x":[ 1 ] }"#)], "FC-TRN-05");
    }

    #[test]
    fn a_repeated_member_is_refused_also_in_another_spelling() {
        let refused = Members::read("event", r#"{"a":1,"\u0061":2}"#).unwrap_err();
        assert_eq!(refused.to_string(), "a member of event appears more than once");
    }

    #[test]
    fn a_text_is_utf_8_and_says_everything_once() {
        assert!(text(b"[1]", 2).is_ok());
        assert!(text(&[b'"', 0xff, b'"'], 128).is_err());
        assert!(text(br#"{"id":1,"id":2}"#, 128).is_err(), "FC-EVT-01");
        assert!(text(b"[[[]]]", 2).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(text) = text(&body, 16) {
                let _ = Members::read("body", text);
            }
        }
    }
}
