//! Patterns of event names: what `hub.events` and scopes are made of (FC-EVT-06, FC-SCO-01).
//!
//! `*`, `*-*`, `Patient-*`, `*-open`, or a name, which is a pattern that stands for itself alone: so
//! one rule says what a pattern matches and which other patterns it covers. Case never counts
//! (FC-EVT-02). A pattern keeps the spelling of whoever wrote it.

use std::fmt;

use super::{
    EventName,
    event_name::{Action, MAX_EVENT_NAME_BYTES, is_resource_type},
};

/// A name or wildcard, as it was written.
#[derive(Clone)]
pub(super) struct Pattern(String);

/// What a pattern stands for.
enum Form<'p> {
    /// `*`
    Everything,
    /// With a dash: resource and action, either of which may be `*`.
    Halves(&'p str, &'p str),
    /// A name without a dash.
    Name(&'p str),
}

const ANY: &str = "*";

impl Pattern {
    /// Reads one pattern. `None` when it is neither a name nor a wildcard.
    pub fn parse(text: &str) -> Option<Self> {
        let is_wild = |(resource, action): (&str, &str)| {
            let is_resource = resource == ANY || is_resource_type(resource);
            let is_action = action == ANY || Action::parse(action).is_some();
            (resource == ANY || action == ANY) && is_resource && is_action
        };
        let is_wildcard = text == ANY || text.split_once('-').is_some_and(is_wild);
        let is_pattern =
            text.len() <= MAX_EVENT_NAME_BYTES && is_wildcard || text.parse::<EventName>().is_ok();
        is_pattern.then(|| Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Is it the bare `*`?
    pub fn is_everything(&self) -> bool {
        self.0 == ANY
    }

    /// Is it this name?
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }

    /// Does it stand for this event?
    pub fn matches(&self, name: &EventName) -> bool {
        covers(&self.0, name.as_str())
    }

    /// Does it stand for every event that the other stands for?
    pub fn covers(&self, other: &Self) -> bool {
        covers(&self.0, &other.0)
    }

    /// Do these together stand for every event that this one stands for?
    pub fn is_covered_by(&self, patterns: &[Self]) -> bool {
        let by_action = |resource: &str| {
            let part = |action: &str| Self(format!("{resource}-{action}"));
            Action::NAMES.iter().all(|(action, _)| part(action).is_covered_by(patterns))
        };
        patterns.iter().any(|pattern| pattern.covers(self))
            || matches!(form(&self.0), Form::Halves(resource, ANY) if by_action(resource))
    }

    /// The pattern of the events that both stand for, spelled as in this one where it can be.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        match (form(&self.0), form(&other.0)) {
            (_, Form::Everything) => Some(self.clone()),
            (Form::Everything, _) => Some(other.clone()),
            (Form::Name(one), Form::Name(another)) => one.eq_ignore_ascii_case(another).then(|| self.clone()),
            (Form::Halves(resource, action), Form::Halves(resource_too, action_too)) => {
                let (resource, action) = (half(resource, resource_too)?, half(action, action_too)?);
                Some(Self(format!("{resource}-{action}")))
            }
            (Form::Name(_), Form::Halves(..)) | (Form::Halves(..), Form::Name(_)) => None,
        }
    }
}

/// What two halves have in common.
fn half<'p>(one: &'p str, other: &'p str) -> Option<&'p str> {
    match (one, other) {
        (ANY, _) => Some(other),
        (_, ANY) => Some(one),
        _ => one.eq_ignore_ascii_case(other).then_some(one),
    }
}

fn form(pattern: &str) -> Form<'_> {
    match pattern.split_once('-') {
        _ if pattern == ANY => Form::Everything,
        Some((resource, action)) => Form::Halves(resource, action),
        None => Form::Name(pattern),
    }
}

fn covers(pattern: &str, other: &str) -> bool {
    let half = |wanted: &str, given: &str| wanted == ANY || wanted.eq_ignore_ascii_case(given);
    match (form(pattern), form(other)) {
        (Form::Everything, _) => true,
        (Form::Halves(resource, action), Form::Halves(other_resource, other_action)) => {
            half(resource, other_resource) && half(action, other_action)
        }
        (Form::Name(name), Form::Name(other)) => name.eq_ignore_ascii_case(other),
        _ => false,
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Pattern {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn two_patterns_meet_in_what_both_stand_for() {
        for (one, other, expected) in [
            ("*", "Patient-open", Some("Patient-open")),
            ("Patient-*", "*", Some("Patient-*")),
            ("Patient-*", "*-open", Some("Patient-open")),
            ("*-OPEN", "patient-*", Some("patient-OPEN")),
            ("PATIENT-open", "patient-OPEN", Some("PATIENT-open")),
            ("*-*", "home-open", Some("home-open")),
            ("*-*", "syncerror", None),
            ("Patient-*", "Encounter-*", None),
            ("Patient-*", "*-*", Some("Patient-*")),
            ("org.Example.a", "ORG.example.A", Some("org.Example.a")),
            ("org.example.a", "org.example.b", None),
        ] {
            let meet = pattern(one).meet(&pattern(other));
            assert_eq!(meet.as_ref().map(Pattern::as_str), expected, "FC-SCO-02: {one} and {other}");
        }
    }

    #[test]
    fn several_patterns_cover_one_by_its_actions() {
        let all = ["open", "CLOSE", "update", "select"];
        let of = |resource: &str| all.map(|action| pattern(&format!("{resource}-{action}")));
        assert!(pattern("patient-*").is_covered_by(&of("Patient")));
        assert!(pattern("*-*").is_covered_by(&of("*")));
        assert!(!pattern("patient-*").is_covered_by(&of("Patient")[1..]));
        assert!(!pattern("*-*").is_covered_by(&of("Patient")));
        assert!(!pattern("*").is_covered_by(&of("*")), "names without a dash are missing");
    }

    #[test]
    fn what_is_too_long_is_no_pattern() {
        assert!(Pattern::parse(&format!("{}-*", "A".repeat(MAX_EVENT_NAME_BYTES))).is_none());
        assert!(Pattern::parse(&format!("org.{}", "a".repeat(MAX_EVENT_NAME_BYTES))).is_none());
    }
}
