//! What callers hold at once: sockets, look-ups, and room for bodies and answers. It grows with what is held alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use shared::lock::lock;

use super::{Whose, key::CallerKey};

/// What of one thing is held, by whom.
pub struct Shares {
    held: Arc<Mutex<Held>>,
    /// Of one caller.
    most: usize,
    /// Of all at one address.
    most_at_address: usize,
    /// Of all.
    most_in_all: usize,
}

#[derive(Debug, Default)]
struct Held {
    in_all: usize,
    by_caller: HashMap<CallerKey, usize>,
}

/// One of them; it is free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    held: Arc<Mutex<Held>>,
    key: CallerKey,
}

impl Shares {
    /// So many of one caller, at one address, and in all.
    pub fn new(most: usize, most_at_address: usize, most_in_all: usize) -> Self {
        Self { held: Arc::default(), most, most_at_address, most_in_all }
    }

    /// One more, or whose limit that would exceed.
    pub fn take(&self, key: CallerKey) -> Result<Share, Whose> {
        let most = if key.is_an_address() { self.most_at_address } else { self.most };
        let mut held = lock(&self.held);
        if held.by_caller.get(&key).is_some_and(|count| *count >= most) {
            return Err(key.whose());
        }
        if held.in_all >= self.most_in_all {
            return Err(Whose::Hub);
        }
        held.in_all += 1;
        *held.by_caller.entry(key).or_default() += 1;
        Ok(Share { held: self.held.clone(), key })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        held.in_all -= 1;
        if let Some(count) = held.by_caller.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.by_caller.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use shared::store::Owner;

    use super::{super::Network, *};

    const ADDRESS: CallerKey = CallerKey::Address(Network::V6(1));

    fn owner(name: &str) -> CallerKey {
        CallerKey::Owner(Owner::of("https://as.example", Some(name), None))
    }

    #[test]
    fn a_share_is_free_again_when_it_is_let_go_and_nothing_of_it_stays() {
        let shares = Shares::new(2, 4, 100);
        let one = owner("one");
        let taken = [shares.take(one).unwrap(), shares.take(one).unwrap()];
        assert_eq!(shares.take(one).unwrap_err(), Whose::Caller);
        assert!(shares.take(owner("two")).is_ok(), "another's are its own");
        drop(taken);
        assert!(lock(&shares.held).by_caller.is_empty() && lock(&shares.held).in_all == 0);
        assert!(shares.take(one).is_ok());
    }

    #[test]
    fn an_address_has_more_than_a_caller_and_all_together_have_a_limit() {
        let shares = Shares::new(2, 4, 5);
        let taken: Vec<_> = std::iter::from_fn(|| shares.take(ADDRESS).ok()).collect();
        assert_eq!((taken.len(), shares.take(ADDRESS).unwrap_err()), (4, Whose::Address));
        let last = shares.take(owner("one")).unwrap();
        assert_eq!(shares.take(owner("two")).unwrap_err(), Whose::Hub);
        drop(last);
    }
}
