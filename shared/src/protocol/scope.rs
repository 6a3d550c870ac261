//! SMART scopes of FHIRcast (2.2): which events a token may read and which it may write.
//!
//! `fhircast/` (event name, `*`, `Patient-*`, `*-open` or `*-*`) `.` (`read`, `write` or `*`). The
//! action stands after the last dot, for the names of proprietary events have dots themselves.
//!
//! Event names are compared without case, as everywhere (FC-EVT-02). The rest is compared exactly,
//! for scopes are case-sensitive (RFC 6749, 3.3). What is no scope of FHIRcast's is ignored, and one
//! that cannot be read grants nothing: no spelling widens what a token may do.
//!
//! A scope's `*` covers every event, `heartbeat` too. That of a subscription does not ask for the
//! heartbeat (FC-WSC-06): so `*` asked for on a scope `heartbeat.read` is nothing.
//!
//! Rules: FC-SCO-01, FC-SCO-02.

use super::{EventFilter, EventName, pattern::Pattern};

/// The most patterns that a token's scopes have for reading, and as many for writing. What comes
/// after them grants nothing.
pub const MAX_PATTERNS: usize = 100;

/// What a 403 names of the scopes that would each have helped.
const MAX_NAMED: usize = 3;

/// The FHIRcast scopes of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    read: Vec<Pattern>,
    write: Vec<Pattern>,
}

impl Scopes {
    /// Reads scopes: each text is one, or several with spaces between them, as tokens have them in a
    /// string or in an array.
    pub fn parse<'s>(scopes: impl IntoIterator<Item = &'s str>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for scope in scopes.into_iter().flat_map(str::split_ascii_whitespace) {
            let Some((name, action)) =
                scope.strip_prefix("fhircast/").and_then(|scope| scope.rsplit_once('.'))
            else {
                continue;
            };
            let Some(pattern) = Pattern::parse(name) else { continue };
            if matches!(action, "read" | "*") {
                add(&mut read, &pattern);
            }
            if matches!(action, "write" | "*") {
                add(&mut write, &pattern);
            }
        }
        Self { read, write }
    }

    /// Those of a caller from whom no token is asked.
    pub fn everything() -> Self {
        Self::parse(["fhircast/*.*"])
    }

    /// May events of this name be received?
    pub fn may_read(&self, name: &EventName) -> bool {
        self.read.iter().any(|pattern| pattern.matches(name))
    }

    /// May any event be received?
    pub fn may_read_any(&self) -> bool {
        !self.read.is_empty()
    }

    /// May events of this name be sent?
    pub fn may_write(&self, name: &EventName) -> bool {
        self.write.iter().any(|pattern| pattern.matches(name))
    }

    /// What is asked for, as far as it may be read (FC-SCO-02). `None` when that is nothing.
    pub fn readable(&self, asked: &EventFilter) -> Option<EventFilter> {
        asked.within(&self.read)
    }
}

fn add(patterns: &mut Vec<Pattern>, pattern: &Pattern) {
    if !patterns.iter().any(|known| known.covers(pattern)) {
        patterns.retain(|known| !pattern.covers(known));
        if patterns.len() < MAX_PATTERNS {
            patterns.push(pattern.clone());
        }
    }
}

/// What a token lacks, told by scopes that would each have done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token has no scope for this, such as {}", .0.join(" or "))]
pub struct MissingScope(Vec<String>);

impl MissingScope {
    /// To send such an event.
    pub fn to_write(name: &EventName) -> Self {
        Self(vec![format!("fhircast/{name}.write")])
    }

    /// To receive any of what is asked for.
    pub fn to_read(asked: &EventFilter) -> Self {
        let scope = |pattern: &Pattern| format!("fhircast/{}.read", pattern.as_str());
        Self(asked.patterns().iter().take(MAX_NAMED).map(scope).collect())
    }

    /// To receive anything at all.
    pub fn to_read_any() -> Self {
        Self(vec!["fhircast/*.read".into()])
    }

