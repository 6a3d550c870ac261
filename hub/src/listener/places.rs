//! Which connections there may be. No connection in it.
//!
//! A connection is *new* until it has sent a whole request: its TLS handshake and its first head are still to come, and
//! it may be somebody's who will never send them. Afterwards it is *busy* while a request is worked on, or as a socket
//! for good, and *idle* in between. New ones have few places of their own, and the oldest of them gives way to the next;
//! when all places are taken the oldest new one gives way, or else the one that has been idle for the longest. So
//! whoever holds many half-open or idle connections, from however many addresses, loses them to those who mean it; and
//! whoever has as many as an address may makes nobody give way.

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
    /// Those that have not been told to go, by their numbers.
    staying: HashMap<u64, Staying>,
    /// The numbers of the new ones and of the idle ones, by the moment at which they became that.
    new: BTreeMap<u64, u64>,
    idle: BTreeMap<u64, u64>,
    /// Counts numbers and moments.
    next: u64,
}

#[derive(Debug, Default)]
struct Count {
    open: usize,
    new: usize,
}

/// A connection that stays, until this is dropped.
#[derive(Debug)]
struct Staying {
    network: Option<Network>,
    state: State,
    _tell: oneshot::Sender<()>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Since that moment.
    New(u64),
    Busy,
    /// Since that moment.
    Idle(u64),
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
            staying: HashMap::new(),
            new: BTreeMap::new(),
            idle: BTreeMap::new(),
            next: 0,
        }
    }

    /// A place for one more connection, or the limit that it would exceed. A proxy that is trusted comes from no network:
    /// it has the connections of many, and as many as the hub takes.
    pub fn take(&mut self, network: Option<Network>) -> Result<Place, Limit> {
        if let Some(count) = network.and_then(|network| self.by_network.get(&network)) {
            if count.open >= self.most_at_address {
                return Err(Limit::ConnectionsPerAddress);
            }
            if count.new >= self.most_new_at_address {
                return Err(Limit::NewConnectionsPerAddress);
            }
        }
        if self.open >= self.most && !self.oldest_new_gives_way() && !self.longest_idle_gives_way() {
            return Err(Limit::Connections);
        }
        if self.new.len() >= self.most_new {
            self.oldest_new_gives_way();
        }
        let (tell, gives_way) = oneshot::channel();
        let id = self.moment();
        self.new.insert(id, id);
        self.staying.insert(id, Staying { network, state: State::New(id), _tell: tell });
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
        self.becomes(id, State::Busy);
    }

    /// It has its answer, and no other request has come.
    pub fn is_answered(&mut self, id: u64) {
        let now = self.moment();
        if self.becomes(id, State::Idle(now)) {
            self.idle.insert(now, id);
        }
    }

    /// It has gone.
    pub fn leave(&mut self, id: u64, network: Option<Network>) {
        self.is_told(id);
        self.open -= 1;
        let Some(network) = network else { return };
        if let Some(count) = self.by_network.get_mut(&network) {
            count.open -= 1;
            if count.open == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    fn moment(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Changes the state of one that stays.
    fn becomes(&mut self, id: u64, state: State) -> bool {
        let Some(staying) = self.staying.get_mut(&id) else { return false };
        let (before, network) = (std::mem::replace(&mut staying.state, state), staying.network);
        self.was(before, network);
        true
    }

    /// One was in this state, and is not any more.
    fn was(&mut self, state: State, network: Option<Network>) {
        match state {
            State::New(since) => {
                self.new.remove(&since);
                if let Some(count) = network.and_then(|network| self.by_network.get_mut(&network)) {
                    count.new -= 1;
                }
            }
            State::Busy => {}
            State::Idle(since) => {
                self.idle.remove(&since);
            }
        }
    }

    /// It is told to go, if it has not been yet. Its place is free when it has gone, so for a moment there may be more
    /// connections than there are places.
    fn is_told(&mut self, id: u64) {
        if let Some(staying) = self.staying.remove(&id) {
            self.was(staying.state, staying.network);
        }
    }

    fn oldest_new_gives_way(&mut self) -> bool {
        let oldest = self.new.first_key_value().map(|(_, id)| *id);
        oldest.map(|id| self.is_told(id)).is_some()
    }

    fn longest_idle_gives_way(&mut self) -> bool {
        let oldest = self.idle.first_key_value().map(|(_, id)| *id);
        oldest.map(|id| self.is_told(id)).is_some()
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
        assert!(places.staying.contains_key(&asked.id), "who has asked is not asked to go");
    }

    #[test]
    fn who_has_as_many_as_an_address_may_makes_nobody_give_way() {
        let mut places = places([3, 2, 3, 2]);
        let mut strangers = places.take(B).unwrap();
        let _own = [places.take(A).unwrap(), places.take(A).unwrap()];
        for _ in 0..3 {
            assert_eq!(places.take(A).unwrap_err(), Limit::ConnectionsPerAddress);
        }
        assert!(!must_go(&mut strangers));
    }

    #[test]
    fn when_all_places_are_taken_who_has_been_idle_for_the_longest_gives_way_after_the_new_ones() {
        let mut places = places([4, 4, 4, 4]);
        let mut taken: Vec<Place> = (0..4).map(|_| places.take(A).unwrap()).collect();
        // The first is idle twice, the second once and before that; the third is busy, the last one new.
        for at in [0, 1, 0, 2] {
            places.has_asked(taken[at].id);
            if at != 2 {
                places.is_answered(taken[at].id);
            }
        }
        let next = places.take(B).unwrap();
        assert!(must_go(&mut taken[3]), "the new one first");
        places.has_asked(next.id);
        for (at, what) in [(1, "the one that has been idle for longer"), (0, "then the other")] {
            let next = places.take(B).unwrap();
            places.has_asked(next.id);
            assert!(must_go(&mut taken[at]), "{what}");
        }
        assert_eq!(places.take(B).unwrap_err(), Limit::Connections, "who is busy stays");
        assert!(!must_go(&mut taken[2]));
        // Who was told to go, and has asked or is answered in that moment, has no other place by that.
        places.has_asked(taken[0].id);
        places.is_answered(taken[0].id);
        assert_eq!(places.take(B).unwrap_err(), Limit::Connections);
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
            steps in prop::collection::vec((0u8..4, 0u64..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut places = places([8, 6, 4, 3]);
            let mut there: Vec<Place> = Vec::new();
            for (step, network, which) in steps {
                match step {
                    0 => there.extend(places.take((network > 0).then_some(Network::V6(network)))),
                    1 if !there.is_empty() => places.has_asked(there[which.index(there.len())].id),
                    2 if !there.is_empty() => places.is_answered(there[which.index(there.len())].id),
                    3 if !there.is_empty() => {
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
                let is_new = |staying: &&Staying| matches!(staying.state, State::New(_));
                let all_new: Vec<_> = places.staying.values().filter(is_new).collect();
                prop_assert_eq!(places.new.len(), all_new.len());
                prop_assert_eq!(new, all_new.iter().filter(|staying| staying.network.is_some()).count());
                let idle = |staying: &&Staying| matches!(staying.state, State::Idle(_));
                prop_assert_eq!(places.idle.len(), places.staying.values().filter(idle).count());
            }
        }
    }
}
