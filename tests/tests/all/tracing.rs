//! One trace from a request over the log to sockets and callbacks, and in the log lines; and what a collector that does
//! not do its part costs: spans, and nothing else.

use harness::{
    callback_server::{CallbackServer, Gate, Nobody, Reply, Request, signature},
    certs::Certificates,
    client::{Answer, App, JSON},
    examples::{fresh_id, fresh_topic},
    hygiene,
    otlp_collector::{OtlpCollector, PATH, Span, SpanKind},
    redis_server::Durability,
    system::{Hub, System},
    wait::{PATIENCE, eventually},
};
use reqwest::Method;
use serde_json::Value;

use crate::{
    messages::patient_open,
    setups::{Kind, Setup, on_both_setups},
};

on_both_setups![
    where_no_spans_are_made_a_trace_is_passed_on_as_it_came,
    what_is_no_trace_context_is_ignored_and_nothing_is_sent_where_nothing_came,
];

const STATE: &str = "vendor=of-the-sender,other@them=2";

/// A trace of which nobody has heard, and the span of its sender.
struct Trace {
    id: String,
    span: String,
}

impl Trace {
    fn fresh() -> Trace {
        let id = fresh_id().replace('-', "");
        Trace { span: id[..16].to_owned(), id }
    }

    fn parent(&self, flags: &str) -> String {
        format!("00-{}-{}-{flags}", self.id, self.span)
    }
}

async fn publish_with(app: &App, event: &str, headers: &[(&str, &str)]) -> Answer {
    let request = app.request(Method::POST, "").header("Content-Type", JSON).body(event.to_owned());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.send(request).await.unwrap()
}

async fn accepted(app: &App, event: &str, headers: &[(&str, &str)]) {
    publish_with(app, event, headers).await.expect_status(202).unwrap();
}

/// The trace and the span that a callback's request names.
fn named(request: &Request) -> (&str, &str) {
    let parent = request.header("traceparent").unwrap();
    assert!(parent.len() == 55 && parent.starts_with("00-"), "{parent}");
    (&parent[3..35], &parent[36..52])
}

/// The trace and the span in the log line that says this of a trace.
fn said(lines: &[String], message: &str, trace_id: &str) -> Option<String> {
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_it = lines.filter(|line| line["message"] == message && line["trace_id"] == trace_id);
    of_it.next().map(|line| line["span_id"].as_str().unwrap().to_owned())
}

fn one<'s>(spans: &'s [Span], name: &str) -> Option<&'s Span> {
    spans.iter().find(|span| span.name == name)
}

