//! Fewer states to look at, and none that could tell more.
//!
//! - States that nobody can tell apart are made one: workers have no names, and neither have tokens.
//! - When nothing can fail any more, some steps are *of no consequence*: they neither hinder nor
//!   change what others can do, and come in the same order to the reader that they concern. Of those
//!   one is taken at once, and nothing else is tried before it. [`Setup::is_thorough`] leaves this
//!   out: both find the same.

use super::{
    setup::Setup,
    steps::{Action, Step},
    store::{Due, Gap},
    system::{Process, Serials, System, Witness},
};

impl Setup {
    /// A step that may as well be taken at once: when nothing can fail any more, it does not matter
    /// to anybody else when a reader takes what is in the log already.
    pub fn of_no_consequence(&self, now: &System, steps: &[Action]) -> Option<Action> {
        if !now.is_calm() || self.is_thorough {
            return None;
        }
        let webhook = &now.store.subscriptions[1];
        let gap_after = |position| now.store.gap_after(&now.ever, position, &self.cures);
        let claim = |worker: usize| now.workers[worker].claim.as_ref();
        let holds = |worker| claim(worker).is_some_and(|claim| claim.token == webhook.holder);
        let keeps = |worker| holds(worker) && webhook.due == Due::Claimed;
        let takes_what_is_there = |step: &Action| match *step {
            Action::Ring(_) | Action::Expire => true,
            Action::Read(reader) => {
                now.hubs[reader].socket.as_ref().is_some_and(|socket| gap_after(socket.position).is_none())
            }
            Action::Claim(worker) => !holds(1 - worker) && gap_after(webhook.cursor).is_none(),
            Action::Post(worker) => {
                let other_posts =
                    claim(1 - worker).is_some_and(|claim| !claim.has_posted && !claim.batch.is_empty());
                keeps(worker) && !other_posts
            }
            Action::Settle(worker) => {
                keeps(worker)
                    || claim(worker).is_some_and(|claim| gap_after(claim.progress) != Some(Gap::Lost))
            }
            Action::LookForLosses(process) => self.losses(now, process).next().is_none(),
            _ => false,
        };
        steps.iter().copied().find(takes_what_is_there)
    }
}

impl Step<'_> {
    /// Makes one state of those that cannot be told apart.
    pub fn simplify(&mut self) {
        let now = &mut self.now;
        now.rename_tokens();
        for socket in now.hubs.iter_mut().filter_map(|hub| hub.socket.as_mut()) {
            // The log has it all. To take the next bell first is to have taken it before.
            if socket.must_read && self.setup.cures.predecessors {
                socket.bells.clear();
            }
        }
        now.workers.sort_unstable();
        if !now.is_calm() {
            return;
        }
        // Nobody will look again for what it has looked for, or send again what was answered.
        let history = now.store.history;
        for process in Process::ALL {
            let witness = now.witness_mut(process);
            if witness.looked_in == history {
                *witness = Witness::default();
            }
        }
        now.store.once &= !now.accepted;
        // Nobody will read what a socket's hub writes down from now on, so it does not matter when.
        for (hub, subscription) in now.hubs.iter().zip(&mut now.store.subscriptions) {
            if let Some(socket) =
                hub.socket.as_ref().filter(|socket| socket.connection == subscription.holder)
            {
                subscription.cursor = socket.position;
            }
        }
        now.forget_what_comes_no_more();
    }
}

impl System {
    /// It does not matter whether a subscriber has seen what nobody will send it again.
    fn forget_what_comes_no_more(&mut self) {
        let claims = self.workers.iter().filter_map(|worker| worker.claim.as_ref());
        let under_way: Serials =
            claims.flat_map(|claim| &claim.batch).fold(0, |bits, serial| bits | 1 << serial);
        for reader in 0..2 {
            let cursor = self.store.subscriptions[reader].cursor;
            let socket = self.hubs[reader].socket.as_ref();
            let earliest = socket.map_or(cursor, |socket| {
                if socket.position.number < cursor.number { socket.position } else { cursor }
            });
            let bells = socket.into_iter().flat_map(|socket| socket.bells.iter().copied());
            let may_come = self.store.after(&self.ever, earliest).chain(bells);
            self.subscribers[reader].seen &= may_come.fold(under_way, |bits, serial| bits | 1 << serial);
        }
    }
}
