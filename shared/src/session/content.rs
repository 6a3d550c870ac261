//! The content of open contexts: what updates have put there (2.10).
//!
//! The content of a topic is a map of named fields, in the order of their names; those of one
//! context begin with its number. An update changes the fields that it names, and nobody reads the
//! others for it. [`Content`] is that map; the stores keep one for each topic.
//!
//! Names are opaque ([`Topic::opaque`]): what they stand for are identifiers of patients and of what was found, and a
//! store that seals the values still sees the names. So the order of resources says nothing; it is the same each time.
//!
//! Rules: FC-CNT-03, FC-CNT-07, FC-CNT-10, FC-CTX-04, FC-SEC-03.

use std::collections::BTreeMap;

use super::{OpenContext, Rejection, SessionState};
use crate::protocol::{
    Event, Topic,
    bundle::{Method, ResourceKey, Update},
};

/// A change of one field, or of all of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentWrite {
    /// The field has this value from now on.
    Keep {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
        /// Must there be no such field yet?
        is_new: bool,
    },
    /// The field names another one from now on, for [`RemoveNamed`](Self::RemoveNamed).
    Point {
        /// Its name.
        field: String,
        /// The name of the other.
        to: String,
    },
    /// There is no such field any more.
    Remove {
        /// Its name.
        field: String,
    },
    /// There is no such field any more, nor the field that its value names.
    RemoveNamed {
        /// Its name.
        field: String,
    },
    /// There is no field any more whose name begins like this.
    Clear {
        /// The beginning, which ends with a slash.
        prefix: String,
    },
}

/// Why content was not changed. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRefusal {
    /// A field that must be new is there already.
    Exists,
    /// The values of a topic would have more bytes than they may.
    Full,
}

/// The content of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    fields: BTreeMap<String, String>,
    bytes: usize,
}

impl Content {
    /// Makes all changes in their order, or none.
    ///
    /// Whether they fit is reckoned from the fields that are kept and removed by their own names:
    /// what [`ContentWrite::RemoveNamed`] frees counts from the next change on.
    pub fn apply(&mut self, writes: &[ContentWrite], max_bytes: usize) -> Result<(), ContentRefusal> {
        let (mut added, mut removed) = (0, 0);
        for write in writes {
            match write {
                ContentWrite::Keep { field, value, is_new } => {
                    if *is_new && self.fields.contains_key(field) {
                        return Err(ContentRefusal::Exists);
                    }
                    added += value.len();
                    removed += self.size(field);
                }
                ContentWrite::Point { field, to } => {
                    added += to.len();
                    removed += self.size(field);
                }
                ContentWrite::Remove { field } => removed += self.size(field),
                ContentWrite::RemoveNamed { .. } | ContentWrite::Clear { .. } => {}
            }
        }
        if added > removed && self.bytes + added - removed > max_bytes {
            return Err(ContentRefusal::Full);
        }
        writes.iter().for_each(|write| self.write(write));
        Ok(())
    }

    fn size(&self, field: &str) -> usize {
        self.fields.get(field).map_or(0, String::len)
    }

    fn write(&mut self, write: &ContentWrite) {
        match write {
            ContentWrite::Keep { field, value, .. } | ContentWrite::Point { field, to: value } => {
                self.remove(field);
                self.bytes += value.len();
                self.fields.insert(field.clone(), value.clone());
            }
            ContentWrite::Remove { field } => {
                self.remove(field);
            }
            ContentWrite::RemoveNamed { field } => {
                if let Some(named) = self.remove(field) {
                    self.remove(&named);
                }
            }
            ContentWrite::Clear { prefix } => {
                let cleared: Vec<String> = self.below(prefix).map(|(field, _)| field.clone()).collect();
                cleared.iter().for_each(|field| {
                    self.remove(field);
                });
            }
        }
    }

    fn remove(&mut self, field: &str) -> Option<String> {
        let value = self.fields.remove(field)?;
        self.bytes -= value.len();
        Some(value)
    }

    /// The fields whose names begin like this, in the order of their names.
    pub fn below<'c>(&'c self, prefix: &'c str) -> impl Iterator<Item = (&'c String, &'c String)> {
        self.fields.range(prefix.to_owned()..).take_while(move |(field, _)| field.starts_with(prefix))
    }

    /// How many bytes the values have.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl SessionState {
    /// The content that `next` has no context for any more (FC-CNT-07).
    pub(super) fn disposed(&self, next: &Self) -> impl Iterator<Item = ContentWrite> {
        let is_open = |open: &OpenContext| next.opens().any(|kept| kept.since == open.since);
        self.opens()
            .filter(move |open| !is_open(open))
            .map(|open| ContentWrite::Clear { prefix: open.content() })
    }
}

impl OpenContext {
    /// The beginning of the names of all fields of its content.
    pub fn content(&self) -> String {
        format!("{}/", self.since)
    }

    /// The beginning of the names of those that hold its resources: each an entry of a Bundle.
    pub fn resources(&self) -> String {
        format!("{}/resource/", self.since)
    }

    /// The name of the field that holds the resource with this key.
    fn resource(&self, topic: &Topic, key: &str) -> String {
        format!("{}{}", self.resources(), topic.opaque("resource", key))
    }

    /// The name of the field that says which resource has this `fullUrl`.
    fn url(&self, topic: &Topic, full_url: &str) -> String {
        format!("{}/url/{}", self.since, topic.opaque("url", full_url))
    }

    /// What an update changes in its content (FC-CNT-03).
    pub(super) fn content_writes(
        &self,
        topic: &Topic,
        updates: Vec<Update>,
    ) -> Result<Vec<ContentWrite>, Rejection> {
        let opened = self.opened_resources();
        let (mut removals, mut kept) = (Vec::new(), Vec::new());
        for Update { method, key, full_url, entry } in updates {
            let key = match key {
                ResourceKey::Named(name) if method == Method::Delete && opened.contains(&name) => {
                    return Err(Rejection::OpenedResource);
                }
                ResourceKey::Named(key) | ResourceKey::Url(key) => key,
            };
            let field = self.resource(topic, &key);
            let url = self.url(topic, full_url.as_ref().unwrap_or(&key));
            match entry {
                Some(value) => {
                    // What was opened is deleted by no name.
                    if full_url.is_some_and(|url| url != key) && !opened.contains(&key) {
                        kept.push(ContentWrite::Point { field: url, to: field.clone() });
                    }
                    kept.push(ContentWrite::Keep { field, value, is_new: method == Method::Post });
                }
                None => {
                    removals.push(ContentWrite::RemoveNamed { field: url });
                    removals.push(ContentWrite::Remove { field });
                }
            }
        }
        removals.extend(kept);
        Ok(removals)
    }

    /// The resources of the event that opened it, as `Type/id`.
    fn opened_resources(&self) -> Vec<String> {
        let Ok(event) = Event::read(self.message.get()) else { return Vec::new() };
        let resources = event.context.iter().filter_map(|element| element.resource.as_ref());
        resources
            .filter_map(|resource| Some(format!("{}/{}", resource.resource_type, resource.id.as_ref()?)))
            .collect()
    }
}
