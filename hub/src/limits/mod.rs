//! How much one caller, one address and one topic may ask of this hub.
//!
//! Promises: who is over a rate is told which one, whose it is and when to come back ([`Refused`], a 429 with
//! `Retry-After`); nobody's rate is used up by another; what is remembered is bounded, whoever asks and for whatever.
//! A hub counts for itself: to count for all of them would cost every request a round trip.
//!
//! The order is the caller's: its address's failures, who it is, its rate, what it may do, and only then the topic's
//! rate. Else a stranger could use up the topic of others. An address's failures are in the way of what would fail or be
//! asked of the authorization server, and of nobody who is known: many share an address.
//!
//! - `budgets`: rates (GCRA), in a cache of bounded size; no request in it.
//! - `key`: whom a rate belongs to.
//! - `shares`: what callers hold at once: sockets, requests, look-ups, and room for bodies and answers.
//! - `refused`: what is answered.

mod budgets;
mod key;
mod refused;
mod shares;

use std::{net::IpAddr, num::NonZeroU32};

use governor::Quota;
use shared::{
    lanes::{Lanes, Turn},
    protocol::TopicKey,
    settings,
    store::Owner,
    telemetry::metrics::Limit,
};

pub use refused::{Refused, Whose};
pub use shared::network::Network;
pub use shares::{
    Share as SocketPlace, Share as RequestPlace, Share as BodyShare, Share as AnswerShare,
    Share as LookupShare,
};

use self::{
    budgets::{Budgets, Failures},
    key::CallerKey,
    shares::Shares,
};
use crate::auth::Caller;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Publishing an event.
    Publish,
    /// Subscribing, or unsubscribing.
    Subscribe,
    /// Reading a current context.
    Read,
}

/// Bytes that a share of a body is for, and that a publish may have to count once.
pub const SHARE_BYTES: usize = 65_536;
/// What of a body or an answer counts for nothing: most are no larger.
pub const FREE_BYTES: usize = 16_384;
/// Contents that are read for one caller at once, of the few that one hub reads.
const CONTENTS_AT_ONCE: usize = 2;

/// All that this hub counts.
pub struct Limits {
    callers: Budgets<CallerKey>,
    topics: Budgets<TopicKey>,
    failures: Failures,
    /// Requests without a token, which are no failures.
    without_token: Failures,
    sockets: Shares,
    requests: Shares,
    bodies: Shares,
    answers: Shares,
    contents: Lanes<CallerKey>,
    lookups: Shares,
}

impl Limits {
    /// Nothing is counted yet. `lookups` are the names that may be looked up at once (`callbacks.dns_lookups`).
    pub fn new(limits: &settings::Limits, lookups: usize) -> Self {
        let callers = Rates {
            publish: per_sec(limits.caller_publishes_per_sec, limits.caller_publishes_burst),
            subscribe: per_min(limits.caller_subscribes_per_min),
            read: per_sec(limits.caller_reads_per_sec, limits.caller_reads_per_sec),
        };
        let topics = Rates {
            publish: per_sec(limits.topic_publishes_per_sec, limits.topic_publishes_burst),
            subscribe: per_min(limits.topic_subscribes_per_min),
            read: per_sec(limits.topic_reads_per_sec, limits.topic_reads_per_sec),
        };
        let share = limits.callers_per_address;
        let (sockets, requests) = (limits.caller_sockets as usize, limits.caller_requests as usize);
        let any = |number| if number == 0 { usize::MAX } else { number };
        let bodies = limits.bodies_at_once_bytes.div_ceil(SHARE_BYTES);
        let answers = limits.answers_at_once_bytes.div_ceil(SHARE_BYTES);
        // The largest context, of which there must be one: its content, and the rest.
        let one = limits.content_bytes.div_ceil(SHARE_BYTES).saturating_mul(2);
        Self {
            callers: Budgets::new(limits.remembered_callers, callers, callers.times(share)),
            topics: Budgets::new(limits.remembered_callers, topics, topics),
            failures: Failures::new(limits.remembered_callers, per_min(limits.auth_failures_per_min)),
            without_token: Failures::new(limits.remembered_callers, per_min(limits.auth_failures_per_min)),
            sockets: Shares::new(any(sockets), any(sockets.saturating_mul(share as usize)), usize::MAX),
            requests: Shares::new(any(requests), any(requests.saturating_mul(share as usize)), usize::MAX),
            bodies: Shares::new(bodies.div_ceil(4), bodies.div_ceil(2), bodies),
            answers: Shares::new(
                answers.div_ceil(4).max(one),
                answers.div_ceil(2).max(one),
                answers.max(one),
            ),
            contents: Lanes::new(CONTENTS_AT_ONCE),
            lookups: Shares::new(lookups.div_ceil(4), lookups.div_ceil(2), usize::MAX),
        }
    }

