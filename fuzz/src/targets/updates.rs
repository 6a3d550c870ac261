//! The Bundle of an update, and what it leaves in the content.

use std::collections::HashSet;

use serde_json::Value;
use shared::{
    protocol::{Event, Scopes, bundle, bundle::Method, json},
    session::{Audience, Content, Rules, SessionState, decide},
};

use super::JSON_WORDS;
use crate::{
    Target,
    seeds::{event, resource, texts},
};

const RULES: Rules = Rules { max_open: 4, max_content_bytes: 4096 };

pub const UPDATES: Target = Target { name: "updates", check, seeds, words: JSON_WORDS };

fn seeds() -> Vec<Vec<u8>> {
    texts([
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","request":{"method":"PUT"},"resource":{"resourceType":"Observation","id":"1","n":1.10}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"Observation"},"resource":{"resourceType":"Observation","id":"1"}},{"request":{"method":"DELETE","url":"Observation/2/_history/3"}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"https://a/Observation/1?x#y","request":{"method":"DELETE"}},{"request":{"method":"DELETE"},"resource":{"resourceType":"Observation","id":"2"}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"a","search":{},"response":{},"x":[1.10],"request":{"method":"PUT"},"resource":{"resourceType":"Observation"}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"DiagnosticReport/1"}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"PUT"},"resource":{"resourceType":"A","id":"1"}},{"request":{"method":"PUT"},"resource":{"resourceType":"A","id":"1"}}]}"#,
        r#"{"resourceType":"Bundle","type":"transaction"}"#,
        r#"{"resourceType":"Bundle","type":"collection","entry":[]}"#,
        "null",
    ])
}

/// The bytes are the Bundle of an update of an open report.
fn check(bytes: &[u8]) {
    let Ok(bundle_text) = json::text(bytes, 64) else { return };
    let open = event("DiagnosticReport-open", "", &resource("DiagnosticReport", "1"));
    let elements =
        format!(r#"{},{{"key":"updates","resource":{bundle_text}}}"#, resource("DiagnosticReport", "1"));
    let update = event("DiagnosticReport-update", r#","context.versionId":"v1""#, &elements);
    let (Ok(open), Ok(update)) = (Event::read(&open), Event::read(&update)) else { return };
    let read = bundle::updates(&update);
    let decided = decide(&SessionState::default(), &open, Audience::Everyone, "v1", &RULES);
    let before = decided.unwrap_or_else(|rejection| panic!("an open is accepted: {rejection}")).state;
    let decided = decide(&before, &update, Audience::Everyone, "v2", &RULES);
    let Ok(Some(updates)) = read else {
        assert!(decided.is_err(), "FC-CNT-03: what is no Bundle changes nothing");
        return;
    };

    assert!(updates.len() <= bundle::MAX_ENTRIES);
    let keys: HashSet<_> = updates.iter().map(|update| &update.key).collect();
    assert_eq!(keys.len(), updates.len(), "FC-CNT-03: no resource is named twice");
    for update in &updates {
        assert_eq!(update.entry.is_none(), update.method == Method::Delete, "FC-CNT-03");
        let Some(entry) = &update.entry else { continue };
        let value: Value = serde_json::from_str(entry).unwrap_or_else(|error| panic!("{error}: {entry}"));
        assert!(value["resource"]["resourceType"].is_string(), "FC-CNT-03");
        let is_gone = |name| value.get(name).is_none();
        assert!(is_gone("request") && is_gone("response") && is_gone("search"), "FC-CTX-04");
    }

    let Ok(change) = decided else { return };
    let mut content = Content::default();
    let found = change.state.find(update.anchor().unwrap_or_else(|| panic!("an update has its anchor")));
    let open = found.unwrap_or_else(|| panic!("it is open still"));
    assert_eq!(open.version_id, "v2", "FC-CNT-01");
    let resources = open.resources();
    if content.apply(&change.content, RULES.max_content_bytes).is_err() {
        assert!(content.is_empty() && content.bytes() == 0, "FC-CNT-03: all or nothing");
        return;
    }
    let entries: Vec<&str> = content.below(&resources).map(|(_, entry)| entry.as_str()).collect();
    let kept: HashSet<&str> = updates.iter().filter_map(|update| update.entry.as_deref()).collect();
    assert!(entries.iter().all(|entry| kept.contains(entry)), "FC-TRN-05: the content is the senders' bytes");
    assert_eq!(entries.len(), updates.iter().filter(|update| update.entry.is_some()).count(), "FC-CNT-03");
    let current: Value = serde_json::from_str(
        &change.state.current_context(&Scopes::everything()).to_json(entries.iter().copied()),
    )
    .unwrap_or_else(|error| panic!("FC-CTX-04: {error}"));
    let bundle =
        current["context"].as_array().and_then(|context| context.last().cloned()).unwrap_or_default();
    assert_eq!(bundle["resource"]["entry"].as_array().map(Vec::len), Some(entries.len()), "FC-CTX-04");
}
