//! What there is to check.

use std::fmt::Write;

use crate::conformance::catalogue::{GROUPS, Level, Rule, Version};
use crate::conformance::checks;
use crate::conformance::selection::Selection;

/// The rules and, under each, its checks; with its level in `spec`, or in each version if there is none.
pub fn list(selection: &Selection, spec: Option<Version>) -> String {
    let mut out = String::new();
    for (group, title) in GROUPS {
        let rules: Vec<_> = selection.rules().filter(|rule| rule.group() == *group).collect();
        if rules.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{group} {title}");
        for rule in rules {
            let _ = writeln!(out, "  {} [{}] {} {}", rule.id, levels(rule, spec), rule.section, rule.title);
            for check in checks::all().filter(|check| check.rule == rule.id) {
                let _ = writeln!(out, "      {}", check.name);
            }
        }
    }
    out
}

/// `M`, or `-/S/M` where the versions differ: 2.0.0, 2.1.0-ballot, 3.0.0.
fn levels(rule: &Rule, spec: Option<Version>) -> String {
    let sign = |level: Option<Level>| level.map_or("-", Level::sign);
    match spec {
        Some(spec) => sign(rule.level(spec)).to_owned(),
        None if rule.levels.iter().all(|level| *level == rule.levels[0]) => sign(rule.levels[0]).to_owned(),
        None => rule.levels.map(sign).join("/"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_rule_and_every_check_is_listed() {
        let list = list(&Selection::of(&[]).unwrap(), None);
        assert!(list.contains("  FC-SUB-08 [-/S/M] 2.4 A new subscriber"), "{list}");
        assert!(checks::all().all(|check| list.contains(&format!("      {}\n", check.name))), "{list}");
    }

    #[test]
    fn a_version_has_its_own_levels() {
        let selection = Selection::of(&["FC-SUB".to_owned()]).unwrap();
        let list = list(&selection, Some(Version::V2_1_0Ballot));
        assert!(list.contains("FC-SUB-08 [S]") && !list.contains("FC-WSC"), "{list}");
    }
}
