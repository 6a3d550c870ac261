//! What can happen next, and what the processes share: appending, handing over, beginning anew.

use super::{
    setup::{Setup, fault},
    store::{Due, Gap},
    system::{Entry, Position, Process, Serial, System, Token, What, wrong},
};

/// One step of one process, of Redis, or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client publishes its next event, or sends it again; the hub commits and answers it.
    Publish(usize),
    /// The same, but the answer is lost with the primary.
    PublishInVain(usize),
    /// A process looks whether what it has written is still there.
    LookForLosses(Process),
    /// A process finds the new primary.
    Reconnect(Process),
    /// A bell arrives.
    Ring(usize),
    /// A relay reads on in the log, or does what follows from what it finds.
    Read(usize),
    /// A hub writes down how far its subscriber has come.
    Save(usize),
    /// A connection that is gone is told of the last answers, and writes that down.
    SaveStale(usize),
    /// A subscriber connects again.
    Attach(usize),
    /// A worker takes the webhook.
    Claim(usize),
    /// It finds that the log does not go on from the cursor, and does what follows.
    Restart(usize),
    /// It makes a request, which is answered with 200.
    Post(usize),
    /// It writes down how far it has come.
    Settle(usize),
    /// The time of a claim is over whose holder is gone.
    Expire,
    /// The replica takes over. Its clock may be ahead by as much as makes up for what is lost.
    Failover { is_ahead: bool },
    /// The replica has caught up.
    CatchUp,
    /// See [`fault`].
    Fail(Fault),
}

/// See [`fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    CrashHub(usize),
    CrashWorker(usize),
    LoseBell(usize),
    LoseAnswer(usize),
    CrashBeforeAnswer(usize),
    Cut(usize),
    Stall,
    Trim,
    Forget,
    StopReplicating,
}

/// A system on its way from one state to the next.
pub struct Step<'s> {
    pub setup: &'s Setup,
    pub now: System,
}

impl Setup {
    /// All that can happen without a fault. Nothing, when it is quiet.
    pub fn steps(&self, now: &System, actions: &mut Vec<Action>) {
        for hub in 0..2 {
            self.hub_steps(now, hub, actions);
        }
        if self.has_webhook() {
            for worker in 0..2 {
                self.worker_steps(now, worker, actions);
            }
            if now.store.subscriptions[1].due == Due::Claimed
                && !is_live_claim(now, now.store.subscriptions[1].holder)
            {
                actions.push(Action::Expire);
            }
        }
        for process in Process::ALL {
            if now.is_on_old(process) {
                actions.push(Action::Reconnect(process));
            } else if self.has_to_look(now, process) {
                actions.push(Action::LookForLosses(process));
            }
        }
        if now.replica.is_some() {
            actions.extend([
                Action::Failover { is_ahead: false },
                Action::Failover { is_ahead: true },
                Action::CatchUp,
            ]);
        }
    }

    /// All faults that can happen.
    pub fn faults(&self, now: &System, actions: &mut Vec<Action>) {
        if now.faults_left == 0 {
            return;
        }
        let mut add = |kind: u16, can_happen: bool, fault: Fault| {
            if self.may_fail & kind != 0 && can_happen {
                actions.push(Action::Fail(fault));
            }
        };
        for number in 0..2 {
            let (hub, worker) = (&now.hubs[number], &now.workers[number]);
            add(fault::HUB_CRASH, true, Fault::CrashHub(number));
            add(fault::WORKER_CRASH, worker.claim.is_some(), Fault::CrashWorker(number));
            let hears = hub.socket.as_ref().is_some_and(|socket| !socket.bells.is_empty());
            add(fault::LOST_BELL, hears, Fault::LoseBell(number));
            let publishes = hub.answered < self.events[number];
            add(fault::LOST_ANSWER, publishes, Fault::LoseAnswer(number));
            add(fault::HUB_CRASH, publishes, Fault::CrashBeforeAnswer(number));
            add(fault::CUT, hub.socket.is_some(), Fault::Cut(number));
        }
        let is_claimed = now.store.subscriptions[1].due == Due::Claimed;
        add(fault::STALL, is_claimed && is_live_claim(now, now.store.subscriptions[1].holder), Fault::Stall);
        add(fault::TRIM, now.store.trimmed < now.store.log.len(), Fault::Trim);
        add(fault::FORGET, now.store.once != 0, Fault::Forget);
        let is_replicated = now.replica.is_none() && now.store.history == 0;
        add(fault::FAILOVER, is_replicated, Fault::StopReplicating);
    }

