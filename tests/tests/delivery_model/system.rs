//! A state of the whole: what Redis holds, what each process has in its memory, and what the
//! subscribers have seen.

use super::{
    setup::Setup,
    store::{Due, Gap, Store, Subscription},
};

/// Names an entry among all that were ever appended, also those that were lost. No process knows
/// it; the promises are told by it.
pub type Serial = u8;

/// A set of entries, as bits.
pub type Serials = u16;

/// A place in the log. Numbers grow along a log, and may be given again after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub number: u8,
    pub history: u8,
}

impl Position {
    /// Before the first entry.
    pub const START: Self = Self { number: 0, history: 0 };

    /// Is the other one of the same history, and not later?
    pub fn covers(self, other: Self) -> bool {
        self.history == other.history && other.number <= self.number
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A client's event, for everybody.
    Event(u8),
    /// The SyncError that says that the end of a history is lost, for everybody.
    Loss(u8),
    /// A SyncError and what is open, for one reader that begins anew.
    Anew(u8),
}

/// An entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub at: Position,
    /// Its predecessor.
    pub after: Position,
    pub what: What,
}

/// Histories that a run can have.
pub const HISTORIES: usize = 2;

/// What a hub or worker remembers of what it has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Witness {
    /// The number of the last entry in each history that it has been told is in the log; 0: none.
    pub accepted: [u8; HISTORIES],
    /// The history of the primary at which it has last looked whether they still are.
    pub looked_in: u8,
}

impl Witness {
    /// Where those entries are, or were.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        let accepted = (0..).zip(self.accepted).filter(|(_, number)| *number != 0);
        accepted.map(|(history, number)| Position { number, history })
    }
}

/// A hub, with its client and perhaps a subscriber's socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hub {
    /// How many of the client's events have been answered.
    pub answered: u8,
    pub witness: Witness,
    pub socket: Option<Socket>,
    /// A connection that has gone without the hub's notice: it may still save its cursor.
    pub stale: Option<(Token, Position)>,
}

/// A connection or a claim: the fence.
pub type Token = u8;

/// Nobody's.
pub const NOBODY: Token = 0;

/// A socket and the relay that serves it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    pub connection: Token,
    /// How far it has been served, and the subscriber has received and answered.
    pub position: Position,
    /// Bells that are on the way.
    pub bells: Vec<Serial>,
    /// Has it heard that the log has to be read?
    pub must_read: bool,
}

/// A worker, with what it has claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    pub witness: Witness,
    pub claim: Option<Claim>,
}

/// The claim of the webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub token: Token,
    pub progress: Position,
    /// What is to be delivered.
    pub batch: Vec<Serial>,
    /// What is wrong between the cursor and the batch.
    pub gap: Option<Gap>,
    /// Has something been delivered since it was settled?
    pub has_posted: bool,
}

/// What a subscriber knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// What it has been sent: it would know it again by its id.
    pub seen: Serials,
    /// The events that it goes by. What it was sent before it began anew is forgotten; what the
    /// contexts stand for that it was sent then, is not.
    pub knows: Serials,
    /// The events of which it has been told that they are lost.
    pub told: Serials,
}

/// What must never happen, as bits.
pub mod wrong {
    /// An entry was handed over before one that precedes it, and that was not covered.
    pub const GAP: u8 = 1;
    /// An entry was handed over again, or too late, within one connection or claim.
    pub const DISORDER: u8 = 2;
    /// Somebody who does not hold a subscription has changed it.
    pub const TRESPASS: u8 = 4;
    /// A position was given to a second entry.
    pub const TWICE: u8 = 8;
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct System {
    /// All entries ever, by their serial.
    pub ever: Vec<Entry>,
    /// The primary.
    pub store: Store,
    /// What its replica has, if that is no longer the same.
    pub replica: Option<Box<Store>>,
    /// A primary that has been replaced and does not know it.
    pub old: Option<Box<Store>>,
    /// Processes that are still connected to it: one bit each, the hubs first.
    pub on_old: u8,
    pub hubs: [Hub; 2],
    pub workers: [Worker; 2],
    pub subscribers: [Subscriber; 2],
    /// Events of which a client was told that they are accepted.
    pub accepted: u8,
    pub faults_left: u8,
    pub wrong: u8,
}

/// A hub or a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Hub(usize),
    Worker(usize),
}

impl Process {
    pub const ALL: [Self; 4] = [Self::Hub(0), Self::Hub(1), Self::Worker(0), Self::Worker(1)];

    pub fn bit(self) -> u8 {
        match self {
            Self::Hub(number) => 1 << number,
            Self::Worker(number) => 4 << number,
        }
    }
}

