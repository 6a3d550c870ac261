//! `deploy/grafana`: that the dashboards are well-formed, and that they, the alerts and the runbook ask for what is served.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::alerts::{rules, runbook_expressions};
use crate::promql::asked;
use crate::served::served;
use crate::tools::{run, text};

const DASHBOARDS: [&str; 2] = ["deploy/grafana/overview.json", "deploy/grafana/delivery.json"];
/// Columns of a dashboard.
const WIDTH: i64 = 24;
/// What nothing shows, and why.
const NOT_SHOWN: [(&str, &str); 1] =
    [("process_virtual_memory_bytes", "address space costs nothing; resident memory is shown")];

fn dashboard(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn panels(dashboard: &Value) -> Vec<Value> {
    dashboard["panels"].as_array().unwrap().clone()
}

/// An expression, as it is written, where it is, and what is said of its series beside it.
struct Expression {
    place: String,
    text: String,
    legend: String,
}

fn expressions() -> Vec<Expression> {
    let mut all = Vec::new();
    for file in DASHBOARDS {
        let dashboard = dashboard(file);
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let place = format!("{file}, {}", panel["title"]);
                let legend = target["legendFormat"].as_str().unwrap().to_owned();
                all.push(Expression { place, text: target["expr"].as_str().unwrap().to_owned(), legend });
            }
        }
        for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
            let (text, legend) =
                (annotation["expr"].as_str().unwrap(), annotation["titleFormat"].as_str().unwrap());
            all.push(Expression { place: file.to_owned(), text: text.to_owned(), legend: legend.to_owned() });
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = variable["definition"].as_str().and_then(|query| query.strip_prefix("label_values("));
            let Some((selector, label)) = query.and_then(|query| query.rsplit_once(", ")) else { continue };
            let legend = format!("{{{{{}}}}}", label.trim_end_matches(')'));
            all.push(Expression {
                place: format!("{file}, {}", variable["name"]),
                text: selector.to_owned(),
                legend,
            });
        }
    }
    assert!(all.len() > 80, "{} expressions", all.len());
    all
}

/// As Grafana sends it: with its variables' values in their places.
fn with_values(expression: &str) -> String {
    expression
        .replace("$__rate_interval", "1m")
        .replace("$namespace", ".*")
        .replace("$job", ".*")
        .replace("$instance", ".*")
}

#[test]
fn the_dashboards_are_well_formed() {
    let mut uids = BTreeSet::new();
    for file in DASHBOARDS {
        let dashboard = dashboard(file);
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()), "{file} has the uid of another");
        assert!(dashboard["schemaVersion"].as_i64().unwrap() >= 38, "{file}");
        assert!(dashboard.get("id").is_none(), "{file} has an id, which is an installation's own");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
        assert_eq!(names, ["datasource", "namespace", "job", "instance", "runbooks"], "{file}");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(
                !title.is_empty() && ids.insert(panel["id"].as_i64().unwrap()),
                "{file}: {title}: its id is another's"
            );
            let at = |side: &str| panel["gridPos"][side].as_i64().unwrap();
            assert!(
                at("x") >= 0 && at("w") > 0 && at("h") > 0 && at("x") + at("w") <= WIDTH,
                "{file}: {title}"
            );
            for (x, y) in
                (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                assert!(cells.insert((x, y)), "{file}: {title} lies upon another panel");
            }
            if panel["type"] == "row" {
                continue;
            }
            let describes = panel["description"].as_str().is_some_and(|text| text.len() > 20);
            assert!(describes, "{file}: {title} does not say what it shows and what good looks like");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title} has no unit");
            assert!(
                panel["fieldConfig"]["defaults"]["thresholds"].is_object() || panel["type"] == "heatmap",
                "{file}: {title}"
            );
            for place in [&panel["datasource"], &panel["targets"][0]["datasource"]] {
                assert_eq!(place["uid"], "${datasource}", "{file}: {title}");
            }
        }
    }
}

#[test]
fn the_dashboards_lead_to_each_other_and_to_the_runbook() {
    let dashboards = DASHBOARDS.map(dashboard);
    for (dashboard, other) in [(&dashboards[0], &dashboards[1]), (&dashboards[1], &dashboards[0])] {
        let links = dashboard["links"].as_array().unwrap();
        let urls: Vec<&str> = links.iter().filter_map(|link| link["url"].as_str()).collect();
        assert_eq!(urls, [format!("/d/{}", other["uid"].as_str().unwrap()).as_str(), "${runbooks}"]);
    }
}

#[test]
fn what_the_dashboards_and_the_runbook_ask_for_is_promql() {
    let mut texts: Vec<String> =
        expressions().iter().map(|expression| with_values(&expression.text)).collect();
    texts.extend(runbook_expressions());
    let rules: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| serde_json::json!({"record": format!("panel:{n}"), "expr": text}))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    // JSON is YAML.
    let groups = serde_json::json!({"groups": [{"name": "panels", "rules": rules}]});
    std::fs::write(file.path(), groups.to_string()).unwrap();
    run(Command::new("promtool").args(["check", "rules"]).arg(file.path()));
}

#[tokio::test]
async fn what_is_asked_for_is_served_with_its_labels_and_their_values() {
    let served = served().await;
    let records: BTreeSet<String> =
        rules().into_iter().filter(|rule| !rule.is_alert).map(|rule| rule.name).collect();
    let mut all = expressions();
    let without_legend = |place: String, text: String| Expression { place, text, legend: String::new() };
    all.extend(rules().into_iter().map(|rule| without_legend(rule.name, rule.expression)));
    all.extend(runbook_expressions().into_iter().map(|text| without_legend("the runbook".into(), text)));
    let mut complaints = Vec::new();
    for Expression { place, text, legend } in all {
        let mut asked = asked(&with_values(&text));
        // Recorded series have one label, which everything has.
        asked.selectors.retain(|selector| !records.contains(&selector.metric));
        let found = asked.selectors.iter().flat_map(|selector| served.complaints(selector));
        complaints.extend(found.map(|complaint| format!("{place}: {complaint}")));
        let shown = legend.split("{{").skip(1).filter_map(|label| label.split("}}").next());
        for label in asked.grouped_by.iter().map(String::as_str).chain(shown) {
            if !served.has_label(&asked.selectors, label) {
                complaints.push(format!("{place}: nothing that is asked for has the label {label}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test]
async fn what_is_served_is_shown_or_alerted_on() {
    let served = served().await;
    let texts = expressions().into_iter().map(|expression| expression.text);
    let texts = texts.chain(rules().into_iter().map(|rule| rule.expression));
    let used: BTreeSet<String> = texts
        .flat_map(|text| asked(&with_values(&text)).selectors)
        .filter_map(|selector| served.family(&selector.metric))
        .collect();
    for (name, why) in NOT_SHOWN {
        assert!(served.families.contains_key(name) && !used.contains(name) && !why.is_empty(), "{name}");
    }
    let unused: Vec<&String> = served
        .families
        .keys()
        .filter(|name| !used.contains(*name) && !NOT_SHOWN.iter().any(|(known, _)| known == name))
        .collect();
    assert!(unused.is_empty(), "nothing shows or alerts on {unused:?}");
}
