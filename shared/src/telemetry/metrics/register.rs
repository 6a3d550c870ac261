//! All metrics: their names, what they mean, and the bounds of their buckets.

use super::{
    Metrics,
    families::{
        counter, counters, counters_of, gauge, gauges, histogram, histograms, known, open, seconds_gauge,
        seconds_gauges,
    },
    labels::{
        Certificate, Channel, Connecting, Counters, Deadline, HttpRoute, HttpStatus, Label, Missing,
        Notification, RedisConnection,
    },
};

/// Bounds of `fhircast_delivery_seconds`: a delivery takes under a millisecond, or what a slow peer or a retry makes of it.
const DELIVERY_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 300.0,
];

/// Bounds of `fhircast_redis_call_seconds`: a round trip takes a fraction of a millisecond, and a call ends with its time-out.
const REDIS_CALL_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Bounds of `fhircast_ack_seconds`: an app answers at once, or what a person does makes it slow; after the ack time-out
/// it is late.
const ACK_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Bounds of `fhircast_deadline_delay_seconds`: a deadline is met within a part of a second, and waits for as long as
/// nobody is there to act on it.
const DEADLINE_DELAY_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// Bounds of `fhircast_http_request_seconds`: a request takes a round trip to Redis, and ends with its time-outs.
const HTTP_REQUEST_SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// Makes all of them, once in a process.
    pub(super) fn register() -> Self {
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
        let ack = histograms(
            "ack_seconds",
            "Time from a notification's write to a WebSocket, or from the beginning of a request to a callback, to the answer",
            ACK_SECONDS,
            &[known::<Channel>()],
        );
        let ack_on = |channel: Channel| ack.with_label_values(&[channel.as_str()]);
        let deadline_delay = histograms(
            "deadline_delay_seconds",
            "How long after its time something was done that nobody asks for then",
            DEADLINE_DELAY_SECONDS,
            &[known::<Deadline>()],
        );
        let delay_of = |deadline: Deadline| deadline_delay.with_label_values(&[deadline.as_str()]);
        let subscriptions = gauges(
            "subscriptions",
            "Subscriptions, in the partitions that this worker looks after first: the sum over all workers is all",
            &[known::<Channel>()],
        );
        let subscriptions_on = |channel: Channel| subscriptions.with_label_values(&[channel.as_str()]);
        let http_requests = histograms(
            "http_request_seconds",
            "Time from a request's head to its answer, by what was asked for and the class of the status",
            HTTP_REQUEST_SECONDS,
            &[known::<HttpRoute>(), known::<HttpStatus>()],
        );
        let of_route = |route: &HttpRoute| {
            let route = route.as_str();
            HttpStatus::ALL.iter().map(move |status| [route, status.as_str()])
        };
        let http_request = HttpRoute::ALL.iter().flat_map(of_route);
        let http_request = http_request.map(|labels| http_requests.with_label_values(&labels)).collect();
        let insecure = gauges(
            "insecure",
            "1 while other machines may reach the hub without this",
            &[known::<Missing>()],
        );
        Missing::ALL.iter().for_each(|missing| insecure.with_label_values(&[missing.as_str()]).set(0));
        let redis_connects = counters_of(
            "redis_connects_total",
            "Connections to Redis that were made or could not be, but for those of the pool",
            &[known::<RedisConnection>(), known::<Connecting>()],
        );
        for connection in RedisConnection::ALL {
            for outcome in Connecting::ALL {
                redis_connects.with_label_values(&[connection.as_str(), outcome.as_str()]);
            }
        }
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
                "Events that were taken though their timestamp is not as ISO 8601 has it",
            ),
            callback_attempts: counters("callback_attempts_total", "Requests to callbacks, by outcome"),
            callback_give_ups: counter("callback_give_ups_total", "Events given up for a callback"),
            callback_retries: counter(
                "callback_retries_total",
                "Requests to callbacks about an event that had been sent to them before",
            ),
            verifications: counters(
                "verifications_total",
                "Requests of webhook subscribers, by what came of asking their callbacks",
            ),
            delivery: [time_on(Channel::Websocket), time_on(Channel::Webhook)],
            ack: [ack_on(Channel::Websocket), ack_on(Channel::Webhook)],
            deadline_delay: [delay_of(Deadline::Lease), delay_of(Deadline::Grace), delay_of(Deadline::Ack)],
            outbox_notifications: gauge(
                "outbox_notifications",
                "Notifications that sockets of this hub have not taken, or whose subscribers have not confirmed them",
            ),
            outbox_bytes: gauge("outbox_bytes", "Bytes that wait for sockets of this hub to take them"),
            resumes: counter("resumes_total", "WebSockets that went on from where the one before them was"),
            replayed_notifications: counter(
                "replayed_notifications_total",
                "Notifications that were handed from the log to WebSockets that had to be brought up, new ones and those that came back",
            ),
            subscriptions: [subscriptions_on(Channel::Websocket), subscriptions_on(Channel::Webhook)],
            due_subscriptions: gauge(
                "due_subscriptions",
                "Subscriptions that wait for a worker, in the partitions that this worker looks after first: the sum over all workers is all",
            ),
            due_oldest: seconds_gauge(
                "due_oldest_seconds",
                "For how long the oldest of the subscriptions that wait for a worker has been waiting, in the partitions that this worker looks after first",
            ),
            workers: gauge("workers", "Workers that are alive, as far as this worker knows; 0 in a hub"),
            http_request,
            loop_turn: seconds_gauges(
                "loop_turn_timestamp_seconds",
                "When a loop of this program has last turned, in seconds since 1970, by loop",
                &[open("loop", "the loop, as `/healthz` names it")],
            ),
            ready: gauge("ready", "1 while /readyz says that this program is ready"),
            ready_part: gauges(
                "ready_part",
                "1 while a part of this program is ready, by part",
                &[open("part", "the part, as `/readyz` names it")],
            ),
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
            redis_connects,
            store_emptied: counter(
                "store_emptied_total",
                "Times that Redis was found empty while this program used it, by the first of the programs that noticed",
            ),
            bell_lag: histogram(
                "bell_lag_seconds",
                "Time from a bell that a connection to Redis rings for itself to its hearing it",
                REDIS_CALL_SECONDS,
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
            spans_exported: counter("spans_exported_total", "Spans that the collector has taken"),
            spans_dropped: counters(
                "spans_dropped_total",
                "Spans that the collector should have and has not, by reason",
            ),
            span_export_failures: counter(
                "span_export_failures_total",
                "Requests to the collector that failed; each may be made again",
            ),
            limited: counters(
                "limited_total",
                "Requests, connections and sockets that were refused or closed at a limit, by limit",
            ),
            insecure,
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
