//! The FHIRcast wire format: parsed once at the edge, rendered in one place.
//!
//! Everything here is pure: no I/O, no clock, no randomness but for [`EndpointId::random`].
//! A value that exists is valid; strings stop at this module's parsers.
//!
//! Rules: FC-TRN-02…05, FC-EVT-01…07, FC-SUB-01…06, FC-SUB-10, FC-WSC-01, FC-WSC-03, FC-WHK-02,
//! FC-WHK-03, FC-WHK-05, FC-NOT-01, FC-NOT-03, FC-CNF-01, FC-CNF-02,
//! FC-CNT-03, FC-CNT-04, FC-WSC-06, FC-SCO-01, FC-SCO-02.

pub mod answer;
pub mod bundle;
pub mod capability_statement;
pub mod configuration;
pub mod confirmation;
pub mod context;
mod endpoint_id;
pub mod event;
pub mod event_name;
pub mod filter;
pub mod form;
pub mod heartbeat;
pub mod json;
mod pattern;
pub mod scope;
pub mod subscription_id;
pub mod subscription_request;
pub mod sync_error;
pub mod topic;
pub mod trace_context;
pub mod unambiguous;
pub mod webhook;

pub use context::{Anchor, ContextElement};
pub use endpoint_id::EndpointId;
pub use event::Event;
pub use event_name::{Action, EventName};
pub use filter::EventFilter;
pub use scope::{MissingScope, Scopes};
pub use subscription_id::SubscriptionId;
pub use topic::{Topic, TopicKey};
pub use trace_context::TraceContext;

use std::borrow::Cow;

/// Why a request is not valid FHIRcast. Every one of these is a 400 with the message as its text.
///
/// Messages name the offending parameter or member and never repeat its value: a value may be a
/// secret, a token or PHI (FC-TRN-03).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A required parameter or member is not there.
    #[error("{0} is missing")]
    Missing(Cow<'static, str>),
    /// A parameter or member stands more than once (FC-TRN-04).
    #[error("{0} appears more than once")]
    Repeated(String),
    /// A parameter or member has a value that the specification does not allow.
    #[error("{field} {problem}")]
    Value {
        /// The parameter (`hub.mode`) or the path of the member (`event.context[2]`).
        field: Cow<'static, str>,
        /// What is wrong with it, as the rest of a sentence: `must be a non-empty string`.
        problem: Cow<'static, str>,
    },
    /// The body as a whole cannot be read.
    #[error("the body {0}")]
    Body(String),
}

impl Invalid {
    /// A value of `field` that is not allowed, with the rest of the sentence.
    pub fn value(field: impl Into<Cow<'static, str>>, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::Value { field: field.into(), problem: problem.into() }
    }

    /// `field` is required and not there.
    pub fn missing(field: impl Into<Cow<'static, str>>) -> Self {
        Self::Missing(field.into())
    }
}
