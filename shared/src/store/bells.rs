//! Hearing that something has happened, in whichever process it did.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::LogEntry;

/// Bells that wait for a topic's listener before it counts as interrupted. Its memory is taken for
/// every topic that is served.
pub(super) const BELL_CAPACITY: usize = 32;
/// Bells of the due sets that wait for a worker.
pub(super) const DUE_BELL_CAPACITY: usize = 512;

/// A topic's bell rang.
#[derive(Debug, Clone)]
pub enum Rung {
    /// With this entry.
    Entry(Arc<LogEntry>),
    /// Bells may have been missed: read the log.
    Interrupted,
}

/// Hears the bell of one topic, until it is dropped.
pub struct Listener {
    receiver: broadcast::Receiver<Rung>,
    _registration: Box<dyn Send + Sync>,
}

impl Listener {
    pub(super) fn new(receiver: broadcast::Receiver<Rung>, registration: impl Send + Sync + 'static) -> Self {
        Self { receiver, _registration: Box::new(registration) }
    }

    /// Waits for the bell. A store that has gone away rings no more.
    pub async fn next(&mut self) -> Rung {
        match self.receiver.recv().await {
            Ok(rung) => rung,
            Err(broadcast::error::RecvError::Lagged(_)) => Rung::Interrupted,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Hears when something becomes due in any of the partitions that [`Store::watch_due`] named.
pub struct DueListener {
    pub(super) receiver: broadcast::Receiver<u16>,
}

impl DueListener {
    /// Waits. `None`: bells may have been missed, look at all partitions.
    pub async fn next(&mut self) -> Option<u16> {
        match self.receiver.recv().await {
            Ok(partition) => Some(partition),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