    /// Is nothing under way?
    pub fn is_quiet(&self, now: &System) -> bool {
        if now.replica.is_some() || (0..2).any(|hub| now.hubs[hub].answered < self.events[hub]) {
            return false;
        }
        let mut actions = Vec::new();
        self.steps(now, &mut actions);
        actions.is_empty()
    }

    /// The positions that a process knows of, that are gone, and of which nobody has told.
    pub fn losses(&self, now: &System, process: Process) -> impl Iterator<Item = Position> {
        let store = now.store(process);
        now.witness(process).positions().filter(|position| {
            store.gap_after(&now.ever, *position, &self.cures) == Some(Gap::Lost)
                && !store.has_told(*position)
        })
    }

    fn has_to_look(&self, now: &System, process: Process) -> bool {
        let witness = now.witness(process);
        witness.looked_in != now.store.history && self.cures.witnesses && witness.positions().next().is_some()
    }
}

fn is_live_claim(now: &System, token: Token) -> bool {
    now.workers.iter().filter_map(|worker| worker.claim.as_ref()).any(|claim| claim.token == token)
}

impl Step<'_> {
    pub fn take(&mut self, action: Action) {
        match action {
            Action::Publish(hub) => self.publish(hub, true),
            Action::PublishInVain(hub) => self.publish(hub, false),
            Action::LookForLosses(process) => self.look_for_losses(process),
            Action::Reconnect(process) => self.reconnect(process),
            Action::Ring(reader) => self.ring(reader),
            Action::Read(reader) => self.read(reader),
            Action::Save(reader) => self.save(reader),
            Action::SaveStale(reader) => self.save_stale(reader),
            Action::Attach(reader) => self.attach(reader),
            Action::Claim(worker) => self.claim(worker),
            Action::Restart(worker) => self.restart(worker),
            Action::Post(worker) => self.post(worker),
            Action::Settle(worker) => self.settle(worker),
            Action::Expire => self.now.store.subscriptions[1].due = Due::Now,
            Action::Failover { is_ahead } => self.fail_over(is_ahead),
            Action::CatchUp => self.now.replica = None,
            Action::Fail(fault) => self.fail(fault),
        }
        self.simplify();
    }

    /// Appends an entry, makes the webhook due, and rings the bell: one script.
    pub fn append(&mut self, process: Process, what: What) -> Position {
        let serial = self.now.ever.len() as Serial;
        let store = self.now.store(process);
        let after = store.head(&self.now.ever);
        let history = if self.setup.cures.history_in_positions { store.history } else { 0 };
        let at = Position { number: after.number + 1 + store.ahead, history };
        if self.now.ever.iter().any(|entry| entry.at == at) {
            self.now.wrong |= wrong::TWICE;
        }
        self.now.ever.push(Entry { at, after, what });
        let has_webhook = self.setup.has_webhook();
        let store = self.now.store_mut(process);
        store.ahead = 0;
        store.log.push(serial);
        if has_webhook && store.subscriptions[1].due == Due::No {
            store.subscriptions[1].due = Due::Now;
        }
        let is_on_old = self.now.is_on_old(process);
        for hub in 0..2 {
            let hears = self.now.is_on_old(Process::Hub(hub)) == is_on_old;
            if let Some(socket) =
                self.now.hubs[hub].socket.as_mut().filter(|socket| hears && !socket.must_read)
            {
                socket.bells.push(serial);
            }
        }
        at
    }

    /// Takes note that a process knows what it has written. Of one history the last says all; of
    /// another the last is kept beside it.
    pub fn remember(&mut self, process: Process, position: Position) {
        if !self.setup.cures.witnesses {
            return;
        }
        let history = self.now.store(process).history;
        let witness = self.now.witness_mut(process);
        if witness.positions().next().is_none() {
            witness.looked_in = history;
        }
        let known = &mut witness.accepted[position.history as usize];
        *known = (*known).max(position.number);
    }

    /// Looks whether what a process has written is still in the log, and tells all if it is not.
    fn look_for_losses(&mut self, process: Process) {
        let losses: Vec<_> = self.setup.losses(&self.now, process).collect();
        for position in losses {
            self.tell_of_loss(process, position);
        }
        self.now.witness_mut(process).looked_in = self.now.store(process).history;
    }

    /// Tells all that the end of a history is lost, at least up to a position, once. `false` when
    /// that has been done.
    pub fn tell_of_loss(&mut self, process: Process, position: Position) -> bool {
        if self.now.store(process).has_told(position) {
            return false;
        }
        let at = self.append(process, What::Loss(position.history));
        let up_to = if self.setup.cures.tells_up_to && self.setup.old_primary_lives {
            position.number
        } else {
            u8::MAX
        };
        self.now.store_mut(process).told[position.history as usize] = up_to;
        self.remember(process, at);
        true
    }

    /// Hands an entry to a subscriber whose connection or claim has come to `position`.
    pub fn hand(&mut self, process: Process, reader: usize, serial: Serial, position: Position) {
        let now = &mut self.now;
        let what = now.ever[serial as usize].what;
        if matches!(what, What::Anew(other) if other as usize != reader) {
            return;
        }
        let store = now.store(process);
        let index = store.index(serial);
        let last = store.index_of(&now.ever, position);
        if index.zip(last).is_some_and(|(index, last)| last > index) {
            now.wrong |= wrong::DISORDER;
        }
        let store = now.store(process);
        let before = index.map_or(0, |index| store.log[..index].iter().fold(0, |bits, one| bits | 1 << one));
        let (before, lost) = (before & now.events(), now.lost_from(store));
        let subscriber = &mut now.subscribers[reader];
        if subscriber.seen & 1 << serial != 0 {
            return;
        }
        subscriber.seen |= 1 << serial;
        let has_contexts = match what {
            What::Event(_) => false,
            What::Loss(_) => self.setup.cures.contexts_with_loss,
            What::Anew(_) => true,
        };
        if has_contexts {
            subscriber.knows = before;
        } else if before & !subscriber.knows != 0 {
            now.wrong |= wrong::GAP;
        }
        match what {
            What::Event(_) => subscriber.knows |= 1 << serial,
            What::Loss(_) | What::Anew(_) => subscriber.told |= lost,
        }
    }

    /// Has a reader read from the head on, and sends it a SyncError and what is open first: one
    /// script. `None` when it is not held by this connection or claim.
    pub fn begin_anew(&mut self, process: Process, reader: usize, holder: Token) -> Option<Position> {
        if !self.holds(process, reader, holder) {
            return None;
        }
        let head = self.now.store(process).head(&self.now.ever);
        self.now.store_mut(process).subscriptions[reader].cursor = head;
        self.append(process, What::Anew(reader as u8));
        Some(head)
    }

    /// May this connection or claim change the subscription?
    pub fn holds(&mut self, process: Process, reader: usize, holder: Token) -> bool {
        let is_holder = self.now.store(process).subscriptions[reader].holder == holder;
        if !is_holder && !self.setup.cures.fence {
            self.now.wrong |= wrong::TRESPASS;
            return true;
        }
        is_holder
    }
}
