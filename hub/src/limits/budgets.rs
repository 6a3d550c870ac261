//! Rates, one of each kind for each key, in a cache of bounded size. No lock is held while one is counted; a key that
//! was forgotten begins anew, with all that it may send at once.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock, Reference},
    middleware::{NoOpMiddleware, StateInformationMiddleware},
    state::{InMemoryState, NotKeyed},
};
use quick_cache::sync::Cache;

use super::{Kind, Network, Rates};

type Rate<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;
type KnownRate<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

/// The rates of one key.
struct Budget<C: Clock> {
    publish: Option<Rate<C>>,
    subscribe: Option<Rate<C>>,
    read: Option<Rate<C>>,
}

impl<C: Clock + Clone> Budget<C> {
    fn new(rates: &Rates, clock: &C) -> Self {
        let rate = |kind| rates.of(kind).map(|quota| RateLimiter::direct_with_clock(quota, clock.clone()));
        Self { publish: rate(Kind::Publish), subscribe: rate(Kind::Subscribe), read: rate(Kind::Read) }
    }

    fn of(&self, kind: Kind) -> Option<&Rate<C>> {
        match kind {
            Kind::Publish => self.publish.as_ref(),
            Kind::Subscribe => self.subscribe.as_ref(),
            Kind::Read => self.read.as_ref(),
        }
    }
}

/// The rates of many keys.
pub struct Budgets<K, C: Clock = DefaultClock> {
    known: Cache<K, Arc<Budget<C>>>,
    one: Rates,
    many: Rates,
    clock: C,
}

impl<K: Eq + Hash + Clone> Budgets<K> {
    /// Remembers so many keys. A key has the rates `one`, or `many` when it stands for many.
    pub fn new(capacity: usize, one: Rates, many: Rates) -> Self {
        Self::with_clock(capacity, one, many, DefaultClock::default())
    }
}

impl<K: Eq + Hash + Clone, C: Clock + Clone> Budgets<K, C> {
    /// The same by another clock.
    pub fn with_clock(capacity: usize, one: Rates, many: Rates, clock: C) -> Self {
        Self { known: Cache::new(capacity), one, many, clock }
    }

    /// How many there may be at once.
    pub fn most_at_once(&self, kind: Kind, is_many: bool) -> u32 {
        let rates = if is_many { &self.many } else { &self.one };
        rates.of(kind).map_or(u32::MAX, |quota| quota.burst_size().get())
    }

    /// Takes so many more of `key`'s at once, or says how long it has to wait for them. More than it may ever have at
    /// once count as so many.
    pub fn take(&self, key: &K, kind: Kind, is_many: bool, count: NonZeroU32) -> Result<(), Duration> {
        let rates = if is_many { &self.many } else { &self.one };
        let Some(quota) = rates.of(kind) else { return Ok(()) };
        let budget = match self.known.get(key) {
            Some(budget) => budget,
            None => {
                let new = || Ok::<_, std::convert::Infallible>(Arc::new(Budget::new(rates, &self.clock)));
                match self.known.get_or_insert_with(key, new) {
                    Ok(budget) => budget,
                    Err(never) => match never {},
                }
            }
        };
        let Some(rate) = budget.of(kind) else { return Ok(()) };
        match rate.check_n(count.min(quota.burst_size())) {
            Ok(taken) => taken.map_err(|until| until.wait_time_from(self.clock.now())),
            // Not more than the burst, so there is room for it at some time.
            Err(_) => Ok(()),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

/// What fails too often is not tried for a while. Only failures count.
pub struct Failures<C: Clock = DefaultClock> {
    known: Cache<Network, Arc<Failing<C>>>,
    quota: Option<Quota>,
    clock: C,
    begun: C::Instant,
}

struct Failing<C: Clock> {
    rate: KnownRate<C>,
    /// In nanoseconds since the beginning.
    not_before: AtomicU64,
}

impl Failures {
    /// Remembers so many addresses.
    pub fn new(capacity: usize, quota: Option<Quota>) -> Self {
        Self::with_clock(capacity, quota, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Failures<C> {
    /// The same by another clock.
    pub fn with_clock(capacity: usize, quota: Option<Quota>, clock: C) -> Self {
        let begun = clock.now();
        Self { known: Cache::new(capacity), quota, clock, begun }
    }

    /// May it be tried, or how long not?
    pub fn check(&self, network: Network) -> Result<(), Duration> {
        let Some(failing) = self.known.get(&network) else { return Ok(()) };
        match failing.not_before.load(Ordering::Relaxed).checked_sub(self.now()) {
            Some(wait @ 1..) => Err(Duration::from_nanos(wait)),
            _ => Ok(()),
        }
    }

    /// It has failed.
    pub fn count(&self, network: Network) {
        let Some(quota) = self.quota else { return };
        let new = || {
            let rate = RateLimiter::direct_with_clock(quota, self.clock.clone())
                .with_middleware::<StateInformationMiddleware>();
            Ok::<_, std::convert::Infallible>(Arc::new(Failing { rate, not_before: AtomicU64::new(0) }))
        };
        let failing = match self.known.get_or_insert_with(&network, new) {
            Ok(failing) => failing,
            Err(never) => match never {},
        };
        let wait = match failing.rate.check() {
            Ok(left) if left.remaining_burst_capacity() > 0 => return,
            Ok(_) => quota.replenish_interval(),
            Err(until) => until.wait_time_from(self.clock.now()),
        };
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        failing.not_before.fetch_max(self.now().saturating_add(wait), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.clock.now().duration_since(self.begun).as_u64()
    }
}
