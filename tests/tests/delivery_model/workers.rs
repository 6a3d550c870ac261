//! A worker: it claims the webhook when it is due, delivers, and settles.

use super::{
    setup::Setup,
    steps::{Action, Step},
    store::{Due, Gap},
    system::{Claim, NOBODY, Process, System, What},
};

/// The reader that is the webhook.
const WEBHOOK: usize = 1;

impl Setup {
    pub(super) fn worker_steps(&self, now: &System, number: usize, actions: &mut Vec<Action>) {
        let due = now.store(Process::Worker(number)).subscriptions[WEBHOOK].due;
        actions.extend(match &now.workers[number].claim {
            None if due == Due::Now => Some(Action::Claim(number)),
            None => None,
            Some(claim) if claim.gap.is_some() => Some(Action::Restart(number)),
            Some(claim) if claim.has_posted || claim.batch.is_empty() => Some(Action::Settle(number)),
            Some(_) => Some(Action::Post(number)),
        });
    }
}

impl Step<'_> {
    pub(super) fn claim(&mut self, number: usize) {
        let process = Process::Worker(number);
        let token = self.now.new_token();
        let subscription = &mut self.now.store_mut(process).subscriptions[WEBHOOK];
        (subscription.holder, subscription.due) = (token, Due::Claimed);
        let progress = subscription.cursor;
        let store = self.now.store(process);
        let gap = store.gap_after(&self.now.ever, progress, &self.setup.cures);
        let batch = store.after(&self.now.ever, progress).collect();
        self.now.workers[number].claim = Some(Claim { token, progress, batch, gap, has_posted: false });
    }

    /// Tells of a loss; then, or when that has been done, begins anew.
    pub(super) fn restart(&mut self, number: usize) {
        let process = Process::Worker(number);
        let Some(Claim { token, progress, gap, .. }) = self.now.workers[number].claim else { return };
        if gap == Some(Gap::Lost) && self.tell_of_loss(process, progress) {
            return;
        }
        let begun = self.begin_anew(process, WEBHOOK, token);
        self.now.workers[number].claim =
            begun.map(|progress| Claim { token, progress, batch: Vec::new(), gap: None, has_posted: false });
    }

    /// Delivers the next entry. What is not for this reader is passed over with it.
    pub(super) fn post(&mut self, number: usize) {
        let Some(claim) = &mut self.now.workers[number].claim else { return };
        let (serial, progress) = (claim.batch.remove(0), claim.progress);
        claim.progress = self.now.ever[serial as usize].at;
        claim.has_posted =
            !matches!(self.now.ever[serial as usize].what, What::Anew(other) if other as usize != WEBHOOK);
        self.hand(Process::Worker(number), WEBHOOK, serial, progress);
    }

    /// Moves the cursor, and gives the claim back when there is nothing more to deliver. Who finds
    /// it void drops it, and moves nothing.
    pub(super) fn settle(&mut self, number: usize) {
        let process = Process::Worker(number);
        let Some(Claim { token, progress, batch, .. }) = self.now.workers[number].claim.take() else {
            return;
        };
        if !self.holds(process, WEBHOOK, token) {
            let gap = self.now.store(process).gap_after(&self.now.ever, progress, &self.setup.cures);
            if self.setup.cures.amends && gap == Some(Gap::Lost) {
                self.tell_of_loss(process, progress);
                self.append(process, What::Anew(WEBHOOK as u8));
            }
            return;
        }
        let has_more = self.now.store(process).is_ahead_of(&self.now.ever, progress, true);
        let subscription = &mut self.now.store_mut(process).subscriptions[WEBHOOK];
        subscription.cursor = progress;
        if batch.is_empty() {
            subscription.holder = NOBODY;
            subscription.due = if has_more { Due::Now } else { Due::No };
        } else {
            subscription.due = Due::Claimed;
            self.now.workers[number].claim =
                Some(Claim { token, progress, batch, gap: None, has_posted: false });
        }
    }
}