    /// The scopes with spaces between them, as `WWW-Authenticate` has them (RFC 6750, 3).
    pub fn scopes(&self) -> String {
        self.0.join(" ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> EventFilter {
        EventFilter::parse(text, 1000).unwrap()
    }

    fn name(text: &str) -> EventName {
        text.parse().unwrap()
    }

    #[test]
    fn a_scope_names_events_and_what_may_be_done_with_them() {
        for (scope, event, reads, writes) in [
            ("fhircast/Patient-open.read", "Patient-open", true, false),
            ("fhircast/Patient-open.write", "Patient-open", false, true),
            ("fhircast/Patient-open.*", "patient-OPEN", true, true),
            ("fhircast/PATIENT-OPEN.read", "Patient-open", true, false),
            ("fhircast/Patient-open.read", "Patient-close", false, false),
            ("fhircast/*.read", "org.example.thing", true, false),
            ("fhircast/*.read", "heartbeat", true, false),
            ("fhircast/*.read", "syncerror", true, false),
            ("fhircast/*.*", "Patient-open", true, true),
            ("fhircast/Patient-*.read", "Patient-select", true, false),
            ("fhircast/*-open.write", "Encounter-open", false, true),
            ("fhircast/*-*.read", "syncerror", false, false),
            ("fhircast/*-*.read", "Encounter-open", true, false),
            ("fhircast/org.example.thing.read", "org.example.thing", true, false),
            ("fhircast/org.example.thing.read", "org.example.thing.read", false, false),
            ("openid fhircast/Patient-open.read patient/*.read", "Patient-open", true, false),
        ] {
            let scopes = Scopes::parse([scope]);
            let (read, write) = (scopes.may_read(&name(event)), scopes.may_write(&name(event)));
            assert_eq!((read, write), (reads, writes), "FC-SCO-01: {scope} on {event}");
        }
    }

    #[test]
    fn what_is_no_scope_of_fhircasts_or_cannot_be_read_grants_nothing() {
        let none = Scopes::parse([]);
        for scope in [
            "openid",
            "patient/*.read",
            "patient/*.*",
            "*",
            "fhircast/*",
            "fhircast/",
            "fhircast/.read",
            "fhircast/read",
            "FHIRcast/*.read",
            "fhircast/*.READ",
            "fhircast/*.reads",
            "fhircast/*.r",
            "fhircast/*.read,write",
            "fhircast/**.read",
            "fhircast/Pat*-open.read",
            "fhircast/Patient.read",
            "fhircast/Patient-opened.read",
            "fhircast/*,Patient-open.read",
            "fhircast/ *.read",
            "fhircast//*.read",
            "xfhircast/*.read",
            "fhircast/*\u{a0}.read",
            "fhircast/\u{212a}-open.read",
            "fhircast/org.example.thing",
        ] {
            assert_eq!(Scopes::parse([scope]), none, "FC-SCO-01: {scope}");
        }
        assert!(!none.may_read_any() && none.readable(&filter("*")).is_none());
    }

    #[test]
    fn the_number_of_patterns_is_bounded_and_those_that_others_cover_do_not_count() {
        let many: Vec<String> = (0..1000).map(|number| format!("fhircast/org.e{number}.read")).collect();
        let scopes = Scopes::parse(many.iter().map(String::as_str));
        assert_eq!(scopes.read.len(), MAX_PATTERNS);
        assert!(!scopes.may_read(&name("org.e999")));
        let scopes =
            Scopes::parse(many[..MAX_PATTERNS].iter().map(String::as_str).chain(["fhircast/*.read"]));
        assert!(scopes.may_read(&name("org.e999")));
        assert_eq!(scopes.read.len(), 1);
    }

    #[test]
    fn what_is_asked_is_granted_as_far_as_it_may_be_read() {
        for (scopes, asked, granted) in [
            ("fhircast/*.read", "patient-OPEN,*-close", Some("patient-OPEN,*-close")),
            ("fhircast/Patient-open.read", "patient-OPEN,Encounter-open", Some("patient-OPEN")),
            ("fhircast/Patient-open.read", "*", Some("Patient-open")),
            ("fhircast/Patient-*.read", "*-open", Some("Patient-open")),
            ("fhircast/*-open.read", "Patient-*,Patient-open", Some("Patient-open")),
            ("fhircast/*-open.read fhircast/syncerror.read", "*", Some("*-open,syncerror")),
            ("fhircast/Patient-open.read", "Encounter-open,syncerror", None),
            ("fhircast/Patient-open.write", "Patient-open", None),
            ("fhircast/heartbeat.read", "*", None),
            ("fhircast/*.read", "heartbeat", Some("heartbeat")),
            ("fhircast/*.read", "*,heartbeat", Some("*,heartbeat")),
            ("fhircast/*.read", "*", Some("*")),
            ("fhircast/*.read", "Patient-open,*", Some("*")),
            ("fhircast/PATIENT-open.read", "*-open,Patient-open", Some("Patient-open")),
            (
                "fhircast/Patient-open.read fhircast/Patient-close.read fhircast/*-select.read \
                 fhircast/patient-update.read",
                "Patient-*",
                Some("Patient-*"),
            ),
        ] {
            let readable = Scopes::parse([scopes]).readable(&filter(asked));
            let readable = readable.map(|readable| readable.to_string());
            assert_eq!(readable.as_deref(), granted, "FC-SCO-02: {asked} on {scopes}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = |events| MissingScope::to_read(&filter(events));
        assert_eq!(
            missing("Patient-open").to_string(),
            "the token has no scope for this, such as fhircast/Patient-open.read"
        );
        let several = missing("a.a,a.b,a.c,a.d");
        assert_eq!(several.scopes(), "fhircast/a.a.read fhircast/a.b.read fhircast/a.c.read");
        assert!(several.to_string().ends_with("fhircast/a.b.read or fhircast/a.c.read"));
        let missing = MissingScope::to_write(&name("Patient-open"));
        assert_eq!(missing.scopes(), "fhircast/Patient-open.write");
    }

    fn pattern() -> impl Strategy<Value = String> {
        "\\*|(Patient|patient|Encounter|\\*)-(open|CLOSE|update|select|\\*)|home-open|syncerror|SyncError|heartbeat|org\\.[a-c]"
    }

    fn event() -> impl Strategy<Value = EventName> {
        "(Patient|PATIENT|Encounter|Group|home)-(open|close|Update|select)|syncerror|heartbeat|userlogout|org\\.[a-d]"
            .prop_map(|text| text.parse().unwrap())
    }

    fn scopes() -> impl Strategy<Value = Vec<String>> {
        let scope =
            (pattern(), "read|write|\\*").prop_map(|(name, action)| format!("fhircast/{name}.{action}"));
        prop::collection::vec(scope, 0..8)
    }

    proptest! {
        #[test]
        fn granted_is_what_is_asked_and_may_be_read(
            scopes in scopes(),
            asked in prop::collection::vec(pattern(), 1..8),
            events in prop::collection::vec(event(), 1..30),
        ) {
            let (scopes, asked) = (Scopes::parse(scopes.iter().map(String::as_str)), filter(&asked.join(",")));
            let granted = scopes.readable(&asked);
            for event in &events {
                let is_granted = granted.as_ref().is_some_and(|granted| granted.matches(event));
                prop_assert_eq!(is_granted, asked.matches(event) && scopes.may_read(event), "FC-SCO-02: {}", event);
            }
            let Some(granted) = granted else { return Ok(()) };
            prop_assert_eq!(&filter(&granted.to_string()), &granted, "its text is the same filter");
            let bound = 4 * (asked.patterns().len() + scopes.read.len());
            prop_assert!(granted.patterns().len() <= bound);
            for (index, one) in granted.patterns().iter().enumerate() {
                let mut others = granted.patterns().iter().enumerate().filter(|(other, _)| *other != index);
                let is_covered = others.any(|(_, other)| {
                    other.covers(one) && !(other.is_everything() && one.is("heartbeat"))
                });
                prop_assert!(!is_covered, "{} in {}", one.as_str(), granted);
            }
            for asked in asked.patterns() {
                let is_covered = granted.patterns().iter().any(|granted| granted.covers(asked) && granted != asked);
                if asked.is_covered_by(&scopes.read) && !is_covered {
                    let is_kept = granted.patterns().iter().any(|granted| granted.as_str() == asked.as_str());
                    prop_assert!(is_kept, "the spelling of {} in {}", asked.as_str(), granted);
                }
            }
        }

        #[test]
        fn scopes_do_not_depend_on_order_or_on_how_they_are_cut(scopes in scopes(), event in event()) {
            let whole = Scopes::parse([scopes.join(" ").as_str()]);
            let reversed = Scopes::parse(scopes.iter().rev().map(String::as_str));
            prop_assert_eq!(whole.may_read(&event), reversed.may_read(&event));
            prop_assert_eq!(whole.may_write(&event), reversed.may_write(&event));
        }

        #[test]
        fn arbitrary_text_never_panics_and_grants_nothing_without_the_prefix(text in ".{0,60}") {
            let scopes = Scopes::parse([text.as_str()]);
            prop_assert!(text.contains("fhircast/") || scopes == Scopes::parse([]));
        }
    }
}
