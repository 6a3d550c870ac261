//! Of which requests spans are made.
//!
//! It is decided once, where a request comes in, and everything that the request causes goes by it: the decision is in
//! the trace's flags, in the entry of the log as well. What the sender decided counts there only if the settings say so:
//! by its flag anybody could have all recorded that it sends. Nor does the trace id decide, which the sender chooses too.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId},
};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::settings::Tracing;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Sampling {
    ratio: f64,
    honours_sender: bool,
}

impl From<&Tracing> for Sampling {
    fn from(settings: &Tracing) -> Self {
        Self { ratio: settings.sample_ratio, honours_sender: settings.honour_sampled }
    }
}

impl Sampling {
    /// `before` says whether the span before is recorded, if there is one.
    fn is_sampled(&self, kind: &SpanKind, before: Option<bool>, chance: f64) -> bool {
        match before {
            Some(is_sampled) if *kind != SpanKind::Server || self.honours_sender => is_sampled,
            _ => chance < self.ratio,
        }
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        before: Option<&Context>,
        _: TraceId,
        _: &str,
        kind: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let before = before.map(|context| context.span().span_context().clone());
        let before = before.filter(|before| before.is_valid());
        let flag = before.as_ref().map(|before| before.is_sampled());
        let decision = if self.is_sampled(kind, flag, rand::random()) {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        };
        let trace_state = before.map(|before| before.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn within_a_trace_nobody_decides_again(ratio in 0.0..=1.0, chance in 0.0..1.0, flag: bool, honours_sender: bool) {
            let sampling = Sampling { ratio, honours_sender };
            for kind in [SpanKind::Producer, SpanKind::Consumer, SpanKind::Client, SpanKind::Internal] {
                prop_assert_eq!(sampling.is_sampled(&kind, Some(flag), chance), flag);
            }
            let of_a_request = sampling.is_sampled(&SpanKind::Server, Some(flag), chance);
            prop_assert_eq!(of_a_request, if honours_sender { flag } else { chance < ratio });
            prop_assert_eq!(sampling.is_sampled(&SpanKind::Server, None, chance), chance < ratio);
        }
    }

    #[test]
    fn all_and_none_are_ratios() {
        for (ratio, all) in [(0.0, false), (1.0, true)] {
            let sampling = Sampling { ratio, honours_sender: false };
            for chance in [0.0, 0.5, 1.0 - f64::EPSILON] {
                assert_eq!(sampling.is_sampled(&SpanKind::Server, Some(!all), chance), all);
            }
        }
    }
}
