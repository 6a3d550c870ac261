//! What is wrong with a history.

use std::fmt::Display;

use super::Id;

/// An event and the subscriber whom a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<I> {
    /// The subscriber, or the publisher whose own order is broken.
    pub who: String,
    /// The event.
    pub id: I,
}

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings<I> {
    /// Accepted, and not seen by this subscriber.
    pub lost: Vec<Finding<I>>,
    /// Seen again without a resume or a retry.
    pub duplicated: Vec<Finding<I>>,
    /// Seen after an event that it comes before in the total order.
    pub out_of_order: Vec<Finding<I>>,
    /// Seen, though it was neither accepted nor uncertain.
    pub unknown: Vec<Finding<I>>,
    /// Seen again with a reason: no defect, but worth counting.
    pub repeated: usize,
}

impl<I> Default for Findings<I> {
    fn default() -> Self {
        Findings {
            lost: Vec::new(),
            duplicated: Vec::new(),
            out_of_order: Vec::new(),
            unknown: Vec::new(),
            repeated: 0,
        }
    }
}

impl<I: Id> Findings<I> {
    /// True when nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.duplicated.is_empty()
            && self.out_of_order.is_empty()
            && self.unknown.is_empty()
    }
}

impl<I: Id> Display for Findings<I> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("out of order", &self.out_of_order),
            ("unknown", &self.unknown),
        ];
        for (kind, findings) in kinds {
            write!(out, "{kind}: {}", findings.len())?;
            for finding in findings.iter().take(5) {
                write!(out, "\n  {:?} at {}", finding.id, finding.who)?;
            }
            writeln!(out)?;
        }
        write!(out, "repeated with reason: {}", self.repeated)
    }
}
