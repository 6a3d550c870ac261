//! How a metric is made: named, described, and put into the default registry.

use std::sync::Mutex;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

use super::labels::{Counters, Label};
use crate::lock::lock;

/// What a metric is, for those who read of it ([`super::reference`]).
#[derive(Clone)]
pub(super) struct Family {
    pub name: String,
    /// As Prometheus has it: `counter`, `gauge`, `histogram`.
    pub kind: &'static str,
    pub help: String,
    pub labels: Vec<Values>,
}

/// A label, and what it can be.
#[derive(Clone)]
pub(super) struct Values {
    pub name: &'static str,
    /// Each value with its meaning; none when they are only described.
    pub known: Vec<(&'static str, &'static str)>,
    /// What the values are, when they are not known here.
    pub about: &'static str,
}

/// All that have been made, in their order.
static FAMILIES: Mutex<Vec<Family>> = Mutex::new(Vec::new());

/// All that have been made, in their order.
pub(super) fn families() -> Vec<Family> {
    lock(&FAMILIES).clone()
}

/// The label `L`.
pub(super) fn known<L: Label>() -> Values {
    let known = L::ALL.iter().map(|label| (label.as_str(), label.help())).collect();
    Values { name: L::NAME, known, about: "" }
}

/// A label whose values are a few that the code names.
pub(super) fn open(name: &'static str, about: &'static str) -> Values {
    Values { name, known: Vec::new(), about }
}

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

/// Describes a metric and names it.
fn options(kind: &'static str, name: &str, help: &str, labels: &[Values]) -> Opts {
    let name = format!("fhircast_{name}");
    let family = Family { name: name.clone(), kind, help: help.to_owned(), labels: labels.to_vec() };
    lock(&FAMILIES).push(family);
    Opts::new(name, help)
}

fn names(labels: &[Values]) -> Vec<&'static str> {
    labels.iter().map(|label| label.name).collect()
}

/// A gauge without labels.
pub(super) fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::with_opts(options("gauge", name, help, &[])))
}

/// A gauge of seconds, which need not be whole ones.
pub(super) fn seconds_gauge(name: &str, help: &str) -> Gauge {
    registered(Gauge::with_opts(options("gauge", name, help, &[])))
}

/// Gauges of seconds that differ in `labels`; a series is there once it has been set.
pub(super) fn seconds_gauges(name: &str, help: &str, labels: &[Values]) -> GaugeVec {
    registered(GaugeVec::new(options("gauge", name, help, labels), &names(labels)))
}

/// Gauges that differ in `labels`; a series is there once it has been set.
pub(super) fn gauges(name: &str, help: &str, labels: &[Values]) -> IntGaugeVec {
    registered(IntGaugeVec::new(options("gauge", name, help, labels), &names(labels)))
}

/// A counter without labels.
pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::with_opts(options("counter", name, help, &[])))
}

/// Counters that differ in `labels`; a series is there once it has been asked for.
pub(super) fn counters_of(name: &str, help: &str, labels: &[Values]) -> IntCounterVec {
    registered(IntCounterVec::new(options("counter", name, help, labels), &names(labels)))
}

/// Counters that differ in the label `L`, all there from the start.
pub(super) fn counters<L: Label>(name: &str, help: &str) -> Counters<L> {
    let family = counters_of(name, help, &[known::<L>()]);
    Counters::of(|label: &L| family.with_label_values(&[label.as_str()]))
}

/// A histogram with these upper bounds.
pub(super) fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let options = HistogramOpts::from(options("histogram", name, help, &[])).buckets(buckets.to_vec());
    registered(Histogram::with_opts(options))
}

/// Histograms with these upper bounds that differ in `labels`; a series is there once it has been asked for.
pub(super) fn histograms(name: &str, help: &str, buckets: &[f64], labels: &[Values]) -> HistogramVec {
    let options = HistogramOpts::from(options("histogram", name, help, labels)).buckets(buckets.to_vec());
    registered(HistogramVec::new(options, &names(labels)))
}

/// Puts a metric into the default registry.
#[allow(
    clippy::expect_used,
    reason = "names, labels and buckets are constants of this room, made once; any test that touches METRICS proves them"
)]
fn registered<C: Collector + Clone + 'static>(metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a metric's name and labels are well formed");
    prometheus::register(Box::new(metric.clone())).expect("a metric's name is its own");
    metric
}
