//! The labels of the metrics. Each is an enum whose values are all known, so that the number of series is bounded and
//! each is there from the start.

use std::marker::PhantomData;

use prometheus::IntCounter;

/// A label whose values are known: [`Label::ALL`] in order of declaration.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Every value.
    const ALL: &'static [Self];
    /// The value as it is exposed.
    fn as_str(self) -> &'static str;
    /// What it means.
    fn help(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

macro_rules! labels {
    ($(
        $(#[doc = $about:literal])+
        $label:ident in $name:literal {
            $($(#[doc = $help:literal])+ $value:ident = $text:literal,)+
        }
    )+) => {
        $($(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $label {
            $($(#[doc = $help])+ $value,)+
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn help(self) -> &'static str {
                match self {
                    $(Self::$value => concat!($($help),+).trim_ascii(),)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        })+

        #[cfg(test)]
        mod tests {
            use super::*;

            fn check<L: Label + PartialEq + std::fmt::Debug>() {
                for (at, label) in L::ALL.iter().enumerate() {
                    assert_eq!(label.index(), at);
                    assert_eq!(L::ALL.iter().filter(|other| other.as_str() == label.as_str()).count(), 1, "{label:?}");
                }
            }

            // In the macro, so that it leaves out none.
            #[test]
            fn a_label_is_found_at_its_own_place_and_has_a_name_of_its_own() {
                $(check::<$label>();)+
            }
        }
    };
}

labels! {
    /// What became of a publish.
    Publish in "outcome" {
        /// Committed to the topic's log.
        Accepted = "accepted",
        /// A transport retry of one that was accepted already (FC-REQ-07).
        Duplicate = "duplicate",
        /// Answered with a 4xx.
        Rejected = "rejected",
        /// Answered with a 503, because the store was away or too busy.
        Unavailable = "unavailable",
    }

    /// The way to a subscriber.
    Channel in "channel" {
        /// A WebSocket that a hub holds.
        Websocket = "websocket",
        /// Callbacks that a worker makes.
        Webhook = "webhook",
    }

    /// What became of a notification.
    Notification in "outcome" {
        /// Written to the channel.
        Sent = "sent",
        /// Answered by the subscriber with a 2xx.
        Confirmed = "confirmed",
        /// Answered by the subscriber with an error (FC-NOT-02).
        Refused = "refused",
        /// Not answered within the ack time-out (FC-NOT-04).
        Unanswered = "unanswered",
    }

    /// By when something has to be done that nobody asks for when the time comes.
    Deadline in "deadline" {
        /// The end of a subscription's lease.
        Lease = "lease",
        /// The end of the time in which a subscriber whose socket has gone may come back.
        Grace = "grace",
        /// The end of the time in which a notification must be answered (FC-NOT-04).
        Ack = "ack",
    }

    /// What a request to the hub asks for.
    HttpRoute in "route" {
        /// An event: `POST hub.url` with JSON.
        Publish = "publish",
        /// A subscription, or its end: `POST hub.url` with a form.
        Subscribe = "subscribe",
        /// The current context: `GET hub.url/{topic}`.
        Context = "context",
        /// A WebSocket: `GET hub.url/ws/{endpoint}`.
        Websocket = "websocket",
        /// What the hub supports: the well-known document and the CapabilityStatement.
        Conformance = "conformance",
        /// Anything else.
        Other = "other",
    }

    /// The class of a response's status.
    HttpStatus in "status" {
        /// The WebSocket is open.
        Switching = "1xx",
        /// Done, or on its way.
        Success = "2xx",
        /// Wrong, forbidden, or too often.
        ClientError = "4xx",
        /// The hub cannot.
        ServerError = "5xx",
        /// There was none: who asked has left before.
        Left = "none",
    }

    /// What a hub is missing that other machines reach.
    Missing in "missing" {
        /// Authentication: whoever reaches it may read and change every session.
        Authentication = "authentication",
        /// TLS: whoever is on the way may read and change what is said.
        Tls = "tls",
    }

    /// What came of asking a callback whether it wants what was asked for in its name (FC-WHK-02).
    Verification in "outcome" {
        /// It does.
        Confirmed = "confirmed",
        /// It answered, and did not confirm it.
        Refused = "refused",
        /// It did not answer.
        Failed = "failed",
        /// It was not asked: the token of the request has ended meanwhile, or no worker has lived to hear the answer.
        Dropped = "dropped",
    }

    /// What a connection to Redis is for.
    RedisConnection in "connection" {
        /// Calls.
        Calls = "calls",
        /// Bells: what is published.
        Bells = "bells",
        /// Waiting for replicas.
        Confirmations = "confirmations",
        /// Asking who the primary is: a Sentinel, or any node of a cluster.
        Topology = "topology",
    }

    /// What came of connecting.
    Connecting in "outcome" {
        /// The connection was made.
        Made = "made",
        /// It was not.
        Failed = "failed",
    }

    /// What the hub reported in a SyncError.
    SyncErrorCause in "cause" {
        /// A subscriber answered with an error (FC-NOT-02).
        Refused = "refused",
        /// A notification could not be delivered in time (FC-WHK-04).
        Undelivered = "undelivered",
        /// A subscriber did not answer in time (FC-NOT-04).
        Unanswered = "unanswered",
        /// A subscriber lost its connection and did not come back in time (FC-NOT-04).
        Gone = "gone",
        /// A subscriber has missed what is no longer kept.
        Missed = "missed",
        /// The store has lost events that had been accepted.
        Lost = "lost",
    }

    /// What became of the token of a request (FC-SEC-01).
    Authentication in "outcome" {
        /// It was believed.
        Accepted = "accepted",
        /// There was none.
        Missing = "missing",
        /// It is not such a token as the hub takes.
        Malformed = "malformed",
        /// It is signed with a key or an algorithm that the hub does not know.
        Key = "key",
        /// Its signature is wrong.
        Signature = "signature",
        /// It has expired.
        Expired = "expired",
        /// It is not valid yet.
        NotYetValid = "not_yet_valid",
        /// It is from another issuer.
        Issuer = "issuer",
        /// It is for another audience.
        Audience = "audience",
        /// The authorization server says that it is not active.
        Inactive = "inactive",
        /// Nobody could be asked: answered with a 503.
        Unavailable = "unavailable",
    }

    /// What became of one reading of the authorization server's keys.
    KeysReading in "outcome" {
        /// They are used from then on.
        Taken = "taken",
        /// There is none that verifies signatures, so that no token is believed from then on.
        Empty = "empty",
        /// What came is no set of keys.
        Refused = "refused",
        /// Nothing came.
        Failed = "failed",
    }

    /// Why a value in Redis was not taken for what was sealed (FC-SEC-03).
    Unopened in "reason" {
        /// It needs a key that this process has not.
        NoSuchKey = "no_such_key",
        /// It is not what was sealed, or not where it was put.
        Tampered = "tampered",
        /// It is neither text nor sealed.
        Unknown = "unknown",
        /// It is not sealed, and must be.
        Unsealed = "unsealed",
    }

    /// Whose certificates, by the group of settings that names their files.
    Certificate in "settings" {
        /// Those of the listener for the hub's API and its WebSockets.
        Hub = "tls",
        /// Those of the listener for health and metrics.
        Admin = "admin_tls",
        /// Those towards callbacks.
        Callbacks = "callbacks",
        /// Those towards the authorization server.
        Auth = "auth",
        /// Those towards Redis.
        Redis = "redis",
        /// Those towards the collector of spans.
        Tracing = "tracing",
    }

    /// Why a span does not come to the collector.
    SpanDropped in "reason" {
        /// As many as may wait were waiting (`tracing.waiting_spans`).
        Full = "full",
        /// The collector could not be reached, did not answer in time or did not take them, however often they were sent.
        Undelivered = "undelivered",
        /// The collector has answered that it does not take this one.
        Rejected = "rejected",
    }

    /// What became of one request to a callback.
    CallbackAttempt in "outcome" {
        /// Answered with a 2xx.
        Confirmed = "confirmed",
        /// Answered with an error that is final (FC-WHK-04).
        Refused = "refused",
        /// Answered with an error after which it is tried again (FC-WHK-04).
        Failed = "failed",
        /// Not answered in time.
        TimedOut = "timed_out",
        /// No connection, or one that broke.
        Unreachable = "unreachable",
        /// The address policy forbids where the callback's host leads.
        Forbidden = "forbidden",
    }

    /// A limit that a request or a connection has reached: the name of its setting in the group `limits`.
    Limit in "limit" {
        /// Connections to the hub.
        Connections = "connections",
        /// Connections from one address.
        ConnectionsPerAddress = "connections_per_address",
        /// Connections without a whole request.
        NewConnections = "new_connections",
        /// Connections without a whole request from one address.
        NewConnectionsPerAddress = "new_connections_per_address",
        /// A TLS handshake took too long.
        HandshakeSecs = "handshake_secs",
        /// A request's head took too long.
        HeadSecs = "head_secs",
        /// A path is too long.
        UrlBytes = "url_bytes",
        /// Headers are too large.
        HeaderBytes = "header_bytes",
        /// There are too many headers.
        Headers = "headers",
        /// A body took too long.
        BodySecs = "body_secs",
        /// A body stood still.
        BodyIdleSecs = "body_idle_secs",
        /// An answer was taken too slowly.
        AnswerSecs = "answer_secs",
        /// Too many bytes of bodies are read at once.
        BodiesAtOnceBytes = "bodies_at_once_bytes",
        /// Too many bytes of current contexts wait for their readers at once.
        AnswersAtOnceBytes = "answers_at_once_bytes",
        /// A caller publishes too often.
        CallerPublishesPerSec = "caller_publishes_per_sec",
        /// A caller subscribes too often.
        CallerSubscribesPerMin = "caller_subscribes_per_min",
        /// A caller reads current contexts too often.
        CallerReadsPerSec = "caller_reads_per_sec",
        /// A caller has too many requests under way.
        CallerRequests = "caller_requests",
        /// A caller has too many sockets.
        CallerSockets = "caller_sockets",
        /// A topic is published to too often.
        TopicPublishesPerSec = "topic_publishes_per_sec",
        /// A topic is subscribed to too often.
        TopicSubscribesPerMin = "topic_subscribes_per_min",
        /// A topic's current context is read too often.
        TopicReadsPerSec = "topic_reads_per_sec",
        /// A topic has too many subscriptions.
        SubscriptionsPerTopic = "subscriptions_per_topic",
        /// An address fails to authenticate too often.
        AuthFailuresPerMin = "auth_failures_per_min",
        /// A socket sends too many frames.
        FramesPerSec = "frames_per_sec",
        /// A socket pings too often.
        PingsPerSec = "pings_per_sec",
    }
}

/// Counters that differ in one label.
pub struct Counters<L>(Vec<IntCounter>, PhantomData<L>);

impl<L: Label> Counters<L> {
    /// The counters of all labels, made by `counter`.
    pub(super) fn of(counter: impl FnMut(&L) -> IntCounter) -> Self {
        Self(L::ALL.iter().map(counter).collect(), PhantomData)
    }

    /// The counter of `label`, without a look-up.
    pub fn with(&self, label: L) -> &IntCounter {
        &self.0[label.index()]
    }
}
