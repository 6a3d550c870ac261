//! How often anybody is asked or told something that nobody has confirmed to want (FC-SEC-02).
//!
//! Whoever subscribes names the callback, and it need not be its own: each request makes the worker
//! send a GET to it, to verify the intent, and another when a lease is over. So that nobody is flooded
//! through the hub, one worker sends at most `limits.verifications_per_address_per_min` of them to
//! one address, whatever names lead to it. Who is over it waits, and keeps nobody else from their turn.
//!
//! Each worker counts for itself: the bound of all is theirs times their number. It remembers
//! `limits.remembered_callers` addresses; one that was forgotten begins anew.

use std::{convert::Infallible, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use quick_cache::sync::Cache;
use shared::network::Network;

/// See the module. For all threads of a process.
pub struct Pace {
    known: Cache<Network, Arc<DefaultDirectRateLimiter>>,
    quota: Quota,
    clock: DefaultClock,
}

impl Pace {
    /// So many a minute, and so many at once after a minute of rest; remembers so many addresses.
    pub fn new(per_minute: u32, capacity: usize) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self { known: Cache::new(capacity), quota, clock: DefaultClock::default() }
    }

    /// Takes a turn at a host that has these addresses, or says how long to wait for one.
    pub fn take(&self, addresses: &[SocketAddr]) -> Result<(), Duration> {
        let wait = |address: &SocketAddr| {
            let early = self.rate(Network::of(address.ip())).check().err()?;
            Some(early.wait_time_from(self.clock.now()).max(Duration::from_millis(1)))
        };
        match addresses.iter().filter_map(wait).max() {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }

    fn rate(&self, network: Network) -> Arc<DefaultDirectRateLimiter> {
        let new = || Ok::<_, Infallible>(Arc::new(RateLimiter::direct(self.quota)));
        match self.known.get_or_insert_with(&network, new) {
            Ok(rate) => rate,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 443)
    }

    #[test]
    fn an_address_has_so_many_turns_and_no_other_waits_for_it() {
        let pace = Pace::new(2, 16);
        assert!(pace.take(&[at("8.8.8.8")]).is_ok() && pace.take(&[at("8.8.8.8")]).is_ok());
        let wait = pace.take(&[at("8.8.8.8")]).unwrap_err();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "FC-SEC-02: {wait:?}");
        assert!(pace.take(&[at("9.9.9.9")]).is_ok(), "FC-WHK-06");
        assert!(pace.take(&[at("9.9.9.9"), at("8.8.8.8")]).is_err(), "FC-SEC-02: any of a host's addresses");
        assert!(pace.take(&[at("::ffff:8.8.8.8")]).is_err(), "FC-SEC-02: the same address");
    }

    #[test]
    fn a_segment_counts_as_one() {
        let pace = Pace::new(1, 16);
        assert!(pace.take(&[at("2a00:1450::1")]).is_ok());
        assert!(pace.take(&[at("2a00:1450::2")]).is_err(), "FC-SEC-02");
        assert!(pace.take(&[at("2a00:1450:0:1::1")]).is_ok());
    }

    #[test]
    fn no_more_addresses_are_remembered_than_may_be() {
        let pace = Pace::new(1_000_000, 100);
        for number in 0..3000 {
            pace.take(&[SocketAddr::new(std::net::Ipv4Addr::from_bits(number).into(), 443)]).unwrap();
        }
        assert!(pace.known.len() <= 100, "FC-SEC-02: {}", pace.known.len());
    }
}
