//! The report: what was counted and measured, as JSON and, in `text`, at a glance.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use harness::history::{History, Repeats};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::arrivals::Arrivals;
use crate::plan::Plan;
use crate::publishers::Outcomes;
use harness::process_stats::{Sample, Watched};

/// A run that is over, to be judged.
pub struct Run<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// Whether the target was the bare echo.
    pub floor: bool,
    /// What came of the publishes.
    pub outcomes: Outcomes,
    /// What each socket saw.
    pub sockets: Vec<(usize, Arrivals)>,
    /// What each callback saw.
    pub callbacks: Vec<(usize, Arrivals)>,
    /// From the first publish to the last answer.
    pub published_for: Duration,
    /// From the first publish to the last expected delivery.
    pub delivered_for: Duration,
    /// The processes watched.
    pub watched: &'a [Watched],
    /// What was seen of them.
    pub samples: Samples,
}

/// What was seen of the watched processes, at four moments, each in their order.
pub struct Samples {
    /// Before any subscriber.
    pub before_sockets: Vec<Sample>,
    /// With all sockets open and idle.
    pub with_sockets: Vec<Sample>,
    /// Just before the first publish.
    pub at_start: Vec<Sample>,
    /// After the last delivery.
    pub at_end: Vec<Sample>,
}

/// All that a run says.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    floor: bool,
    hubs: usize,
    sockets: usize,
    callbacks: usize,
    topics: usize,
    rate: f64,
    seconds: f64,
    warmup_seconds: f64,
    payload_bytes: usize,
    events: Events,
    deliveries: Deliveries,
    latency_us: Latencies,
    processes: Vec<Cost>,
}

/// How many were published, and what the hub said.
#[derive(Debug, Default, Serialize)]
struct Events {
    offered: u32,
    accepted: u64,
    unanswered: u64,
    refused_by_status: BTreeMap<u16, u64>,
    accepted_per_second: f64,
}

/// What came of what was accepted.
#[derive(Debug, Default, Serialize)]
struct Deliveries {
    expected: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    unknown: u64,
    retried: u64,
    sockets_cut_off: usize,
    per_second: f64,
}

/// Latencies from when a publish was due, warm-up left out.
#[derive(Debug, Default, Serialize)]
struct Latencies {
    publish_to_answer: Option<Latency>,
    publish_to_frame: Option<Latency>,
    publish_to_callback: Option<Latency>,
}

/// One distribution, in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    count: u64,
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// What a process cost.
#[derive(Debug, Serialize)]
struct Cost {
    name: String,
    pid: u32,
    cpu_seconds: f64,
    cpu_us_per_delivery: Option<f64>,
    rss_before_sockets_bytes: u64,
    rss_with_sockets_bytes: u64,
    rss_per_socket_bytes: Option<i64>,
    rss_at_end_bytes: u64,
}

