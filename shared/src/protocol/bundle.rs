//! What an `X-update` event changes: the Bundle of its context element with key `updates`
//! (FC-CNT-03, FC-CNT-04; 2.10 of the specification, 4.6 in 2.1).
//!
//! A Bundle that is read names every resource, and none of them twice, so that it can be applied as
//! a whole or not at all. What is kept of an entry are the sender's own bytes (FC-TRN-05). Errors
//! name the place and never a value, which may be PHI (FC-TRN-03).

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::{Event, Invalid, json, json::Members};

/// The most entries of one Bundle.
pub const MAX_ENTRIES: usize = 5000;

/// The `key` of the context element that holds the Bundle.
const KEY: &str = "updates";

/// One change of the content of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// `request.method`
    pub method: Method,
    /// The resource that is changed; no two updates of a Bundle have the same.
    pub key: ResourceKey,
    /// `fullUrl`, another name of the resource; no two updates of a Bundle have the same.
    pub full_url: Option<String>,
    /// The entry as it stands in the content: an object without `request`, `response` and `search`.
    /// `None` when the resource is removed.
    pub entry: Option<String>,
}

/// What is done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It is added, and must not be there.
    Post,
    /// It is added or replaced.
    Put,
    /// It is removed.
    Delete,
}

/// What tells one resource of a context's content from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ResourceKey {
    /// Type and id: `Observation/40afe766`.
    Named(String),
    /// A `fullUrl` that does not say them: `urn:uuid:40afe766-3628-4ded-b5bd-925727c013b3`.
    Url(String),
}

/// Reads the first context element with key `updates`; `None` when the event has no such element.
pub fn updates(event: &Event<'_>) -> Result<Option<Vec<Update>>, Invalid> {
    let mut elements = event.context.iter().enumerate();
    let Some((index, element)) = elements.find(|(_, element)| element.key.as_deref() == Some(KEY)) else {
        return Ok(None);
    };
    let place = format!("event.context[{index}]");
    let resource = object(&place, element.raw)?.get("resource");
    let place = format!("{place}.resource");
    let updates = entries(&place, resource.ok_or_else(|| Invalid::missing(place.clone()))?)?;
    refuse_repeats(&place, &updates)?;
    Ok(Some(updates))
}

/// Reads the entries of the Bundle that stands at `place`.
fn entries(place: &str, bundle: &str) -> Result<Vec<Update>, Invalid> {
    let bundle = object(place, bundle)?;
    for (name, expected) in [("resourceType", "Bundle"), ("type", "transaction")] {
        if text(bundle.get(name)).as_deref() != Some(expected) {
            return Err(Invalid::value(format!("{place}.{name}"), format!("must be {expected}")));
        }
    }
    let place = format!("{place}.entry");
    let entries: Vec<&RawValue> = serde_json::from_str(bundle.get("entry").unwrap_or("[]"))
        .map_err(|_| Invalid::value(place.clone(), "must be an array"))?;
    if entries.len() > MAX_ENTRIES {
        return Err(Invalid::value(place, format!("must not have more than {MAX_ENTRIES} elements")));
    }
    let entries = entries.into_iter().enumerate();
    entries.map(|(at, entry)| Update::read(&format!("{place}[{at}]"), entry.get())).collect()
}

fn refuse_repeats(place: &str, updates: &[Update]) -> Result<(), Invalid> {
    let (mut keys, mut full_urls) = (HashSet::new(), HashSet::new());
    for (at, update) in updates.iter().enumerate() {
        let is_new =
            keys.insert(&update.key) & update.full_url.as_ref().is_none_or(|url| full_urls.insert(url));
        if !is_new {
            return Err(Invalid::Repeated(format!("the resource of {place}.entry[{at}]")));
        }
    }
    Ok(())
}

