//! Which path is what, at every base path (FC-TRN-06).

use percent_encoding::percent_decode_str;
use shared::protocol::Topic;

/// What a path below (or at) a base path stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// `hub.url` itself.
    Hub,
    /// `hub.url/.well-known/fhircast-configuration`, and the same at the root, where viewers in
    /// the field look last.
    WellKnown,
    /// `hub.url/metadata`
    Metadata,
    /// `hub.url/ws/{endpoint}`, with the last segment as it stands.
    Socket(String),
    /// `hub.url/{topic}`
    Topic(Topic),
    /// `hub.url/{topic}`, where the topic is none.
    BadTopic(String),
    /// Nothing of ours.
    Unknown,
}

const WELL_KNOWN: &str = ".well-known/fhircast-configuration";

/// Finds the route of a request's raw path. Repeated and trailing slashes count for nothing; a
/// slash inside a topic is `%2F`.
pub fn route(raw_path: &str, base_paths: &[String]) -> Route {
    let path = merge_slashes(raw_path);
    if path.trim_start_matches('/') == WELL_KNOWN {
        return Route::WellKnown;
    }
    let below = |base: &String| {
        let rest = path.strip_prefix(base.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
    };
    match base_paths.iter().find_map(below) {
        None => Route::Unknown,
        Some("") => Route::Hub,
        Some(WELL_KNOWN) => Route::WellKnown,
        Some("metadata") => Route::Metadata,
        Some(rest) => match rest.split_once('/') {
            Some(("ws", endpoint)) => Route::Socket(endpoint.to_owned()),
            Some((".well-known", _)) => Route::Unknown,
            _ => topic(rest),
        },
    }
}

fn topic(segment: &str) -> Route {
    let name =
        percent_decode_str(segment).decode_utf8().map_err(|_| "hub.topic is not valid UTF-8".to_owned());
    match name.and_then(|name| name.parse::<Topic>().map_err(|invalid| invalid.to_string())) {
        Ok(topic) => Route::Topic(topic),
        Err(problem) => Route::BadTopic(problem),
    }
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    if merged.len() > 1 && merged.ends_with('/') {
        merged.pop();
    }
    merged
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routed(path: &str) -> Route {
        route(path, &["/api/hub".into(), "/fhircast/STU3".into()])
    }

    fn topic(name: &str) -> Route {
        Route::Topic(name.parse().unwrap())
    }

    #[test]
    fn the_hub_is_at_every_base_path_with_any_number_of_slashes() {
        for path in ["/api/hub", "/api/hub/", "//api//hub//", "/fhircast/STU3"] {
            assert_eq!(routed(path), Route::Hub, "FC-TRN-06: {path}");
        }
        for path in ["/", "/api", "/api/hubs", "/fhircast/stu3", "/metrics"] {
            assert_eq!(routed(path), Route::Unknown, "FC-TRN-06: {path}");
        }
    }

    #[test]
    fn topics_are_decoded_once_and_never_parsed() {
        assert_eq!(routed("/api/hub//abc"), topic("abc"), "FC-TRN-06");
        assert_eq!(routed("/api/hub/a%2Fb%20c"), topic("a/b c"), "FC-SES-01");
        assert_eq!(routed("/api/hub/%2561"), topic("%61"), "FC-SES-01");
        for path in ["/api/hub/ws", "/api/hub/%6detadata", "/api/hub/%77s", "/api/hub/%ff", "/api/hub/a%00b"]
        {
            assert!(matches!(routed(path), Route::BadTopic(_)), "FC-SES-01: {path}");
        }
    }

    #[test]
    fn the_capability_statement_is_at_metadata() {
        assert_eq!(routed("/api/hub/metadata"), Route::Metadata, "FC-CNF-02");
        assert_eq!(routed("//api/hub//metadata/"), Route::Metadata, "FC-CNF-02");
    }

    #[test]
    fn sockets_and_the_well_known_document_have_paths_of_their_own() {
        assert_eq!(routed("/api/hub/ws/0123"), Route::Socket("0123".into()), "FC-WSC-02");
        for path in ["/.well-known/fhircast-configuration", "/api/hub/.well-known/fhircast-configuration/"] {
            assert_eq!(routed(path), Route::WellKnown, "FC-CNF-01: {path}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_paths_never_panic(path in ".{0,80}") {
            routed(&path);
            routed(&format!("/api/hub/{path}"));
        }
    }
}
