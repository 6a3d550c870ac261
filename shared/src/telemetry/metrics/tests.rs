#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn every_metric_is_exposed_and_labels_of_enums_are_there_from_the_start() {
    METRICS.websocket_closed(Some(1001));
    METRICS.redis_call("commit");
    METRICS.redis_error("commit");
    METRICS.redis_answered("commit", Duration::from_millis(3));
    METRICS.certificate_expires(Certificate::Hub, Some(1));
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
        "fhircast_redis_call_seconds_bucket{operation=\"commit\",le=\"0.005\"} ",
        "fhircast_build_info{version=",
        "fhircast_authentications_total{outcome=\"expired\"} ",
        "fhircast_keys_readings_total{outcome=\"refused\"} ",
        "fhircast_keys_readings_total{outcome=\"empty\"} ",
        "fhircast_keys_read_timestamp_seconds ",
        "fhircast_introspections_total ",
        "fhircast_audit_records_total ",
        "fhircast_audit_lost_total ",
        "fhircast_limited_total{limit=\"caller_publishes_per_sec\"} ",
        "fhircast_store_emptied_total ",
        "fhircast_insecure{missing=\"tls\"} ",
        "fhircast_http_request_seconds_count{route=\"publish\",status=\"5xx\"} ",
        "fhircast_unsealed ",
        "fhircast_unopened_total{reason=\"unsealed\"} ",
        "fhircast_certificate_expiry_timestamp_seconds{settings=\"tls\"} ",
        "fhircast_certificate_reload_failures_total{settings=\"redis\"} ",
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
fn codes_that_peers_invent_share_one_label() {
    assert_eq!(close_code(Some(1001)), "1001");
    assert_eq!(close_code(Some(4000)), "4000");
    assert_eq!(close_code(Some(4711)), "other");
    assert_eq!(close_code(None), "none");
}
