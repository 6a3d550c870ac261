//! The names of keys and channels. Everything of a topic has the hash tag of its partition, so
//! that one script can touch it on Redis Cluster; none holds a raw topic, since topics are tickets.

use crc16::{State, XMODEM};

use super::topology::{SLOTS, Slot};
use crate::{
    protocol::{SubscriptionId, TopicKey},
    store::{Address, Once},
};

/// The number of partitions that this Redis was first used with.
pub const PARTITIONS: &str = "fhircast:partitions";
/// The number of the format that all processes write.
pub const FORMAT: &str = "fhircast:format";
/// Something that is sealed, so that who has other keys finds out at its start.
pub const MARK: &str = "fhircast:seal";

/// The workers that are alive, by when they must say so again.
pub const WORKERS: &str = "fhircast:workers";

/// The nodes that have not been let go of, by when they must say again that they are alive.
pub const NODES: &str = "fhircast:nodes";

/// The slot of a key without a hash tag, or of a hash tag.
pub fn slot(tag: &str) -> Slot {
    Slot(State::<XMODEM>::calculate(tag.as_bytes()) % SLOTS)
}

/// The slot of all keys of a partition.
pub fn slot_of(partition: u16) -> Slot {
    slot(&partition.to_string())
}

/// The keys of one topic.
#[derive(Clone, Copy)]
pub struct TopicKeys {
    partition: u16,
    topic: TopicKey,
}

impl TopicKeys {
    pub fn new(topic: TopicKey, partitions: u16) -> Self {
        Self { partition: topic.partition(partitions), topic }
    }

    fn named(&self, kind: &str) -> String {
        format!("fhircast:{{{}}}:{kind}:{}", self.partition, self.topic)
    }

    /// Hash: the session's fields, `.revision`, `.head` and `.log-bytes`.
    pub fn session(&self) -> String {
        self.named("session")
    }

    /// Stream: `p` the entry before, `r` the revision, `h` the history, `e` the entry.
    pub fn log(&self) -> String {
        self.named("log")
    }

    /// Channel: each entry as it is committed.
    pub fn bell(&self) -> String {
        self.named("bell")
    }

    /// Hash: what updates have put into the open contexts, and `.bytes`.
    pub fn content(&self) -> String {
        self.named("content")
    }

    /// Sorted set: the names of those fields, in their order.
    pub fn content_names(&self) -> String {
        self.named("content-names")
    }

    /// Sorted set: WebSocket subscriptions by the end of their lease or grace.
    pub fn sockets(&self) -> String {
        self.named("sockets")
    }

    /// Sorted set: webhook subscriptions by the end of their lease.
    pub fn webhooks(&self) -> String {
        self.named("webhooks")
    }

    /// String: it exists while a commit is remembered.
    pub fn once(&self, once: &Once) -> String {
        match once {
            Once::Request(hash) => format!("{}:request:{hash}", self.named("once")),
            Once::Cause(id) => format!("{}:cause:{id}", self.named("once")),
        }
    }

    /// String: up to which position something has been announced.
    pub fn announced(&self, cause: &str) -> String {
        format!("{}:announced:{cause}", self.named("once"))
    }

    pub fn due(&self) -> String {
        due(self.partition)
    }

    pub fn due_bell(&self) -> String {
        due_bell(self.partition)
    }

    pub fn leases(&self) -> String {
        leases(self.partition)
    }

    pub fn held(&self) -> String {
        held(self.partition)
    }

    pub fn partition(&self) -> u16 {
        self.partition
    }

    pub fn slot(&self) -> Slot {
        slot_of(self.partition)
    }
}

/// Hash: a subscription.
pub fn subscription(id: SubscriptionId) -> String {
    format!("fhircast:{{{}}}:subscription:{id}", id.partition())
}

/// Hash: the WebSocket subscriptions (`id topic`) that are held, with the node that holds each.
pub fn held(partition: u16) -> String {
    format!("fhircast:{{{partition}}}:held")
}

/// Sorted set: subscriptions (`id topic`) by when they next need a worker.
pub fn due(partition: u16) -> String {
    format!("fhircast:{{{partition}}}:due")
}

/// Sorted set: subscriptions (`id topic`) by the end of their lease.
pub fn leases(partition: u16) -> String {
    format!("fhircast:{{{partition}}}:leases")
}

/// Channel: the partition's number, when something has become due in it.
pub fn due_bell(partition: u16) -> String {
    format!("fhircast:{{{partition}}}:due-bell")
}

/// Is this channel one of those?
pub fn is_due_bell(channel: &str) -> bool {
    channel.ends_with(":due-bell")
}

/// The topic of a bell.
pub fn topic_of_bell(channel: &str) -> Option<TopicKey> {
    channel.rsplit(':').next()?.parse().ok()
}

/// Channel: by which one connection finds out whether it hears anything.
pub fn probe(partition: u16, id: &str) -> String {
    format!("fhircast:{{{partition}}}:probe:{id}")
}

/// String: written to wait for the replicas of the server that has a partition.
pub fn confirmation(partition: u16) -> String {
    format!("fhircast:{{{partition}}}:confirmation")
}

/// A key that holds what may be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Session(TopicKey),
    Content(TopicKey),
    Log(TopicKey),
    Subscription(SubscriptionId),
}

/// Whose a key is, if it holds what may be sealed.
pub fn holder(key: &str) -> Option<Holder> {
    let mut parts = key.split(':').skip(2);
    let (kind, of) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    match kind {
        "session" => of.parse().ok().map(Holder::Session),
        "content" => of.parse().ok().map(Holder::Content),
        "log" => of.parse().ok().map(Holder::Log),
        "subscription" => of.parse().ok().map(Holder::Subscription),
        _ => None,
    }
}

/// The slot of a key that has the hash tag of its partition.
pub fn slot_of_key(key: &str) -> Slot {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    slot(tag.map_or(key, |(tag, _)| tag))
}

/// Reads a member of the due set.
pub fn address(member: &str) -> Option<Address> {
    let (id, topic) = member.split_once(' ')?;
    Some(Address { id: id.parse().ok()?, topic: topic.parse().ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sealed_is_known_by_its_key() {
        let topic = "t".parse::<crate::protocol::Topic>().unwrap().key();
        let (names, id) = (TopicKeys::new(topic, 4), SubscriptionId::random(3));
        for (key, holds) in [
            (names.session(), Some(Holder::Session(topic))),
            (names.content(), Some(Holder::Content(topic))),
            (names.log(), Some(Holder::Log(topic))),
            (subscription(id), Some(Holder::Subscription(id))),
            (names.content_names(), None),
            (names.once(&Once::Cause("c".into())), None),
            (due(1), None),
            (PARTITIONS.to_owned(), None),
        ] {
            assert_eq!(holder(&key), holds, "{key}");
        }
        assert_eq!(slot_of_key(&names.log()), names.slot());
        assert_eq!(topic_of_bell(&names.bell()), Some(topic));
    }

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // As CLUSTER KEYSLOT answers.
        for (tag, expected) in [("foo", 12_182), ("123456789", 12_739), ("0", 13_907), ("", 0)] {
            assert_eq!(slot(tag), Slot(expected), "{tag}");
        }
    }
}
