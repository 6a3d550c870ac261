//! What is said of a run: for people, for programs, and for build servers.

mod json;
mod junit;
mod list;
mod text;

pub use json::json;
pub use junit::junit;
pub use list::list;
pub use text::text;

/// A run with one check of each verdict.
#[cfg(test)]
pub(super) fn sample() -> super::run::Run {
    use std::time::Duration;

    use super::catalogue::{Rule, Version};
    use super::check::Failure;
    use super::run::{Checked, Run, Verdict};
    use super::trace::{Direction, Line};

    let failure = |came: &str| Failure { expected: "\"a\" & <b>".to_owned(), came: came.to_owned() };
    let said = |direction, text: &str| Line { at_ms: 3, direction, text: text.to_owned() };
    let checked = |id: &str, name, verdict| {
        #[allow(clippy::unwrap_used)]
        let rule = Rule::find(id).unwrap();
        Checked {
            rule,
            level: rule.latest_level(),
            name,
            verdict,
            took: Duration::from_millis(1500),
            exchange: vec![
                said(Direction::Sent, "POST http://hub {\"x\":1}"),
                said(Direction::Came, "400  no\u{1}"),
            ],
        }
    };
    Run {
        hub_url: "http://hub".to_owned(),
        claimed_version: "STU3".to_owned(),
        spec: Version::V3_0_0,
        took: Duration::from_millis(2500),
        checks: vec![
            checked("FC-TRN-01", "it_is_json", Verdict::Passed),
            checked("FC-TRN-02", "it_is_415", Verdict::Failed(failure("c\u{1b}[2J"))),
            checked("FC-TRN-06", "a_slash", Verdict::Warned(failure(&"long ".repeat(500)))),
            checked("FC-WHK-01", "it_is_https", Verdict::Skipped("not in 3.0.0".to_owned())),
        ],
        unchecked: Rule::find("FC-SEC-03").into_iter().collect(),
    }
}
