//! How a metric is made: named, and put into the default registry.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::labels::{Counters, Label};

/// A close code as a label: peers choose theirs, so only those that mean something are told apart.
pub(super) fn close_code(code: Option<u16>) -> &'static str {
    match code {
        None => "none",
        Some(1000) => "1000",
        Some(1001) => "1001",
        Some(1002) => "1002",
        Some(1003) => "1003",
        Some(1005) => "1005",
        Some(1006) => "1006",
        Some(1007) => "1007",
        Some(1008) => "1008",
        Some(1009) => "1009",
        Some(1011) => "1011",
        Some(1012) => "1012",
        Some(1013) => "1013",
        Some(4000) => "4000",
        Some(_) => "other",
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(format!("fhircast_{name}"), help)
}

/// A gauge without labels.
pub(super) fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::with_opts(options(name, help)))
}

/// Gauges that differ in `label`; a series is there once it has been set.
pub(super) fn gauges(name: &str, help: &str, label: &str) -> IntGaugeVec {
    registered(IntGaugeVec::new(options(name, help), &[label]))
}

/// A counter without labels.
pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::with_opts(options(name, help)))
}

/// Counters that differ in `labels`; a series is there once it has been asked for.
pub(super) fn counters_of(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(options(name, help), labels))
}

/// Counters that differ in the label `L`, all there from the start.
pub(super) fn counters<L: Label>(name: &str, help: &str) -> Counters<L> {
    let family = counters_of(name, help, &[L::NAME]);
    Counters::of(|label: &L| family.with_label_values(&[label.as_str()]))
}

/// Puts a metric into the default registry.
#[allow(
    clippy::expect_used,
    reason = "names, labels and buckets are constants of this room, made once; any test that touches METRICS proves them"
)]
pub(super) fn registered<C: Collector + Clone + 'static>(metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a metric's name and labels are well formed");
    prometheus::register(Box::new(metric.clone())).expect("a metric's name is its own");
    metric
}
