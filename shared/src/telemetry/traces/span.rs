//! A piece of work, and what it is part of.

use std::borrow::Cow;

use opentelemetry::{
    Context, KeyValue, Value,
    context::FutureExt,
    trace::{SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer},
};

use super::TRACER;
use crate::protocol::TraceContext;

/// A piece of work, which ends when it is dropped. Where no spans are made it is what it is part of: the trace that has
/// come, or none.
#[must_use = "it ends when it is dropped"]
pub struct Span {
    context: Context,
    /// Is it one of this process, or the one that came before?
    is_ours: bool,
}

impl Span {
    /// Work for somebody whose request names a trace, or none.
    pub fn of(kind: SpanKind, name: impl Into<Cow<'static, str>>, before: Option<&TraceContext>) -> Self {
        let before = before.map(remote).unwrap_or_default();
        Self::begin(kind, name, before)
    }

    /// A part of what is current.
    pub fn part(kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Self {
        Self::begin(kind, name, Context::current())
    }

    fn begin(kind: SpanKind, name: impl Into<Cow<'static, str>>, before: Context) -> Self {
        let Some(tracer) = TRACER.get() else { return Self { context: before, is_ours: false } };
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, &before);
        Self { context: before.with_span(span), is_ours: true }
    }

    /// Another name, if it is recorded.
    pub fn rename(&self, name: impl FnOnce() -> String) {
        if self.is_ours && self.context.span().is_recording() {
            self.context.span().update_name(name());
        }
    }

    /// Says more of it, if it is recorded.
    pub fn note<const N: usize>(&self, attributes: impl FnOnce() -> [(&'static str, Value); N]) {
        if self.is_ours && self.context.span().is_recording() {
            let pairs = attributes().into_iter().map(|(name, value)| KeyValue::new(name, value));
            self.context.span().set_attributes(pairs);
        }
    }

    /// It has not come to what it was to: `error_type` is one of a few words.
    pub fn fail(&self, error_type: impl Into<Cow<'static, str>>) {
        if self.is_ours && self.context.span().is_recording() {
            let span = self.context.span();
            span.set_attribute(KeyValue::new("error.type", error_type.into()));
            span.set_status(Status::error(""));
        }
    }

    /// How the next one on the way names it: in a header, or in an entry of the log.
    pub fn carried(&self) -> Option<TraceContext> {
        carried(&self.context)
    }

    /// It is current whenever the future runs.
    pub async fn over<F: Future>(&self, future: F) -> F::Output {
        future.with_context(self.context.clone()).await
    }

    /// It is current while `work` runs.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.context.clone().attach();
        work()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.is_ours {
            self.context.span().end();
        }
    }
}

/// What is current, as the next one on the way names it.
pub fn current() -> Option<TraceContext> {
    Context::map_current(carried)
}

fn carried(context: &Context) -> Option<TraceContext> {
    if !context.has_active_span() {
        return None;
    }
    let span = context.span();
    let at = span.span_context();
    let (trace_id, span_id) = (at.trace_id().to_bytes(), at.span_id().to_bytes());
    let (trace_id, span_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
    TraceContext::new(trace_id, span_id, at.trace_flags().to_u8(), &at.trace_state().header())
}

fn remote(trace: &TraceContext) -> Context {
    let state = trace.tracestate().and_then(|state| state.parse::<TraceState>().ok());
    Context::new().with_remote_span_context(SpanContext::new(
        trace.trace_id().into(),
        trace.parent_id().into(),
        TraceFlags::new(trace.flags()),
        true,
        state.unwrap_or_default(),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // In this process no spans are made: what comes is passed on.

    #[tokio::test]
    async fn what_has_come_is_current_while_work_is_done_for_it_and_passed_on_as_it_came() {
        assert_eq!(current(), None);
        let before = TraceContext::new(7, 8, 1, "vendor=1").unwrap();
        let span = Span::of(SpanKind::Server, "request", Some(&before));
        let within = span.over(async {
            tokio::task::yield_now().await;
            let part = Span::part(SpanKind::Producer, "publish");
            (part.carried(), part.within(current))
        });
        assert_eq!(within.await, (Some(before.clone()), Some(before)));
        assert_eq!(current(), None);
    }

    #[test]
    fn where_nothing_has_come_there_is_nothing() {
        let span = Span::of(SpanKind::Server, "request", None);
        assert_eq!((span.carried(), span.within(current)), (None, None));
        assert_eq!(Span::part(SpanKind::Client, "commit").carried(), None);
    }

    proptest! {
        #[test]
        fn whatever_tracestate_may_be_is_passed_on(
            members in proptest::collection::vec("[a-z][a-z0-9_*/-]{0,9}=[!-+.-<>-~]{1,20}", 0..12),
        ) {
            let context = TraceContext::new(1, 2, 0, &members.join(",")).unwrap();
            let span = Span::of(SpanKind::Server, "request", Some(&context));
            prop_assert_eq!(span.carried(), Some(context));
        }
    }
}
