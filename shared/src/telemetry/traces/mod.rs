//! Spans: which part of the work that one request causes was done where, and for how long (OpenTelemetry).
//!
//! - [`Span`]: a piece of work, which may be current while a future runs. `current`: what is current, also where no
//!   spans are made and a trace is only passed on.
//! - `sampling`: of which requests spans are made · `waiting`: the finished ones, which wait for their export
//! - [`ids`]: how log lines name them
//!
//! No spans are made until [`start`] has been called with an endpoint. What is then passed on is what has come, since a
//! program that makes no spans takes no part in a trace: the span before stays the parent of what comes after.
//!
//! Who makes a span sees to it that its attributes hold nothing of a patient, no topic but the beginning of its hash, no
//! ticket, no secret, and of a callback no more than host and port. Names of attributes are those of OpenTelemetry's
//! semantic conventions; those of this hub begin with `fhircast.`.
//!
//! How they are sent is not here: `worker::span_export`.

pub mod ids;
mod sampling;
mod span;
mod waiting;

use std::sync::OnceLock;

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, SpanLimits},
};

pub use opentelemetry::trace::SpanKind;
pub use span::{Span, current};
pub use waiting::{Answer, Batch, End, Waiting};

use crate::settings::Tracing;

/// What begins the spans of this process.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Makes spans from now on, if there is an endpoint; once in a process. What is finished waits in [`Waiting`].
///
/// Nothing is taken from OpenTelemetry's own environment variables (`OTEL_…`): there is one way to set a thing.
pub fn start(settings: &Tracing, program: &'static str) -> Option<Waiting> {
    settings.otlp_endpoint.as_ref()?;
    let name = settings.service_name.clone().unwrap_or_else(|| program.to_owned());
    let resource = Resource::builder_empty().with_service_name(name).with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        KeyValue::new("telemetry.sdk.language", "rust"),
    ]);
    let resource = resource.build();
    let (processor, finished) = waiting::queue(settings.waiting_spans);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_sampler(sampling::Sampling::from(settings))
        .with_span_limits(SpanLimits::default())
        .with_resource(resource.clone())
        .build();
    TRACER.set(provider.tracer("fhircast-hub")).ok()?;
    Some(Waiting::new(provider, finished, &resource))
}
