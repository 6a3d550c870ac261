//! Every rule of FHIRcast that concerns a hub: its id, its title in our words, and in which version it holds at which level.
//!
//! The ids are those of this project's catalogue of requirements. A rule that the specification does not have, but that
//! its clients need, has the level [`Level::Beyond`], shown as `+`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub use super::rules::RULES;

/// A version of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// STU2.
    V2_0_0,
    /// STU3, first ballot.
    V2_1_0Ballot,
    /// STU3.
    V3_0_0,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Version; 3] = [Version::V2_0_0, Version::V2_1_0Ballot, Version::V3_0_0];

    /// As the specification calls itself.
    pub fn name(self) -> &'static str {
        match self {
            Version::V2_0_0 => "2.0.0",
            Version::V2_1_0Ballot => "2.1.0-ballot",
            Version::V3_0_0 => "3.0.0",
        }
    }

    /// The version that a hub means by its `fhircastVersion`; hubs in the field also write `STU2` and `STU3`.
    pub fn claimed(text: &str) -> Option<Version> {
        text.parse().ok().or(match text {
            "STU2" => Some(Version::V2_0_0),
            "STU3" => Some(Version::V3_0_0),
            _ => None,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let found = Version::ALL.into_iter().find(|version| version.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of 2.0.0, 2.1.0-ballot, 3.0.0"))
    }
}

/// How strongly a rule binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// SHALL.
    Must,
    /// SHOULD.
    Should,
    /// MAY.
    Optional,
    /// Not in the specification; what its clients need all the same.
    Beyond,
}

impl Level {
    /// One character: `M`, `S`, `O` or `+`.
    pub fn sign(self) -> &'static str {
        match self {
            Level::Must => "M",
            Level::Should => "S",
            Level::Optional => "O",
            Level::Beyond => "+",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.sign())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.sign())
    }
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// `FC-SUB-04`.
    pub id: &'static str,
    /// The section of the specification that it comes from.
    pub section: &'static str,
    /// One line.
    pub title: &'static str,
    /// Its level in each of [`Version::ALL`]; `None` where it does not hold.
    pub levels: [Option<Level>; 3],
}

impl Rule {
    /// The rule of that id.
    pub fn find(id: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| rule.id == id)
    }

    /// Its level in `version`; `None` if it does not hold there.
    pub fn level(&self, version: Version) -> Option<Level> {
        self.levels[version as usize]
    }

    /// Its level in the latest version that has it.
    pub fn latest_level(&self) -> Level {
        self.levels.iter().rev().copied().flatten().next().unwrap_or(Level::Beyond)
    }

    /// The group that it belongs to: `FC-SUB`.
    pub fn group(&self) -> &'static str {
        self.id.rsplit_once('-').map_or(self.id, |(group, _)| group)
    }

    /// The versions in which it holds, for a person: `2.0.0, 2.1.0-ballot`.
    pub fn versions(&self) -> String {
        let held: Vec<_> =
            Version::ALL.into_iter().filter(|version| self.level(*version).is_some()).collect();
        held.iter().map(|version| version.name()).collect::<Vec<_>>().join(", ")
    }

    /// True if `wanted` is its id, or the beginning of it that ends where a dash stands (`FC-SUB`), in any case.
    pub fn is_meant_by(&self, wanted: &str) -> bool {
        let wanted = wanted.to_ascii_uppercase();
        self.id.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// The groups, in the order of reports, and their titles.
pub const GROUPS: &[(&str, &str)] = &[
    ("FC-TRN", "Transport and format"),
    ("FC-SES", "Session discovery"),
    ("FC-SCO", "Scopes"),
    ("FC-EVT", "Events"),
    ("FC-SUB", "Subscribing"),
    ("FC-WSC", "WebSocket channel"),
    ("FC-WHK", "Webhook channel"),
    ("FC-NOT", "Notifying"),
    ("FC-REQ", "Requesting a context change"),
    ("FC-CNF", "Conformance"),
    ("FC-EXT", "Extensions"),
    ("FC-CTX", "Current context"),
    ("FC-CNT", "Content sharing"),
    ("FC-SEC", "Security"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_rule_stands_once_in_a_known_group_and_in_the_order_of_the_groups() {
        let place = |group: &str| GROUPS.iter().position(|(known, _)| *known == group);
        let places: Vec<_> = RULES.iter().map(|rule| (place(rule.group()).unwrap(), rule.id)).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!(RULES.iter().all(|rule| rule.levels.iter().any(Option::is_some) && !rule.title.is_empty()));
    }

    #[test]
    fn an_id_and_its_group_mean_a_rule_and_half_a_number_does_not() {
        let rule = Rule::find("FC-SUB-10").unwrap();
        assert!(["FC-SUB-10", "fc-sub", "FC"].iter().all(|wanted| rule.is_meant_by(wanted)));
        assert!(["FC-SUB-1", "FC-SU", "", "FC-SUB-100"].iter().all(|wanted| !rule.is_meant_by(wanted)));
    }

    #[test]
    fn a_level_is_that_of_the_version() {
        let replay = Rule::find("FC-SUB-08").unwrap();
        let levels = Version::ALL.map(|version| replay.level(version));
        assert_eq!(levels, [None, Some(Level::Should), Some(Level::Must)]);
        assert_eq!(Rule::find("FC-WHK-01").unwrap().versions(), "2.0.0, 2.1.0-ballot");
    }

    #[test]
    fn a_claimed_version_may_be_a_name_of_the_field() {
        assert_eq!(Version::claimed("STU3"), Some(Version::V3_0_0));
        assert_eq!(Version::claimed("2.1.0-ballot"), Some(Version::V2_1_0Ballot));
        assert_eq!(Version::claimed("R4"), None);
    }
}