    /// May this address fail to authenticate once more, or has it too often?
    pub fn may_authenticate(&self, address: IpAddr) -> Result<(), Refused> {
        self.failures
            .check(Network::of(address))
            .map_err(|wait| Refused::for_rate(Limit::AuthFailuresPerMin, Whose::Address, wait))
    }

    /// An attempt to authenticate, which has failed unless it is told otherwise.
    pub fn attempt_of(&self, address: IpAddr) -> Attempt<'_> {
        Attempt { failures: Some(&self.failures), network: Network::of(address) }
    }

    /// May one more request without a token from this address leave a record?
    pub fn may_leave_record(&self, address: IpAddr) -> bool {
        let network = Network::of(address);
        let may = self.without_token.check(network).is_ok();
        self.without_token.count(network);
        may
    }

    /// One more request of this caller.
    pub fn caller(&self, caller: &Caller, kind: Kind) -> Result<(), Refused> {
        self.more(&CallerKey::of(caller), kind, NonZeroU32::MIN)
    }

    /// The rest of a publish of this caller, of which one part was counted before its size was known.
    pub fn rest_of_publish(&self, caller: &Caller, bytes: usize) -> Result<(), Refused> {
        let key = CallerKey::of(caller);
        // It cannot have more at once than it may have in all.
        let most = self.callers.most_at_once(Kind::Publish, key.is_an_address());
        match NonZeroU32::new(parts(bytes).get().min(most) - 1) {
            Some(rest) => self.more(&key, Kind::Publish, rest),
            None => Ok(()),
        }
    }

    /// One more request from this address, of nobody in particular.
    pub fn address(&self, address: IpAddr, kind: Kind) -> Result<(), Refused> {
        self.more(&CallerKey::of_owner(None, address), kind, NonZeroU32::MIN)
    }

    fn more(&self, key: &CallerKey, kind: Kind, count: NonZeroU32) -> Result<(), Refused> {
        let (limit, is_many) = (Self::of_caller(kind), key.is_an_address());
        let taken = self.callers.take(key, kind, is_many, count);
        taken.map_err(|wait| Refused::for_rate(limit, key.whose(), wait))
    }

    /// One more request for this topic, with a body of so many bytes, by somebody who may.
    pub fn topic(&self, topic: TopicKey, kind: Kind, bytes: usize) -> Result<(), Refused> {
        let limit = match kind {
            Kind::Publish => Limit::TopicPublishesPerSec,
            Kind::Subscribe => Limit::TopicSubscribesPerMin,
            Kind::Read => Limit::TopicReadsPerSec,
        };
        let count = if kind == Kind::Publish { parts(bytes) } else { NonZeroU32::MIN };
        let taken = self.topics.take(&topic, kind, false, count);
        taken.map_err(|wait| Refused::for_rate(limit, Whose::Topic, wait))
    }

    /// A place for one more socket of who owns its subscription, or else of who is at that address; it is free again
    /// when the place is dropped.
    pub fn socket(&self, owner: Option<Owner>, address: IpAddr) -> Result<SocketPlace, Refused> {
        let taken = self.sockets.take(CallerKey::of_owner(owner, address));
        taken.map_err(|whose| Refused::for_number(Limit::CallerSockets, whose))
    }

    /// A place for one more request of this caller; it is free again when the place is dropped.
    pub fn request(&self, caller: &Caller) -> Result<RequestPlace, Refused> {
        let taken = self.requests.take(CallerKey::of(caller));
        taken.map_err(|whose| Refused::for_number(Limit::CallerRequests, whose))
    }

    /// Waits until this caller has no more than its part of the contents that are read at once.
    pub async fn content_turn(&self, caller: &Caller) -> Turn<CallerKey> {
        self.contents.turn(CallerKey::of(caller)).await
    }

    /// Room for [`SHARE_BYTES`] more of a body of this caller; it is free again when the share is dropped.
    pub fn body_share(&self, caller: &Caller) -> Result<BodyShare, Refused> {
        let taken = self.bodies.take(CallerKey::of(caller));
        taken.map_err(|whose| Refused::for_number(Limit::BodiesAtOnceBytes, whose))
    }

    /// The same for an answer to this caller.
    pub fn answer_share(&self, caller: &Caller) -> Result<AnswerShare, Refused> {
        let taken = self.answers.take(CallerKey::of(caller));
        taken.map_err(|whose| Refused::for_number(Limit::AnswersAtOnceBytes, whose))
    }

    /// Room for one more look-up of a name that this caller chose; a quarter of them for one caller, half for one
    /// address. Who answers for that name, and how slowly, is the caller's choice as well.
    pub fn lookup_share(&self, caller: &Caller) -> Option<LookupShare> {
        self.lookups.take(CallerKey::of(caller)).ok()
    }

    fn of_caller(kind: Kind) -> Limit {
        match kind {
            Kind::Publish => Limit::CallerPublishesPerSec,
            Kind::Subscribe => Limit::CallerSubscribesPerMin,
            Kind::Read => Limit::CallerReadsPerSec,
        }
    }
}

