//! A bound on the requests in flight to one address (FC-SEC-02), whatever names lead to it: a name costs
//! nothing, so a bound by names alone leaves all of the worker, or of one victim, to whoever has a zone.
//!
//! - A request counts where its connection leads: where it is opened, and where one leads that was kept.
//!   What a name leads to is asked for by nobody else, so whoever lets it lead elsewhere from one moment to
//!   the next gains nothing by it, and takes nobody's room at an address that it does not connect to.
//! - Of IPv6 a /64 is one address ([`Network`]), as in [`crate::pace`], which bounds how often; this bounds
//!   how many at once. Who has many addresses has the room of many.
//! - What nobody has confirmed takes up half of an address at most ([`Addresses::unconfirmed`]), and half of
//!   it is there for it, however much that is in force is under way.
//! - Many names may share an address that is a load balancer's. One of them gets no more of its room than
//!   it leaves to the others: a name that has nothing there finds something, at the latest when a request
//!   there has ended.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
};

use shared::network::Network;

tokio::task_local! {
    /// The request that is being made.
    static REQUEST: Rc<Request>;
}

/// Counts the requests to each address. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Addresses {
    limit: usize,
    are_unconfirmed: bool,
    busy: Rc<RefCell<HashMap<Network, Names>>>,
}

/// What each name has at an address.
type Names = HashMap<Rc<str>, Count>;

/// Requests, and how many of them nobody has confirmed.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: usize,
    unconfirmed: usize,
}

/// There is no room at any of the addresses that a name leads to; nothing has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// A request, and where it counts until it is dropped.
#[derive(Debug)]
struct Request {
    addresses: Addresses,
    host: Rc<str>,
    at: Cell<Option<Network>>,
    was_refused: Cell<bool>,
}

impl Addresses {
    /// At most `limit` requests an address.
    pub fn new(limit: usize) -> Self {
        Self { limit, are_unconfirmed: false, busy: Rc::default() }
    }

    /// The same counts, for requests that nobody has confirmed to want: they may take up half of an address.
    pub fn unconfirmed(&self) -> Self {
        Self { are_unconfirmed: true, ..self.clone() }
    }

    /// Makes a request to a host. Each connection that it uses asks [`enter`] first; if none was let in, what
    /// came of it came of that.
    pub async fn counting<T>(&self, host: &str, request: impl Future<Output = T>) -> Result<T, Crowded> {
        let counted = Rc::new(Request::new(self, host));
        let made = REQUEST.scope(counted.clone(), request).await;
        if counted.was_refused.get() && counted.at.get().is_none() { Err(Crowded) } else { Ok(made) }
    }

    /// Would a request to this host find room at one of these?
    pub fn have_room(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) -> bool {
        addresses.into_iter().any(|address| self.has_room(host, Network::of(address)))
    }

    fn has_room(&self, host: &str, network: Network) -> bool {
        let busy = self.busy.borrow();
        let Some(names) = busy.get(&network) else { return true };
        let own = names.get(host).copied().unwrap_or_default();
        let of = |count: fn(&Count) -> usize| names.values().map(count).sum::<usize>();
        let fits = |own: usize, all: usize, limit: usize| own < limit.saturating_sub(all);
        fits(own.all, of(|count| count.all), self.limit)
            && (!self.are_unconfirmed
                || fits(own.unconfirmed, of(|count| count.unconfirmed), self.limit.div_ceil(2)))
    }

    fn enter(&self, host: &Rc<str>, network: Network) {
        let mut busy = self.busy.borrow_mut();
        let own = busy.entry(network).or_default().entry(host.clone()).or_default();
        own.all += 1;
        own.unconfirmed += usize::from(self.are_unconfirmed);
    }

    fn leave(&self, host: &str, network: Network) {
        let mut busy = self.busy.borrow_mut();
        let Some(names) = busy.get_mut(&network) else { return };
        if let Some(own) = names.get_mut(host) {
            own.all -= 1;
            own.unconfirmed -= usize::from(self.are_unconfirmed);
            if own.all == 0 {
                names.remove(host);
            }
        }
        if names.is_empty() {
            busy.remove(&network);
        }
    }
}

/// May the request that is being made go over a connection to this address? If so it counts there from now
/// on, and nowhere else. What is no request to a callback may go anywhere.
pub fn enter(address: IpAddr) -> bool {
    REQUEST.try_with(|request| request.enter(Network::of(address))).unwrap_or(true)
}

/// Nobody could be reached at the address that the request that is being made has entered: it counts there no more.
pub fn leave() {
    // What is no request to a callback has entered nowhere.
    let _ = REQUEST.try_with(|request| request.leave());
}

impl Request {
    fn new(addresses: &Addresses, host: &str) -> Self {
        Self {
            addresses: addresses.clone(),
            host: host.into(),
            at: Cell::default(),
            was_refused: Cell::default(),
        }
    }

    fn enter(&self, network: Network) -> bool {
        if self.at.get() == Some(network) {
            return true;
        }
        if !self.addresses.has_room(&self.host, network) {
            self.was_refused.set(true);
            return false;
        }
        self.leave();
        self.addresses.enter(&self.host, network);
        self.at.set(Some(network));
        true
    }