impl Run<'_> {
    /// Judges the run.
    pub fn report(self) -> Report {
        let plan = self.plan;
        let deliveries = self.deliveries();
        Report {
            floor: self.floor,
            hubs: plan.hubs.len(),
            sockets: plan.sockets,
            callbacks: plan.callbacks,
            topics: plan.topics,
            rate: plan.rate,
            seconds: plan.seconds,
            warmup_seconds: plan.warmup_seconds,
            payload_bytes: plan.body(0).len(),
            events: self.events(),
            latency_us: self.latencies(),
            processes: self.costs(deliveries.delivered),
            deliveries,
        }
    }

    fn events(&self) -> Events {
        let mut events = Events { offered: self.plan.events(), ..Events::default() };
        for status in &self.outcomes.statuses {
            match status {
                202 => events.accepted += 1,
                0 => events.unanswered += 1,
                other => *events.refused_by_status.entry(*other).or_default() += 1,
            }
        }
        events.accepted_per_second = events.accepted as f64 / self.published_for.as_secs_f64();
        events
    }

    /// Judges topic by topic, so that only one topic's history is in memory beside the arrivals.
    fn deliveries(&self) -> Deliveries {
        let plan = self.plan;
        let all = self.sockets.iter().chain(&self.callbacks);
        let mut deliveries = Deliveries {
            expected: self.outcomes.expected_deliveries(plan),
            sockets_cut_off: all.filter(|(_, arrivals)| arrivals.cut_off).count(),
            ..Deliveries::default()
        };
        for topic in 0..plan.topics {
            let events: Vec<u32> = (0..plan.events()).skip(topic).step_by(plan.topics).collect();
            let mut history = History::default();
            history.accepted(events.iter().copied().filter(|event| self.outcomes.accepted(*event)));
            history.uncertain(events.iter().copied().filter(|event| self.outcomes.uncertain(*event)));
            for (kind, repeats, subscribers) in [
                ("socket", Repeats::OnResume, &self.sockets),
                ("callback", Repeats::OnRetry, &self.callbacks),
            ] {
                for (number, arrivals) in subscribers {
                    if plan.topic_of_subscriber(*number) == topic {
                        let sequence = arrivals.events.iter().map(|arrival| arrival.event).collect();
                        history.seen(&format!("{kind} {number}"), repeats, vec![sequence]);
                    }
                }
            }
            let findings = history.check();
            deliveries.lost += findings.lost.len() as u64;
            deliveries.duplicated += findings.duplicated.len() as u64;
            deliveries.out_of_order += findings.out_of_order.len() as u64;
            deliveries.unknown += findings.unknown.len() as u64;
            deliveries.retried += findings.repeated as u64;
        }
        deliveries.delivered = deliveries.expected - deliveries.lost;
        deliveries.per_second = deliveries.delivered as f64 / self.delivered_for.as_secs_f64();
        deliveries
    }

    fn latencies(&self) -> Latencies {
        let warmup = self.plan.warmup_events();
        let arrivals = |subscribers: &[(usize, Arrivals)]| {
            let measured = subscribers.iter().flat_map(|(_, arrivals)| &arrivals.events);
            latency(measured.filter(|arrival| arrival.event >= warmup).map(|arrival| arrival.micros))
        };
        let answered = self.outcomes.micros.iter().enumerate().skip(warmup as usize);
        Latencies {
            publish_to_answer: latency(
                answered
                    .filter(|(event, _)| self.outcomes.accepted(*event as u32))
                    .map(|(_, micros)| *micros),
            ),
            publish_to_frame: arrivals(&self.sockets),
            publish_to_callback: arrivals(&self.callbacks),
        }
    }

    fn costs(&self, delivered: u64) -> Vec<Cost> {
        let samples = &self.samples;
        let cost = |(index, process): (usize, &Watched)| {
            let cpu_seconds = samples.at_end[index].cpu_seconds - samples.at_start[index].cpu_seconds;
            let before = samples.before_sockets[index].rss_bytes;
            let with = samples.with_sockets[index].rss_bytes;
            let sockets = self.plan.sockets as i64;
            Cost {
                name: process.name.clone(),
                pid: process.pid,
                cpu_seconds,
                cpu_us_per_delivery: (delivered > 0).then(|| cpu_seconds * 1e6 / delivered as f64),
                rss_before_sockets_bytes: before,
                rss_with_sockets_bytes: with,
                rss_per_socket_bytes: (sockets > 0).then(|| (with as i64 - before as i64) / sockets),
                rss_at_end_bytes: samples.at_end[index].rss_bytes,
            }
        };
        self.watched.iter().enumerate().map(cost).collect()
    }
}

/// A distribution of microseconds to three significant digits; `None` when nothing was measured.
fn latency(micros: impl Iterator<Item = u32>) -> Option<Latency> {
    // The highest value that an arrival can hold; the bounds are constant and valid.
    let mut histogram = Histogram::<u64>::new_with_bounds(1, u64::from(u32::MAX), 3).ok()?;
    micros.for_each(|micros| histogram.saturating_record(u64::from(micros)));
    (!histogram.is_empty()).then(|| Latency {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p999: histogram.value_at_quantile(0.999),
        max: histogram.max(),
    })
}

