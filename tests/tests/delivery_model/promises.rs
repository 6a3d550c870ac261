//! What must always hold, what must hold when it is quiet, and what must be seen to happen, or else
//! the rest would say nothing.

use stateright::Property;

use super::{
    setup::{Setup, fault},
    system::{HISTORIES, Serials, System, What, wrong},
};

pub const NO_GAP: &str = "no entry is skipped";
pub const NO_DISORDER: &str = "within a connection or claim the log's order is kept";
pub const ONE_OWNER: &str = "only who holds a subscription moves it";
pub const ONE_BEARER: &str = "no two entries have one position";
pub const ALL_ARRIVES: &str = "when it is quiet, all that is in the log has arrived";
pub const NOTHING_STALE: &str = "when it is quiet, nobody goes by what is lost";
pub const LOSS_IS_TOLD: &str = "when it is quiet, all have been told of what was accepted and is lost";
pub const NO_FALSE_ALARM: &str = "nothing is told to be lost that is not";
pub const NOTHING_LOST: &str = "what was accepted on two servers is not lost";
pub const COMES_TO_REST: &str = "it comes to rest";

/// More entries than any run needs.
const MOST_ENTRIES: usize = 14;

impl Setup {
    pub(super) fn promises(&self) -> Vec<Property<Self>> {
        type Promise = Property<Setup>;
        let mut promises = vec![
            Promise::always(NO_GAP, |_, now| now.wrong & wrong::GAP == 0),
            Promise::always(NO_DISORDER, |_, now| now.wrong & wrong::DISORDER == 0),
            Promise::always(ONE_OWNER, |_, now| now.wrong & wrong::TRESPASS == 0),
            Promise::always(ONE_BEARER, |_, now| now.wrong & wrong::TWICE == 0),
            Promise::always(ALL_ARRIVES, |setup, now| !setup.is_quiet(now) || all_arrives(now)),
            Promise::always(NOTHING_STALE, |setup, now| !setup.is_quiet(now) || nothing_stale(now)),
            Promise::always(LOSS_IS_TOLD, |setup, now| !setup.is_quiet(now) || loss_is_told(now)),
            Promise::always(NO_FALSE_ALARM, |_, now| no_false_alarm(now)),
            Promise::always(COMES_TO_REST, |_, now| now.ever.len() <= MOST_ENTRIES),
            Promise::sometimes("it becomes quiet", |setup, now| setup.is_quiet(now)),
        ];
        if self.waits_for_replica {
            let nothing_lost = |_: &Self, now: &System| accepted_and_lost(now) == 0;
            promises.push(Promise::always(NOTHING_LOST, nothing_lost));
        }
        if self.may_fail & (fault::HUB_CRASH | fault::CUT) != 0 {
            promises.push(Promise::sometimes("a socket resumes and is sent something again", |_, now| {
                resumes(now)
            }));
        }
        if self.has_webhook() && self.may_fail & fault::STALL != 0 {
            promises.push(Promise::sometimes("a claim is taken over", |_, now| {
                now.workers.iter().all(|worker| worker.claim.is_some())
            }));
        }
        if self.may_fail & fault::FAILOVER != 0 {
            promises.push(Promise::sometimes("an event is lost that a subscriber has had", |_, now| {
                now.subscribers.iter().any(|one| one.knows & now.lost_from(&now.store) != 0)
            }));
        }
        if self.may_fail & fault::FAILOVER != 0 && !self.waits_for_replica {
            promises.push(Promise::sometimes("a loss is told of", |setup, now| {
                setup.is_quiet(now) && accepted_and_lost(now) != 0
            }));
        }
        promises
    }
}

/// A socket is about to be sent what its subscriber has had.
fn resumes(now: &System) -> bool {
    now.hubs.iter().zip(&now.subscribers).any(|(hub, subscriber)| {
        let mut next = hub.socket.iter().flat_map(|socket| now.store.after(&now.ever, socket.position));
        next.any(|serial| subscriber.knows & 1 << serial != 0)
    })
}

/// All that is in the log, or was until it was trimmed, has been handed over or is covered, and the
/// cursors say so.
fn all_arrives(now: &System) -> bool {
    let in_log = now.store.serials() & now.events();
    now.subscribers.iter().all(|one| in_log & !one.knows == 0)
        && now.store.subscriptions.iter().all(|one| one.cursor == now.store.head(&now.ever))
}

fn nothing_stale(now: &System) -> bool {
    let lost = now.lost_from(&now.store);
    now.subscribers.iter().all(|one| one.knows & lost == 0)
}

fn loss_is_told(now: &System) -> bool {
    let lost = accepted_and_lost(now);
    now.subscribers.iter().all(|one| lost & !one.told == 0)
}

/// Entries that are in no log, and of whose event a client was told that it is accepted.
fn accepted_and_lost(now: &System) -> Serials {
    let lost = now.lost_from(&now.store);
    let accepted = now
        .ever
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.what, What::Event(event) if now.accepted & 1 << event != 0));
    accepted.fold(0, |bits, (serial, _)| bits | 1 << serial) & lost
}

/// Whose loss is told of has lost an entry.
fn no_false_alarm(now: &System) -> bool {
    (0..HISTORIES as u8).filter(|history| now.store.told[*history as usize] != 0).all(|history| {
        let mut entries = now.ever.iter().enumerate();
        entries.any(|(serial, entry)| entry.at.history == history && now.store.index(serial as u8).is_none())
    })
}
