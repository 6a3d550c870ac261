//! What watches: scrapes, alerts and dashboards, which are those of `deploy/`.

use serde_json::Value;

use super::chart::{Rendered, list, name_of, path_of, rendered, selects, text, try_template};
use crate::tools::{self, yaml};

fn watched() -> impl Iterator<Item = &'static Rendered> {
    let found = rendered().iter().filter(|rendered| rendered.of("ServiceMonitor").next().is_some());
    found.inspect(|rendered| assert!(["everything", "monitoring"].contains(&rendered.values.as_str())))
}

#[test]
fn hubs_and_workers_are_scraped_under_the_jobs_that_alerts_name() {
    let mut jobs = Vec::new();
    for rendered in watched() {
        let monitor = &rendered.of("ServiceMonitor").next().unwrap()["spec"];
        let label = text(&monitor["jobLabel"]);
        assert_eq!(monitor["selector"]["matchExpressions"][0]["key"], label);
        let services = rendered.of("Service").filter(|service| {
            let labels = &service["metadata"]["labels"];
            selects(&monitor["selector"]["matchLabels"], labels) && labels.get(label).is_some()
        });
        for service in services {
            jobs.push(text(&service["metadata"]["labels"][label]));
            let port = &monitor["endpoints"][0]["port"];
            assert!(list(&service["spec"]["ports"]).iter().any(|known| known["name"] == *port));
        }
        let has_tls = rendered.settings().contains("\n[admin_tls]\n");
        assert_eq!(monitor["endpoints"][0]["scheme"] == "https", has_tls, "{}", rendered.name());
    }
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs, ["fhircast-hub", "fhircast-worker"]);
    let alerts = tools::text("deploy/prometheus/alerts.yaml");
    for job in jobs {
        assert!(alerts.contains(&format!("job=\"{job}\"")), "{job}");
    }
}

/// The rules of all groups.
fn rules(groups: &Value) -> Vec<Value> {
    list(groups).iter().flat_map(|group| list(&group["rules"])).cloned().collect()
}

#[test]
fn alerts_are_those_of_the_repository_with_runbooks_that_can_be_reached() {
    let source = rules(&yaml("deploy/prometheus/alerts.yaml")["groups"]);
    assert!(source.iter().any(|rule| rule.get("alert").is_some()));
    let mut with_base = 0;
    for rendered in watched() {
        let made = rules(&rendered.of("PrometheusRule").next().unwrap()["spec"]["groups"]);
        let values = yaml(&path_of(&rendered.values));
        let left_out = list(&values["monitoring"]["prometheusRule"]["disabled"]);
        let source: Vec<Value> =
            source.iter().filter(|rule| !left_out.contains(&rule["alert"])).cloned().collect();
        assert_eq!(made.len(), source.len());
        for (mut made, source) in made.into_iter().zip(source.clone()) {
            if rendered.values == "monitoring" && source.get("alert").is_some() {
                let url = text(&made["annotations"]["runbook_url"]);
                let rest = url.strip_prefix("https://git.example.org/fhircast/blob/main/");
                made["annotations"]["runbook_url"] =
                    rest.unwrap_or_else(|| panic!("{url} lacks the base")).into();
                assert_eq!(made["labels"]["team"], "integration");
                made["labels"].as_object_mut().unwrap().remove("team");
                with_base += 1;
            }
            // Numbers are floating here and whole there.
            assert_eq!(made.to_string(), source.to_string());
        }
    }
    assert!(with_base > 0);
}

#[test]
fn the_alert_on_memory_goes_by_the_limits_that_pods_have() {
    let values = yaml("helm/fhircast-hub/values.yaml");
    let rules = rules(&yaml("deploy/prometheus/alerts.yaml")["groups"]);
    let rule = rules.iter().find(|rule| rule["alert"] == "FhircastMemoryHigh").unwrap();
    for component in ["hub", "worker"] {
        let limit = text(&values[component]["resources"]["limits"]["memory"]);
        let factor = match limit.strip_suffix("Gi").unwrap() {
            "1" => String::new(),
            more => format!("{more} * "),
        };
        let part = format!("{{job=\"fhircast-{component}\"}} > 0.8 * {factor}1024 * 1024 * 1024");
        assert!(text(&rule["expr"]).contains(&part), "{part}: {}", rule["expr"]);
    }
}

/// The alert on memory that is made with these limits.
fn memory_alert(limits: &str) -> Value {
    let made = try_template("monitoring", limits).unwrap();
    let rule = made.into_iter().find(|made| made["kind"] == "PrometheusRule").unwrap();
    let rules = rules(&rule["spec"]["groups"]);
    rules.into_iter().find(|rule| rule["alert"] == "FhircastMemoryHigh").unwrap()
}

#[test]
fn the_alert_on_memory_goes_by_other_limits_where_the_values_have_others() {
    let alert = memory_alert(
        "{hub: {resources: {limits: {memory: 1536Mi}}}, worker: {resources: {limits: {memory: 800000000}}}}",
    );
    for part in ["fhircast-hub\"} > 0.8 * 1536 * 1024 * 1024\n", "fhircast-worker\"} > 0.8 * 800000000\n"] {
        assert!(text(&alert["expr"]).contains(part), "{part}: {}", alert["expr"]);
    }
    let said = text(&alert["annotations"]["description"]);
    assert!(said.ends_with("the chart lets a hub have 1536Mi and a worker 800000000."), "{said}");
    let alert = memory_alert("{worker: {resources: {limits: {memory: 2G}}}}");
    for part in [
        "fhircast-hub\"} > 0.8 * 2 * 1024 * 1024 * 1024\n",
        "fhircast-worker\"} > 0.8 * 2 * 1000 * 1000 * 1000\n",
    ] {
        assert!(text(&alert["expr"]).contains(part), "{part}: {}", alert["expr"]);
    }
}

#[test]
fn alerts_that_are_not_wanted_are_left_out_and_one_that_there_is_not_is_refused() {
    let all = rules(&yaml("deploy/prometheus/alerts.yaml")["groups"]);
    let more = "monitoring: {prometheusRule: {disabled: [FhircastUnsealed]}}";
    let made = try_template("monitoring", more).unwrap();
    let made = rules(&made.iter().find(|made| made["kind"] == "PrometheusRule").unwrap()["spec"]["groups"]);
    assert_eq!(made.len(), all.len() - 1);
    assert!(made.iter().all(|rule| rule["alert"] != "FhircastUnsealed"));
    let said = try_template("monitoring", &more.replace("Unsealed", "Sealed")).unwrap_err();
    assert!(said.contains("monitoring.prometheusRule.disabled: there is no alert FhircastSealed"), "{said}");
}

#[test]
fn dashboards_are_those_of_the_repository_where_grafanas_sidecar_finds_them() {
    for rendered in watched() {
        let (label, value) = match rendered.values.as_str() {
            "everything" => ("grafana/dashboard", "yes"),
            _ => ("grafana_dashboard", "1"),
        };
        for name in ["overview", "delivery"] {
            let made = rendered.one("ConfigMap", &format!("-dashboard-{name}"));
            assert_eq!(made["metadata"]["labels"][label], value, "{}", name_of(made));
            let made = text(&made["data"][format!("fhircast-{name}.json")]);
            let source = tools::text(&format!("deploy/grafana/{name}.json"));
            assert_eq!(made.trim(), source.trim(), "{name}");
            assert!(serde_json::from_str::<Value>(made).is_ok());
        }
    }
}
