//! Which connections there may be. No connection in it.
//!
//! A connection is *new* until it has sent a whole request: its TLS handshake and its first head are still to come, and
//! it may be somebody's who will never send them. New ones have few places of their own, and the oldest of them gives
//! way; so whoever holds many half-open connections, from however many addresses, loses them to those who mean it.

use std::collections::{BTreeMap, HashMap};

use shared::{settings::Limits, telemetry::metrics::Limit};
use tokio::sync::oneshot;

use crate::limits::Network;

/// All connections of this hub.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_at_address: usize,
    most_new: usize,
    most_new_at_address: usize,
    open: usize,
    by_network: HashMap<Network, Count>,
    /// By their age. What is kept of each tells it to go when it is dropped.
    new: BTreeMap<u64, (Option<Network>, oneshot::Sender<()>)>,
    next: u64,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    new: usize,
}

/// The place of a new connection.
#[derive(Debug)]
pub struct Place {
    /// Its number.
    pub id: u64,
    /// Whose it is: none's alone when a trusted proxy has it for many.
    pub network: Option<Network>,
    /// Resolves when it has to give way.
    pub gives_way: oneshot::Receiver<()>,
}

impl Places {
    /// As the settings say, but no more than `most` in all.
    pub fn new(limits: &Limits, most: usize) -> Self {
        Self {
            most: most.min(limits.connections),
            most_at_address: limits.connections_per_address,
            most_new: limits.new_connections,
            most_new_at_address: limits.new_connections_per_address,
            open: 0,
            by_network: HashMap::new(),
            new: BTreeMap::new(),
            next: 0,
        }
    }

    /// A place for one more connection, or the limit that it would exceed. A proxy that is trusted comes from no network:
    /// it has the connections of many, and as many as the hub takes.
    pub fn take(&mut self, network: Option<Network>) -> Result<Place, Limit> {
        if self.open >= self.most && !self.oldest_gives_way() {
            return Err(Limit::Connections);
        }
        if let Some(count) = network.and_then(|network| self.by_network.get(&network)) {
            if count.open >= self.most_at_address {
                return Err(Limit::ConnectionsPerAddress);
            }
            if count.new >= self.most_new_at_address {
                return Err(Limit::NewConnectionsPerAddress);
            }
        }
        if self.new.len() >= self.most_new {
            self.oldest_gives_way();
        }
        let (tell, gives_way) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        self.new.insert(id, (network, tell));
        self.open += 1;
        if let Some(network) = network {
            let count = self.by_network.entry(network).or_default();
            count.open += 1;
            count.new += 1;
        }
        Ok(Place { id, network, gives_way })
    }

    /// It has sent a whole request.
    pub fn has_asked(&mut self, id: u64) {
        if let Some((Some(network), _)) = self.new.remove(&id)
            && let Some(count) = self.by_network.get_mut(&network)
        {
            count.new -= 1;
        }
    }

    /// It has gone.
    pub fn leave(&mut self, id: u64, network: Option<Network>) {
        self.has_asked(id);
        self.open -= 1;
        let Some(network) = network else { return };
        if let Some(count) = self.by_network.get_mut(&network) {
            count.open -= 1;
            if count.open == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    /// The oldest new connection is told to go. Its place is free when it has gone, so for a moment there may be more
    /// connections than there are places.
    fn oldest_gives_way(&mut self) -> bool {
        let Some((_, (network, _))) = self.new.pop_first() else { return false };
        if let Some(count) = network.and_then(|network| self.by_network.get_mut(&network)) {
            count.new -= 1;
        }
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Option<Network> = Some(Network::V6(1));
    const B: Option<Network> = Some(Network::V6(2));

    fn places(most: [usize; 4]) -> Places {
        let [connections, connections_per_address, new_connections, new_connections_per_address] = most;
        let limits = Limits {
            connections,
            connections_per_address,
            new_connections,
            new_connections_per_address,
            ..Limits::default()
        };
        Places::new(&limits, usize::MAX)
    }

    fn must_go(place: &mut Place) -> bool {
        place.gives_way.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn a_trusted_proxy_has_as_many_as_the_hub_takes() {
        let mut places = places([3, 1, 3, 1]);
        let taken: Vec<_> =
            std::iter::from_fn(|| places.take(None).ok().inspect(|place| places.has_asked(place.id)))
                .collect();
        assert_eq!(taken.len(), 3);
        taken.into_iter().for_each(|place| places.leave(place.id, place.network));
        assert!(places.take(A).is_ok() && places.take(A).is_err(), "others have what an address may");
    }

    #[test]
    fn the_oldest_that_has_asked_nothing_gives_way_and_who_has_asked_stays() {
        let mut places = places([10, 10, 2, 2]);
        let asked = places.take(A).unwrap();
        places.has_asked(asked.id);
        let mut kept = [places.take(A).unwrap(), places.take(A).unwrap()];
        assert_eq!(places.take(A).unwrap_err(), Limit::NewConnectionsPerAddress);
        let mut newest = places.take(B).unwrap();
        assert!(must_go(&mut kept[0]), "the oldest");
        assert!(!must_go(&mut kept[1]) && !must_go(&mut newest));
        assert!(!places.new.contains_key(&asked.id), "who has asked is not asked to go");
    }

    #[test]
    fn an_address_has_so_many_places_and_leaves_the_others_alone() {
        let mut places = places([10, 2, 10, 10]);
        let first = places.take(A).unwrap();
        let _second = places.take(A).unwrap();
        assert_eq!(places.take(A).unwrap_err(), Limit::ConnectionsPerAddress);
        assert!(places.take(B).is_ok());
        places.leave(first.id, A);
        assert!(places.take(A).is_ok());
    }

    #[test]
    fn when_all_places_are_taken_by_those_who_have_asked_there_is_no_other() {
        let mut places = places([2, 2, 2, 2]);
        for _ in 0..2 {
            let place = places.take(A).unwrap();
            places.has_asked(place.id);
        }
        assert_eq!(places.take(B).unwrap_err(), Limit::Connections);
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_the_counts_are_those_of_what_is_there(
            steps in prop::collection::vec((0u8..3, 0u64..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut places = places([8, 6, 4, 3]);
            let mut there: Vec<Place> = Vec::new();
            for (step, network, which) in steps {
                match step {
                    0 => there.extend(places.take((network > 0).then_some(Network::V6(network)))),
                    1 if !there.is_empty() => places.has_asked(there[which.index(there.len())].id),
                    2 if !there.is_empty() => {
                        let gone = there.swap_remove(which.index(there.len()));
                        places.leave(gone.id, gone.network);
                    }
                    _ => {}
                }
                prop_assert_eq!(places.open, there.len());
                prop_assert!(places.new.len() <= 4);
                let counted: usize = places.by_network.values().map(|count| count.open).sum();
                prop_assert_eq!(counted, there.iter().filter(|place| place.network.is_some()).count());
                let new: usize = places.by_network.values().map(|count| count.new).sum();
                prop_assert_eq!(new, places.new.values().filter(|(network, _)| network.is_some()).count());
            }
        }
    }
}
