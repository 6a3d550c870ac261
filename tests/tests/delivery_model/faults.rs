//! What fails, and how it looks from the other side.

use super::{
    steps::{Fault, Step},
    store::Due,
    system::{Process, Witness, Worker},
};

impl Step<'_> {
    pub(super) fn fail(&mut self, fault: Fault) {
        self.now.faults_left -= 1;
        match fault {
            Fault::CrashHub(number) => {
                let hub = &mut self.now.hubs[number];
                hub.witness = Witness::default();
                (hub.socket, hub.stale) = (None, None);
            }
            Fault::CrashBeforeAnswer(number) => {
                self.publish(number, false);
                self.now.faults_left += 1;
                self.fail(Fault::CrashHub(number));
            }
            Fault::CrashWorker(number) => self.now.workers[number] = Worker::default(),
            Fault::LoseBell(reader) => {
                if let Some(socket) = &mut self.now.hubs[reader].socket {
                    socket.bells.remove(0);
                }
            }
            Fault::LoseAnswer(number) => self.publish(number, false),
            Fault::Cut(reader) => {
                let hub = &mut self.now.hubs[reader];
                hub.stale = hub.socket.take().map(|socket| (socket.connection, socket.position));
            }
            Fault::Stall => self.now.store.subscriptions[1].due = Due::Now,
            Fault::Trim => self.now.store.trimmed += 1,
            Fault::Forget => self.now.store.once = 0,
            Fault::StopReplicating => self.now.replica = Some(Box::new(self.now.store.clone())),
        }
    }

    /// The replica becomes the primary, and begins a history of its own.
    pub(super) fn fail_over(&mut self, is_ahead: bool) {
        let Some(mut new) = self.now.replica.take() else { return };
        new.history = self.now.store.history + 1;
        if is_ahead {
            let (lost, kept) = (self.now.store.head(&self.now.ever), new.head(&self.now.ever));
            new.ahead = lost.number - kept.number;
        }
        let old = std::mem::replace(&mut self.now.store, *new);
        if self.setup.old_primary_lives {
            self.now.old = Some(Box::new(old));
            self.now.on_old = Process::Hub(0).bit() | Process::Hub(1).bit();
        } else {
            self.listen_again();
        }
        self.stop_batches();
    }

    pub(super) fn reconnect(&mut self, process: Process) {
        self.now.on_old &= !process.bit();
        if self.now.on_old == 0 {
            self.now.old = None;
        }
        if let Process::Hub(number) = process
            && let Some(socket) = &mut self.now.hubs[number].socket
        {
            socket.must_read = true;
        }
    }

    /// Who has lost its claim with the primary has one request under way, and will make no other.
    fn stop_batches(&mut self) {
        let holder = self.now.store.subscriptions[1].holder;
        for claim in self.now.workers.iter_mut().filter_map(|worker| worker.claim.as_mut()) {
            if claim.token != holder {
                claim.batch.truncate(usize::from(!claim.has_posted));
            }
        }
    }

    /// Who listens again reads the log. Bells that were heard before may come after that.
    fn listen_again(&mut self) {
        for socket in self.now.hubs.iter_mut().filter_map(|hub| hub.socket.as_mut()) {
            socket.must_read = true;
        }
    }
}
