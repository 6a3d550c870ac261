//! Which rules are asked for: all of them, or those that `--only` names.

use super::catalogue::{RULES, Rule};
use super::check::Check;
use super::checks;

/// The rules that are asked for.
#[derive(Debug, Clone)]
pub struct Selection {
    wanted: Vec<String>,
}

impl Selection {
    /// The rules whose ids, or the beginnings of their ids, are `wanted`; all if nothing is. An error names what means
    /// no rule, or only rules that have no check.
    pub fn of(wanted: &[String]) -> Result<Selection, String> {
        for wanted in wanted {
            if !RULES.iter().any(|rule| rule.is_meant_by(wanted)) {
                return Err(format!("--only: no rule is named {wanted:?}; --list shows them"));
            }
            if !checks::all().any(|check| check.rule().is_meant_by(wanted)) {
                return Err(format!("--only: {wanted} has no check; --list shows which have"));
            }
        }
        Ok(Selection { wanted: wanted.to_vec() })
    }

    /// True if the rule is asked for.
    pub fn has(&self, rule: &Rule) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| rule.is_meant_by(wanted))
    }

    /// The rules, in the order of the catalogue.
    pub fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        RULES.iter().filter(|rule| self.has(rule))
    }

    /// The checks, in the order of their rules.
    pub fn checks(&self) -> Vec<Check> {
        self.rules().flat_map(|rule| checks::all().filter(|check| check.rule == rule.id)).collect()
    }

    /// The rules that have no check.
    pub fn unchecked(&self) -> Vec<&'static Rule> {
        self.rules().filter(|rule| !checks::all().any(|check| check.rule == rule.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ids(wanted: &[&str]) -> Result<Vec<&'static str>, String> {
        let wanted: Vec<_> = wanted.iter().map(|wanted| (*wanted).to_owned()).collect();
        Selection::of(&wanted).map(|selection| selection.rules().map(|rule| rule.id).collect())
    }

    #[test]
    fn nothing_means_everything_and_a_group_all_its_rules() {
        assert_eq!(ids(&[]).unwrap().len(), RULES.len());
        assert_eq!(ids(&["FC-WSC"]).unwrap().len(), 8);
        assert_eq!(ids(&["fc-sub-02", "FC-WSC-01"]).unwrap(), ["FC-SUB-02", "FC-WSC-01"]);
    }

    #[test]
    fn what_means_no_rule_is_named() {
        for wanted in ["FC-XYZ", "FC-SUB-99", "FC-SUB-0", ""] {
            let error = ids(&["FC-WSC", wanted]).unwrap_err();
            assert!(error.contains(&format!("{wanted:?}")), "{error}");
        }
    }

    #[test]
    fn the_checks_stand_in_the_order_of_their_rules() {
        let checks = Selection::of(&[]).unwrap().checks();
        let place = |check: &Check| RULES.iter().position(|rule| rule.id == check.rule).unwrap();
        assert!(checks.is_sorted_by_key(place));
        assert_eq!(checks.len(), checks::all().count());
    }
}
