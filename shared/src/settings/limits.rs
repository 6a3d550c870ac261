//! The group `limits`: a bound on everything that could grow, and on how fast and how slowly the hub may be asked.
//!
//! A rate is counted by each hub for itself: to count for all of them would cost every request a round trip.

use std::time::Duration;

use super::tree::settings;
use super::values::{at_least, between};

settings! {
    /// A bound on everything that could grow.
    pub struct Limits {
        /// Bytes of a request's body.
        body_bytes: usize = 4_194_304, at_least(1);
        /// Brackets within brackets in JSON.
        json_depth: usize = 128, at_least(1);
        /// Bytes of a message that a subscriber sends on its socket.
        frame_bytes: usize = 65_536, at_least(1);
        /// Notifications that a socket may leave unanswered before it is closed.
        unanswered: usize = 1000, at_least(1);
        /// Bytes that may wait for a slow socket before it is closed.
        unsent_bytes: usize = 16_777_216, at_least(1);
        /// Contexts open at once in a topic.
        open_contexts: usize = 64, at_least(1);
        /// Bytes of content that the open contexts of a topic may share.
        content_bytes: usize = 33_554_432, at_least(1);
        /// Subscriptions of a topic, on each of the two channels.
        subscriptions_per_topic: usize = 4000, at_least(1);
        /// Event names in one subscription.
        events_per_subscription: usize = 100, at_least(1);
        /// Callback requests in flight at once from one worker; a quarter of them for what nobody has confirmed yet.
        deliveries: usize = 256, at_least(1);
        /// Callback requests in flight at once from one worker to one host.
        deliveries_per_host: usize = 32, at_least(1);
        /// Callback requests in flight at once from one worker to one address (of IPv6: to one /64), whatever names lead
        /// to it. Of these a name gets no more than it leaves to others: half, if it is alone there. Raise it if the
        /// callbacks of many are behind one load balancer.
        deliveries_per_address: usize = 64, at_least(1);
        /// Requests to verify an intent or to tell of a denial that one worker makes in a minute to one address
        /// (of IPv6: to one /64).
        verifications_per_address_per_min: u32 = 600, between(1, 1_000_000);
        /// Bytes of the head of a callback's answer that are read.
        callback_head_bytes: usize = 16_384, at_least(64);
        /// Bytes of a callback's answer that are read.
        callback_body_bytes: usize = 65_536, at_least(1);
        /// Seconds for which a topic's log keeps an event.
        log_secs: u64 = 3600, at_least(1);
        /// Events that a topic's log keeps at most.
        log_entries: usize = 20_000, at_least(1);
        /// Bytes that a topic's log has at most; the oldest events make room, and whoever has not got them is told.
        log_bytes: usize = 67_108_864, at_least(1);
        /// Seconds after its last event or subscription for which a topic is kept.
        session_secs: u64 = 86_400, at_least(1800);
        /// Publishes that one hub works on at once.
        in_flight_publishes: usize = 1024, at_least(1);
        /// Connections to one hub at once; for one more the oldest that has asked nothing gives way, or else the one that
        /// has been idle for longest; fewer if the process may open too few files.
        connections: usize = 16_384, at_least(1);
        /// Connections to one hub at once from one address (of IPv6: from one /64); one more is closed unanswered.
        /// Everyone behind a NAT is one address; a proxy of trusted_proxies has no such bound.
        connections_per_address: usize = 8192, at_least(1);
        /// Connections to one hub at once that have not sent a whole request yet, TLS handshakes among them; for one
        /// more the oldest is closed.
        new_connections: usize = 2048, at_least(1);
        /// The same from one address (of IPv6: from one /64); one more is closed unanswered.
        new_connections_per_address: usize = 1024, at_least(1);
        /// Connections that the system holds until the hub takes them.
        backlog: u32 = 1024, between(1, 65_535);
        /// Seconds within which a TLS handshake must be done.
        handshake_secs: u64 = 5, between(1, 600);
        /// Seconds within which a request's line and headers must be there, from their first byte, or from the
        /// connection's beginning.
        head_secs: u64 = 5, between(1, 600);
        /// Seconds for which a connection is kept after an answer; more than a load balancer in front keeps it.
        keep_alive_secs: u64 = 75, between(1, 86_400);
        /// Bytes of a request's path and query.
        url_bytes: usize = 16_384, between(1, 65_536);
        /// Bytes of a request's headers, names and values.
        header_bytes: usize = 32_768, between(1, 65_536);
        /// Headers of a request.
        headers: usize = 64, between(1, 96);
        /// Seconds within which a request's body must be there.
        body_secs: u64 = 60, at_least(1);
        /// Seconds that may pass between two pieces of a request's body.
        body_idle_secs: u64 = 5, at_least(1);
        /// Seconds within which a client must have taken its answer.
        answer_secs: u64 = 120, at_least(1);
        /// Bytes of request bodies that one hub reads at once, of each what is over 16 KiB; one caller may have a quarter
        /// of them, one address half.
        bodies_at_once_bytes: usize = 268_435_456, at_least(1_048_576);
        /// Bytes of current contexts that one hub answers with at once, of each what is over 16 KiB; one caller may have
        /// a quarter of them, one address half, and each as much as limits.content_bytes.
        answers_at_once_bytes: usize = 268_435_456, at_least(1_048_576);
        /// Callers, addresses and topics, so many of each, whose rates one hub remembers at once, and addresses of
        /// callbacks whose rates one worker does; those that were seen longest ago are forgotten.
        remembered_callers: usize = 65_536, between(16, 16_777_216);
        /// How many callers an address (of IPv6: a /64) stands for while nobody says who is asking: the limits of a
        /// caller are so many times as high for it. Think of a hospital behind one address.
        callers_per_address: u32 = 25, between(1, 100_000);
        /// Milliseconds before a request over a rate is answered with 429, so that who does not wait is slowed.
        refusal_pause_ms: u64 = 100, between(0, 10_000);
        /// Requests of one caller, which is a token's owner or else an address, that one hub works on at once; 0: any
        /// number.
        caller_requests: u32 = 1000;
        /// Publishes a second of one caller; a large one counts once for each 64 KiB of it; 0: any number. Like every
        /// rate here it is counted by each hub for itself.
        caller_publishes_per_sec: u32 = 100;
        /// Publishes of one caller at once, before that rate counts.
        caller_publishes_burst: u32 = 400, at_least(1);
        /// Subscribe and unsubscribe requests a minute of one caller, and as many openings of sockets from one address;
        /// 0: any number.
        caller_subscribes_per_min: u32 = 600;
        /// Reads of a current context a second by one caller; 0: any number.
        caller_reads_per_sec: u32 = 100;
        /// Sockets to one hub at once of one caller, who is the subscription's owner or else an address; 0: any number.
        caller_sockets: u32 = 1000;
        /// Publishes a second to one topic, of those who may, large ones as above; 0: any number.
        topic_publishes_per_sec: u32 = 200;
        /// Publishes to one topic at once, before that rate counts.
        topic_publishes_burst: u32 = 1000, at_least(1);
        /// Subscribe and unsubscribe requests a minute for one topic; 0: any number.
        topic_subscribes_per_min: u32 = 4000;
        /// Reads of one topic's current context a second; 0: any number.
        topic_reads_per_sec: u32 = 200;
        /// Failed authentications a minute from one address (of IPv6: from one /64), after which the authorization
        /// server is not asked for it any more, and who fails is answered with 429. Everyone behind a NAT shares it.
        auth_failures_per_min: u32 = 300, at_least(1);
        /// Frames a second that a socket may send beside the answers to what it was sent, before it is closed.
        frames_per_sec: u32 = 500, at_least(1);
        /// Pings a second that a socket may send, before it is closed.
        pings_per_sec: u32 = 10, at_least(1);
    }
}

impl Limits {
    /// `limits.log_secs` as a duration.
    pub fn log_age(&self) -> Duration {
        Duration::from_secs(self.log_secs)
    }

    /// `limits.session_secs` as a duration.
    pub fn session_age(&self) -> Duration {
        Duration::from_secs(self.session_secs)
    }

    /// `limits.handshake_secs` as a duration.
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_secs)
    }

    /// `limits.head_secs` as a duration.
    pub fn head(&self) -> Duration {
        Duration::from_secs(self.head_secs)
    }

    /// `limits.keep_alive_secs` as a duration.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_secs)
    }

    /// `limits.body_secs` as a duration.
    pub fn body(&self) -> Duration {
        Duration::from_secs(self.body_secs)
    }

    /// `limits.body_idle_secs` as a duration.
    pub fn body_idle(&self) -> Duration {
        Duration::from_secs(self.body_idle_secs)
    }

    /// `limits.answer_secs` as a duration.
    pub fn answer(&self) -> Duration {
        Duration::from_secs(self.answer_secs)
    }

    /// `limits.refusal_pause_ms` as a duration.
    pub fn refusal_pause(&self) -> Duration {
        Duration::from_millis(self.refusal_pause_ms)
    }
}
