//! `hub.events`: the events that a subscription asks for.
//!
//! A set of names and wildcards (FC-SUB-03, FC-EVT-06). Wildcards are matched, never expanded, so
//! that they also cover event types that are first seen later.

use std::{fmt, hash};

use serde::{Deserialize, Serialize};

use super::{EventName, Invalid, pattern::Pattern};

/// What a subscriber wants to hear of: a non-empty set of names and wildcards.
///
/// Two filters are equal when they ask for the same names, whatever the order, case and repeats.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventFilter {
    /// As the subscriber wrote them, without repeats, in its order.
    patterns: Vec<Pattern>,
    /// The same in lower case and sorted: what is compared.
    normal: Vec<String>,
}

impl EventFilter {
    /// Reads `hub.events`: a comma-separated list of at most `max_patterns` names and wildcards.
    pub fn parse(text: &str, max_patterns: usize) -> Result<Self, Invalid> {
        let mut patterns: Vec<Pattern> = Vec::new();
        for pattern in text.split(',').map(str::trim) {
            let Some(pattern) = Pattern::parse(pattern) else {
                return Err(Invalid::value(
                    "hub.events",
                    "must be a comma-separated list of event names and wildcards (*, *-*, Patient-*, *-select)",
                ));
            };
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
            if patterns.len() > max_patterns {
                return Err(Invalid::value(
                    "hub.events",
                    format!("must not name more than {max_patterns} events"),
                ));
            }
        }
        Ok(Self::of(patterns))
    }

    fn of(patterns: Vec<Pattern>) -> Self {
        let mut normal: Vec<String> =
            patterns.iter().map(|pattern| pattern.as_str().to_ascii_lowercase()).collect();
        normal.sort_unstable();
        Self { patterns, normal }
    }

    /// Does the subscriber want this event?
    pub fn matches(&self, name: &EventName) -> bool {
        let is_heartbeat = name.is(HEARTBEAT);
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(name) && !(is_heartbeat && pattern.is_everything()))
    }

    /// What it asks for, in its order.
    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// What it asks for, as far as these patterns allow it (FC-SCO-02). `None` when that is nothing.
    ///
    /// A pattern that is wholly allowed keeps its spelling; another is replaced by what it has in common
    /// with each that is allowed. None is left that another one covers, so the result has at most four
    /// patterns for each that is asked or allowed: it holds that pattern itself, or, of a `Patient-*`
    /// that meets `*-open` and its like, one for each of the four actions.
    pub(super) fn within(&self, allowed: &[Pattern]) -> Option<Self> {
        let mut granted: Vec<Pattern> = Vec::new();
        let mut grant = |pattern: Pattern| {
            if !granted.iter().any(|other| asks_for(other, &pattern)) {
                granted.retain(|other| !asks_for(&pattern, other));
                granted.push(pattern);
            }
        };
        // Those first: their spelling counts where others come to the same.
        let (whole, others): (Vec<&Pattern>, Vec<&Pattern>) =
            self.patterns.iter().partition(|asked| asked.is_covered_by(allowed));
        whole.into_iter().cloned().for_each(&mut grant);
        for asked in others {
            let common = allowed.iter().filter_map(|allowed| asked.meet(allowed));
            common.filter(|common| asks_for(asked, common)).for_each(&mut grant);
        }
        (!granted.is_empty()).then(|| Self::of(granted))
    }
}

const HEARTBEAT: &str = "heartbeat";

/// Is everything that `other` stands for asked for by `pattern`? The heartbeat has to be asked for
/// by its name, since it is traffic and no news (FC-WSC-06).
fn asks_for(pattern: &Pattern, other: &Pattern) -> bool {
    pattern.covers(other) && !(pattern.is_everything() && other.is(HEARTBEAT))
}

/// The list for `hub.events`, as the subscriber wrote it.
impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.patterns.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            f.write_str(pattern.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventFilter({self})")
    }
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        self.normal == other.normal
    }
}

impl Eq for EventFilter {}

impl hash::Hash for EventFilter {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.normal.hash(state);
    }
}

/// Reads what [`Display`](fmt::Display) wrote; a stored list was bounded when it was accepted.
impl TryFrom<String> for EventFilter {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text, usize::MAX)
    }
}

impl From<EventFilter> for String {
    fn from(filter: EventFilter) -> Self {
        filter.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> EventFilter {
        EventFilter::parse(text, 100).unwrap()
    }

    fn matches(pattern: &str, name: &str) -> bool {
        filter(pattern).matches(&name.parse().unwrap())
    }

    #[test]
    fn wildcards_match_by_half_and_without_case() {
        for (pattern, name, expected) in [
            ("*", "Patient-open", true),
            ("*", "org.example.thing", true),
            ("*", "syncerror", true),
            ("*", "heartbeat", false),
            ("heartbeat", "heartbeat", true),
            ("*-*", "Patient-open", true),
            ("*-*", "syncerror", false),
            ("patient-*", "Patient-close", true),
            ("Patient-*", "PatientX-close", false),
            ("*-select", "DiagnosticReport-SELECT", true),
            ("*-select", "DiagnosticReport-open", false),
            ("Patient-open,Patient-close", "PATIENT-CLOSE", true),
            ("org.example.thing", "org.Example.Thing", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "FC-EVT-06: {pattern} on {name}");
        }
    }

    #[test]
    fn a_filter_is_a_set_that_keeps_its_spelling() {
        let written = filter("Patient-open, patient-OPEN,ImagingStudy-open");
        assert_eq!(written, filter("imagingstudy-open,Patient-open"), "FC-SUB-03");
        assert_eq!(written.to_string(), "Patient-open,ImagingStudy-open", "FC-SUB-03");
    }

    #[test]
    fn what_is_neither_name_nor_wildcard_is_refused() {
        for text in ["", ",", "Patient-open,", "Pat*-open", "Patient", "*-opened", "**", "*-*-*"] {
            assert!(EventFilter::parse(text, 100).is_err(), "FC-SUB-01: {text}");
        }
        let refused = EventFilter::parse("a.b,a.c,a.d", 2).unwrap_err();
        assert_eq!(refused.to_string(), "hub.events must not name more than 2 events");
    }

    proptest! {
        #[test]
        fn a_filter_matches_what_any_of_its_parts_matches(
            parts in proptest::collection::vec("(Patient|ImagingStudy|\\*)-(open|close|\\*)|syncerror|org\\.[a-c]", 1..5),
            name in "(Patient|ImagingStudy|Encounter)-(open|close|select)|syncerror|org\\.[a-c]",
        ) {
            let name: EventName = name.parse().unwrap();
            let whole = filter(&parts.join(",")).matches(&name);
            prop_assert_eq!(whole, parts.iter().any(|part| filter(part).matches(&name)));
        }

        #[test]
        fn arbitrary_text_never_panics_and_survives_its_own_round_trip(text in ".{0,60}") {
            if let Ok(filter) = EventFilter::parse(&text, 100) {
                prop_assert_eq!(EventFilter::parse(&filter.to_string(), 100).unwrap(), filter);
            }
        }
    }
}
