//! SMART scopes of FHIRcast (2.2): which events a token may read and which it may write.
//!
//! Rules: FC-SCO-01, FC-SCO-02.

use super::{EventFilter, EventName};

/// The FHIRcast scopes of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    read: Option<EventFilter>,
    write: Option<EventFilter>,
}

impl Scopes {
    /// Those of a caller from whom no token is asked.
    pub fn everything() -> Self {
        let everything = || EventFilter::parse("*,heartbeat", 2).ok();
        Self { read: everything(), write: everything() }
    }

    /// Those among scopes with spaces between them.
    pub fn parse(scopes: &str) -> Self {
        let of = |action: &str| {
            let named: Vec<&str> = scopes
                .split(' ')
                .filter_map(|scope| scope.strip_prefix("fhircast/")?.rsplit_once('.'))
                .filter(|(_, allowed)| *allowed == action || *allowed == "*")
                .map(|(name, _)| name)
                .collect();
            EventFilter::parse(&named.join(","), named.len()).ok()
        };
        Self { read: of("read"), write: of("write") }
    }

    /// May events of this name be received?
    pub fn may_read(&self, name: &EventName) -> bool {
        self.read.as_ref().is_some_and(|read| read.matches(name))
    }

    /// May events of this name be sent?
    pub fn may_write(&self, name: &EventName) -> bool {
        self.write.as_ref().is_some_and(|write| write.matches(name))
    }
}