impl System {
    /// The beginning: the sockets are connected, and nothing has been published.
    pub fn new(setup: &Setup) -> Self {
        let connection = |reader: usize| 1 + reader as Token;
        let subscription = |reader| Subscription {
            cursor: Position::START,
            holder: if setup.has_socket(reader) { connection(reader) } else { NOBODY },
            due: Due::No,
        };
        let socket = |reader| Socket {
            connection: connection(reader),
            position: Position::START,
            bells: Vec::new(),
            must_read: false,
        };
        let hub = |number| Hub {
            answered: 0,
            witness: Witness::default(),
            socket: setup.has_socket(number).then(|| socket(number)),
            stale: None,
        };
        Self {
            ever: Vec::new(),
            store: Store::new([subscription(0), subscription(1)]),
            replica: None,
            old: None,
            on_old: 0,
            hubs: [hub(0), hub(1)],
            workers: Default::default(),
            subscribers: Default::default(),
            accepted: 0,
            faults_left: setup.faults,
            wrong: 0,
        }
    }

    pub fn is_on_old(&self, process: Process) -> bool {
        self.on_old & process.bit() != 0
    }

    /// The primary that a process is connected to.
    pub fn store(&self, process: Process) -> &Store {
        match &self.old {
            Some(old) if self.is_on_old(process) => old,
            _ => &self.store,
        }
    }

    pub fn store_mut(&mut self, process: Process) -> &mut Store {
        let is_on_old = self.is_on_old(process);
        match &mut self.old {
            Some(old) if is_on_old => old,
            _ => &mut self.store,
        }
    }

    pub fn witness(&self, process: Process) -> &Witness {
        match process {
            Process::Hub(number) => &self.hubs[number].witness,
            Process::Worker(number) => &self.workers[number].witness,
        }
    }

    pub fn witness_mut(&mut self, process: Process) -> &mut Witness {
        match process {
            Process::Hub(number) => &mut self.hubs[number].witness,
            Process::Worker(number) => &mut self.workers[number].witness,
        }
    }

    /// Can nothing fail any more?
    pub fn is_calm(&self) -> bool {
        self.faults_left == 0 && self.replica.is_none() && self.old.is_none()
    }

    /// A connection or claim that nobody remembers.
    pub fn new_token(&self) -> Token {
        let stores = [Some(&self.store), self.replica.as_deref(), self.old.as_deref()];
        let held = stores.into_iter().flatten().flat_map(|store| &store.subscriptions).map(|one| one.holder);
        let sockets = self.hubs.iter().filter_map(|hub| hub.socket.as_ref()).map(|socket| socket.connection);
        let stale = self.hubs.iter().filter_map(|hub| hub.stale).map(|(token, _)| token);
        let claims = self.workers.iter().filter_map(|worker| worker.claim.as_ref()).map(|claim| claim.token);
        let used =
            held.chain(sockets).chain(stale).chain(claims).fold(1_u32, |bits, token| bits | 1 << token);
        used.trailing_ones() as Token
    }

    /// Names the tokens by the order in which they stand here.
    pub fn rename_tokens(&mut self) {
        let mut names = [NOBODY; 16];
        let mut next = NOBODY + 1;
        let mut rename = |token: &mut Token| {
            if *token == NOBODY {
                return;
            }
            let name = &mut names[*token as usize];
            if *name == NOBODY {
                *name = next;
                next += 1;
            }
            *token = *name;
        };
        let stores = [Some(&mut self.store), self.replica.as_deref_mut(), self.old.as_deref_mut()];
        for store in stores.into_iter().flatten() {
            store.subscriptions.iter_mut().for_each(|one| rename(&mut one.holder));
        }
        for hub in &mut self.hubs {
            hub.socket.iter_mut().for_each(|socket| rename(&mut socket.connection));
            hub.stale.iter_mut().for_each(|(token, _)| rename(token));
        }
        self.workers
            .iter_mut()
            .filter_map(|worker| worker.claim.as_mut())
            .for_each(|claim| rename(&mut claim.token));
    }

    /// The entries of events that are not in this log, also not at another place.
    pub fn lost_from(&self, store: &Store) -> Serials {
        let is_there = |what| store.log.iter().any(|serial| self.ever[*serial as usize].what == what);
        let lost = self
            .ever
            .iter()
            .enumerate()
            .filter(|(_, entry)| matches!(entry.what, What::Event(_)) && !is_there(entry.what));
        lost.fold(0, |bits, (serial, _)| bits | 1 << serial)
    }

    /// All events that were ever appended.
    pub fn events(&self) -> Serials {
        let events = self.ever.iter().enumerate().filter(|(_, entry)| matches!(entry.what, What::Event(_)));
        events.fold(0, |bits, (serial, _)| bits | 1 << serial)
    }
}
