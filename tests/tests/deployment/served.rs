//! What a hub and a worker serve at `/metrics`: their names and labels by their own declarations, the values of the other
//! labels by a scrape of each.

use std::collections::{BTreeMap, BTreeSet};

use harness::{
    system::{Program, System},
    wait::{PATIENCE, eventually},
};
use shared::telemetry::metrics;
use tokio::sync::OnceCell;

use crate::promql::Selector;

/// Labels that Prometheus puts to everything that it scrapes, or the target's service does.
const OF_TARGETS: [&str; 3] = ["namespace", "job", "instance"];
/// What is not served, but made by Prometheus itself.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];
/// What redis_exporter serves, where there is one.
const OF_REDIS: [&str; 2] = ["redis_memory_used_bytes", "redis_memory_max_bytes"];

/// All that is served.
pub struct Served {
    /// Each metric, its kind, and its labels with their values; those that are only described have those that were seen.
    pub families: BTreeMap<String, Family>,
    /// The page of each program.
    pub hub: String,
    pub worker: String,
}

#[derive(Default)]
pub struct Family {
    pub kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Starts one of each once, and asks them.
pub async fn served() -> &'static Served {
    static SERVED: OnceCell<Served> = OnceCell::const_new();
    SERVED.get_or_init(ask).await
}

async fn ask() -> Served {
    let key = format!("k1:{}", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=");
    let system = System::builder().set("data_keys", key).start().await.unwrap();
    let hub = page_when_ready(&system.hubs[0]).await;
    let worker = page_when_ready(&system.workers[0]).await;
    let mut families = declared(&metrics::reference());
    for page in [&hub, &worker] {
        for line in page.lines() {
            note(&mut families, line);
        }
    }
    Served { families, hub, worker }
}

/// What a program serves once it is ready.
async fn page_when_ready(program: &Program) -> String {
    let page = eventually(PATIENCE, "a program that is ready", || async {
        let page = program.metrics().await.ok()?;
        (page.value("fhircast_ready") == Some(1.0)).then(|| page.text().to_owned())
    });
    page.await.unwrap()
}

/// The page of the metrics, read.
fn declared(page: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let family = families.entry(cells[0].trim_matches('`').to_owned()).or_default();
        match cells[1].strip_prefix('`') {
            None => family.kind = cells[1].to_owned(),
            Some(label) => {
                let values =
                    cells[2].split("<br>").filter_map(|value| value.strip_prefix('`')?.split_once("`: "));
                let values = values.map(|(value, _)| value.to_owned()).collect();
                family.labels.insert(label.trim_end_matches('`').to_owned(), values);
            }
        }
    }
    families
}

/// Takes note of what a line of a scrape shows.
fn note(families: &mut BTreeMap<String, Family>, line: &str) {
    if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
        families.entry(name.to_owned()).or_default().kind = kind.to_owned();
    }
    let Some((series, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { return };
    let Some((name, labels)) = series.split_once('{') else { return };
    let Some(name) = family_of(families, name) else { panic!("{line} is of no metric") };
    let family = families.get_mut(&name).unwrap();
    for (label, value) in labels.split("\",").filter_map(|label| label.split_once("=\"")) {
        let value = value.trim_end_matches('}').trim_end_matches('"').to_owned();
        family.labels.entry(label.to_owned()).or_default().insert(value);
    }
}

/// The metric that a series is of: of a histogram's, without `_bucket`, `_sum`, `_count`.
fn family_of(families: &BTreeMap<String, Family>, series: &str) -> Option<String> {
    let is_histogram = |name: &str| families.get(name).map(|family| family.kind == "histogram");
    let parts = ["_bucket", "_sum", "_count"];
    let histogram = parts.iter().filter_map(|part| series.strip_suffix(part));
    let histogram = histogram.into_iter().find(|name| is_histogram(name) == Some(true));
    histogram.or_else(|| (is_histogram(series) == Some(false)).then_some(series)).map(str::to_owned)
}

impl Served {
    /// The metric that a series is of, unless there is none.
    pub fn family(&self, series: &str) -> Option<String> {
        family_of(&self.families, series)
    }

    /// The labels that a series of this name has, besides those of its target; `None`: there is no such series.
    pub fn labels(&self, series: &str) -> Option<BTreeSet<&str>> {
        if OF_PROMETHEUS.contains(&series) {
            return Some(BTreeSet::from(["alertname", "alertstate", "severity"]));
        }
        if OF_REDIS.contains(&series) {
            return Some(BTreeSet::new());
        }
        let family = self.family(series)?;
        let labels = self.families[&family].labels.keys().map(String::as_str);
        let bound = series.ends_with("_bucket").then_some("le");
        Some(labels.filter(|label| *label != "le").chain(bound).collect())
    }

    /// What is wrong with a selector: a metric, a label, or a value that nobody serves.
    pub fn complaints(&self, selector: &Selector) -> Vec<String> {
        let metric = &selector.metric;
        let Some(labels) = self.labels(metric) else { return vec![format!("there is no metric {metric}")] };
        let mut complaints = Vec::new();
        for matcher in &selector.matchers {
            let label = matcher.label.as_str();
            if OF_TARGETS.contains(&label) {
                continue;
            }
            if !labels.contains(label) {
                complaints.push(format!("{metric} has no label {label}"));
                continue;
            }
            let Some(family) = self.family(metric) else { continue };
            let Some(known) = self.families[&family].labels.get(label) else { continue };
            for value in matcher.values() {
                // Codes are served when a socket has closed with them; the page for app developers lists those of the hub.
                let is_close_code = label == "code"
                    && crate::tools::text("docs/INTEGRATING.md").contains(&format!("| {value} |"));
                if !known.contains(value) && !is_close_code {
                    complaints.push(format!("{metric} never has {label}=\"{value}\", but {known:?}"));
                }
            }
        }
        complaints
    }

    /// Whether a label may be grouped by in an expression that asks for these.
    pub fn has_label(&self, selectors: &[Selector], label: &str) -> bool {
        OF_TARGETS.contains(&label)
            || selectors.iter().any(|asked| self.labels(&asked.metric).is_some_and(|has| has.contains(label)))
    }
}

#[tokio::test]
async fn what_is_not_served_is_found() {
    let served = served().await;
    let complaints = |expression: &str| -> Vec<String> {
        crate::promql::asked(expression).selectors.iter().flat_map(|asked| served.complaints(asked)).collect()
    };
    for good in [
        r#"fhircast_delivery_seconds_bucket{channel="websocket", le=~"1([.]0)?", job="any"}"#,
        r#"fhircast_sync_errors_total{cause=~"refused|gone"} > up"#,
        r#"fhircast_websocket_closes_total{code="1013"}"#,
        "process_open_fds",
    ] {
        assert_eq!(complaints(good), [""; 0], "{good}");
    }
    for bad in [
        "fhircast_delivery_seconds",
        "fhircast_publishes",
        r#"fhircast_gaps_total{cause="lost"}"#,
        r#"fhircast_sync_errors_total{cause=~"refused|left"}"#,
        r#"fhircast_delivery_seconds_bucket{le="3"}"#,
        r#"fhircast_delivery_seconds_count{le="1"}"#,
        r#"fhircast_websocket_closes_total{code="1014"}"#,
    ] {
        assert_eq!(complaints(bad).len(), 1, "{bad}: {:?}", complaints(bad));
    }
}
