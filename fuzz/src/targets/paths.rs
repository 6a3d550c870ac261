//! The path of a request.

use hub::edge::{Route, route};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::text;
use crate::{Target, seeds::texts};

pub const ROUTE: Target = Target {
    name: "route",
    check,
    seeds,
    words: &[
        "/",
        "//",
        "..",
        "/../",
        "%2e",
        "%2F",
        "%00",
        "%ff",
        "%25",
        "ws",
        "ws/",
        "metadata",
        ".well-known",
        "/.well-known/fhircast-configuration",
        "/api/hub",
        "/fhircast/STU3",
        ";",
        "?",
        "#",
        "%0d%0a",
    ],
};

fn seeds() -> Vec<Vec<u8>> {
    texts([
        "/api/hub",
        "/api/hub/",
        "//api//hub//t",
        "/api/hub/a%2Fb%20c",
        "/api/hub/ws/0123",
        "/api/hub/metadata",
        "/api/hub/.well-known/fhircast-configuration",
        "/.well-known/fhircast-configuration",
        "/fhircast/STU3/t",
        "/api/hub/../../etc/passwd",
        "/api/hub/%2e%2e%2f",
        "/api/hub/%77s",
        "/api/hub/ws%2f0123",
        "/api/hub/%00",
        "*",
        "",
    ])
}

fn check(bytes: &[u8]) {
    let path = text(bytes);
    let bases = ["/api/hub".to_owned(), "/fhircast/STU3".to_owned()];
    let found = route(&path, &bases);
    let slashes = path.replace('/', "//");
    assert_eq!(route(&slashes, &bases), found, "FC-TRN-06: repeated slashes count for nothing");
    assert_eq!(route(&format!("{path}/"), &bases), found, "FC-TRN-06: nor do trailing ones");
    match &found {
        Route::Topic(topic) => {
            assert!((1..=256).contains(&topic.as_str().len()), "FC-SES-01");
            let encoded = utf8_percent_encode(topic.as_str(), NON_ALPHANUMERIC);
            let again = route(&format!("/api/hub/{encoded}"), &bases);
            assert_eq!(again, found, "FC-SES-01: a topic is reached by its encoded name");
        }
        Route::BadTopic(problem) => assert!(problem.starts_with("hub.topic "), "FC-TRN-03: {problem}"),
        Route::Socket(endpoint) => assert!(path.contains("ws") && !endpoint.ends_with('/')),
        Route::Hub | Route::WellKnown | Route::Metadata | Route::Unknown => {}
    }
}
