//! The report for people: a table, then what is wrong with its evidence, then what was left out and why.

use std::fmt::Write;

use crate::conformance::catalogue::GROUPS;
use crate::conformance::check::Failure;
use crate::conformance::run::{Checked, Run, Verdict};
use crate::conformance::trace::{Direction, shortened};

/// Characters shown of what was expected and of what came.
const SHOWN_CHARS: usize = 600;
/// Messages shown of an exchange: the last ones, each this long.
const SHOWN_LINES: usize = 8;
const SHOWN_LINE_CHARS: usize = 240;

/// The report.
pub fn text(run: &Run) -> String {
    let mut out =
        format!("{} claims {}, and was held to {}.\n\n", run.hub_url, run.claimed_version, run.spec);
    table(&mut out, run);
    for (title, verdict) in [("FAILED", "failed"), ("WARNINGS", "warned")] {
        let wrong: Vec<_> = run.checks.iter().filter(|check| check.verdict.name() == verdict).collect();
        if !wrong.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        wrong.into_iter().for_each(|check| evidence(&mut out, check));
    }
    skipped(&mut out, run);
    if !run.unchecked.is_empty() {
        let ids: Vec<_> = run.unchecked.iter().map(|rule| rule.id).collect();
        let _ = writeln!(out, "\nWITHOUT A CHECK\n  {}", ids.join(" "));
    }
    let counts = run.counts(None);
    let verdict = match (run.exit_code(), counts.passed) {
        (0, 0) => "NOTHING WAS SEEN",
        (0, _) => "PASSED",
        _ => "FAILED",
    };
    let _ = writeln!(
        out,
        "\n{verdict}: {} passed, {} failed, {} warned, {} skipped in {:.1} s",
        counts.passed,
        counts.failed,
        counts.warned,
        counts.skipped,
        run.took.as_secs_f64()
    );
    out
}

fn table(out: &mut String, run: &Run) {
    let mut row = |group: &str, title: &str, cells: [&str; 4]| {
        let [passed, failed, warned, skipped] = cells;
        let _ = writeln!(out, "{group:<7} {title:<28} {passed:>7} {failed:>7} {warned:>7} {skipped:>8}");
    };
    row("group", "", ["passed", "failed", "warned", "skipped"]);
    let groups = GROUPS.iter().map(|(group, title)| (*group, *title, Some(*group)));
    for (group, title, of) in groups.chain([("all", "", None)]) {
        let counts = run.counts(of);
        let cells = [counts.passed, counts.failed, counts.warned, counts.skipped];
        if of.is_none() || cells.iter().any(|count| *count > 0) {
            // What is wrong catches the eye if what is not is no number.
            let cells = cells.map(|count| if count == 0 { "-".to_owned() } else { count.to_string() });
            row(group, title, cells.each_ref().map(String::as_str));
        }
    }
}

fn evidence(out: &mut String, check: &Checked) {
    let (Verdict::Failed(Failure { expected, came }) | Verdict::Warned(Failure { expected, came })) =
        &check.verdict
    else {
        return;
    };
    let rule = check.rule;
    let _ = writeln!(out, "\n  {} [{}] section {}: {}", rule.id, check.level, rule.section, rule.title);
    let _ = writeln!(out, "    check     {}", check.name);
    let sent = check.exchange.iter().rev().find(|line| line.direction == Direction::Sent);
    let sent = sent.map_or("nothing", |line| line.text.as_str());
    for (name, text) in [("sent", sent), ("expected", expected), ("came", came)] {
        let _ = writeln!(out, "    {name:<9} {}", printable(text, SHOWN_CHARS));
    }
    let hidden = check.exchange.len().saturating_sub(SHOWN_LINES);
    if check.exchange.len() > 1 {
        let before = if hidden > 0 { format!(" (after {hidden} messages)") } else { String::new() };
        let _ = writeln!(out, "    exchange{before}");
        for line in &check.exchange[hidden..] {
            let arrow = if line.direction == Direction::Sent { "->" } else { "<-" };
            let text = printable(&line.text, SHOWN_LINE_CHARS);
            let _ = writeln!(out, "      {:>6.3} s {arrow} {text}", line.at_ms as f64 / 1000.0);
        }
    }
}

fn skipped(out: &mut String, run: &Run) {
    let mut reasons: Vec<(&str, Vec<&Checked>)> = Vec::new();
    for check in &run.checks {
        if let Verdict::Skipped(reason) = &check.verdict {
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, checks)) => checks.push(check),
                None => reasons.push((reason, vec![check])),
            }
        }
    }
    if !reasons.is_empty() {
        let _ = writeln!(out, "\nSKIPPED");
    }
    for (reason, checks) in reasons {
        let _ = writeln!(out, "  {}", printable(reason, SHOWN_LINE_CHARS));
        for check in checks {
            let _ = writeln!(out, "    {} {}", check.rule.id, check.name);
        }
    }
}

/// One line, short enough, that does nothing to a terminal.
fn printable(text: &str, chars: usize) -> String {
    let text: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    shortened(text.trim(), chars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::sample;

    #[test]
    fn the_table_counts_and_the_rest_shows_the_evidence() {
        let text = text(&sample());
        for part in [
            "http://hub claims STU3, and was held to 3.0.0.",
            "FC-TRN  Transport and format               1       1       1        -",
            "FC-WHK  Webhook channel                    -       -       -        1",
            "all                                        1       1       1        1",
            "FC-TRN-02 [M] section 2: Forms subscribe",
            "check     it_is_415",
            "sent      POST http://hub {\"x\":1}",
            "expected  \"a\" & <b>",
            " 0.003 s <- 400  no",
            "FC-TRN-06 [+]",
            "not in 3.0.0\n    FC-WHK-01 it_is_https",
            "WITHOUT A CHECK\n  FC-SEC-03",
            "FAILED: 1 passed, 1 failed, 1 warned, 1 skipped in 2.5 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("FC-SUB ") && text.contains("bytes…"), "{text}");
    }

    #[test]
    fn what_a_hub_says_does_nothing_to_a_terminal() {
        let text = text(&sample());
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text:?}");
    }

    #[test]
    fn a_run_that_saw_nothing_does_not_say_that_all_is_well() {
        let mut run = sample();
        run.checks.retain(|check| matches!(check.verdict, Verdict::Skipped(_)));
        assert!(text(&run).contains("NOTHING WAS SEEN: 0 passed"));
    }
}