#[tokio::test]
async fn one_trace_goes_from_the_request_to_sockets_and_callbacks() {
    let (collector, server) = (OtlpCollector::start().unwrap(), CallbackServer::start().unwrap());
    let system = System::builder().hubs(2).workers(1).durability(Durability::None);
    let system = system.set("tracing.otlp_endpoint", collector.endpoint()).start().await.unwrap();
    let setup = Setup::Cluster(Box::new(system));
    let (topic, trace, id) = (fresh_topic(), Trace::fresh(), fresh_id());
    let secret = "the-secret-of-a-traced-one";
    let listener = setup.listener(&topic, "Patient-open,syncerror").await;
    setup.webhook(&server, "/cb?token=traced", &topic, "Patient-open", &[("hub.secret", secret)]).await;

    let sent = [("traceparent", &*trace.parent("01")), ("tracestate", STATE)];
    accepted(&setup.publisher(), &patient_open(&topic, &id), &sent).await;
    let called = server.wait_for_event(PATIENCE, "/cb", &id).await.unwrap();
    listener.wait_for_event(PATIENCE, &id).await.unwrap();
    let (trace_id, span_of_call) = named(&called);
    assert_eq!((trace_id, called.header("tracestate")), (&*trace.id, Some(STATE)));
    assert_eq!(
        called.header("x-hub-signature"),
        signature(secret, &called.body).ok().as_deref(),
        "FC-WHK-03"
    );

    let spans = collector.wait_for(PATIENCE, &trace.id, |spans| (spans.len() >= 6).then(|| spans.to_vec()));
    let spans = spans.await.unwrap();
    let (hub, worker) = ("fhircast-hub", "fhircast-worker");
    let mut before = trace.span.clone();
    for (service, name, kind) in [
        (hub, "POST hub.url", SpanKind::Server),
        (hub, "publish", SpanKind::Producer),
        (worker, "deliver", SpanKind::Consumer),
        (worker, "POST", SpanKind::Client),
    ] {
        let span = one(&spans, name).unwrap_or_else(|| panic!("{name} is not among {spans:#?}"));
        assert_eq!((&*span.service, span.kind, &*span.parent), (service, kind, &*before), "{span:#?}");
        assert!(!span.is_error, "{span:#?}");
        before.clone_from(&span.id);
    }
    assert_eq!(before, span_of_call, "the callback's request is a part of the call to it");
    let publish = one(&spans, "publish").unwrap();
    for (name, kind) in [("commit", SpanKind::Client), ("fan out", SpanKind::Consumer)] {
        let span = one(&spans, name).unwrap();
        assert_eq!((&*span.service, span.kind, &*span.parent), (hub, kind, &*publish.id), "{span:#?}");
    }
    assert_eq!(spans.len(), 6, "no span for each socket, and none twice: {spans:#?}");
    for (name, attribute, value) in [
        ("POST hub.url", "http.request.method", "POST"),
        ("POST hub.url", "http.route", "hub.url"),
        ("POST hub.url", "http.response.status_code", "202"),
        ("publish", "messaging.system", "fhircast"),
        ("publish", "messaging.operation.type", "send"),
        ("commit", "db.system.name", "redis"),
        ("fan out", "fhircast.sockets", "1"),
        ("deliver", "fhircast.channel", "webhook"),
        ("POST", "server.address", "127.0.0.1"),
        ("POST", "http.response.status_code", "200"),
    ] {
        let span = one(&spans, name).unwrap();
        assert_eq!(span.attributes.get(attribute).map(String::as_str), Some(value), "{span:#?}");
    }

    let said_of = [
        ("a request is answered", "POST hub.url"),
        ("an event is in the log", "publish"),
        ("an event is handed to sockets", "fan out"),
        ("an event is delivered", "deliver"),
    ];
    eventually(PATIENCE, "a line of each that names the same spans", || async {
        let lines = setup.log_lines();
        let is_said = |(message, name): &(&str, &str)| {
            said(&lines, message, &trace.id) == one(&spans, name).map(|span| span.id.clone())
        };
        said_of.iter().all(is_said).then_some(())
    })
    .await
    .unwrap();

    // What the others are told of it is a part of the same trace.
    let (refused, trace) = (fresh_id(), Trace::fresh());
    server.queue("/cb", [Reply::status(409)]);
    accepted(&setup.publisher(), &patient_open(&topic, &refused), &[("traceparent", &trace.parent("00"))])
        .await;
    let told = |spans: &[Span]| {
        let publish = one(spans, "publish")?;
        let report = one(spans, "report").filter(|report| report.parent == publish.id)?;
        let call = one(spans, "POST").filter(|call| call.is_error)?;
        assert_eq!(call.attributes["error.type"], "409");
        spans.iter().find(|span| span.name == "publish" && span.parent == report.id).map(|_| ())
    };
    collector.wait_for(PATIENCE, &trace.id, told).await.unwrap();
}

