//! Content sharing (FC-CNT-01…10, FC-CTX-04).

use std::time::Instant;

use harness::{
    client::Answer,
    examples::{Message, fresh_id, fresh_topic},
    wait::PATIENCE,
};
use serde_json::{Value, json};

use crate::{
    messages::{event, patient_open, resource},
    setups::{Kind, Setup, ids_until, on_each_setup},
};

on_each_setup![
    the_examples_of_3_0_0_build_the_content_that_they_tell_of,
    the_examples_of_2_1_0_add_by_post,
    a_bundle_is_applied_whole_or_not_at_all,
    what_is_no_transaction_is_refused_and_named,
    the_broadcast_has_both_versions_and_the_bundle_as_it_was_sent,
    each_open_context_has_content_of_its_own_until_it_is_closed,
    opening_again_keeps_the_content_and_a_logout_ends_it,
    an_update_needs_an_open_anchor_and_its_present_version,
    the_bytes_of_a_resource_come_back_as_they_were_sent,
    a_bundle_of_500_entries_and_2_megabytes_is_applied,
    content_that_is_too_large_is_refused,
];

/// Posts an example of the specification to the topic, and answers with what was posted.
async fn post(setup: &Setup, topic: &str, name: &str, version: Option<&str>) -> Answer {
    let message = Message::example(name).unwrap().topic(topic).unwrap();
    let message = match version {
        Some(version) => message.version(version).unwrap(),
        None => message,
    };
    setup.publisher().publish(message.text()).await.unwrap()
}

/// The current context, and the version that it has.
async fn current(setup: &Setup, topic: &str) -> (Value, String) {
    let answer = setup.subscriber().current_context(topic).await.unwrap().expect_status(200).unwrap();
    let context = answer.json().unwrap();
    let version = context["context.versionId"].as_str().unwrap_or_default().to_owned();
    (context, version)
}

/// The entries of the content of the current context.
async fn content(setup: &Setup, topic: &str) -> Vec<Value> {
    let (context, _) = current(setup, topic).await;
    let last =
        context["context"].as_array().and_then(|elements| elements.last()).cloned().unwrap_or_default();
    assert_eq!(last["key"], "content", "FC-CTX-04: {context}");
    assert_eq!(last["resource"]["resourceType"], "Bundle", "FC-CTX-04");
    assert_eq!(last["resource"]["type"], "collection", "FC-CTX-04");
    let entries = last["resource"]["entry"].as_array().cloned().unwrap();
    assert!(entries.iter().all(|entry| entry.get("request").is_none()), "FC-CTX-04: {entries:?}");
    entries
}

/// The resources of the content as `Type/id`, sorted: they have no order.
async fn kept(setup: &Setup, topic: &str) -> Vec<String> {
    let name = |entry: &Value| {
        let resource = &entry["resource"];
        format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
    };
    let mut kept: Vec<String> = content(setup, topic).await.iter().map(name).collect();
    kept.sort();
    kept
}

