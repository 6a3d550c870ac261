//! A bound on the requests in flight to one host, so that a subscriber with many topics cannot
//! take the whole worker, nor be overrun by it.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// Counts the requests to each host. Clones share the counts.
#[derive(Clone)]
pub struct Hosts {
    limit: usize,
    busy: Rc<RefCell<HashMap<String, usize>>>,
}

/// The right to make requests to a host, one at a time, until it is dropped.
pub struct Slot {
    host: String,
    busy: Rc<RefCell<HashMap<String, usize>>>,
}

impl Hosts {
    /// At most `limit` slots a host.
    pub fn new(limit: usize) -> Self {
        Self { limit, busy: Rc::default() }
    }

    /// A slot of this host, if one is free.
    pub fn slot(&self, host: &str) -> Option<Slot> {
        let mut busy = self.busy.borrow_mut();
        let taken = busy.entry(host.to_owned()).or_default();
        if *taken >= self.limit {
            return None;
        }
        *taken += 1;
        Some(Slot { host: host.to_owned(), busy: self.busy.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut busy = self.busy.borrow_mut();
        if let Some(taken) = busy.get_mut(&self.host) {
            *taken -= 1;
            if *taken == 0 {
                busy.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_so_many_slots_and_no_other_waits_for_it() {
        let hosts = Hosts::new(2);
        let (first, second) = (hosts.slot("a"), hosts.slot("a"));
        assert!(first.is_some() && second.is_some() && hosts.slot("a").is_none());
        assert!(hosts.slot("b").is_some(), "FC-WHK-06");
        drop(first);
        assert!(hosts.slot("a").is_some());
        drop(second);
        assert!(hosts.busy.borrow().is_empty(), "hosts that nobody asks are forgotten");
    }
}
