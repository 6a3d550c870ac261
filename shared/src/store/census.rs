//! What there is in a store: for metrics, and for whoever wants to know at three in the morning.

use std::time::Duration;

use super::Address;

/// What there is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Which.
    pub partition: u16,
    /// Its subscriptions, in no order.
    pub subscriptions: Vec<Counted>,
    /// How many of them wait for a worker.
    pub due_count: usize,
    /// The first of those, and for how long they have been waiting, longest first; not all when there are many.
    pub due: Vec<(Address, Duration)>,
    /// How many wait for a later time, or are claimed.
    pub later: usize,
}

impl Census {
    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty() && self.due_count == 0 && self.later == 0
    }

    /// For how long the oldest of what is due has been due; zero when nothing is.
    pub fn oldest_due(&self) -> Duration {
        self.due.first().map(|(_, age)| *age).unwrap_or_default()
    }
}

/// A subscription, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Which.
    pub address: Address,
    /// What it is.
    pub kind: Kind,
}

/// What a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One whose socket a hub holds.
    Connected,
    /// One whose socket has not come yet, or has gone.
    Away,
    /// One of a callback.
    Webhook,
}

impl Kind {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Away => "away",
            Self::Webhook => "webhook",
        }
    }
}
