//! The specification's own messages, byte for byte, and the few places where a test must change them.
//!
//! The files stand in `tests/examples/`, whose README names their faults. Replacing a value leaves every
//! other byte as published, so that what arrives can be compared with what was sent (FC-TRN-05).

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::hygiene;

macro_rules! embedded {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../examples/", $name, ".json")))),*]
    };
}

/// Every example: its name (`version/file` without `.json`) and its text.
pub const ALL: &[(&str, &str)] = embedded! {
    "2.1.0-ballot/DiagnosticReport-open"
    "2.1.0-ballot/DiagnosticReport-open-1"
    "2.1.0-ballot/DiagnosticReport-select"
    "2.1.0-ballot/DiagnosticReport-update"
    "2.1.0-ballot/DiagnosticReport-update-1"
    "2.1.0-ballot/encounter-close"
    "2.1.0-ballot/encounter-open"
    "2.1.0-ballot/imagingstudy-close"
    "2.1.0-ballot/imagingstudy-open"
    "2.1.0-ballot/patient-close"
    "2.1.0-ballot/patient-open"
    "2.1.0-ballot/syncerror"
    "2.1.0-ballot/userHibernate"
    "2.1.0-ballot/userLogout"
    "3.0.0/DiagnosticReport-close"
    "3.0.0/DiagnosticReport-open"
    "3.0.0/DiagnosticReport-select"
    "3.0.0/DiagnosticReport-update"
    "3.0.0/DiagnosticReport-update-1"
    "3.0.0/DiagnosticReport-update-2"
    "3.0.0/Encounter-close"
    "3.0.0/Encounter-open"
    "3.0.0/ImagingStudy-close"
    "3.0.0/ImagingStudy-close-1"
    "3.0.0/ImagingStudy-open"
    "3.0.0/Patient-close"
    "3.0.0/Patient-open"
    "3.0.0/home-open"
    "3.0.0/syncerror"
    "3.0.0/userHibernate"
    "3.0.0/userLogout"
};

/// A message about to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(String);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    event: Event<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "hub.topic")]
    topic: &'a RawValue,
    #[serde(borrow, rename = "context.versionId", default)]
    version: Option<&'a RawValue>,
}

impl Message {
    /// The example of that name, as published.
    pub fn example(name: &str) -> Result<Message> {
        ALL.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| Message((*text).to_owned()))
            .ok_or_else(|| anyhow!("no example is named {name}"))
    }

    /// The same message, sent to `topic`.
    pub fn topic(self, topic: &str) -> Result<Message> {
        self.replaced(topic, |envelope| Some(envelope.event.topic))
    }

    /// The same message with another event id.
    pub fn id(self, id: &str) -> Result<Message> {
        self.replaced(id, |envelope| Some(envelope.id))
    }

    /// The same message that names another version; one that names none is an error.
    pub fn version(self, version: &str) -> Result<Message> {
        self.replaced(version, |envelope| envelope.event.version)
    }

    /// The message's bytes.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn replaced(
        self,
        value: &str,
        place: impl for<'a> Fn(&Envelope<'a>) -> Option<&'a RawValue>,
    ) -> Result<Message> {
        let envelope: Envelope = serde_json::from_str(&self.0).context("the message is no event")?;
        let old = place(&envelope).context("the message has no such member")?.get();
        let start = old.as_ptr().addr() - self.0.as_ptr().addr();
        let new = serde_json::to_string(value)?;
        Ok(Message([&self.0[..start], &new, &self.0[start + old.len()..]].concat()))
    }
}

/// An event id that nobody has used.
pub fn fresh_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A topic that nobody has used: tests that run side by side don't meet.
pub fn fresh_topic() -> String {
    let topic = uuid::Uuid::new_v4().to_string();
    hygiene::forbid(&topic);
    topic
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut files = Vec::new();
        for version in ["2.1.0-ballot", "3.0.0"] {
            for file in std::fs::read_dir(root.join(version)).unwrap() {
                let file = file.unwrap().file_name().into_string().unwrap();
                files.push(format!("{version}/{}", file.trim_end_matches(".json")));
            }
        }
        files.sort();
        let mut embedded: Vec<_> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        embedded.sort();
        assert_eq!(embedded, files);
    }

    #[test]
    fn replacing_topic_and_id_changes_those_two_values_and_no_other_byte() {
        for (name, text) in ALL {
            let original: serde_json::Value = serde_json::from_str(text).unwrap();
            let message =
                Message::example(name).unwrap().topic("a \"new\" topic").unwrap().id("an-id").unwrap();
            let changed: serde_json::Value = serde_json::from_str(message.text()).unwrap();
            assert_eq!(changed["event"]["hub.topic"], "a \"new\" topic", "{name}");
            assert_eq!(changed["id"], "an-id", "{name}");
            let back = message
                .topic(original["event"]["hub.topic"].as_str().unwrap())
                .unwrap()
                .id(original["id"].as_str().unwrap())
                .unwrap();
            assert_eq!(back.text(), *text, "{name}");
        }
    }

    #[test]
    fn a_version_is_replaced_where_there_is_one() {
        let update = Message::example("3.0.0/DiagnosticReport-update").unwrap().version("v2").unwrap();
        let changed: serde_json::Value = serde_json::from_str(update.text()).unwrap();
        assert_eq!(changed["event"]["context.versionId"], "v2");
        assert!(Message::example("3.0.0/Patient-open").unwrap().version("v2").is_err());
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(Message::example("3.0.0/none").unwrap_err().to_string().contains("3.0.0/none"));
    }
}
