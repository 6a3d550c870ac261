//! What the settings of the hub and of its Redis can promise about an event that was answered 202, in
//! the words in which it is written to the log at the start.

use crate::settings::Durability;

/// What a primary says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Does it keep an append-only file?
    pub has_aof: bool,
    /// When it has the file written to the disk; `None` when it does not say.
    pub appendfsync: Option<String>,
    /// The replicas that are connected to it.
    pub replicas: u32,
}

/// A promise, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Promise {
    /// Is it one that nobody should rely on?
    pub is_weak: bool,
    /// What survives what.
    pub text: String,
}

/// What holds when all is as it is now.
pub fn promise(durability: Durability, facts: &Facts) -> Promise {
    let restart = match (facts.has_aof, facts.appendfsync.as_deref()) {
        (false, _) => "nothing survives the end of Redis: it has no append-only file",
        (true, Some("always")) => "they survive the end of Redis and of its machine",
        (true, Some("no")) => {
            "they survive the end of Redis; the end of its machine may cost the last half minute"
        }
        (true, _) => "they survive the end of Redis; the end of its machine may cost the last two seconds",
    };
    let (failover, lacks_replicas) = match (durability, facts.replicas) {
        (Durability::Primary, 0) => ("no replica can take over".to_owned(), false),
        (Durability::Primary, _) => (
            "a replica that takes over may lack the last of them, and then subscribers are told so"
                .to_owned(),
            false,
        ),
        (Durability::Replicas(wanted), replicas) if replicas < wanted => {
            (format!("none is accepted: {replicas} of {wanted} replicas are connected"), true)
        }
        (Durability::Replicas(wanted), _) => (
            format!(
                "at least {wanted} of the replicas have them, and one of those must be the one that takes over"
            ),
            false,
        ),
    };
    Promise {
        is_weak: !facts.has_aof || lacks_replicas,
        text: format!("of accepted events: {restart}; {failover}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(appendfsync: Option<&str>, replicas: u32) -> Facts {
        Facts { has_aof: appendfsync.is_some(), appendfsync: appendfsync.map(str::to_owned), replicas }
    }

    #[test]
    fn nothing_is_promised_that_does_not_hold() {
        for (durability, facts, is_weak, says) in [
            (Durability::Primary, facts(None, 0), true, "nothing survives the end of Redis"),
            (Durability::Primary, facts(Some("everysec"), 0), false, "may cost the last two seconds"),
            (Durability::Primary, facts(Some("always"), 0), false, "and of its machine"),
            (Durability::Primary, facts(Some("no"), 1), false, "half minute"),
            (Durability::Primary, facts(Some("everysec"), 1), false, "may lack the last of them"),
            (Durability::Replicas(1), facts(Some("everysec"), 0), true, "0 of 1 replicas are connected"),
            (Durability::Replicas(2), facts(Some("everysec"), 2), false, "at least 2 of the replicas"),
        ] {
            let promise = promise(durability, &facts);
            assert_eq!(promise.is_weak, is_weak, "{promise:?}");
            assert!(promise.text.contains(says), "{promise:?}");
        }
    }
}
