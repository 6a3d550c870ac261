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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(element: &str) -> String {
        format!(
            r#"{{"timestamp":"T","id":"i","event":{{"hub.topic":"t","hub.event":"DiagnosticReport-update","context":[
                {{"key":"report","reference":{{"reference":"DiagnosticReport/1"}}}},{element}]}}}}"#
        )
    }

    fn read_element(element: &str) -> Result<Vec<Update>, Invalid> {
        let text = message(element);
        updates(&Event::read(&text).unwrap()).map(Option::unwrap)
    }

    fn with_resource(resource: &str) -> String {
        format!(r#"{{"key":"updates","resource":{resource}}}"#)
    }

    fn with_entries(entries: &str) -> String {
        with_resource(&format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#))
    }

    fn read(entries: &str) -> Vec<Update> {
        read_element(&with_entries(entries)).unwrap()
    }

    fn refusal(entries: &str) -> String {
        let refused = read_element(&with_entries(entries)).unwrap_err().to_string();
        refused.replace("event.context[1].resource.", "…")
    }

    fn put(resource: &str) -> String {
        format!(r#"{{"request":{{"method":"PUT"}},"resource":{resource}}}"#)
    }

    fn delete(url: &str) -> String {
        format!(r#"{{"request":{{"method":"DELETE","url":"{url}"}}}}"#)
    }

    fn delete_full_url(full_url: &str) -> String {
        format!(r#"{{"fullUrl":"{full_url}","request":{{"method":"DELETE"}}}}"#)
    }

    fn named(key: &str) -> ResourceKey {
        ResourceKey::Named(key.into())
    }

    fn url(key: &str) -> ResourceKey {
        ResourceKey::Url(key.into())
    }

    #[test]
    fn the_specifications_updates_are_read() {
        use Method::{Delete, Post, Put};
        const STUDY: &str = "ImagingStudy/7e9deb91-0017-4690-aebd-951cef34aba4";
        const OBSERVATION: &str = "Observation/40afe766-3628-4ded-b5bd-925727c013b3";
        const REPORT: &str = "DiagnosticReport/2402d3bd-e988-414b-b7f2-4322e86c9327";
        let added = vec![(Post, "ImagingStudy/3478116342"), (Post, "Observation/435098234")];
        let put = vec![(Put, STUDY), (Put, OBSERVATION), (Put, REPORT)];
        let removed = vec![(Delete, OBSERVATION), (Put, REPORT)];
        macro_rules! example {
            ($name:literal) => {
                include_str!(concat!("../../../tests/examples/", $name, ".json"))
            };
        }
        for (text, expected) in [
            (example!("2.1.0-ballot/DiagnosticReport-update"), &added),
            (example!("2.1.0-ballot/DiagnosticReport-update-1"), &added),
            (example!("3.0.0/DiagnosticReport-update"), &put),
            (example!("3.0.0/DiagnosticReport-update-1"), &put),
            (example!("3.0.0/DiagnosticReport-update-2"), &removed),
        ] {
            let updates = updates(&Event::read(text).unwrap()).unwrap().unwrap();
            let seen: Vec<_> = updates.iter().map(|update| (update.method, update.key.clone())).collect();
            let expected: Vec<_> = expected.iter().map(|(method, key)| (*method, named(key))).collect();
            assert_eq!(seen, expected, "FC-CNT-03");
            for update in updates {
                let Some(entry) = update.entry else {
                    assert_eq!(update.full_url.as_deref(), Some(OBSERVATION), "FC-CNT-03");
                    continue;
                };
                let resource = entry.strip_prefix(r#"{"resource":"#).unwrap().strip_suffix('}').unwrap();
                assert!(text.contains(resource), "FC-TRN-05: the sender's own bytes");
            }
        }
    }

    #[test]
    fn an_event_without_the_element_has_no_updates() {
        let text = message(r#"{"key":"patient","resource":{"resourceType":"Patient","id":"1"}}"#);
        assert_eq!(updates(&Event::read(&text).unwrap()), Ok(None));
    }

    #[test]
    fn what_is_no_transaction_is_refused_by_the_name_of_its_member() {
        for (element, expected) in [
            (r#"{"key":"updates"}"#, " is missing"),
            (&with_resource("null"), " must be a JSON object"),
            (&with_resource("[]"), " must be a JSON object"),
            (&with_resource("{}"), ".resourceType must be Bundle"),
            (
                &with_resource(r#"{"resourceType":"Patient","type":"transaction"}"#),
                ".resourceType must be Bundle",
            ),
            (&with_resource(r#"{"resourceType":"Bundle"}"#), ".type must be transaction"),
            (&with_resource(r#"{"resourceType":"Bundle","type":"batch"}"#), ".type must be transaction"),
            (
                &with_resource(r#"{"resourceType":"Bundle","type":"transaction","entry":{}}"#),
                ".entry must be an array",
            ),
        ] {
            let refused = read_element(element).unwrap_err().to_string();
            assert_eq!(refused, format!("event.context[1].resource{expected}"), "FC-CNT-03: {element}");
        }
    }

    #[test]
    fn only_the_first_element_with_the_key_counts() {
        let first = with_entries(&delete("Observation/1"));
        let read = read_element(&format!("{first},{}", with_resource("7"))).unwrap();
        assert_eq!(read.len(), 1);
    }

    #[test]
    fn a_bundle_without_entries_changes_nothing() {
        let without = with_resource(r#"{"resourceType":"Bundle","type":"transaction"}"#);
        assert_eq!(read_element(&without).unwrap(), [], "FC-CNT-03");
        assert_eq!(read(""), [], "FC-CNT-03");
    }

    #[test]
    fn a_bundle_has_so_many_entries_and_no_more() {
        let deletes = |count: usize| {
            let entries: Vec<_> = (0..count).map(|id| delete(&format!("Observation/{id}"))).collect();
            entries.join(",")
        };
        assert_eq!(read(&deletes(MAX_ENTRIES)).len(), MAX_ENTRIES);
        assert_eq!(refusal(&deletes(MAX_ENTRIES + 1)), "…entry must not have more than 5000 elements");
    }

    #[test]
    fn an_entry_that_is_wrong_is_named_and_not_quoted() {
        let good = put(r#"{"resourceType":"Observation","id":"1"}"#);
        let method = "…entry[1].request.method must be POST, PUT or DELETE";
        let removes = "…entry[1] must name what it removes by resource, request.url or fullUrl";
        let holds = "…entry[1] must name its resource by resource.id or fullUrl";
        let typed = "…entry[1].resource.resourceType must be a non-empty string";
        for (entry, expected) in [
            ("7", "…entry[1] must be a JSON object"),
            ("{}", method),
            (r#"{"request":{}}"#, method),
            (r#"{"request":{"method":"put"}}"#, method),
            (r#"{"request":{"method":"PATCH"}}"#, method),
            (r#"{"request":{"method":["PUT"]}}"#, method),
            (r#"{"request":"PUT"}"#, "…entry[1].request must be a JSON object"),
            (r#"{"request":{"method":"PUT"}}"#, "…entry[1].resource is missing"),
            (r#"{"request":{"method":"POST"}}"#, "…entry[1].resource is missing"),
            (&put("null"), "…entry[1].resource must be a JSON object"),
            (&put(r#"{"id":"2"}"#), typed),
            (&put(r#"{"resourceType":"","id":"2"}"#), typed),
            (&put(r#"{"resourceType":7,"id":"2"}"#), typed),
            (&put(r#"{"resourceType":"Observation"}"#), holds),
            (&put(r#"{"resourceType":"Observation","id":""}"#), holds),
            (r#"{"request":{"method":"DELETE"}}"#, removes),
            (&delete("Observation?subject=Patient/1"), removes),
            (&delete("fhir/Observation"), removes),
            (&delete_full_url(""), removes),
            (r#"{"request":{"method":"DELETE"},"resource":{"resourceType":"Observation"}}"#, removes),
        ] {
            assert_eq!(refusal(&format!("{good},{entry}")), expected, "FC-CNT-03: {entry}");
        }
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_wherever_the_hub_reads() {
        for (entries, expected) in [
            (r#"{"request":{"method":"PUT","method":"POST"}}"#, "…entry[0].request"),
            (r#"{"request":{"method":"PUT"},"\u0072equest":{}}"#, "…entry[0]"),
            (&put(r#"{"resourceType":"Observation","id":"1","id":"2"}"#), "…entry[0].resource"),
        ] {
            assert_eq!(refusal(entries), format!("a member of {expected} appears more than once"));
        }
        let bundle = with_resource(r#"{"resourceType":"Bundle","type":"transaction","type":"batch"}"#);
        let refused = read_element(&bundle).unwrap_err().to_string();
        assert_eq!(refused, "a member of event.context[1].resource appears more than once");
    }

    #[test]
    fn a_removed_resource_is_named_by_its_resource_its_url_or_its_full_url() {
        let all = r#"{"fullUrl":"urn:uuid:3","request":{"method":"DELETE","url":"Observation/2"},"resource":{"resourceType":"Observation","id":"1"}}"#;
        for (entry, expected) in [
            (all, named("Observation/1")),
            (&all.replace(r#","id":"1""#, ""), named("Observation/2")),
            (&all.replace("Observation/2", "Observation"), named("Observation/1")),
            (&delete("Observation/1"), named("Observation/1")),
            (&delete("/Observation/1?_pretty=true"), named("Observation/1")),
            (&delete("https://ehr.example/fhir/Observation/1/_history/7"), named("Observation/1")),
            (&delete_full_url("Observation/1"), named("Observation/1")),
            (&delete_full_url("https://ehr.example/fhir/Observation/1"), named("Observation/1")),
            (&delete_full_url("urn:uuid:3"), url("urn:uuid:3")),
            (&delete_full_url("https://ehr.example/1"), url("https://ehr.example/1")),
            (&delete_full_url("https://ehr.example/Observation/"), url("https://ehr.example/Observation/")),
        ] {
            let updates = read(entry);
            assert_eq!((&updates[0].key, &updates[0].entry), (&expected, &None), "FC-CNT-03: {entry}");
        }
    }

    #[test]
    fn a_resource_without_an_id_is_named_by_its_full_url() {
        let entry = |full_url: &str| {
            format!(
                r#"{{"fullUrl":"{full_url}","request":{{"method":"POST"}},"resource":{{"resourceType":"Observation"}}}}"#
            )
        };
        let updates = read(&entry("urn:uuid:3"));
        assert_eq!(updates[0].key, url("urn:uuid:3"), "FC-CNT-03");
        assert_eq!(updates[0].full_url.as_deref(), Some("urn:uuid:3"), "FC-CNT-03");
        // A later DELETE may say the same by fullUrl or by request.url.
        assert_eq!(
            read(&entry("https://ehr.example/Observation/1"))[0].key,
            named("Observation/1"),
            "FC-CNT-03"
        );
    }

    #[test]
    fn a_resource_that_is_named_twice_is_refused() {
        let one = put(r#"{"resourceType":"Observation","id":"1"}"#);
        let two = put(r#"{"resourceType":"Observation","id":"2"}"#);
        let with_full_url = |entry: &str| entry.replacen('{', r#"{"fullUrl":"urn:uuid:3","#, 1);
        for second in [
            &one,
            &one.replace("PUT", "POST"),
            &delete("https://ehr.example/Observation/1"),
            &delete_full_url("Observation/1"),
            &delete_full_url("urn:uuid:3"),
            &with_full_url(&two),
        ] {
            let entries = format!("{},{},{second}", with_full_url(&one), delete("Observation/9"));
            assert_eq!(
                refusal(&entries),
                "the resource of …entry[2] appears more than once",
                "FC-CNT-03: {second}"
            );
        }
        let others = [
            with_full_url(&one),
            two,
            put(r#"{"resourceType":"Patient","id":"1"}"#),
            delete("Observation/9"),
        ];
        assert_eq!(read(&others.join(",")).len(), 4, "FC-CNT-03");
    }

    #[test]
    fn the_kept_entry_is_the_senders_without_what_belongs_to_a_transaction() {
        let entry = r#"{ "x-a": [1.10, 1e0 ], "request":{"method":"PUT"},"resource" : {"id":"1", "value":1.10,"resourceType":"Observation"},
            "response":{},"search":{"mode":"match"}, "fullUrl":"urn:uuid:3" }"#;
        assert_eq!(
            read(entry)[0].entry.as_deref(),
            Some(
                r#"{"x-a":[1.10, 1e0 ],"resource":{"id":"1", "value":1.10,"resourceType":"Observation"},"fullUrl":"urn:uuid:3"}"#
            ),
            "FC-TRN-05"
        );
    }

    /// JSON text out of the words that the parser looks for, in places where they may not belong.
    fn nearly_a_bundle() -> impl Strategy<Value = String> {
        const WORDS: &[&str] = &[
            "resourceType",
            "type",
            "entry",
            "request",
            "method",
            "url",
            "fullUrl",
            "resource",
            "id",
            "Bundle",
            "transaction",
            "PUT",
            "DELETE",
            "Observation/1",
            "urn:uuid:1",
            "/",
            "?",
            "\\ud800",
            "\\u0072equest",
            "",
        ];
        let word = || prop::sample::select(WORDS).prop_map(|word| format!("\"{word}\""));
        let leaf = prop_oneof![word(), Just("null".to_owned()), Just("1.10".to_owned())];
        leaf.prop_recursive(5, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
                prop::collection::vec((word(), inner), 0..6).prop_map(|members| {
                    let members: Vec<_> =
                        members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    #[test]
    fn a_full_url_must_not_name_another_resource() {
        let put = r#"{"fullUrl":"https://x.example/Observation/2","request":{"method":"PUT"},"resource":{"resourceType":"Observation","id":"1"}}"#;
        assert!(refusal(put).contains("entry[0].fullUrl"), "FC-CNT-03");
        assert_eq!(read(&put.replace("Observation/2", "Observation/1")).len(), 1, "FC-CNT-03");
        assert_eq!(read(&put.replace("https://x.example/Observation/2", "urn:uuid:7")).len(), 1, "FC-CNT-03");
    }

    proptest! {
        #[test]
        fn arbitrary_text_in_place_of_the_bundle_never_panics(text in ".{0,200}") {
            for element in [with_resource(&text), with_entries(&text)] {
                let text = message(&element);
                let _ = Event::read(&text).map(|event| updates(&event));
            }
        }

        #[test]
        fn whatever_json_stands_for_a_bundle_an_entry_or_their_members_never_panics(value in nearly_a_bundle()) {
            let entry = format!(r#"{{"fullUrl":{value},"request":{{"method":"DELETE","url":{value}}},"resource":{value}}}"#);
            for element in [with_resource(&value), with_entries(&value), with_entries(&put(&value)), with_entries(&entry)] {
                let text = message(&element);
                let _ = Event::read(&text).map(|event| updates(&event));
            }
        }

        #[test]
        fn a_kept_entry_has_the_same_members_without_the_request(
            others in prop::collection::btree_map("[ -~é]{0,6}", nearly_a_bundle(), 0..5),
            request_at in any::<prop::sample::Index>(),
            resource_at in any::<prop::sample::Index>(),
        ) {
            let read_by_the_hub = ["request", "response", "search", "resource", "fullUrl"];
            let mut members: Vec<_> = others
                .into_iter()
                .filter(|(name, _)| !read_by_the_hub.contains(&name.as_str()))
                .collect();
            let resource = (String::from("resource"), String::from(r#"{ "resourceType":"Observation","id":"1" }"#));
            members.insert(resource_at.index(members.len() + 1), resource);
            let kept = members.clone();
            let request = (String::from("request"), String::from(r#"{"method":"PUT"}"#));
            members.insert(request_at.index(members.len() + 1), request);
            let members: Vec<_> =
                members.iter().map(|(name, value)| format!("{}: {value}", json::string(name))).collect();
            let entry = read(&format!("{{{}}}", members.join(" , "))).remove(0).entry.unwrap();
            let again = Members::read("entry", &entry).unwrap();
            let again: Vec<_> = again.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(again, kept, "FC-TRN-05");
        }
    }
}
