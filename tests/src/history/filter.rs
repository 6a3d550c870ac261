//! `hub.events` as the checker reads it (FC-EVT-06): written apart from the hub's own reading, which it judges.

use serde::{Deserialize, Serialize};

/// A comma-separated list of names and wildcards.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Filter(pub String);

impl Filter {
    /// Does it ask for the event of this name? A heartbeat must be named.
    pub fn matches(&self, event: &str) -> bool {
        let event = event.to_ascii_lowercase();
        self.0.to_ascii_lowercase().split(',').map(str::trim).any(|pattern| {
            if let Some(kind) = pattern.strip_suffix("-*").filter(|kind| *kind != "*") {
                return event.split_once('-').is_some_and(|(known, _)| known == kind);
            }
            match pattern {
                "*" => event != "heartbeat",
                "*-*" => event.contains('-'),
                _ => match pattern.strip_prefix("*-") {
                    Some(action) => event.split_once('-').is_some_and(|(_, known)| known == action),
                    None => pattern == event,
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_wildcards_match_as_the_specification_has_them() {
        let cases = [
            ("*", "Patient-open", true),
            ("*", "syncerror", true),
            ("*", "heartbeat", false),
            ("*,heartbeat", "heartbeat", true),
            ("patient-*", "Patient-close", true),
            ("patient-*", "syncerror", false),
            ("*-open", "DiagnosticReport-open", true),
            ("*-open", "DiagnosticReport-close", false),
            ("*-*", "org.example.last", false),
            ("a-open, org.example.last", "org.example.last", true),
        ];
        for (filter, event, matches) in cases {
            assert_eq!(Filter(filter.to_owned()).matches(event), matches, "{filter} {event}");
        }
    }
}
