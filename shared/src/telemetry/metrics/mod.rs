//! Prometheus metrics. Every one is here, and each is counted where it happens: `METRICS.renderings.inc()`.
//!
//! Labels are enums (or, where the set is fixed in the code that counts, `&'static str`), so the number of series is
//! bounded. Series of enums are there from the start, at 0, so that a rate over them has no gap.
//!
//! - `labels`: the labels · `families`: how a metric is made · `reference`: all of them as a page

mod families;
mod labels;
mod reference;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder,
};

use families::{close_code, counter, counters, counters_of, gauge, gauges, histograms, known, open};
pub use labels::{
    Authentication, CallbackAttempt, Certificate, Channel, Counters, KeysReading, Label, Limit, Notification,
    Publish, SyncErrorCause, Unopened,
};
pub use reference::reference;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Bounds of `fhircast_delivery_seconds`: a delivery takes under a millisecond, or what a slow peer or a retry makes of it.
const DELIVERY_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 300.0,
];

/// Bounds of `fhircast_redis_call_seconds`: a round trip takes a fraction of a millisecond, and a call ends with its time-out.
const REDIS_CALL_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

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
    /// Events whose timestamp is far from the time at which they came.
    pub odd_timestamps: IntCounter,
    /// Requests to callbacks, by outcome.
    pub callback_attempts: Counters<CallbackAttempt>,
    /// Events given up for a callback.
    pub callback_give_ups: IntCounter,
    delivery: [Histogram; 2],
    /// Claims of a worker on due subscriptions.
    pub claims: IntCounter,
    /// Claims that ended while their worker still worked.
    pub lost_leases: IntCounter,
    redis_calls: IntCounterVec,
    redis_errors: IntCounterVec,
    redis_call: HistogramVec,
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
    /// Requests, connections and sockets that were refused or closed at a limit, by limit.
    pub limited: Counters<Limit>,
    /// 1 while the hub may be reached from other machines without authentication or TLS, otherwise 0.
    pub insecure: IntGauge,
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

    fn register() -> Self {
        let build_info =
            gauges("build_info", "Version of this program; always 1", &[open("version", "the version")]);
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let notifications = counters_of(
            "notifications_total",
            "Notifications, by channel and outcome",
            &[known::<Channel>(), known::<Notification>()],
        );
        let delivery = histograms(
            "delivery_seconds",
            "Time from an event's acceptance to its write on a channel",
            DELIVERY_SECONDS,
            &[known::<Channel>()],
        );
        let on = |channel: Channel| {
            Counters::of(|outcome: &Notification| {
                notifications.with_label_values(&[channel.as_str(), outcome.as_str()])
            })
        };
        let time_on = |channel: Channel| delivery.with_label_values(&[channel.as_str()]);
        Self {
            connections: gauge("connections", "WebSockets that are open"),
            topics_served: gauge("topics_served", "Topics that this process reads for someone"),
            publishes: counters("publishes_total", "Publishes, by outcome"),
            commit_conflicts: counter(
                "commit_conflicts_total",
                "Commits that another node's commit came before",
            ),
            renderings: counter(
                "renderings_total",
                "Log entries rendered as notifications, once for each distinct view",
            ),
            notifications: [on(Channel::Websocket), on(Channel::Webhook)],
            missed_bells: counter(
                "missed_bells_total",
                "Topics that had to be read because a bell was not heard",
            ),
            gaps: counter("gaps_total", "Cursors that fell behind the log, or from which it does not go on"),
            sync_errors: counters("sync_errors_total", "SyncErrors of the hub, by cause"),
            websocket_closes: counters_of(
                "websocket_closes_total",
                "WebSockets that closed, by close code",
                &[open(
                    "code",
                    "the close code; `none`: without a Close frame; `other`: one that means nothing here",
                )],
            ),
            bad_frames: counter("bad_frames_total", "Frames that are not what a subscriber may send"),
            odd_timestamps: counter(
                "odd_timestamps_total",
                "Events whose timestamp is far from the time at which they came",
            ),
            callback_attempts: counters("callback_attempts_total", "Requests to callbacks, by outcome"),
            callback_give_ups: counter("callback_give_ups_total", "Events given up for a callback"),
            delivery: [time_on(Channel::Websocket), time_on(Channel::Webhook)],
            claims: counter("claims_total", "Claims of a worker on due subscriptions"),
            lost_leases: counter("lost_leases_total", "Claims that ended while their worker still worked"),
            redis_calls: counters_of(
                "redis_calls_total",
                "Calls to Redis, by operation",
                &[open("operation", "the script or the command")],
            ),
            redis_errors: counters_of(
                "redis_errors_total",
                "Calls to Redis that failed, by operation",
                &[open("operation", "the script or the command")],
            ),
            redis_call: histograms(
                "redis_call_seconds",
                "Time from a call to Redis to its answer, with all its tries, by operation",
                REDIS_CALL_SECONDS,
                &[open("operation", "the script or the command")],
            ),
            authentications: counters("authentications_total", "Tokens of requests, by what became of them"),
            keys_readings: counters(
                "keys_readings_total",
                "Readings of the authorization server's keys, by outcome",
            ),
            keys_read: gauge(
                "keys_read_timestamp_seconds",
                "When the authorization server's keys were last read well",
            ),
            introspections: counter(
                "introspections_total",
                "Questions to the authorization server about a token",
            ),
            audit_records: counter("audit_records_total", "Records written to the audit trail"),
            audit_lost: counter("audit_lost_total", "Records that the audit trail could not take"),
            limited: counters(
                "limited_total",
                "Requests, connections and sockets that were refused or closed at a limit, by limit",
            ),
            insecure: gauge(
                "insecure",
                "1 while other machines may reach the hub without authentication or TLS",
            ),
            unsealed: gauge("unsealed", "1 while what this process writes to Redis is not sealed"),
            unopened: counters(
                "unopened_total",
                "Values from Redis that could not be opened or were not sealed and must be, by reason",
            ),
            certificate_expiry: gauges(
                "certificate_expiry_timestamp_seconds",
                "When a certificate ends that is shown to others, in seconds since 1970, by the settings that name it",
                &[known::<Certificate>()],
            ),
            certificate_reload_failures: counters(
                "certificate_reload_failures_total",
                "Looks at the files of certificates that found what cannot be used, by the settings that name them",
            ),
        }
    }
}

/// Every metric of this process, its CPU and memory included, in Prometheus's text format.
pub fn render() -> Result<String, prometheus::Error> {
    LazyLock::force(&METRICS);
    let mut page = Vec::new();
    TextEncoder::new().encode(&prometheus::gather(), &mut page)?;
    String::from_utf8(page).map_err(|error| prometheus::Error::Msg(error.to_string()))
}
