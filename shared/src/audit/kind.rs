//! What a record is about, and how it went.

/// What was done, or tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A subscription was asked for; of a webhook in force, a second time if its renewal is not confirmed.
    Subscribe,
    /// The end of a subscription was asked for; of a webhook, a second time when its subscriber has confirmed it or not.
    Unsubscribe,
    /// A socket was asked for, in vain.
    Connect,
    /// A subscription was confirmed: the subscriber is told of these events from now on.
    Grant,
    /// A right was refused, or a subscription ended by the hub.
    Denial,
    /// An event was posted.
    Publish,
    /// A subscriber did not follow: it answered with an error, or not in time, or has gone.
    Delivery,
    /// The current context was read.
    Read,
    /// Somebody could not show who it is.
    Authentication,
}

impl Kind {
    /// Its name in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Connect => "connect",
            Self::Grant => "grant",
            Self::Denial => "denial",
            Self::Publish => "publish",
            Self::Delivery => "delivery-refusal",
            Self::Read => "read",
            Self::Authentication => "authentication-failure",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not done, because of who asked or what was asked for.
    Refused,
    /// It was not done, because the hub could not at the time.
    Failed,
    /// It was not done, because of what the hub's store holds.
    Broken,
    /// It may have been done: who asked has left before the answer.
    Unknown,
}

impl Outcome {
    /// Its name in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }

    /// What an HTTP status says about the outcome.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..400 => Self::Success,
            500 => Self::Broken,
            501.. => Self::Failed,
            _ => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_from_the_status() {
        for (status, outcome) in [
            (101, Outcome::Success),
            (202, Outcome::Success),
            (403, Outcome::Refused),
            (429, Outcome::Refused),
            (500, Outcome::Broken),
            (503, Outcome::Failed),
        ] {
            assert_eq!(Outcome::of_status(status), outcome, "{status}");
        }
    }
}