    fn leave(&self) {
        if let Some(network) = self.at.take() {
            self.addresses.leave(&self.host, network);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    fn at(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    /// As many requests as this name may make there now.
    fn fill(addresses: &Addresses, host: &str, address: &str) -> Vec<Request> {
        let next = || {
            let request = Request::new(addresses, host);
            request.enter(at(address)).then_some(request)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn an_address_has_so_many_requests_whatever_names_lead_to_it_and_no_other_waits_for_it() {
        let addresses = Addresses::new(4);
        let names = (0..9).map(|number| format!("a{number}.evil.example"));
        let taken: Vec<_> = names.flat_map(|name| fill(&addresses, &name, HERE)).collect();
        assert_eq!(taken.len(), 4, "FC-SEC-02");
        assert!(!addresses.have_room("b.example", [HERE.parse().unwrap()]));
        assert!(addresses.have_room("b.example", [HERE, THERE].map(|address| address.parse().unwrap())));
        assert_eq!(fill(&addresses, "b.example", THERE).len(), 2, "FC-WHK-06");
        drop(taken);
        assert!(addresses.busy.borrow().is_empty(), "addresses that nobody asks are forgotten");
    }

    #[test]
    fn a_name_leaves_as_much_to_others_as_it_has() {
        let addresses = Addresses::new(8);
        let first = fill(&addresses, "first.example", HERE);
        let second = fill(&addresses, "second.example", HERE);
        let third = fill(&addresses, "third.example", HERE);
        assert_eq!([first.len(), second.len(), third.len()], [4, 2, 1], "FC-WHK-06");
        drop(first);
        assert_eq!(fill(&addresses, "third.example", HERE).len(), 2, "what is free is shared anew");
        assert_eq!(fill(&Addresses::new(1), "only.example", HERE).len(), 1);
    }

    #[test]
    fn what_nobody_has_confirmed_leaves_half_to_what_is_in_force() {
        let addresses = Addresses::new(4);
        let unconfirmed = addresses.unconfirmed();
        let names = ["a.example", "b.example", "c.example"];
        let taken: Vec<_> = names.iter().flat_map(|name| fill(&unconfirmed, name, HERE)).collect();
        assert_eq!(taken.len(), 2, "FC-SEC-02");
        let _one = fill(&addresses, "d.example", HERE);
        drop(taken);
        assert_eq!(fill(&unconfirmed, "a.example", HERE).len(), 1);
        assert!(!fill(&Addresses::new(1).unconfirmed(), "a.example", HERE).is_empty());
    }

    #[test]
    fn what_is_in_force_leaves_half_to_what_nobody_has_confirmed() {
        let addresses = Addresses::new(64);
        assert_eq!(fill(&addresses, "a.example", HERE).len(), 32);
        let _held = fill(&addresses, "a.example", HERE);
        let unconfirmed = addresses.unconfirmed();
        assert!(unconfirmed.have_room("b.example", [HERE.parse().unwrap()]), "FC-WHK-02");
        assert_eq!(fill(&unconfirmed, "b.example", HERE).len(), 16);
    }

    #[test]
    fn a_segment_counts_as_one() {
        let addresses = Addresses::new(1);
        let _taken = fill(&addresses, "a.example", "2a00:1450::1");
        assert!(fill(&addresses, "b.example", "2a00:1450::2").is_empty(), "FC-SEC-02");
        assert!(!fill(&addresses, "b.example", "2a00:1450:0:1::1").is_empty());
    }

    #[test]
    fn a_request_counts_where_its_connection_leads() {
        let addresses = Addresses::new(1);
        let request = Request::new(&addresses, "a.example");
        assert!(request.enter(at(HERE)) && request.enter(at(HERE)));
        assert!(request.enter(at(THERE)), "the one before could not be reached");
        assert!(!fill(&addresses, "b.example", HERE).is_empty());
        assert!(fill(&addresses, "b.example", THERE).is_empty(), "FC-SEC-02");
    }

    #[actix_rt::test]
    async fn a_request_is_crowded_out_when_no_connection_was_let_in() {
        let enter = |address: &str| super::enter(address.parse().unwrap());
        let addresses = Addresses::new(1);
        let _taken = fill(&addresses, "a.example", HERE);
        assert_eq!(addresses.counting("b.example", async { enter(HERE) }).await, Err(Crowded));
        let tried = addresses.counting("b.example", async { enter(HERE) || enter(THERE) }).await;
        assert_eq!(tried, Ok(true), "whatever comes of that is an answer");
        let unreached = async {
            let entered = enter(HERE) || enter(THERE);
            super::leave();
            entered
        };
        let tried = addresses.counting("b.example", unreached).await;
        assert_eq!(tried, Err(Crowded), "where there was room nobody was reached");
        assert!(enter(HERE), "what is no callback's is not bound");
        assert_eq!(addresses.busy.borrow().len(), 1, "it counts no longer than it lasts");
    }
}
