//! Subscribers that have missed what the log no longer holds: that is never silent.
//!
//! The others are told with a SyncError (FC-NOT-03), and so is the subscriber itself; then it is
//! sent what is open now, as one that has just joined.

use shared::{
    publisher::PublishError,
    store::{Position, StoreError},
    telemetry::metrics::METRICS,
};

use super::{Joiner, topic::Relay};
use crate::socket::begin_reading;

impl Relay {
    /// Entries after this position are gone: all sockets that were served up to it begin anew.
    pub(super) fn interrupt(&mut self, after: Position) {
        METRICS.gaps.inc();
        tracing::error!(topic = ?self.topic, %after, "entries of the log are gone before they were read");
        for (events, socket) in self.members.take_all() {
            socket.outbox.leave_at(after);
            self.waiting.push(Joiner::having_missed(events, socket, after));
        }
    }

    /// Tells of it, and has the socket served from the head on. `false` when it holds its
    /// subscription no longer.
    pub(super) async fn begin_anew(&self, joiner: &mut Joiner) -> Result<bool, StoreError> {
        let told = self.node.publisher.report_missed(&joiner.subscription, joiner.cursor).await;
        let told = told.map_err(|error| match error {
            PublishError::Store(error) => error,
            other => StoreError::Unavailable(other.to_string()),
        })?;
        let (snapshot, _) = self.node.store.session(self.topic.key(), None).await?;
        let connection = joiner.socket.connection.clone();
        let begun = begin_reading(&self.node, &joiner.subscription, connection, snapshot, Some(told)).await?;
        if let Some(cursor) = begun {
            joiner.pass(cursor);
            joiner.has_missed = false;
        }
        Ok(begun.is_some())
    }
}
