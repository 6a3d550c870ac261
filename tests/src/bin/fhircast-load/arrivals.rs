//! What arrived at a subscriber and when: recorded cheaply while it runs, judged afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::plan::Plan;

/// When the schedule began.
#[derive(Default)]
pub struct Clock(OnceLock<Instant>);

impl Clock {
    /// Begins the schedule, once.
    pub fn start(&self) -> Instant {
        *self.0.get_or_init(Instant::now)
    }

    /// How long the schedule has been running.
    pub fn elapsed(&self) -> Duration {
        self.0.get().map(Instant::elapsed).unwrap_or_default()
    }

    /// Microseconds since an event was due; 0 when it came before.
    pub fn micros_since_due(&self, plan: &Plan, event: u32) -> u32 {
        u32::try_from(self.elapsed().saturating_sub(plan.due(event)).as_micros()).unwrap_or(u32::MAX)
    }
}

/// How much has arrived at all subscribers together.
#[derive(Default)]
pub struct Delivered(AtomicU64);

impl Delivered {
    /// Waits until `expected` deliveries have arrived, at most `timeout`.
    pub async fn reached(&self, expected: u64, timeout: Duration) {
        // A run that times out is no error: what is missing will be reported as lost.
        let _ = harness::wait::eventually(timeout, "all deliveries", || {
            let all = self.0.load(Ordering::Relaxed) >= expected;
            async move { all.then_some(()) }
        })
        .await;
    }
}

/// An event at a subscriber.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// The event's number.
    pub event: u32,
    /// From when its publish was due to when it was here.
    pub micros: u32,
}

/// What one subscriber saw.
#[derive(Debug, Default, Clone)]
pub struct Arrivals {
    /// In the order of arrival.
    pub events: Vec<Arrival>,
    /// True when the hub ended the connection before the run was over.
    pub cut_off: bool,
    /// True when a probe has come.
    pub probed: bool,
}

/// Records the arrivals of one subscriber.
#[derive(Clone)]
pub struct Recorder {
    plan: Arc<Plan>,
    clock: Arc<Clock>,
    delivered: Arc<Delivered>,
    arrivals: Arc<Mutex<Arrivals>>,
}

impl Recorder {
    /// An empty record.
    pub fn new(plan: &Arc<Plan>, clock: &Arc<Clock>, delivered: &Arc<Delivered>) -> Recorder {
        Recorder {
            plan: plan.clone(),
            clock: clock.clone(),
            delivered: delivered.clone(),
            arrivals: Arc::default(),
        }
    }

    /// Records a notification and answers with its id; anything else is left alone.
    pub fn record<'a>(&self, notification: &'a str) -> Option<&'a str> {
        let (id, event) = self.plan.event_in(notification)?;
        let micros = self.clock.micros_since_due(&self.plan, event);
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if self.plan.probes().contains(&event) {
            arrivals.probed = true;
            return Some(id);
        }
        arrivals.events.push(Arrival { event, micros });
        drop(arrivals);
        self.delivered.0.fetch_add(1, Ordering::Relaxed);
        Some(id)
    }

    /// Records that the hub ended the connection.
    pub fn cut_off(&self) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).cut_off = true;
    }

    /// Whether a probe has come.
    pub fn probed(&self) -> bool {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).probed
    }

    /// What has been recorded; the record is empty afterwards.
    pub fn take(&self) -> Arrivals {
        std::mem::take(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::plan::Payload;

    fn recorder() -> (Arc<Plan>, Arc<Delivered>, Recorder) {
        let plan = Arc::new(Plan {
            run: harness::examples::fresh_id(),
            hubs: vec!["http://127.0.0.1:1/".parse().unwrap()],
            sockets: 1,
            topics: 1,
            callbacks: 0,
            rate: 10.0,
            seconds: 1.0,
            warmup_seconds: 0.0,
            template: Payload::Spec.template().unwrap(),
            answers: true,
            anywhere: false,
        });
        let (clock, delivered) = (Arc::new(Clock::default()), Arc::default());
        clock.start();
        let recorder = Recorder::new(&plan, &clock, &delivered);
        (plan, delivered, recorder)
    }

    #[tokio::test]
    async fn an_event_is_recorded_and_its_id_told_and_anything_else_is_left_alone() {
        let (plan, delivered, recorder) = recorder();
        assert_eq!(recorder.record(r#"{"hub.mode":"subscribe"}"#), None);
        let body = plan.body(3);
        assert_eq!(recorder.record(&body), Some(format!("{}+00000003", plan.run).as_str()));
        delivered.reached(1, harness::wait::PATIENCE).await;
        let arrivals = recorder.take();
        assert_eq!(arrivals.events.iter().map(|arrival| arrival.event).collect::<Vec<_>>(), [3]);
        assert!(!arrivals.probed && !arrivals.cut_off);
    }

    #[test]
    fn a_probe_is_answered_and_is_no_arrival() {
        let (plan, _, recorder) = recorder();
        let probe = plan.body(plan.probes().start);
        assert!(recorder.record(&probe).is_some());
        assert!(recorder.probed());
        assert!(recorder.take().events.is_empty());
    }

    #[test]
    fn an_event_that_is_not_due_yet_has_waited_for_nothing() {
        let (plan, _, recorder) = recorder();
        assert_eq!(recorder.clock.micros_since_due(&plan, 36_000), 0);
    }
}
