//! The Bundle of an update: the specification's own, and each rule.

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
    assert_eq!(read(&entry("https://ehr.example/Observation/1"))[0].key, named("Observation/1"), "FC-CNT-03");
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
    let others =
        [with_full_url(&one), two, put(r#"{"resourceType":"Patient","id":"1"}"#), delete("Observation/9")];
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
