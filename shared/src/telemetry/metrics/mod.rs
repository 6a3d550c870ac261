//! Prometheus metrics. Every one is here, and each is counted where it happens: `METRICS.renderings.inc()`.
//!
//! Labels are enums (or, where the set is fixed in the code that counts, `&'static str`), so the number of series is
//! bounded. Series of enums are there from the start, at 0, so that a rate over them has no gap.
//!
//! - `labels`: the labels · `register`: all metrics, by name and meaning · `families`: how a metric is made ·
//!   `reference`: all of them as a page

mod families;
mod labels;
mod reference;
mod register;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    TextEncoder,
};

use families::close_code;
pub use labels::{
    Authentication, CallbackAttempt, Certificate, Channel, Connecting, Counters, Deadline, HttpRoute,
    HttpStatus, KeysReading, Label, Limit, Missing, Notification, Publish, RedisConnection, SpanDropped,
    SyncErrorCause, Unopened, Verification,
};
pub use reference::reference;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Every metric, by its name without `fhircast_` and `_total`.
pub struct Metrics {
    /// WebSockets that are open.
    pub connections: IntGauge,
    /// Topics that this process reads for someone.
    pub topics_served: IntGauge,
    /// Publishes, by outcome.
    pub publishes: Counters<Publish>,
    /// Commits that another node's commit came before, so that they were decided again.
    pub commit_conflicts: IntCounter,
    /// Log entries rendered as notifications: once for each distinct view.
    pub renderings: IntCounter,
    notifications: [Counters<Notification>; 2],
    /// Topics whose log had to be read because a bell was not heard, as a look at the heads showed.
    pub missed_bells: IntCounter,
    /// Cursors that fell behind the log, or from which it does not go on.
    pub gaps: IntCounter,
    /// SyncErrors of the hub, by cause.
    pub sync_errors: Counters<SyncErrorCause>,
    websocket_closes: IntCounterVec,
    /// Frames that are not what a subscriber may send (FC-WSC-05).
    pub bad_frames: IntCounter,
    /// Events whose timestamp is not as ISO 8601 has it; they are taken all the same.
    pub odd_timestamps: IntCounter,
    /// Requests to callbacks, by outcome.
    pub callback_attempts: Counters<CallbackAttempt>,
    /// Events given up for a callback.
    pub callback_give_ups: IntCounter,
    /// Requests to callbacks about an event that had been sent before.
    pub callback_retries: IntCounter,
    /// Requests of webhook subscribers, by what came of asking their callbacks.
    pub verifications: Counters<Verification>,
    delivery: [Histogram; 2],
    ack: [Histogram; 2],
    deadline_delay: [Histogram; 3],
    /// Notifications that sockets of this hub have not taken, or whose subscribers have not confirmed them.
    pub outbox_notifications: IntGauge,
    /// Bytes of those that their sockets have not taken.
    pub outbox_bytes: IntGauge,
    /// Sockets that went on from where the one before them was.
    pub resumes: IntCounter,
    /// Notifications that were handed from the log to sockets that had to be brought up.
    pub replayed_notifications: IntCounter,
    subscriptions: [IntGauge; 2],
    /// Subscriptions that are due, in the partitions that this worker looks after first.
    pub due_subscriptions: IntGauge,
    due_oldest: Gauge,
    /// Workers that are alive, as far as this one knows.
    pub workers: IntGauge,
    http_request: Vec<Histogram>,
    loop_turn: GaugeVec,
    /// 1 while `/readyz` says 200, otherwise 0.
    pub ready: IntGauge,
    ready_part: IntGaugeVec,
    /// Claims of a worker on due subscriptions.
    pub claims: IntCounter,
    /// Claims that ended while their worker still worked.
    pub lost_leases: IntCounter,
    redis_calls: IntCounterVec,
    redis_errors: IntCounterVec,
    redis_call: HistogramVec,
    redis_connects: IntCounterVec,
    /// Looks at Redis that found nothing in it that had been agreed on before.
    pub store_emptied: IntCounter,
    /// How long a bell took that a connection rang for itself.
    pub bell_lag: Histogram,
    /// Tokens of requests, by what became of them.
    pub authentications: Counters<Authentication>,
    /// Readings of the authorization server's keys, by outcome.
    pub keys_readings: Counters<KeysReading>,
    /// When the authorization server's keys were last read well, in seconds since 1970; 0: not yet.
    pub keys_read: IntGauge,
    /// Questions to the authorization server about a token.
    pub introspections: IntCounter,
    /// Records that the audit trail has.
    pub audit_records: IntCounter,
    /// Records that it should have and has not.
    pub audit_lost: IntCounter,
    /// Spans that the collector has taken.
    pub spans_exported: IntCounter,
    /// Spans that it should have and has not, by why.
    pub spans_dropped: Counters<SpanDropped>,
    /// Requests to the collector that failed.
    pub span_export_failures: IntCounter,
    /// Requests, connections and sockets that were refused or closed at a limit, by limit.
    pub limited: Counters<Limit>,
    insecure: IntGaugeVec,
    /// 1 while what this process writes to Redis is not sealed (FC-SEC-03), otherwise 0.
    pub unsealed: IntGauge,
    /// Values from Redis that were not opened, by what is wrong with them.
    pub unopened: Counters<Unopened>,
    certificate_expiry: IntGaugeVec,
    certificate_reload_failures: Counters<Certificate>,
}