fn entry(method: &str, id: &str) -> String {
    match method {
        "DELETE" => format!(r#"{{"fullUrl":"Observation/{id}","request":{{"method":"DELETE"}}}}"#),
        _ => format!(
            r#"{{"request":{{"method":"{method}"}},"resource":{{"resourceType":"Observation","id":"{id}"}}}}"#
        ),
    }
}

/// The element of an update with these entries.
pub fn updates(entries: &[String]) -> String {
    format!(
        r#"{{"key":"updates","resource":{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}}}"#,
        entries.join(",")
    )
}

/// An update of a report.
pub fn update(topic: &str, id: &str, report: &str, version: &str, updates: &str) -> String {
    let context = format!("{},{updates}", resource("DiagnosticReport", report));
    let message = event(topic, id, "DiagnosticReport-update", &context);
    message.replacen(r#""context":"#, &format!(r#""context.versionId":"{version}","context":"#), 1)
}

/// Opens a report, and answers with its version.
async fn open(setup: &Setup, topic: &str, report: &str) -> String {
    let id = fresh_id();
    setup.publish(&event(topic, &id, "DiagnosticReport-open", &resource("DiagnosticReport", report))).await;
    current(setup, topic).await.1
}

async fn try_update(setup: &Setup, topic: &str, id: &str, version: &str, entries: &[String]) -> Answer {
    setup.publisher().publish(&update(topic, id, "r", version, &updates(entries))).await.unwrap()
}

async fn the_examples_of_3_0_0_build_the_content_that_they_tell_of(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    post(&setup, &topic, "3.0.0/DiagnosticReport-open", None).await.expect_status(202).unwrap();
    assert!(kept(&setup, &topic).await.is_empty(), "FC-CTX-04: empty when there is none");
    let (opened, version) = current(&setup, &topic).await;
    post(&setup, &topic, "3.0.0/DiagnosticReport-update", Some(&version)).await.expect_status(202).unwrap();
    let study = "ImagingStudy/7e9deb91-0017-4690-aebd-951cef34aba4";
    let cyst = "Observation/40afe766-3628-4ded-b5bd-925727c013b3";
    let report = "DiagnosticReport/2402d3bd-e988-414b-b7f2-4322e86c9327";
    assert_eq!(kept(&setup, &topic).await, [report, study, cyst], "FC-CNT-03");
    let (_, version) = current(&setup, &topic).await;
    post(&setup, &topic, "3.0.0/DiagnosticReport-update-2", Some(&version)).await.expect_status(202).unwrap();
    assert_eq!(kept(&setup, &topic).await, [report, study], "FC-CNT-03: deleted by its fullUrl");
    let (now, _) = current(&setup, &topic).await;
    let elements = |context: &Value| {
        let elements = context["context"].as_array().unwrap();
        elements[..elements.len() - 1].to_vec()
    };
    assert_eq!(elements(&now), elements(&opened), "FC-CTX-04: what was opened is returned as opened");
}

async fn the_examples_of_2_1_0_add_by_post(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    post(&setup, &topic, "2.1.0-ballot/DiagnosticReport-open", None).await.expect_status(202).unwrap();
    let (_, version) = current(&setup, &topic).await;
    let update = "2.1.0-ballot/DiagnosticReport-update";
    post(&setup, &topic, update, Some(&version)).await.expect_status(202).unwrap();
    let both = ["ImagingStudy/3478116342", "Observation/435098234"];
    assert_eq!(kept(&setup, &topic).await, both, "FC-CNT-03: POST adds");
    let (_, version) = current(&setup, &topic).await;
    let message = Message::example(update).unwrap().topic(&topic).unwrap().version(&version).unwrap();
    let again = setup.publisher().publish(message.id("another").unwrap().text()).await.unwrap();
    assert_eq!(again.status, 409, "FC-CNT-03: POST of what is there: {again:?}");
    assert_eq!(kept(&setup, &topic).await, both);
    assert_eq!(current(&setup, &topic).await.1, version, "FC-CNT-02: nothing changes");
}

async fn a_bundle_is_applied_whole_or_not_at_all(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let context = format!("{},{}", resource("DiagnosticReport", "r"), resource("Patient", "p"));
    setup.publish(&event(&topic, "open", "DiagnosticReport-open", &context)).await;
    let version = current(&setup, &topic).await.1;
    let first = [entry("PUT", "a"), entry("POST", "b")];
    try_update(&setup, &topic, "1", &version, &first).await.expect_status(202).unwrap();
    let version = current(&setup, &topic).await.1;
    let delete_patient = r#"{"request":{"method":"DELETE","url":"Patient/p"}}"#.to_owned();
    for (id, bad, status) in [
        ("there already", entry("POST", "b"), 409),
        ("opened with the context", delete_patient, 409),
        ("named twice", entry("DELETE", "c"), 400),
        ("no method", entry("PATCH", "d"), 400),
        ("no resource", r#"{"request":{"method":"PUT"}}"#.to_owned(), 400),
    ] {
        let entries = [entry("PUT", "c"), entry("DELETE", "a"), bad];
        let answer = try_update(&setup, &topic, id, &version, &entries).await;
        assert_eq!(answer.status, status, "FC-CNT-03: {id}: {answer:?}");
        assert_eq!(kept(&setup, &topic).await, ["Observation/a", "Observation/b"], "FC-CNT-03: {id}");
        assert_eq!(current(&setup, &topic).await.1, version, "FC-CNT-02: {id}");
    }
    let by_id = r#"{"request":{"method":"DELETE"},"resource":{"resourceType":"Observation","id":"a"}}"#;
    let by_url = r#"{"request":{"method":"DELETE","url":"Observation/b"}}"#;
    let last = [by_id.to_owned(), by_url.to_owned(), entry("PUT", "c"), entry("DELETE", "never there")];
    try_update(&setup, &topic, "2", &version, &last).await.expect_status(202).unwrap();
    assert_eq!(kept(&setup, &topic).await, ["Observation/c"], "FC-CNT-03");
}

async fn what_is_no_transaction_is_refused_and_named(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let version = open(&setup, &topic, "r").await;
    for (element, named) in [
        (r#"{"key":"update","resource":{}}"#.to_owned(), "updates"),
        (updates(&[]).replace("transaction", "batch"), "type"),
        (updates(&[]).replace(r#""Bundle""#, r#""List""#), "resourceType"),
        (updates(&[]).replace("[]", "7"), "entry"),
    ] {
        let answer = setup.publisher().publish(&update(&topic, "u", "r", &version, &element)).await.unwrap();
        assert_eq!(answer.status, 400, "FC-CNT-03: {element}: {answer:?}");
        assert!(answer.body.contains(named), "FC-TRN-03: {answer:?}");
    }
}

async fn the_broadcast_has_both_versions_and_the_bundle_as_it_was_sent(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "*").await;
    let mut prior = open(&setup, &topic, "r").await;
    let mut seen = vec![prior.clone()];
    for number in 0..3 {
        let (id, bundle) = (number.to_string(), updates(&[entry("PUT", "a")]).replace("{", "{ "));
        setup.publish(&update(&topic, &id, "r", &prior, &bundle)).await;
        let came = listener.wait_for_event(PATIENCE, &id).await.unwrap();
        let version = came.json["event"]["context.versionId"].as_str().unwrap().to_owned();
        assert_eq!(came.json["event"]["context.priorVersionId"], prior.as_str(), "FC-CNT-04");
        assert!(came.text.contains(&bundle), "FC-CNT-04, FC-TRN-05: {}", came.text);
        assert!(!seen.contains(&version), "FC-CNT-01: unique in its topic");
        assert_eq!(current(&setup, &topic).await.1, version, "FC-CTX-01");
        (prior, _) = (version.clone(), seen.push(version));
    }
    let late = setup.listener(&topic, "*").await;
    let open =
        late.wait_for(PATIENCE, "the open", |seen| Some(seen.received.get(1)?.json.clone())).await.unwrap();
    assert_eq!(open["event"]["context.versionId"], prior.as_str(), "FC-CNT-01: the present version");
}

async fn each_open_context_has_content_of_its_own_until_it_is_closed(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let first = open(&setup, &topic, "1").await;
    let second = open(&setup, &topic, "2").await;
    // The first is open and not current.
    for (id, report, version, resource) in [("u1", "1", &first, "a"), ("u2", "2", &second, "b")] {
        let updates = updates(&[entry("PUT", resource)]);
        setup.publish(&update(&topic, id, report, version, &updates)).await;
    }
    assert_eq!(kept(&setup, &topic).await, ["Observation/b"], "FC-CNT-10");
    let close =
        |report| event(&topic, report, "DiagnosticReport-close", &resource("DiagnosticReport", report));
    setup.publish(&close("2")).await;
    assert_eq!(current(&setup, &topic).await.0, json!({"context.type": "", "context": []}), "FC-CTX-02");
    open(&setup, &topic, "1").await;
    assert_eq!(kept(&setup, &topic).await, ["Observation/a"], "FC-CNT-07, FC-CNT-09, FC-CNT-10");
    setup.publish(&close("1")).await;
    open(&setup, &topic, "1").await;
    assert!(kept(&setup, &topic).await.is_empty(), "FC-CNT-07: a close disposes of it");
}

async fn opening_again_keeps_the_content_and_a_logout_ends_it(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let version = open(&setup, &topic, "r").await;
    try_update(&setup, &topic, "u", &version, &[entry("PUT", "a")]).await.expect_status(202).unwrap();
    setup.publish(&patient_open(&topic, "p")).await;
    let again = open(&setup, &topic, "r").await;
    assert_ne!(again, version, "FC-CNT-01");
    assert_eq!(kept(&setup, &topic).await, ["Observation/a"], "FC-CNT-10");
    setup.publish(&event(&topic, "home", "home-open", "")).await;
    assert_eq!(current(&setup, &topic).await.0["context.type"], "", "FC-REQ-06");
    try_update(&setup, &topic, "v", &again, &[entry("PUT", "b")]).await.expect_status(202).unwrap();
    setup.publish(&event(&topic, "out", "userLogout", "")).await;
    assert_eq!(current(&setup, &topic).await.0["context.type"], "", "FC-REQ-06");
    let version = open(&setup, &topic, "r").await;
    assert!(kept(&setup, &topic).await.is_empty(), "FC-REQ-06: the content is cleared");
    try_update(&setup, &topic, "w", &version, &[entry("POST", "a")]).await.expect_status(202).unwrap();
}

async fn an_update_needs_an_open_anchor_and_its_present_version(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let listener = setup.listener(&topic, "*").await;
    let never = try_update(&setup, &topic, "too early", "v", &[entry("PUT", "a")]).await;
    assert_eq!(never.status, 409, "FC-CNT-02: {never:?}");
    let version = open(&setup, &topic, "r").await;
    try_update(&setup, &topic, "right", &version, &[entry("PUT", "a")]).await.expect_status(202).unwrap();
    let stale = try_update(&setup, &topic, "stale", &version, &[entry("PUT", "b")]).await;
    assert_eq!(stale.status, 409, "FC-CNT-02: {stale:?}");
    let select = |report: &str, id: &str| {
        event(&topic, id, "DiagnosticReport-select", &resource("DiagnosticReport", report))
    };
    let closed = setup.publisher().publish(&select("other", "select other")).await.unwrap();
    assert_eq!(closed.status, 409, "FC-CNT-06: {closed:?}");
    let (before, _) = current(&setup, &topic).await;
    setup.publish(&select("r", "select")).await;
    assert_eq!(ids_until(&listener, "select").await[1..], ["right", "select"], "FC-CNT-02, FC-CNT-06");
    assert_eq!(current(&setup, &topic).await.0, before, "FC-CNT-06: it changes nothing");
}

async fn the_bytes_of_a_resource_come_back_as_they_were_sent(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let version = open(&setup, &topic, "r").await;
    let resource =
        r#"{ "z":1.10,"id":"a" , "resourceType":"Observation","a":[1e2, 0.00, "\u00e9é"],"id2":null}"#;
    let entry = format!(
        r#"{{"x-first":true,"request":{{"method":"PUT"}},"resource":{resource} ,"fullUrl":"urn:x:1"}}"#
    );
    try_update(&setup, &topic, "u", &version, &[entry]).await.expect_status(202).unwrap();
    let answer = setup.subscriber().current_context(&topic).await.unwrap();
    assert!(answer.body.contains(resource), "FC-TRN-05, FC-CTX-04: {}", answer.body);
    let kept = content(&setup, &topic).await;
    assert_eq!((&kept[0]["x-first"], &kept[0]["fullUrl"]), (&json!(true), &json!("urn:x:1")), "FC-TRN-05");
}

async fn a_bundle_of_500_entries_and_2_megabytes_is_applied(kind: Kind) {
    let (setup, topic) = (kind.shared().await, fresh_topic());
    let version = open(&setup, &topic, "r").await;
    let text = "x".repeat(4_100);
    let large = |id: usize| {
        format!(
            r#"{{"request":{{"method":"PUT"}},"resource":{{"resourceType":"Observation","id":"o{id}","note":"{text}"}}}}"#
        )
    };
    let entries: Vec<String> = (0..500).map(large).collect();
    let listener = setup.listener(&topic, "*").await;
    let since = Instant::now();
    try_update(&setup, &topic, "large", &version, &entries).await.expect_status(202).unwrap();
    let taken = since.elapsed();
    let came = listener.wait_for_event(PATIENCE, "large").await.unwrap();
    assert!(came.text.len() > 2_000_000, "FC-CNT-04");
    assert!(taken < PATIENCE / 2, "FC-CNT-03: applied within the request's time: {taken:?}");
    assert_eq!(kept(&setup, &topic).await.len(), 500, "FC-CNT-03");
}

async fn content_that_is_too_large_is_refused(kind: Kind) {
    let setup = kind.own(&[("limits.content_bytes", "2000"), ("limits.body_bytes", "4000")]).await;
    let topic = fresh_topic();
    let version = open(&setup, &topic, "r").await;
    let large = |id: &str, bytes: usize| {
        let note = "x".repeat(bytes);
        format!(
            r#"{{"request":{{"method":"PUT"}},"resource":{{"resourceType":"Observation","id":"{id}","note":"{note}"}}}}"#
        )
    };
    try_update(&setup, &topic, "1", &version, &[large("a", 1500)]).await.expect_status(202).unwrap();
    let version = current(&setup, &topic).await.1;
    let full = try_update(&setup, &topic, "2", &version, &[large("b", 1500)]).await;
    assert_eq!(full.status, 413, "FC-CNT-08: {full:?}");
    assert!(full.body.contains("content"), "FC-TRN-03: {full:?}");
    let body = try_update(&setup, &topic, "3", &version, &[large("b", 5000)]).await;
    assert_eq!(body.status, 413, "FC-CNT-08: {body:?}");
    assert_eq!(kept(&setup, &topic).await, ["Observation/a"], "FC-CNT-03");
    let replaced = [large("a", 1000), entry("PUT", "b")];
    try_update(&setup, &topic, "4", &version, &replaced).await.expect_status(202).unwrap();
    let version = current(&setup, &topic).await.1;
    try_update(&setup, &topic, "5", &version, &[entry("DELETE", "a")]).await.expect_status(202).unwrap();
    let version = current(&setup, &topic).await.1;
    try_update(&setup, &topic, "6", &version, &[large("c", 1500)]).await.expect_status(202).unwrap();
}
