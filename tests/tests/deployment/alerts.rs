//! `deploy/prometheus`: that the rules are well-formed, that each alert fires when it should and only then, and that each
//! has its section in the runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::Command;

use serde_json::Value;

use crate::served::served;
use crate::tools::{repository, run, text, yaml};

const RULES: &str = "deploy/prometheus/alerts.yaml";
const TESTS: [&str; 2] = ["deploy/prometheus/alerts_test.yaml", "deploy/prometheus/alerts_long_test.yaml"];
const RUNBOOK: &str = "docs/OPERATIONS.md";

/// One rule: an alert, or a recording.
pub struct Rule {
    pub name: String,
    pub is_alert: bool,
    pub expression: String,
    rule: Value,
}

/// All rules, in their order.
pub fn rules() -> Vec<Rule> {
    let rules = yaml(RULES)["groups"].as_array().unwrap().clone();
    let rules = rules.into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    let read = |rule: Value| {
        let is_alert = rule.get("alert").is_some();
        let name = rule[if is_alert { "alert" } else { "record" }].as_str().unwrap().to_owned();
        Rule { name, is_alert, expression: rule["expr"].as_str().unwrap().to_owned(), rule }
    };
    rules.map(read).collect()
}

fn alerts() -> Vec<Rule> {
    rules().into_iter().filter(|rule| rule.is_alert).collect()
}

fn promtool(arguments: &[&str]) -> String {
    run(Command::new("promtool").args(arguments))
}

/// The text of each section of the runbook, by its heading.
fn sections() -> BTreeMap<String, String> {
    let page = text(RUNBOOK);
    let sections = page.split("\n### ").skip(1).filter_map(|section| section.split_once('\n'));
    let until_the_next_part = |body: &str| body.split("\n## ").next().unwrap().to_owned();
    sections.map(|(heading, body)| (heading.trim().to_owned(), until_the_next_part(body))).collect()
}

/// The expressions in the runbook.
pub fn runbook_expressions() -> Vec<String> {
    let page = text(RUNBOOK);
    let blocks = page.split("```promql\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn the_rules_are_well_formed() {
    promtool(&["check", "rules", RULES]);
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    promtool(&[&["test", "rules"][..], &TESTS].concat());
}

#[test]
fn of_each_alert_there_is_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let (mut fires, mut is_silent) = (BTreeSet::new(), BTreeSet::new());
    for test in TESTS.iter().flat_map(|file| yaml(file)["tests"].as_array().unwrap().clone()) {
        let series = test["input_series"].as_array().cloned().unwrap_or_default();
        for expected in test["alert_rule_test"].as_array().into_iter().flatten() {
            let name = expected["alertname"].as_str().unwrap();
            let alerts = expected["exp_alerts"].as_array().unwrap();
            if !alerts.is_empty() {
                fires.insert(name.to_owned());
            }
            let is_in =
                |namespace: &str| alerts.iter().any(|alert| alert["exp_labels"]["namespace"] == namespace);
            let namespaces = series.iter().filter_map(|series| {
                series["series"].as_str()?.split_once("namespace=\"")?.1.split('"').next()
            });
            if namespaces.into_iter().any(|namespace| !is_in(namespace)) {
                is_silent.insert(name.to_owned());
            }
        }
    }
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    assert!(names.len() > 40, "{names:?}");
    assert_eq!(names.difference(&fires).collect::<Vec<_>>(), [""; 0], "of these no case fires");
    assert_eq!(names.difference(&is_silent).collect::<Vec<_>>(), [""; 0], "of these each case fires");
}

#[test]
fn each_alert_says_how_bad_it_is_and_what_was_measured_and_where_its_runbook_is() {
    for alert in alerts() {
        let (name, annotations) = (&alert.name, &alert.rule["annotations"]);
        assert!(name.starts_with("Fhircast"), "{name}");
        assert!(
            ["critical", "warning"].contains(&alert.rule["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            annotations["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{name} has no summary"
        );
        assert!(
            annotations["description"].as_str().is_some_and(|text| text.contains("$value")),
            "{name} names no value"
        );
        let anchor = format!("{RUNBOOK}#{}", name.to_lowercase());
        assert_eq!(annotations["runbook_url"], anchor, "{name}");
    }
}

#[test]
fn the_runbook_has_a_section_for_each_alert_and_for_nothing_else() {
    let sections = sections();
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let headed: BTreeSet<String> =
        sections.keys().filter(|name| name.starts_with("Fhircast")).cloned().collect();
    assert_eq!(headed, names);
    for name in &names {
        for part in ["**What users see.**", "**Find out", "**do", "**Escalate**"] {
            let has = sections[name].to_lowercase().contains(&part.to_lowercase());
            assert!(has, "{name} in the runbook has no {part}");
        }
    }
    for (name, section) in &sections {
        for link in section.split("](#").skip(1).filter_map(|link| link.split(')').next()) {
            assert!(sections.keys().any(|known| known.to_lowercase() == link), "{name} leads to #{link}");
        }
    }
}

#[tokio::test]
async fn a_cluster_that_has_just_been_started_and_has_nothing_to_do_alerts_nobody() {
    let (served, rules) = (served().await, text(RULES));
    let mut test =
        "rule_files: [RULES]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n"
            .to_owned();
    for (job, page) in [("hub", &served.hub), ("worker", &served.worker)] {
        for n in [1, 2] {
            let target = format!("job=\"fhircast-{job}\", instance=\"{job}{n}\"");
            writeln!(test, "      - {{ series: 'up{{{target}}}', values: 1x40 }}").unwrap();
            for line in page.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                if !rules.contains(name) {
                    continue;
                }
                let labels = labels.trim_end_matches('}');
                let comma = if labels.is_empty() { "" } else { ", " };
                writeln!(
                    test,
                    "      - {{ series: '{name}{{{target}{comma}{labels}}}', values: {value}x40 }}"
                )
                .unwrap();
            }
        }
    }
    assert!(test.lines().count() > 400, "{test}");
    test.push_str("    promql_expr_test:\n");
    for at in ["2m", "10m", "40m"] {
        writeln!(
            test,
            "      - {{ expr: 'ALERTS{{alertstate=\"firing\"}}', eval_time: {at}, exp_samples: [] }}"
        )
        .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fresh_test.yaml");
    std::fs::write(&file, test.replace("RULES", repository().join(RULES).to_str().unwrap())).unwrap();
    promtool(&["test", "rules", file.to_str().unwrap()]);
}