impl Update {
    /// Reads the entry that stands at `place`.
    fn read(place: &str, raw: &str) -> Result<Self, Invalid> {
        let entry = object(place, raw)?;
        let request = entry.get("request").map(|request| object(&format!("{place}.request"), request));
        let request = request.transpose()?.unwrap_or_default();
        let method = match text(request.get("method")).as_deref() {
            Some("POST") => Method::Post,
            Some("PUT") => Method::Put,
            Some("DELETE") => Method::Delete,
            _ => {
                return Err(Invalid::value(format!("{place}.request.method"), "must be POST, PUT or DELETE"));
            }
        };
        let full_url = text(entry.get("fullUrl"));
        let by_full_url = || full_url.as_deref().map(ResourceKey::of_full_url);
        let resource = entry.get("resource").map(|resource| object(&format!("{place}.resource"), resource));
        let resource = resource.transpose()?;
        let by_resource = resource.as_ref().and_then(ResourceKey::of_resource);

        if method == Method::Delete {
            let by_url = || text(request.get("url")).as_deref().and_then(ResourceKey::of_path);
            let key = by_resource.or_else(by_url).or_else(by_full_url).ok_or_else(|| {
                Invalid::value(
                    place.to_owned(),
                    "must name what it removes by resource, request.url or fullUrl",
                )
            })?;
            key.check_full_url(place, full_url.as_deref())?;
            return Ok(Self { method, key, full_url, entry: None });
        }
        let resource = resource.ok_or_else(|| Invalid::missing(format!("{place}.resource")))?;
        if text(resource.get("resourceType")).is_none() {
            return Err(Invalid::value(
                format!("{place}.resource.resourceType"),
                "must be a non-empty string",
            ));
        }
        let key = by_resource.or_else(by_full_url).ok_or_else(|| {
            Invalid::value(place.to_owned(), "must name its resource by resource.id or fullUrl")
        })?;
        key.check_full_url(place, full_url.as_deref())?;
        Ok(Self { method, key, full_url, entry: Some(as_content(&entry, raw.len())) })
    }
}

impl ResourceKey {
    /// A `fullUrl` that ends in type and id names this resource and no other.
    fn check_full_url(&self, place: &str, full_url: Option<&str>) -> Result<(), Invalid> {
        match full_url.and_then(Self::of_path) {
            Some(named) if named != *self => {
                Err(Invalid::value(format!("{place}.fullUrl"), "must not name another resource"))
            }
            _ => Ok(()),
        }
    }

    fn of_resource(resource: &Members<'_>) -> Option<Self> {
        let (resource_type, id) = (text(resource.get("resourceType"))?, text(resource.get("id"))?);
        Some(Self::Named(format!("{resource_type}/{id}")))
    }

    fn of_full_url(full_url: &str) -> Self {
        Self::of_path(full_url).unwrap_or_else(|| Self::Url(full_url.to_owned()))
    }

    /// What a URL that ends in `Type/id` names, whatever version of it.
    fn of_path(url: &str) -> Option<Self> {
        let path = url.split(['?', '#']).next()?;
        let mut segments = path.split("/_history/").next()?.rsplit('/');
        let (id, resource_type) = (segments.next()?, segments.next()?);
        let is_type = resource_type.starts_with(|first: char| first.is_ascii_uppercase())
            && resource_type.bytes().all(|byte| byte.is_ascii_alphabetic());
        (is_type && !id.is_empty()).then(|| Self::Named(format!("{resource_type}/{id}")))
    }
}

/// The entry without what only a transaction, its answer or a search has; `size` is that of the whole.
fn as_content(entry: &Members<'_>, size: usize) -> String {
    let mut content = String::with_capacity(size);
    content.push('{');
    for (name, value) in entry.iter().filter(|(name, _)| !matches!(*name, "request" | "response" | "search"))
    {
        json::push_member(&mut content, name, value);
    }
    content.push('}');
    content
}

/// The members of the object that stands at `place`.
fn object<'a>(place: &str, value: &'a str) -> Result<Members<'a>, Invalid> {
    Members::read("the object", value).map_err(|invalid| match invalid {
        Invalid::Repeated(_) => Invalid::Repeated(format!("a member of {place}")),
        Invalid::Value { problem, .. } => Invalid::value(place.to_owned(), problem),
        Invalid::Body(problem) => Invalid::value(place.to_owned(), problem),
        Invalid::Missing(_) => Invalid::missing(place.to_owned()),
    })
}

/// A string that is not empty; anything else counts as absent.
fn text(raw: Option<&str>) -> Option<String> {
    serde_json::from_str::<String>(raw?).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "bundle_tests.rs"]
mod tests;