impl Report {
    /// True when everything accepted arrived once and in order.
    pub fn is_clean(&self) -> bool {
        let Deliveries { lost, duplicated, out_of_order, unknown, .. } = self.deliveries;
        lost + duplicated + out_of_order + unknown == 0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::arrivals::Arrival;
    use crate::plan::Payload;

    /// Two topics with one socket and one callback on the first, one socket on the second; events 0 to 9, 0 and 1 warm-up.
    fn plan() -> Plan {
        Plan {
            run: "run".to_owned(),
            hubs: vec!["http://127.0.0.1:1/".parse().unwrap()],
            sockets: 2,
            topics: 2,
            callbacks: 1,
            rate: 1.0,
            seconds: 8.0,
            warmup_seconds: 2.0,
            template: Payload::Small.template().unwrap(),
            answers: true,
            anywhere: false,
        }
    }

    fn arrivals(events: &[u32]) -> Arrivals {
        let events =
            events.iter().map(|event| Arrival { event: *event, micros: 1000 * (event + 1) }).collect();
        Arrivals { events, ..Arrivals::default() }
    }

    fn judge(statuses: [u16; 10], first: &[u32], second: &[u32], callback: &[u32]) -> Report {
        let sample = |cpu_seconds, rss_bytes| vec![Sample { cpu_seconds, rss_bytes }];
        Run {
            plan: &plan(),
            floor: false,
            outcomes: Outcomes { statuses: statuses.to_vec(), micros: vec![500; 10] },
            sockets: vec![(1, arrivals(second)), (0, arrivals(first))],
            callbacks: vec![(0, arrivals(callback))],
            published_for: Duration::from_secs(10),
            delivered_for: Duration::from_secs(10),
            watched: &["hub=7".parse().unwrap()],
            samples: Samples {
                before_sockets: sample(0.0, 1000),
                with_sockets: sample(1.0, 3000),
                at_start: sample(1.0, 3000),
                at_end: sample(2.5, 4000),
            },
        }
        .report()
    }

    const EVEN: &[u32] = &[0, 2, 4, 6, 8];
    const ODD: &[u32] = &[1, 3, 5, 7, 9];

    #[test]
    fn a_run_in_which_all_arrived_is_clean_and_measured_without_its_warm_up() {
        let report = judge([202; 10], EVEN, ODD, EVEN);
        assert!(report.is_clean());
        assert_eq!((report.deliveries.expected, report.deliveries.delivered), (15, 15));
        assert_eq!(report.deliveries.per_second, 1.5);
        let frames = report.latency_us.publish_to_frame.unwrap();
        assert_eq!((frames.count, frames.max / 100), (8, 100));
        assert_eq!(report.latency_us.publish_to_callback.unwrap().count, 4);
        assert_eq!(report.latency_us.publish_to_answer.unwrap().count, 8);
        let hub = &report.processes[0];
        assert_eq!((hub.cpu_seconds, hub.cpu_us_per_delivery), (1.5, Some(100_000.0)));
        assert_eq!(hub.rss_per_socket_bytes, Some(1000));
    }

    #[test]
    fn every_fault_is_counted_as_what_it_is() {
        let lost = judge([202; 10], &[0, 2, 6, 8], ODD, EVEN).deliveries;
        assert_eq!((lost.lost, lost.delivered, lost.duplicated, lost.out_of_order), (1, 14, 0, 0));
        let duplicated = judge([202; 10], EVEN, &[1, 3, 5, 7, 9, 9], EVEN).deliveries;
        assert_eq!((duplicated.lost, duplicated.duplicated), (0, 1));
        let retried = judge([202; 10], EVEN, ODD, &[0, 2, 2, 4, 6, 8]).deliveries;
        assert_eq!((retried.retried, retried.duplicated), (1, 0));
        let disordered = judge([202; 10], EVEN, ODD, &[0, 4, 2, 6, 8]).deliveries;
        assert_eq!((disordered.out_of_order, disordered.lost), (1, 0));
        let mut refused = [202; 10];
        refused[4] = 400;
        let unknown = judge(refused, EVEN, ODD, &[0, 2, 6, 8]).deliveries;
        assert_eq!((unknown.unknown, unknown.expected, unknown.lost), (1, 13, 0));
        assert!(!judge(refused, EVEN, ODD, &[0, 2, 6, 8]).is_clean());
    }

    #[test]
    fn an_event_without_an_answer_may_arrive_or_not() {
        let statuses = [202, 202, 0, 503, 202, 202, 202, 202, 202, 202];
        let report = judge(statuses, EVEN, &[1, 5, 7, 9], &[0, 4, 6, 8]);
        assert!(report.is_clean());
        assert_eq!((report.events.accepted, report.events.unanswered), (8, 1));
        assert_eq!(report.events.refused_by_status, BTreeMap::from([(503, 1)]));
    }

    #[test]
    fn the_text_and_the_json_say_the_same_counts() {
        let report = judge([202; 10], &[0], ODD, EVEN);
        let text = report.to_string();
        assert!(text.contains("expected 15, delivered 11") && text.contains("lost 4, "), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["deliveries"]["lost"], 4);
        assert_eq!(json["latency_us"]["publish_to_frame"]["count"], 4);
    }
}
