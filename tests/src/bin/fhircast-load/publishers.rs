//! The publishers: an open-loop schedule and what came of each publish.
//!
//! A thread of its own keeps the time, since a runtime's timer is a millisecond coarse. Publishes are in flight side by
//! side up to a bound; what must wait for its turn beyond it is late, and its latency says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::{Semaphore, mpsc};

use crate::arrivals::Clock;
use crate::plan::Plan;

/// Publishes in flight at one time.
const IN_FLIGHT: u32 = 256;
/// Events that are due and wait for their turn; beyond it the schedule itself waits.
const WAITING: usize = 65_536;

/// What came of the publishes.
pub struct Outcomes {
    /// The HTTP status of each event; 0 when there was no answer.
    pub statuses: Vec<u16>,
    /// Microseconds from when each was due to its answer.
    pub micros: Vec<u32>,
}

impl Outcomes {
    /// True when the hub has promised to deliver the event.
    pub fn accepted(&self, event: u32) -> bool {
        self.statuses.get(event as usize) == Some(&202)
    }

    /// True when the hub may have taken the event without being able to say so.
    pub fn uncertain(&self, event: u32) -> bool {
        self.statuses.get(event as usize).is_some_and(|status| *status == 0 || *status >= 500)
    }

    /// How many deliveries were promised.
    pub fn expected_deliveries(&self, plan: &Plan) -> u64 {
        (0..plan.events())
            .filter(|event| self.accepted(*event))
            .map(|event| plan.subscribers_of_topic(plan.topic_of_event(event)) as u64)
            .sum()
    }
}

/// An outcome while it is being made: status and latency, written once by the task of its event.
#[derive(Default)]
struct Slot {
    status: AtomicU32,
    micros: AtomicU32,
}

/// Publishes everything on time and waits for the last answer.
pub async fn publish(plan: &Arc<Plan>, clock: &Arc<Clock>) -> Result<Outcomes> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(IN_FLIGHT as usize)
        .timeout(std::time::Duration::from_secs(20))
        .build()?;
    let slots: Arc<Vec<Slot>> = Arc::new((0..plan.events()).map(|_| Slot::default()).collect());
    let permits = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let mut due = keep_time(plan.clone(), clock.clone());
    while let Some(event) = due.recv().await {
        let permit = permits.clone().acquire_owned().await?;
        let (plan, clock, slots, http) = (plan.clone(), clock.clone(), slots.clone(), http.clone());
        tokio::spawn(async move {
            let status = publish_one(&http, &plan, event).await.unwrap_or(0);
            let slot = &slots[event as usize];
            slot.status.store(u32::from(status), Ordering::Relaxed);
            slot.micros.store(clock.micros_since_due(&plan, event), Ordering::Relaxed);
            drop(permit);
        });
    }
    // All permits are back when all tasks are done.
    let _all = permits.acquire_many(IN_FLIGHT).await.context("the publishers are gone")?;
    let statuses = slots.iter().map(|slot| slot.status.load(Ordering::Relaxed) as u16).collect();
    let micros = slots.iter().map(|slot| slot.micros.load(Ordering::Relaxed)).collect();
    Ok(Outcomes { statuses, micros })
}

/// Sends each event's number when it is due.
fn keep_time(plan: Arc<Plan>, clock: Arc<Clock>) -> mpsc::Receiver<u32> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let start = clock.start();
        for event in 0..plan.events() {
            let wait = plan.due(event).saturating_sub(start.elapsed());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn publish_one(http: &reqwest::Client, plan: &Plan, event: u32) -> Result<u16> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let request = http.post(plan.hub_of_event(event).clone()).header(CONTENT_TYPE, JSON);
    let response = request.body(plan.body(event)).send().await?;
    let status = response.status().as_u16();
    // Read to its end, so that the connection can be used again.
    response.bytes().await?;
    Ok(status)
}
