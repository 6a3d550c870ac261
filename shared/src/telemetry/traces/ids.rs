//! Trace and span in log lines: `trace_id` and `span_id`, as OpenTelemetry has them for logs.
//!
//! They stand in every line that is written while a trace is current, whether its spans are made or not. Where none are,
//! the span is the one that has come.

use std::fmt;

use opentelemetry::{Context, trace::TraceContextExt};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, Writer},
    },
    registry::LookupSpan,
};

/// A form of lines, with trace and span in them.
pub struct WithIds<F>(pub F);

/// Where in a line they stand.
trait Place {
    fn put(line: &str, trace_id: &str, span_id: &str, into: &mut Writer<'_>) -> fmt::Result;
}

impl<T> Place for Format<Json, T> {
    fn put(line: &str, trace_id: &str, span_id: &str, into: &mut Writer<'_>) -> fmt::Result {
        let rest = line.strip_prefix('{').unwrap_or(line);
        write!(into, r#"{{"trace_id":"{trace_id}","span_id":"{span_id}",{rest}"#)
    }
}

impl<T> Place for Format<tracing_subscriber::fmt::format::Full, T> {
    fn put(line: &str, trace_id: &str, span_id: &str, into: &mut Writer<'_>) -> fmt::Result {
        let text = line.strip_suffix('\n').unwrap_or(line);
        writeln!(into, "{text} trace_id={trace_id} span_id={span_id}")
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N> + Place,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let ids = Context::map_current(|current| {
            let is_any = current.has_active_span();
            is_any.then(|| {
                let span = current.span();
                (span.span_context().trace_id(), span.span_context().span_id())
            })
        });
        let Some((trace_id, span_id)) = ids else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        F::put(&line, &trace_id.to_string(), &span_id.to_string(), &mut writer)
    }
}
