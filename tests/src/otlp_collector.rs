//! An OpenTelemetry collector, as far as it is told of spans: OTLP over HTTP, in protobuf.
//!
//! Whatever it is told must hold nothing of what [`hygiene`] knows: or its drop panics.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, status::StatusCode},
};
use prost::Message;

pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use crate::{
    callback_server::{CallbackServer, Request},
    certs::Certificates,
    hygiene,
};

/// Where spans are posted.
pub const PATH: &str = "/v1/traces";

/// A span that a program has exported.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of who made it.
    pub service: String,
    /// In hexadecimal, as in `traceparent`.
    pub trace_id: String,
    /// Likewise.
    pub id: String,
    /// The span that it is a part of; empty when there is none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// Its attributes, all as text.
    pub attributes: BTreeMap<String, String>,
    /// Has it failed?
    pub is_error: bool,
    /// Nanoseconds from its beginning to its end.
    pub nanos: u64,
}

/// A running collector; dropping it ends it.
pub struct OtlpCollector(CallbackServer);

impl OtlpCollector {
    /// Over HTTP.
    pub fn start() -> Result<OtlpCollector> {
        CallbackServer::start().map(OtlpCollector)
    }

    /// Over HTTPS, with the server certificate of `certificates`.
    pub fn start_tls(certificates: &Certificates) -> Result<OtlpCollector> {
        CallbackServer::start_tls(certificates).map(OtlpCollector)
    }

    /// What `tracing.otlp_endpoint` is set to.
    pub fn endpoint(&self) -> String {
        self.0.url("")
    }

    /// The server, to choose what it answers at [`PATH`].
    pub fn server(&self) -> &CallbackServer {
        &self.0
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        spans_of(&self.0.requests())
    }

    /// Waits until the spans of a trace so far make `find` answer `Some`.
    pub async fn wait_for<R>(
        &self,
        timeout: Duration,
        trace_id: &str,
        mut find: impl FnMut(&[Span]) -> Option<R>,
    ) -> Result<R> {
        let what = format!("spans of {trace_id}");
        let found = self.0.wait_for(timeout, &what, |requests| {
            let spans: Vec<Span> =
                spans_of(requests).into_iter().filter(|span| span.trace_id == trace_id).collect();
            find(&spans)
        });
        found.await.with_context(|| format!("there are {:#?}", self.spans()))
    }
}

impl Drop for OtlpCollector {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for part in exported(&self.0.requests()) {
            let leak = hygiene::leak(&format!("{part:?}"));
            assert!(leak.is_none(), "FC-SEC-03: {leak:?} is in a span: {part:#?}");
        }
    }
}

fn exported(requests: &[Request]) -> Vec<ResourceSpans> {
    let posted = requests.iter().filter(|request| request.path == PATH && request.method == "POST");
    let read = posted.filter_map(|request| ExportTraceServiceRequest::decode(request.body.as_slice()).ok());
    read.flat_map(|request| request.resource_spans).collect()
}

fn spans_of(requests: &[Request]) -> Vec<Span> {
    let mut spans = Vec::new();
    for part in exported(requests) {
        let of_resource = attributes(part.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = of_resource.get("service.name").cloned().unwrap_or_default();
        for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                trace_id: hex::encode(&span.trace_id),
                id: hex::encode(&span.span_id),
                parent: hex::encode(&span.parent_span_id),
                kind: span.kind(),
                is_error: span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error),
                nanos: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
                attributes: attributes(span.attributes),
                name: span.name,
            });
        }
    }
    spans
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: KeyValue| Some((pair.key, text(pair.value?.value?)));
    pairs.into_iter().filter_map(value).collect()
}
