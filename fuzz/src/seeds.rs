//! The specification's examples, and what else more than one target begins with.

use std::{fs, path::Path};

/// Every message of `tests/examples`.
pub fn examples() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/examples");
    let versions = fs::read_dir(root).into_iter().flatten().flatten();
    let files = versions.flat_map(|version| fs::read_dir(version.path()).into_iter().flatten().flatten());
    let json = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "json"));
    let mut read: Vec<Vec<u8>> = json.filter_map(|file| fs::read(file.path()).ok()).collect();
    // The order of a folder is the file system's affair, and the mutations are to be the same everywhere.
    read.sort();
    read
}

/// One seed for each text.
pub fn texts<const N: usize>(texts: [&str; N]) -> Vec<Vec<u8>> {
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// An event about a resource, as short as one can be.
pub fn event(name: &str, members: &str, context: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T00:00:00Z","id":"i","event":{{"hub.topic":"t","hub.event":"{name}"{members},"context":[{context}]}}}}"#
    )
}

/// A context element that holds a resource.
pub fn resource(kind: &str, id: &str) -> String {
    format!(r#"{{"key":"k","resource":{{"resourceType":"{kind}","id":"{id}"}}}}"#)
}
