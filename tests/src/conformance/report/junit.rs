//! The report for build servers: JUnit's XML. Skipped checks are `<skipped>`, failures of what must be `<failure>`;
//! a warning has passed, and says what it warns of in `<system-out>`.

use std::fmt::Write;

use crate::conformance::catalogue::GROUPS;
use crate::conformance::check::Failure;
use crate::conformance::run::{Checked, Run, Verdict};
use crate::conformance::trace::Direction;

/// The report.
pub fn junit(run: &Run) -> String {
    let counts = run.counts(None);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"FHIRcast {} at {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        run.spec,
        escaped(&run.hub_url),
        run.checks.len(),
        counts.failed,
        counts.skipped,
        run.took.as_secs_f64()
    );
    for (group, title) in GROUPS {
        let checks: Vec<_> = run.checks.iter().filter(|check| check.rule.group() == *group).collect();
        if checks.is_empty() {
            continue;
        }
        let counts = run.counts(Some(group));
        let seconds: f64 = checks.iter().map(|check| check.took.as_secs_f64()).sum();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{group} {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\">",
            escaped(title),
            checks.len(),
            counts.failed,
            counts.skipped,
        );
        checks.into_iter().for_each(|check| case(&mut out, check));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(out: &mut String, check: &Checked) {
    let (id, name, seconds) = (check.rule.id, check.name, check.took.as_secs_f64());
    let _ = write!(out, "    <testcase classname=\"{id}\" name=\"{name}\" time=\"{seconds:.3}\"");
    match &check.verdict {
        Verdict::Passed => out.push_str("/>\n"),
        Verdict::Skipped(reason) => {
            let _ = writeln!(out, "><skipped message=\"{}\"/></testcase>", escaped(reason));
        }
        Verdict::Failed(failure) => {
            let message = escaped(&failure.expected);
            let _ = writeln!(
                out,
                "><failure message=\"expected {message}\" type=\"{id}\">{}</failure></testcase>",
                escaped(&evidence(check, failure))
            );
        }
        Verdict::Warned(failure) => {
            let warning = escaped(&format!("warning\n{}", evidence(check, failure)));
            let _ = writeln!(out, "><system-out>{warning}</system-out></testcase>");
        }
    }
}

fn evidence(check: &Checked, failure: &Failure) -> String {
    let rule = check.rule;
    let mut text = format!("{} [{}] section {}: {}\n", rule.id, check.level, rule.section, rule.title);
    let _ = writeln!(text, "expected: {}\ncame: {}", failure.expected, failure.came);
    for line in &check.exchange {
        let arrow = if line.direction == Direction::Sent { "->" } else { "<-" };
        let _ = writeln!(text, "{:.3} s {arrow} {}", line.at_ms as f64 / 1000.0, line.text);
    }
    text
}

/// As text or as an attribute's value. What XML 1.0 can't hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            '\r' => out.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::sample;

    #[test]
    fn each_verdict_has_its_element_and_the_text_is_escaped() {
        let xml = junit(&sample());
        for part in [
            "<testsuites name=\"FHIRcast 3.0.0 at http://hub\" tests=\"4\" failures=\"1\" skipped=\"1\" time=\"2.500\">",
            "<testcase classname=\"FC-TRN-01\" name=\"it_is_json\" time=\"1.500\"/>",
            "<failure message=\"expected &quot;a&quot; &amp; &lt;b&gt;\" type=\"FC-TRN-02\">",
            "400  no\u{fffd}",
            "<system-out>warning\nFC-TRN-06",
            "<skipped message=\"not in 3.0.0\"/>",
        ] {
            assert!(xml.contains(part), "{part:?} is not in\n{xml}");
        }
        assert!(!xml.contains('\u{1b}') && !xml.contains("<b>"), "{xml}");
    }

    #[test]
    fn every_element_that_opens_closes() {
        let xml = junit(&sample());
        let mut open = Vec::new();
        for tag in xml.split('<').skip(2).filter_map(|part| part.split_once('>')).map(|(tag, _)| tag) {
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (false, false) => open.push(name),
                (false, true) => {}
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
