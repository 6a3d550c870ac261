//! Keeps the bells' connection to one server.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, watch};

use super::{
    super::{
        backoff::Backoff,
        connection::told,
        dial::{Dialer, Door},
        seal::Seal,
        topology::{Primaries, Slot},
    },
    Request, Wanted,
    serving::Serving,
};
use crate::settings::HostPort;

/// The first and the longest pause before the connection is tried again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Keeps the connection to one server, and rings what it hears.
pub struct Ringer {
    /// Its number among those that there are.
    pub number: u64,
    server: HostPort,
    pub door: Door,
    pub dialer: Dialer,
    pub wanted: Arc<Wanted>,
    pub primaries: watch::Receiver<Arc<Primaries>>,
    pub doubts: Arc<Notify>,
    pub partitions: u16,
    pub seal: Arc<Seal>,
}

impl Ringer {
    pub fn new(
        dialer: &Dialer,
        server: &HostPort,
        wanted: &Arc<Wanted>,
        primaries: &watch::Receiver<Arc<Primaries>>,
        doubts: &Arc<Notify>,
        partitions: u16,
        seal: &Arc<Seal>,
    ) -> Self {
        Self {
            number: wanted.begin(server),
            server: server.clone(),
            door: dialer.subscriber(server),
            dialer: dialer.clone(),
            wanted: wanted.clone(),
            primaries: primaries.clone(),
            doubts: doubts.clone(),
            partitions,
            seal: seal.clone(),
        }
    }

    /// Runs until nobody can ask any more.
    pub async fn run(self, mut waiting: mpsc::Receiver<Request>) {
        let mut backoff = Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.keep(&mut waiting, &mut backoff).await;
        self.wanted.end(self.number);
    }

    async fn keep(&self, waiting: &mut mpsc::Receiver<Request>, backoff: &mut Backoff) {
        let mut is_said = false;
        while !waiting.is_closed() {
            let error = match Serving::open(self).await {
                Ok(mut serving) => {
                    backoff.reset();
                    is_said = false;
                    self.wanted.connected.fetch_add(1, Ordering::Relaxed);
                    self.wanted.hear(self.number);
                    match serving.run(waiting).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if !is_said {
                tracing::warn!(server = %self.server, error = told(&error), "the bells' connection to Redis has failed; trying again");
                is_said = true;
            }
            self.doubts.notify_one();
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Is this server the primary of a slot, as far as anybody knows?
    pub fn has(&self, slot: Slot) -> bool {
        self.primaries.borrow().of(slot) == Some(&self.server)
    }
}
