//! JSON that is changed in one place, and has every other name and lexeme as it came, in its order (FC-TRN-05).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value, taken apart as far as lexemes.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `{…}`
    Object(Vec<(String, Json)>),
    /// `[…]`
    Array(Vec<Json>),
    /// A string, number, boolean or null, as it is written.
    Lexeme(String),
}

impl Json {
    /// Takes a text apart; `None` when it is not JSON.
    pub fn parse(text: &str) -> Option<Json> {
        match text.trim_start().bytes().next()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let parsed = members.into_iter().map(|(name, value)| Some((name, Json::parse(value.get())?)));
                parsed.collect::<Option<_>>().map(Json::Object)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                elements
                    .into_iter()
                    .map(|value| Json::parse(value.get()))
                    .collect::<Option<_>>()
                    .map(Json::Array)
            }
            _ => {
                let lexeme: &RawValue = serde_json::from_str(text).ok()?;
                Some(Json::Lexeme(lexeme.get().to_owned()))
            }
        }
    }

    /// A string.
    pub fn string(text: &str) -> Json {
        Json::Lexeme(serde_json::Value::from(text).to_string())
    }

    /// What the string says.
    pub fn as_string(&self) -> Option<String> {
        match self {
            Json::Lexeme(lexeme) => serde_json::from_str(lexeme).ok(),
            _ => None,
        }
    }

    /// The member at the end of a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Json> {
        path.iter().try_fold(self, |json, name| match json {
            Json::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        })
    }

    /// The member at the end of a path of names, to be changed.
    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Json> {
        path.iter().try_fold(self, |json, name| match json {
            Json::Object(members) => {
                members.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
            }
            _ => None,
        })
    }

    /// The string at the end of a path of names.
    pub fn string_at(&self, path: &[&str]) -> Option<String> {
        self.at(path)?.as_string()
    }

    /// The elements of the array at the end of a path of names, to be changed; none when there is no such array.
    pub fn elements_at(&mut self, path: &[&str]) -> Option<&mut Vec<Json>> {
        match self.at_mut(path)? {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &str) {
        if let Json::Object(members) = self {
            members.retain(|(known, _)| known != name);
        }
    }

    /// Removes the members of this name wherever they are.
    pub fn remove_everywhere(&mut self, name: &str) {
        self.remove(name);
        match self {
            Json::Object(members) => members.iter_mut().for_each(|(_, value)| value.remove_everywhere(name)),
            Json::Array(elements) => elements.iter_mut().for_each(|value| value.remove_everywhere(name)),
            Json::Lexeme(_) => {}
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Lexeme(lexeme) => formatter.write_str(lexeme),
            Json::Array(elements) => {
                formatter.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(formatter, "{}{element}", if index == 0 { "" } else { "," })?;
                }
                formatter.write_str("]")
            }
            Json::Object(members) => {
                formatter.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(formatter, "{comma}{}:{value}", Json::string(name))?;
                }
                formatter.write_str("}")
            }
        }
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_not_changed_keeps_its_order_and_its_lexemes() {
        let text =
            r#"{"z":1.10,"a":[-0.0,1E+2,"\u00e9",null],"extension":[],"b":{"extension":{"x":1},"é\"":{}}}"#;
        let mut json = Json::parse(text).unwrap();
        assert_eq!(json.to_string(), text, "FC-TRN-05");
        json.remove_everywhere("extension");
        *json.at_mut(&["z"]).unwrap() = Json::string("\"");
        assert_eq!(json.to_string(), r#"{"z":"\"","a":[-0.0,1E+2,"\u00e9",null],"b":{"é\"":{}}}"#);
        assert_eq!(json.string_at(&["z"]).unwrap(), "\"");
        assert_eq!((json.at(&["b", "none"]), Json::parse("{\"a\":}"), Json::parse("")), (None, None, None));
    }
}