/// An attempt to authenticate. Dropped, it counts as a failure.
pub struct Attempt<'a> {
    failures: Option<&'a Failures>,
    network: Network,
}

impl Attempt<'_> {
    /// It has not failed, or nothing was tried.
    pub fn succeeds(mut self) {
        self.failures = None;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(failures) = self.failures {
            failures.count(self.network);
        }
    }
}

/// A rate of each kind; absent: any.
#[derive(Debug, Clone, Copy)]
struct Rates {
    publish: Option<Quota>,
    subscribe: Option<Quota>,
    read: Option<Quota>,
}

impl Rates {
    fn of(&self, kind: Kind) -> Option<Quota> {
        match kind {
            Kind::Publish => self.publish,
            Kind::Subscribe => self.subscribe,
            Kind::Read => self.read,
        }
    }

    /// The rates of so many together.
    fn times(self, count: u32) -> Self {
        let times = |quota: Option<Quota>| {
            quota.map(|quota| {
                let burst =
                    quota.burst_size().saturating_mul(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
                let every = quota.replenish_interval() / count.max(1);
                Quota::with_period(every).unwrap_or(quota).allow_burst(burst)
            })
        };
        Self { publish: times(self.publish), subscribe: times(self.subscribe), read: times(self.read) }
    }
}

/// How often a publish of so many bytes counts.
fn parts(bytes: usize) -> NonZeroU32 {
    let parts = u32::try_from(bytes.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX);
    NonZeroU32::new(parts).unwrap_or(NonZeroU32::MIN)
}

/// So many a second, and so many at once; no limit for 0.
fn per_sec(rate: u32, burst: u32) -> Option<Quota> {
    let quota = Quota::per_second(NonZeroU32::new(rate)?);
    Some(quota.allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN)))
}

/// So many a minute, all of them at once if need be; no limit for 0.
fn per_min(rate: u32) -> Option<Quota> {
    Some(Quota::per_minute(NonZeroU32::new(rate)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
