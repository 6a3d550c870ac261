//! What a run of the checker is about: who takes part, what may fail, and which cures are in force.

/// What may fail. Each kind is one bit of [`Setup::may_fail`].
pub mod fault {
    /// A hub dies, with its sockets, its requests and what it remembers; it is started again.
    pub const HUB_CRASH: u16 = 1;
    /// A worker dies with a request in flight.
    pub const WORKER_CRASH: u16 = 1 << 1;
    /// A bell does not arrive.
    pub const LOST_BELL: u16 = 1 << 2;
    /// The answer to a publish does not arrive.
    pub const LOST_ANSWER: u16 = 1 << 3;
    /// A subscriber's connection breaks, and the hub that holds it does not notice.
    pub const CUT: u16 = 1 << 4;
    /// A worker stands still until its claim is over.
    pub const STALL: u16 = 1 << 5;
    /// The oldest entry leaves the log before all have read it.
    pub const TRIM: u16 = 1 << 6;
    /// A client sends again so late that nobody remembers the first time.
    pub const FORGET: u16 = 1 << 7;
    /// The primary is not replicated any longer; then it dies, and the replica takes over.
    pub const FAILOVER: u16 = 1 << 8;
    /// Each of them.
    pub const ALL: u16 = (1 << 9) - 1;
    /// Those with which nobody dies who may be the only one to know of a lost event.
    pub const WITHOUT_CRASHES: u16 = ALL & !HUB_CRASH & !WORKER_CRASH;
}

/// How a reader is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Reader number `n` has a socket to hub number `n`.
    Socket,
    /// The workers make requests to it.
    Webhook,
}

/// What the design does so that the promises hold. Without any one of them the checker must find
/// a promise broken.
#[derive(Clone, Copy, Debug)]
pub struct Cures {
    /// A position says in which history it was written.
    pub history_in_positions: bool,
    /// A reader compares an entry's predecessor, or the head, with its own position.
    pub predecessors: bool,
    /// Only who holds a subscription moves its cursor.
    pub fence: bool,
    /// The heads of the logs are looked at from time to time.
    pub look_at_heads: bool,
    /// Who has answered 202 looks after a failover whether the event is still there.
    pub witnesses: bool,
    /// So does who has answered 202 because the event was there already.
    pub witnesses_of_resends: bool,
    /// The SyncError of a loss comes with what is open, for everybody.
    pub contexts_with_loss: bool,
    /// Of one history a loss is told of again when a later entry proves lost with it.
    pub tells_up_to: bool,
    /// Only what the oldest entry has had before it counts as trimmed; else it is lost.
    pub trimmed_by_predecessor: bool,
    /// Who finds its claim void and has delivered what is lost has its reader begin anew.
    pub amends: bool,
    /// A resend is answered when the event that it repeats is replicated, as the first one would
    /// have been. Counts only with [`Setup::waits_for_replica`].
    pub waits_for_resends: bool,
}

impl Cures {
    /// The design.
    pub const ALL: Self = Self {
        history_in_positions: true,
        predecessors: true,
        fence: true,
        look_at_heads: true,
        witnesses: true,
        witnesses_of_resends: true,
        contexts_with_loss: true,
        tells_up_to: true,
        trimmed_by_predecessor: true,
        amends: true,
        waits_for_resends: true,
    };
}

/// A run of the checker.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who reads. At most the second is a webhook.
    pub readers: [Channel; 2],
    /// How many events the client of each hub publishes.
    pub events: [u8; 2],
    /// The most faults in one run.
    pub faults: u8,
    /// The kinds of them, see [`fault`].
    pub may_fail: u16,
    /// Does a primary that was thought dead serve those for a while who are still connected to it?
    pub old_primary_lives: bool,
    /// Is a publish answered only when it is replicated (`redis.durability`)?
    pub waits_for_replica: bool,
    /// Are all orders of steps tried, also where it makes no difference?
    pub is_thorough: bool,
    /// What the design does.
    pub cures: Cures,
}

impl Setup {
    /// Two hubs with a client each, which publish three events to a socket and a webhook.
    pub const fn new(faults: u8, may_fail: u16) -> Self {
        Self {
            readers: [Channel::Socket, Channel::Webhook],
            events: [2, 1],
            faults,
            may_fail,
            old_primary_lives: false,
            waits_for_replica: false,
            is_thorough: false,
            cures: Cures::ALL,
        }
    }

    /// The first event of a hub's client.
    pub const fn first_event(&self, hub: usize) -> u8 {
        if hub == 0 { 0 } else { self.events[0] }
    }

    /// Does this reader have a socket?
    pub fn has_socket(&self, reader: usize) -> bool {
        self.readers[reader] == Channel::Socket
    }

    /// Is there a webhook?
    pub fn has_webhook(&self) -> bool {
        !self.has_socket(1)
    }
}