impl Metrics {
    /// Notifications on `channel` that became `outcome`.
    pub fn notifications(&self, channel: Channel, outcome: Notification) -> &IntCounter {
        self.notifications[channel.index()].with(outcome)
    }

    /// Notes how long an event took, from its acceptance to the write on `channel`.
    pub fn delivered(&self, channel: Channel, after: Duration) {
        self.delivery[channel.index()].observe(after.as_secs_f64());
    }

    /// Notes how long a subscriber took to answer a notification, from its write on `channel`.
    pub fn answered(&self, channel: Channel, after: Duration) {
        self.ack[channel.index()].observe(after.as_secs_f64());
    }

    /// Notes how late something was done that had its time.
    pub fn deadline_met(&self, deadline: Deadline, late: Duration) {
        self.deadline_delay[deadline.index()].observe(late.as_secs_f64());
    }

    /// Notes how many subscriptions there are, in the partitions that this worker looks after first.
    pub fn subscriptions(&self, channel: Channel, count: u64) {
        self.subscriptions[channel.index()].set(count.try_into().unwrap_or(i64::MAX));
    }

    /// Notes for how long the oldest of what is due has been due.
    pub fn due_oldest(&self, age: Duration) {
        self.due_oldest.set(age.as_secs_f64());
    }

    /// Notes how long a request to the hub took until its answer began.
    pub fn http_request(&self, route: HttpRoute, status: HttpStatus, after: Duration) {
        let place = route.index() * HttpStatus::ALL.len() + status.index();
        self.http_request[place].observe(after.as_secs_f64());
    }

    /// Notes whether other machines reach the hub without this.
    pub fn insecure(&self, missing: Missing, is_missing: bool) {
        self.insecure.with_label_values(&[missing.as_str()]).set(is_missing.into());
    }

    /// Notes that a loop has turned, at this time in seconds since 1970.
    pub fn loop_turned(&self, name: &'static str, at: f64) {
        self.loop_turn.with_label_values(&[name]).set(at);
    }

    /// Notes whether a part of the program is ready.
    pub fn ready_part(&self, name: &'static str, is_ready: bool) {
        self.ready_part.with_label_values(&[name]).set(is_ready.into());
    }

    /// Counts a connection to Redis that was made or could not be.
    pub fn redis_connect(&self, connection: RedisConnection, outcome: Connecting) {
        self.redis_connects.with_label_values(&[connection.as_str(), outcome.as_str()]).inc();
    }

    /// Counts a socket that closed with `code`; absent: without a Close frame.
    pub fn websocket_closed(&self, code: Option<u16>) {
        let code = close_code(code);
        self.websocket_closes.with_label_values(&[code]).inc();
    }

    /// Counts a call to Redis: `operation` is the name of the script or command.
    pub fn redis_call(&self, operation: &'static str) {
        self.redis_calls.with_label_values(&[operation]).inc();
    }

    /// Notes how long a call to Redis took, with all its tries, whatever came of it.
    pub fn redis_answered(&self, operation: &'static str, after: Duration) {
        self.redis_call.with_label_values(&[operation]).observe(after.as_secs_f64());
    }

    /// Counts a call to Redis that failed.
    pub fn redis_error(&self, operation: &'static str) {
        self.redis_errors.with_label_values(&[operation]).inc();
    }

    /// Notes when a certificate ends, in seconds since 1970. Where there is none there is no series.
    pub fn certificate_expires(&self, of: Certificate, at: Option<i64>) {
        if let Some(at) = at {
            self.certificate_expiry.with_label_values(&[of.as_str()]).set(at);
        }
    }

    /// Looks at the files of certificates that found what cannot be used.
    pub fn certificate_reload_failures(&self, of: Certificate) -> &IntCounter {
        self.certificate_reload_failures.with(of)
    }
}

/// Every metric of this process, its CPU and memory included, in Prometheus's text format.
pub fn render() -> Result<String, prometheus::Error> {
    LazyLock::force(&METRICS);
    let mut page = Vec::new();
    TextEncoder::new().encode(&prometheus::gather(), &mut page)?;
    String::from_utf8(page).map_err(|error| prometheus::Error::Msg(error.to_string()))
}
