//! The report for programs: everything, in a shape that stays.
//!
//! ```text
//! { "hub_url", "claimed_version", "spec", "seconds", "exit_code",
//!   "counts":    {"passed", "failed", "warned", "skipped"},
//!   "checks":    [{ "rule", "group", "level": "M"|"S"|"O"|"+", "section", "title", "check",
//!                   "verdict": "passed"|"failed"|"warned"|"skipped", "seconds",
//!                   "expected", "came"   if failed or warned,
//!                   "reason"             if skipped,
//!                   "exchange": [{"at_ms", "direction": "sent"|"came", "text"}] }],
//!   "unchecked": [ids of rules that were asked for and have no check] }
//! ```
//! Members may be added; those here keep their names and meanings.

use serde_json::{Value, json};

use crate::conformance::run::{Checked, Run, Verdict};

/// The report.
pub fn json(run: &Run) -> String {
    let checks: Vec<_> = run.checks.iter().map(checked).collect();
    let report = json!({
        "hub_url": run.hub_url,
        "claimed_version": run.claimed_version,
        "spec": run.spec.name(),
        "seconds": run.took.as_secs_f64(),
        "exit_code": run.exit_code(),
        "counts": run.counts(None),
        "checks": checks,
        "unchecked": run.unchecked.iter().map(|rule| rule.id).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

fn checked(check: &Checked) -> Value {
    let mut json = json!({
        "rule": check.rule.id,
        "group": check.rule.group(),
        "level": check.level,
        "section": check.rule.section,
        "title": check.rule.title,
        "check": check.name,
        "verdict": check.verdict.name(),
        "seconds": check.took.as_secs_f64(),
        "exchange": check.exchange,
    });
    match &check.verdict {
        Verdict::Passed => {}
        Verdict::Failed(failure) | Verdict::Warned(failure) => {
            json["expected"] = failure.expected.as_str().into();
            json["came"] = failure.came.as_str().into();
        }
        Verdict::Skipped(reason) => json["reason"] = reason.as_str().into(),
    }
    json
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::conformance::report::sample;

    #[test]
    fn it_has_everything() {
        let report: Value = serde_json::from_str(&json(&sample())).unwrap();
        assert_eq!(report["counts"], json!({"passed": 1, "failed": 1, "warned": 1, "skipped": 1}));
        assert_eq!((&report["exit_code"], &report["unchecked"]), (&json!(1), &json!(["FC-SEC-03"])));
        let failed = &report["checks"][1];
        assert_eq!(failed["rule"], "FC-TRN-02");
        assert_eq!((&failed["verdict"], &failed["level"]), (&json!("failed"), &json!("M")));
        assert_eq!((&failed["expected"], &failed["came"]), (&json!("\"a\" & <b>"), &json!("c\u{1b}[2J")));
        assert_eq!(failed["exchange"][0]["direction"], "sent");
        assert_eq!(report["checks"][3]["reason"], "not in 3.0.0");
    }
}