async fn where_no_spans_are_made_a_trace_is_passed_on_as_it_came(kind: Kind) {
    let (setup, topic, trace) = (kind.shared().await, fresh_topic(), Trace::fresh());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let parent = trace.parent("01");
    let sent = [("traceparent", &*parent), ("tracestate", "a=1"), ("tracestate", " b=2 ")];
    accepted(&setup.publisher(), &patient_open(&topic, "traced"), &sent).await;
    let called = server.wait_for_event(PATIENCE, "/cb", "traced").await.unwrap();
    assert_eq!(called.header("traceparent"), Some(&*parent));
    assert_eq!(called.header("tracestate"), Some("a=1,b=2"));
    eventually(PATIENCE, "the lines of all who worked for it", || async {
        let lines = setup.log_lines();
        let all = ["an event is in the log", "a request is answered", "an event is delivered"];
        let all = all.map(|message| said(&lines, message, &trace.id));
        all.iter().all(|span| span.as_ref() == Some(&trace.span)).then_some(())
    })
    .await
    .unwrap();
}

async fn what_is_no_trace_context_is_ignored_and_nothing_is_sent_where_nothing_came(kind: Kind) {
    let (setup, topic, trace) = (kind.shared().await, fresh_topic(), Trace::fresh());
    let server = CallbackServer::start().unwrap();
    setup.webhook(&server, "/cb", &topic, "Patient-open", &[]).await;
    let good = trace.parent("01");
    let bad = [
        vec![],
        vec![("tracestate", "a=1")],
        vec![("traceparent", "00-x")],
        vec![
            ("traceparent", "00-00000000000000000000000000000000-0000000000000000-01"),
            ("tracestate", "a=1"),
        ],
        vec![("traceparent", &*good), ("traceparent", &*good)],
    ];
    for (number, headers) in bad.iter().enumerate() {
        let id = format!("bad-{number}");
        let answer = publish_with(&setup.publisher(), &patient_open(&topic, &id), headers).await;
        assert_eq!(
            (answer.status, answer.header("traceparent"), &*answer.body),
            (202, "", ""),
            "{headers:?}"
        );
        let called = server.wait_for_event(PATIENCE, "/cb", &id).await.unwrap();
        assert_eq!((called.header("traceparent"), called.header("tracestate")), (None, None), "{headers:?}");
    }
    let too_long = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let headers = [("traceparent", &*good), ("tracestate", &*too_long)];
    accepted(&setup.publisher(), &patient_open(&topic, "state"), &headers).await;
    let called = server.wait_for_event(PATIENCE, "/cb", "state").await.unwrap();
    assert_eq!((called.header("traceparent"), called.header("tracestate")), (Some(&*good), None));
}

