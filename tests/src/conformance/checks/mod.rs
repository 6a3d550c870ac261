//! The checks: a file for each group of rules, or for groups that belong together.

use super::check::Check;

mod conformance;
mod content;
mod context;
mod events;
mod notifying;
mod requesting;
mod sessions;
mod sockets;
mod subscribing;
mod tokens;
mod transport;
mod webhooks;

/// Every check.
pub fn all() -> impl Iterator<Item = Check> {
    [
        transport::CHECKS,
        sessions::CHECKS,
        tokens::CHECKS,
        events::CHECKS,
        subscribing::CHECKS,
        sockets::CHECKS,
        webhooks::CHECKS,
        notifying::CHECKS,
        requesting::CHECKS,
        conformance::CHECKS,
        context::CHECKS,
        content::CHECKS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::catalogue::Rule;

    #[test]
    fn every_check_names_a_rule_and_has_a_name_of_its_own() {
        let mut names: Vec<_> = all().map(|check| check.name).collect();
        assert!(all().all(|check| Rule::find(check.rule).is_some()));
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }
}
