//! What can be wrong with a run.

use std::fmt::{Display, Formatter};

use serde::Serialize;

/// A kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// Answered 202, and a live subscriber that may see it has neither seen it nor been told that events are lost.
    Lost,
    /// It is in the log, since somebody saw it, and another who may see it did not.
    Disagreed,
    /// No total order agrees with this subscriber and the others.
    Disordered,
    /// Seen again without a resume, a retry or another reason.
    Duplicated,
    /// Seen, and nobody sent it, or it was refused.
    Unknown,
    /// Two SyncErrors for one cause.
    DoubleSyncError,
    /// A SyncError of the hub, though nothing was broken, or of a loss, though nothing can have been lost.
    Unfounded,
    /// `context.versionId` is not unique, or `context.priorVersionId` is not the version before.
    Version,
    /// Two subscribers were sent different bytes for one event.
    Different,
    /// Get Current Context is not what the log implies, or not the same at every hub.
    Context,
    /// A notification that its secret did not sign.
    Unsigned,
    /// A publisher was refused for which there was no reason.
    Refused,
    /// A subscription was ended for which there was no reason.
    Expelled,
    /// A subscriber never got the last event, or a publisher was never served again.
    Stuck,
}

/// One defect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunFinding {
    /// Its kind.
    pub defect: Defect,
    /// The session.
    pub topic: String,
    /// The subscriber, publisher or hub.
    pub who: String,
    /// The event's id, when it is about one.
    pub event: String,
    /// In words.
    pub detail: String,
}

impl Display for RunFinding {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let RunFinding { defect, topic, who, event, detail } = self;
        write!(out, "{defect:?}: {who} in {topic}")?;
        if !event.is_empty() {
            write!(out, ", event {event}")?;
        }
        write!(out, ": {detail}")
    }
}