#[tokio::test]
async fn a_sender_decides_what_is_recorded_only_where_it_may() {
    let (collector, server) = (OtlpCollector::start().unwrap(), CallbackServer::start().unwrap());
    for (honoured, flags, recorded) in [("true", "01", true), ("true", "00", false), ("false", "01", false)] {
        let settings = [
            ("tracing.otlp_endpoint", &*collector.endpoint()),
            ("tracing.sample_ratio", "0"),
            ("tracing.honour_sampled", honoured),
        ];
        let mut hub = Hub::start_embedded(&settings).await.unwrap();
        let (topic, trace) = (fresh_topic(), Trace::fresh());
        let app = hub.app().unwrap();
        app.subscribe_webhook(&topic, "*", &server.url("/cb"), &[])
            .await
            .unwrap()
            .expect_status(202)
            .unwrap();
        // Until the subscription is in force. What was open by then it is sent in nobody's trace.
        let published = eventually(PATIENCE, "a subscription in force", || async {
            accepted(&app, &patient_open(&topic, &fresh_id()), &[("traceparent", &trace.parent(flags))])
                .await;
            server.requests().iter().find_map(|request| {
                let parent = request.header("traceparent").filter(|parent| parent[3..35] == trace.id)?;
                Some(parent.to_owned())
            })
        });
        let parent = published.await.unwrap();
        assert_ne!(&parent[36..52], trace.span, "who may make spans takes part in the trace");
        assert_eq!(&parent[53..], if recorded { "01" } else { "00" }, "{honoured} {flags}");
        hub.stop(PATIENCE).await.unwrap();
        let is_recorded = collector.spans().iter().any(|span| span.trace_id == trace.id);
        assert_eq!(is_recorded, recorded, "{honoured} {flags}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_not_there_keeps_nobody_waiting() {
    let (hanging, gate) = (OtlpCollector::start().unwrap(), Gate::closed());
    let held = gate.clone();
    hanging.server().on(PATH, move |_| Some(Reply::status(200).held_by(&held)));
    let nobody = Nobody::here().unwrap();
    for endpoint in [hanging.endpoint(), nobody.url("").unwrap()] {
        let settings = [
            ("tracing.otlp_endpoint", &*endpoint),
            ("tracing.waiting_spans", "8"),
            ("tracing.timeout_ms", "200"),
        ];
        let mut hub = Hub::start_embedded(&settings).await.unwrap();
        let (app, topic) = (hub.app().unwrap(), fresh_topic());
        // As long as it takes until spans have found no room, and have not been taken: every publish is answered.
        eventually(PATIENCE, "spans that are dropped", || async {
            for _ in 0..20 {
                accepted(&app, &patient_open(&topic, &fresh_id()), &[]).await;
            }
            let metrics = hub.metrics().await.unwrap();
            let is_any = |name: &str| metrics.value(name).unwrap() > 0.0;
            let all = is_any("fhircast_spans_dropped_total{reason=\"full\"}")
                && is_any("fhircast_spans_dropped_total{reason=\"undelivered\"}")
                && is_any("fhircast_span_export_failures_total");
            assert_eq!(metrics.value("fhircast_spans_exported_total"), Some(0.0));
            all.then_some(())
        })
        .await
        .unwrap();
        let complaint = "spans cannot be sent to the collector, and are dropped";
        let lines = hub.log_lines();
        assert_eq!(
            lines.iter().filter(|line| line.contains(complaint)).count(),
            1,
            "it is not said each time"
        );
        accepted(&app, &patient_open(&topic, &fresh_id()), &[]).await;
        assert!(hub.stop(PATIENCE).await.unwrap().success(), "it ends, whatever the collector does");
    }
    gate.open();
}

#[tokio::test]
async fn spans_go_over_tls_with_the_headers_that_are_set_and_what_waits_at_the_end_is_sent() {
    let certificates = Certificates::new().unwrap();
    let collector = OtlpCollector::start_tls(&certificates).unwrap();
    collector.server().queue(PATH, [Reply::status(503).header("Retry-After", "0")]);
    hygiene::forbid("Basic b2YtdGhlLWNvbGxlY3Rvcg==");
    let ca = certificates.ca();
    let settings = [
        ("tracing.otlp_endpoint", &*collector.endpoint()),
        ("tracing.ca_file", ca.to_str().unwrap()),
        ("tracing.headers", "Authorization=Basic b2YtdGhlLWNvbGxlY3Rvcg==,x-scope=radiology"),
        ("tracing.service_name", "hub-of-the-ward"),
    ];
    let mut hub = Hub::start_embedded(&settings).await.unwrap();
    let (topic, trace) = (fresh_topic(), Trace::fresh());
    accepted(&hub.app().unwrap(), &patient_open(&topic, "1"), &[("traceparent", &trace.parent("01"))]).await;
    hub.stop(PATIENCE).await.unwrap();
    let requests = collector.server().requests();
    assert!(requests.len() >= 2, "what was answered 503 is sent again");
    for request in requests {
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("authorization"), Some("Basic b2YtdGhlLWNvbGxlY3Rvcg=="));
        assert_eq!(request.header("x-scope"), Some("radiology"));
    }
    let spans = collector.spans();
    let of_it: Vec<&Span> = spans.iter().filter(|span| span.trace_id == trace.id).collect();
    assert!(of_it.iter().any(|span| span.kind == SpanKind::Server), "{spans:#?}");
    assert!(of_it.iter().all(|span| span.service == "hub-of-the-ward"), "{spans:#?}");
}
