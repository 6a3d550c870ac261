//! Prometheus metrics. Every one is here, and each is counted where it happens: `METRICS.renderings.inc()`.
//!
//! Labels are enums (or, where the set is fixed in the code that counts, `&'static str`), so the number of series is
//! bounded. Series of enums are there from the start, at 0, so that a rate over them has no gap.

use std::marker::PhantomData;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    TextEncoder,
};

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Bounds of `fhircast_delivery_seconds`: a delivery takes under a millisecond, or what a slow peer or a retry makes of it.
const DELIVERY_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 300.0,
];

/// A label whose values are known: [`Label::ALL`] in order of declaration.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value as it is exposed.
    fn as_str(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($(
        $(#[doc = $about:literal])+
        $label:ident in $name:literal {
            $($(#[doc = $help:literal])+ $value:ident = $text:literal,)+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $label {
            $($(#[doc = $help])+ $value,)+
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    )+};
}

labels! {
    /// What became of a publish.
    Publish in "outcome" {
        /// Committed to the topic's log.
        Accepted = "accepted",
        /// A transport retry of one that was accepted already (FC-REQ-07).
        Duplicate = "duplicate",
        /// Answered with a 4xx.
        Rejected = "rejected",
        /// Answered with a 503, because the store was away or too busy.
        Unavailable = "unavailable",
    }

    /// The way to a subscriber.
    Channel in "channel" {
        /// A WebSocket that a hub holds.
        Websocket = "websocket",
        /// Callbacks that a worker makes.
        Webhook = "webhook",
    }

    /// What became of a notification.
    Notification in "outcome" {
        /// Written to the channel.
        Sent = "sent",
        /// Answered by the subscriber with a 2xx.
        Confirmed = "confirmed",
        /// Answered by the subscriber with an error (FC-NOT-02).
        Refused = "refused",
        /// Not answered within the ack time-out (FC-NOT-04).
        Unanswered = "unanswered",
    }

    /// What the hub reported in a SyncError.
    SyncErrorCause in "cause" {
        /// A subscriber answered with an error (FC-NOT-02).
        Refused = "refused",
        /// A notification could not be delivered in time (FC-WHK-04).
        Undelivered = "undelivered",
        /// A subscriber did not answer in time (FC-NOT-04).
        Unanswered = "unanswered",
        /// A subscriber lost its connection and did not come back in time (FC-NOT-04).
        Gone = "gone",
        /// A subscriber has missed what is no longer kept.
        Missed = "missed",
        /// The store has lost events that had been accepted.
        Lost = "lost",
    }

    /// What became of the token of a request (FC-SEC-01).
    Authentication in "outcome" {
        /// It was believed.
        Accepted = "accepted",
        /// There was none.
        Missing = "missing",
        /// It is not such a token as the hub takes.
        Malformed = "malformed",
        /// It is signed with a key or an algorithm that the hub does not know.
        Key = "key",
        /// Its signature is wrong.
        Signature = "signature",
        /// It has expired.
        Expired = "expired",
        /// It is not valid yet.
        NotYetValid = "not_yet_valid",
        /// It is from another issuer.
        Issuer = "issuer",
        /// It is for another audience.
        Audience = "audience",
        /// The authorization server says that it is not active.
        Inactive = "inactive",
        /// Nobody could be asked: answered with a 503.
        Unavailable = "unavailable",
    }

    /// What became of one reading of the authorization server's keys.
    KeysReading in "outcome" {
        /// They are used from then on.
        Taken = "taken",
        /// What came is no set of keys.
        Refused = "refused",
        /// Nothing came.
        Failed = "failed",
    }

    /// Who listens.
    Listener in "listener" {
        /// The hub's API and its WebSockets.
        Hub = "hub",
        /// Health and metrics.
        Admin = "admin",
    }

    /// What became of one request to a callback.
    CallbackAttempt in "outcome" {
        /// Answered with a 2xx.
        Confirmed = "confirmed",
        /// Answered with an error that is final (FC-WHK-04).
        Refused = "refused",
        /// Answered with an error after which it is tried again (FC-WHK-04).
        Failed = "failed",
        /// Not answered in time.
        TimedOut = "timed_out",
        /// No connection, or one that broke.
        Unreachable = "unreachable",
        /// The address policy forbids where the callback's host leads.
        Forbidden = "forbidden",
    }

    /// A limit that a request or a connection has reached: the name of its setting in the group `limits`.
    Limit in "limit" {
        /// Connections to the hub.
        Connections = "connections",
        /// Connections from one address.
        ConnectionsPerAddress = "connections_per_address",
        /// Connections without a whole request.
        NewConnections = "new_connections",
        /// Connections without a whole request from one address.
        NewConnectionsPerAddress = "new_connections_per_address",
        /// A TLS handshake took too long.
        HandshakeSecs = "handshake_secs",
        /// A request's head took too long.
        HeadSecs = "head_secs",
        /// A path is too long.
        UrlBytes = "url_bytes",
        /// Headers are too large.
        HeaderBytes = "header_bytes",
        /// There are too many headers.
        Headers = "headers",
        /// A body took too long.
        BodySecs = "body_secs",
        /// A body stood still.
        BodyIdleSecs = "body_idle_secs",
        /// Too many bytes of bodies are read at once.
        BodiesBytes = "bodies_bytes",
        /// Too many bytes of current contexts wait for their readers at once.
        AnswersBytes = "answers_bytes",
        /// A caller publishes too often.
        CallerPublishesPerSec = "caller_publishes_per_sec",
        /// A caller subscribes too often.
        CallerSubscribesPerMin = "caller_subscribes_per_min",
        /// A caller reads current contexts too often.
        CallerReadsPerSec = "caller_reads_per_sec",
        /// A caller has too many sockets.
        CallerSockets = "caller_sockets",
        /// A topic is published to too often.
        TopicPublishesPerSec = "topic_publishes_per_sec",
        /// A topic is subscribed to too often.
        TopicSubscribesPerMin = "topic_subscribes_per_min",
        /// A topic's current context is read too often.
        TopicReadsPerSec = "topic_reads_per_sec",
        /// A topic has too many subscriptions.
        SubscriptionsPerTopic = "subscriptions_per_topic",
        /// An address fails to authenticate too often.
        AuthFailuresPerMin = "auth_failures_per_min",
        /// A socket sends too many frames.
        FramesPerSec = "frames_per_sec",
        /// A socket pings too often.
        PingsPerSec = "pings_per_sec",
    }
}

/// Counters that differ in one label.
pub struct Counters<L>(Vec<IntCounter>, PhantomData<L>);

impl<L: Label> Counters<L> {
    /// The counter of `label`, without a look-up.
    pub fn with(&self, label: L) -> &IntCounter {
        &self.0[label.index()]
    }
}

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
    certificate_expiry: IntGaugeVec,
    certificate_reload_failures: Counters<Listener>,
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

    /// Counts a call to Redis that failed.
    pub fn redis_error(&self, operation: &'static str) {
        self.redis_errors.with_label_values(&[operation]).inc();
    }

    /// Notes when the certificate of `listener` ends, in seconds since 1970. One without a certificate has no series.
    pub fn certificate_expires(&self, listener: Listener, at: i64) {
        self.certificate_expiry.with_label_values(&[listener.as_str()]).set(at);
    }

    /// Looks at the files of a certificate that found what cannot be used.
    pub fn certificate_reload_failures(&self, listener: Listener) -> &IntCounter {
        self.certificate_reload_failures.with(listener)
    }

    fn register() -> Self {
        let build_info = gauges("build_info", "Version of this program; always 1", "version");
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let notifications = counters_of(
            "notifications_total",
            "Notifications, by channel and outcome",
            &[Channel::NAME, Notification::NAME],
        );
        let delivery = registered(HistogramVec::new(
            HistogramOpts::new(
                "fhircast_delivery_seconds",
                "Time from an event's acceptance to its write on a channel",
            )
            .buckets(DELIVERY_SECONDS.to_vec()),
            &[Channel::NAME],
        ));
        let on = |channel: Channel| {
            let each = Notification::ALL
                .iter()
                .map(|outcome| notifications.with_label_values(&[channel.as_str(), outcome.as_str()]));
            Counters(each.collect(), PhantomData)
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
                &["code"],
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
            redis_calls: counters_of("redis_calls_total", "Calls to Redis, by operation", &["operation"]),
            redis_errors: counters_of(
                "redis_errors_total",
                "Calls to Redis that failed, by operation",
                &["operation"],
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
            unsealed: gauge(
                "unsealed",
                "1 while what this process writes to Redis is not sealed, otherwise 0.",
            ),
            certificate_expiry: gauges(
                "certificate_expiry_timestamp_seconds",
                "When the certificate of a listener ends, in seconds since 1970",
                Listener::NAME,
            ),
            certificate_reload_failures: counters(
                "certificate_reload_failures_total",
                "Looks at the files of a certificate that found what cannot be used, by listener",
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

/// A close code as a label: peers choose theirs, so only those that mean something are told apart.
fn close_code(code: Option<u16>) -> &'static str {
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

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::with_opts(options(name, help)))
}

fn gauges(name: &str, help: &str, label: &str) -> IntGaugeVec {
    registered(IntGaugeVec::new(options(name, help), &[label]))
}

fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::with_opts(options(name, help)))
}

fn counters_of(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(IntCounterVec::new(options(name, help), labels))
}

fn counters<L: Label>(name: &str, help: &str) -> Counters<L> {
    let family = counters_of(name, help, &[L::NAME]);
    let each = L::ALL.iter().map(|label| family.with_label_values(&[label.as_str()]));
    Counters(each.collect(), PhantomData)
}

/// Puts a metric into the default registry.
#[allow(
    clippy::expect_used,
    reason = "names, labels and buckets are constants of this file, made once; any test that touches METRICS proves them"
)]
fn registered<C: Collector + Clone + 'static>(metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("a metric's name and labels are well formed");
    prometheus::register(Box::new(metric.clone())).expect("a metric's name is its own");
    metric
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_metric_is_exposed_and_labels_of_enums_are_there_from_the_start() {
        METRICS.websocket_closed(Some(1001));
        METRICS.redis_call("commit");
        METRICS.redis_error("commit");
        METRICS.certificate_expires(Listener::Hub, 1);
        let page = render().unwrap();
        for line in [
            "fhircast_connections ",
            "fhircast_topics_served ",
            "fhircast_publishes_total{outcome=\"accepted\"} ",
            "fhircast_publishes_total{outcome=\"duplicate\"} ",
            "fhircast_publishes_total{outcome=\"rejected\"} ",
            "fhircast_publishes_total{outcome=\"unavailable\"} ",
            "fhircast_commit_conflicts_total ",
            "fhircast_renderings_total ",
            "fhircast_notifications_total{channel=\"webhook\",outcome=\"refused\"} ",
            "fhircast_gaps_total ",
            "fhircast_sync_errors_total{cause=\"undelivered\"} ",
            "fhircast_websocket_closes_total{code=\"1001\"} ",
            "fhircast_bad_frames_total ",
            "fhircast_odd_timestamps_total ",
            "fhircast_callback_attempts_total{outcome=\"timed_out\"} ",
            "fhircast_callback_give_ups_total ",
            "fhircast_delivery_seconds_count{channel=\"websocket\"} ",
            "fhircast_claims_total ",
            "fhircast_lost_leases_total ",
            "fhircast_redis_calls_total{operation=\"commit\"} ",
            "fhircast_redis_errors_total{operation=\"commit\"} ",
            "fhircast_build_info{version=",
            "fhircast_authentications_total{outcome=\"expired\"} ",
            "fhircast_keys_readings_total{outcome=\"refused\"} ",
            "fhircast_keys_read_timestamp_seconds ",
            "fhircast_introspections_total ",
            "fhircast_audit_records_total ",
            "fhircast_audit_lost_total ",
            "fhircast_limited_total{limit=\"caller_publishes_per_sec\"} ",
            "fhircast_insecure ",
            "fhircast_unsealed ",
            "fhircast_certificate_expiry_timestamp_seconds{listener=\"hub\"} ",
            "fhircast_certificate_reload_failures_total{listener=\"admin\"} ",
            "process_resident_memory_bytes ",
        ] {
            assert!(page.lines().any(|there| there.starts_with(line)), "{line} is not in:\n{page}");
        }
    }

    /// The value of `series` as it is exposed.
    fn exposed(series: &str) -> u64 {
        let page = render().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    #[test]
    fn counting_shows_under_its_own_labels_alone() {
        // Labels that no other test of this process counts.
        let series = "fhircast_notifications_total{channel=\"webhook\",outcome=\"unanswered\"}";
        let before = exposed(series);
        METRICS.notifications(Channel::Webhook, Notification::Unanswered).inc();
        assert_eq!(exposed(series), before + 1);
    }

    #[test]
    fn a_delivery_falls_into_the_buckets_above_its_time() {
        METRICS.delivered(Channel::Webhook, Duration::from_millis(3));
        let bucket = |le| format!("fhircast_delivery_seconds_bucket{{channel=\"webhook\",le=\"{le}\"}}");
        assert_eq!(exposed(&bucket("0.0025")), 0);
        assert_eq!(exposed(&bucket("0.005")), 1);
    }

    #[test]
    fn a_label_is_found_at_its_own_place() {
        fn check<L: Label + PartialEq + std::fmt::Debug>() {
            for (at, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), at);
            }
        }
        check::<Publish>();
        check::<Channel>();
        check::<Notification>();
        check::<SyncErrorCause>();
        check::<CallbackAttempt>();
        check::<Limit>();
    }

    #[test]
    fn codes_that_peers_invent_share_one_label() {
        assert_eq!(close_code(Some(1001)), "1001");
        assert_eq!(close_code(Some(4000)), "4000");
        assert_eq!(close_code(Some(4711)), "other");
        assert_eq!(close_code(None), "none");
    }
}
