//! A hub: it commits what its client publishes, and serves a socket from the log.

use super::{
    setup::Setup,
    steps::{Action, Step},
    store::Gap,
    system::{Position, Process, Serial, Socket, System, What},
};

impl Setup {
    pub(super) fn hub_steps(&self, now: &System, number: usize, actions: &mut Vec<Action>) {
        let hub = &now.hubs[number];
        if hub.answered < self.events[number] {
            actions.push(Action::Publish(number));
            if now.replica.is_some() || now.is_on_old(Process::Hub(number)) {
                actions.push(Action::PublishInVain(number));
            }
        }
        if !self.has_socket(number) {
            return;
        }
        if hub.stale.is_some() {
            actions.push(Action::SaveStale(number));
        }
        let Some(socket) = &hub.socket else {
            actions.push(Action::Attach(number));
            return;
        };
        let store = now.store(Process::Hub(number));
        if !socket.bells.is_empty() && !socket.must_read {
            actions.push(Action::Ring(number));
        }
        let is_behind = store.is_ahead_of(&now.ever, socket.position, self.cures.predecessors);
        if socket.must_read || self.cures.look_at_heads && is_behind && socket.bells.is_empty() {
            actions.push(Action::Read(number));
        }
        if moves(store.subscriptions[number].cursor, socket.position, store.history) {
            actions.push(Action::Save(number));
        }
    }
}

/// Does a cursor move to this position? Forward, or into the history that the server writes.
fn moves(cursor: Position, to: Position, own_history: u8) -> bool {
    if cursor.history == to.history { cursor.number < to.number } else { to.history == own_history }
}

impl Step<'_> {
    /// Commits the client's next event, and answers it unless it is known before that the answer
    /// will be lost.
    pub(super) fn publish(&mut self, number: usize, arrives: bool) {
        let process = Process::Hub(number);
        let event = self.setup.first_event(number) + self.now.hubs[number].answered;
        let store = self.now.store(process);
        let is_resend = store.once & 1 << event != 0;
        let at = if is_resend {
            self.setup.cures.witnesses_of_resends.then(|| store.head(&self.now.ever))
        } else {
            self.now.store_mut(process).once |= 1 << event;
            Some(self.append(process, What::Event(event)))
        };
        if let Some(at) = at.filter(|_| arrives) {
            self.remember(process, at);
        }
        let waits = self.setup.waits_for_replica && (!is_resend || self.setup.cures.waits_for_resends);
        // Unless it is replicated that is a 503, after which the client sends it again.
        if arrives && (!waits || self.is_replicated(number, event)) {
            self.now.hubs[number].answered += 1;
            self.now.accepted |= 1 << event;
        }
    }

    fn is_replicated(&self, number: usize, event: u8) -> bool {
        let holds = |serial: &Serial| self.now.ever[*serial as usize].what == What::Event(event);
        // A replaced primary has no replica.
        !self.now.is_on_old(Process::Hub(number))
            && self.now.store.log.iter().any(holds)
            && self.now.replica.as_ref().is_none_or(|replica| replica.log.iter().any(holds))
    }

    pub(super) fn ring(&mut self, reader: usize) {
        let Some(socket) = &mut self.now.hubs[reader].socket else { return };
        let serial = socket.bells.remove(0);
        let entry = self.now.ever[serial as usize];
        if !self.setup.cures.predecessors || entry.after == socket.position {
            self.serve(reader, serial);
        } else if !socket.position.covers(entry.at) {
            socket.must_read = true;
        }
    }

    pub(super) fn read(&mut self, reader: usize) {
        let process = Process::Hub(reader);
        let Some(Socket { position, connection, .. }) = self.now.hubs[reader].socket else { return };
        let store = self.now.store(process);
        let next = store.after(&self.now.ever, position).next();
        match store.gap_after(&self.now.ever, position, &self.setup.cures) {
            Some(Gap::Lost) if self.tell_of_loss(process, position) => return,
            Some(_) => {
                let begun = self.begin_anew(process, reader, connection);
                match (&mut self.now.hubs[reader].socket, begun) {
                    (Some(socket), Some(head)) => (socket.position, socket.must_read) = (head, true),
                    (socket, _) => *socket = None,
                }
                return;
            }
            None => {}
        }
        match next {
            Some(next) => self.serve(reader, next),
            None => {
                if let Some(socket) = &mut self.now.hubs[reader].socket {
                    socket.must_read = false;
                }
            }
        }
    }

    /// Sends an entry over the socket; the subscriber receives and answers it.
    fn serve(&mut self, reader: usize, serial: Serial) {
        let Some(position) = self.now.hubs[reader].socket.as_ref().map(|socket| socket.position) else {
            return;
        };
        let process = Process::Hub(reader);
        self.hand(process, reader, serial, position);
        let at = self.now.ever[serial as usize].at;
        let is_last = self.now.store(process).head(&self.now.ever) == at;
        if let Some(socket) = &mut self.now.hubs[reader].socket {
            socket.position = at;
            socket.must_read &= !is_last;
            if self.setup.cures.predecessors {
                // They would be passed over.
                socket.bells.retain(|bell| !at.covers(self.now.ever[*bell as usize].at));
            }
        }
    }

    pub(super) fn save(&mut self, reader: usize) {
        let Some(Socket { position, connection, .. }) = self.now.hubs[reader].socket else { return };
        if !self.move_cursor(reader, connection, position) {
            // It has lost its subscription: its subscriber is sent away.
            self.now.hubs[reader].socket = None;
        }
    }

    pub(super) fn save_stale(&mut self, reader: usize) {
        if let Some((connection, position)) = self.now.hubs[reader].stale.take() {
            self.move_cursor(reader, connection, position);
        }
    }

    fn move_cursor(&mut self, reader: usize, connection: u8, position: Position) -> bool {
        let process = Process::Hub(reader);
        let is_held = self.holds(process, reader, connection);
        let store = self.now.store_mut(process);
        let own_history = store.history;
        let subscription = &mut store.subscriptions[reader];
        if is_held && moves(subscription.cursor, position, own_history) {
            subscription.cursor = position;
        }
        is_held
    }

    pub(super) fn attach(&mut self, reader: usize) {
        let connection = self.now.new_token();
        let subscription = &mut self.now.store_mut(Process::Hub(reader)).subscriptions[reader];
        subscription.holder = connection;
        let position = subscription.cursor;
        self.now.hubs[reader].socket =
            Some(Socket { connection, position, bells: Vec::new(), must_read: true });
    }
}
