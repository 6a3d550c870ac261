//! Derived opens (FC-NOT-07): what an open event says of further resources, for those who do not
//! see the event itself.
//!
//! An `ImagingStudy-open` that brings its Patient along tells a subscriber of `Patient-open` that
//! there is another patient. Which derived opens an event has is decided once, when it is
//! accepted, and stands in its log entry; each is rendered from the event's own bytes, for those
//! who see it.
//!
//! A subscriber sees at most one of them. The Patient comes first: to show the wrong one is the
//! worst that can happen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::protocol::{Action, Anchor, Event, EventName, json};

/// The open of a resource that an open event of another type brings along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// Its name: `Patient-open`.
    pub name: EventName,
    /// Which element of the event's context it has.
    pub element: usize,
}

/// A resource of an open event that is not the one that it is about.
pub(super) struct Part<'e> {
    pub resource: &'e Anchor,
    pub derived: Derived,
}

/// The resources that an open event brings along, one of each type, the Patient first.
pub(super) fn parts<'e>(event: &'e Event<'_>) -> Vec<Part<'e>> {
    let Some((Action::Open, anchor)) = event.anchored() else { return Vec::new() };
    let mut parts: Vec<Part<'e>> = Vec::new();
    for (element, resource) in event.context.iter().enumerate() {
        let Some(resource) = resource.resource.as_ref().filter(|resource| resource.is_identified()) else {
            continue;
        };
        let is_known = anchor.is_a(&resource.resource_type)
            || parts.iter().any(|part| part.resource.is_a(&resource.resource_type));
        if let (false, Ok(name)) = (is_known, format!("{}-open", resource.resource_type).parse()) {
            parts.push(Part { resource, derived: Derived { name, element } });
        }
    }
    parts.sort_by_key(|part| !part.resource.is_a("Patient"));
    parts
}

impl Derived {
    /// The `id` of the derived event: its own, and the same whenever it is derived from this event.
    pub fn id(&self, event: &Event<'_>) -> String {
        let hash = Sha256::new()
            .chain_update(event.topic.key().as_bytes())
            .chain_update(event.id.len().to_be_bytes())
            .chain_update(&event.id)
            .chain_update(self.name.as_str().to_ascii_lowercase())
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }

    /// The derived event: the timestamp, topic and version of the event, and of its context only
    /// the one resource.
    pub fn message(&self, event: &Event<'_>) -> Option<String> {
        let element = event.context.get(self.element)?;
        let mut inner = String::from("{");
        json::push_member(&mut inner, "hub.topic", &json::string(event.topic.as_str()));
        json::push_member(&mut inner, "hub.event", &json::string(self.name.as_str()));
        if let Some(version) = &event.version_id {
            json::push_member(&mut inner, "context.versionId", &json::string(version));
        }
        json::push_member(&mut inner, "context", &format!("[{}]", element.raw));
        inner.push('}');
        let mut message = String::from("{");
        json::push_member(&mut message, "timestamp", &json::string(&event.timestamp));
        json::push_member(&mut message, "id", &json::string(&self.id(event)));
        json::push_member(&mut message, "event", &inner);
        message.push('}');
        Some(message)
    }
}

/// For each type of resource the one that was opened last, by an event of its own or by a derived
/// one, and is open still: what a subscriber who asks for that type alone has on its screen. By
/// type in lower case.
///
/// Such a one is not derived again. As long as this holds a resource, every subscriber has it,
/// also who joined meanwhile: it is the one in the latest of the open contexts that have such a
/// resource. Where that is no longer so, it is forgotten, and the next open is derived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Announced(BTreeMap<String, Anchor>);

impl Announced {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As the store keeps it.
    pub fn to_json(&self) -> String {
        // Strings: it always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Which of the parts of an event are news.
    pub fn news(&self, event: &Event<'_>) -> Vec<Derived> {
        let is_news = |part: &Part<'_>| !self.holds(part.resource);
        parts(event).into_iter().filter(is_news).map(|part| part.derived).collect()
    }

    fn holds(&self, resource: &Anchor) -> bool {
        self.0.get(&type_of(resource)).is_some_and(|known| known.is_same(resource))
    }

    /// An event opened these.
    pub fn open(&mut self, event: &Event<'_>) {
        let parts = parts(event);
        let opened = event.anchor().into_iter().chain(parts.iter().map(|part| part.resource));
        self.0.extend(opened.map(|resource| (type_of(resource), resource.clone())));
    }

    /// Subscribers were told that this was closed.
    pub fn close(&mut self, anchor: &Anchor) {
        self.0.remove(&type_of(anchor));
    }

    /// Some contexts are open no longer: forgets what `latest` (of a type) does not say as well.
    pub fn keep_only(&mut self, latest: impl Fn(&str) -> Option<Anchor>) {
        self.0.retain(|of_type, known| latest(of_type).is_some_and(|latest| latest.is_same(known)));
    }
}

fn type_of(resource: &Anchor) -> String {
    resource.resource_type.to_ascii_lowercase()
}
