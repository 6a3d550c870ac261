//! How often anybody is asked or told something that nobody has confirmed to want (FC-SEC-02).
//!
//! Whoever subscribes names the callback, and it need not be its own: each request makes the worker
//! send a GET to it, to verify the intent, and another when a lease is over. So that nobody is flooded
//! through the hub, one worker sends at most `limits.verifications_per_address_per_min` of them to
//! one address, whatever names lead to it. Who is over it waits, and keeps nobody else from their turn.
//!
//! Each worker counts for itself: the bound of all is theirs times their number.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

/// After so many takings, those addresses are forgotten that have not been asked lately.
const FORGET_EVERY: usize = 1024;

/// See the module. For all threads of a process.
pub struct Pace {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    taken: AtomicUsize,
}

impl Pace {
    /// So many a minute, and so many at once after a minute of rest.
    pub fn new(per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self {
            limiter: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            taken: AtomicUsize::new(0),
        }
    }

    /// Takes a turn at a host that has these addresses, or says how long to wait for one.
    pub fn take(&self, addresses: &[SocketAddr]) -> Result<(), Duration> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        let wait = |address: &SocketAddr| {
            let early = self.limiter.check_key(&subscriber(address.ip())).err()?;
            Some(early.wait_time_from(self.clock.now()).max(Duration::from_millis(1)))
        };
        match addresses.iter().filter_map(wait).max() {
            Some(wait) => Err(wait),
            None => Ok(()),
        }
    }
}

/// Who has an IPv6 address has all of its segment.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
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
        let pace = Pace::new(2);
        assert!(pace.take(&[at("8.8.8.8")]).is_ok() && pace.take(&[at("8.8.8.8")]).is_ok());
        let wait = pace.take(&[at("8.8.8.8")]).unwrap_err();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "FC-SEC-02: {wait:?}");
        assert!(pace.take(&[at("9.9.9.9")]).is_ok(), "FC-WHK-06");
        assert!(pace.take(&[at("9.9.9.9"), at("8.8.8.8")]).is_err(), "FC-SEC-02: any of a host's addresses");
        assert!(pace.take(&[at("::ffff:8.8.8.8")]).is_err(), "FC-SEC-02: the same address");
    }

    #[test]
    fn a_segment_counts_as_one() {
        let pace = Pace::new(1);
        assert!(pace.take(&[at("2a00:1450::1")]).is_ok());
        assert!(pace.take(&[at("2a00:1450::2")]).is_err(), "FC-SEC-02");
        assert!(pace.take(&[at("2a00:1450:0:1::1")]).is_ok());
    }

    #[test]
    fn addresses_that_rest_are_forgotten() {
        let pace = Pace::new(1_000_000);
        for number in 0..u32::try_from(3 * FORGET_EVERY).unwrap() {
            pace.take(&[SocketAddr::new(std::net::Ipv4Addr::from_bits(number).into(), 443)]).unwrap();
        }
        assert!(pace.limiter.len() < 2 * FORGET_EVERY, "{}", pace.limiter.len());
    }
}
