//! Subscribers from whose position the log does not go on: that is never silent.
//!
//! Either they have missed what the log no longer holds: then the others are told with a SyncError
//! (FC-NOT-03), and so is the subscriber itself, which is sent what is open now, as one that has just
//! joined. Or Redis has lost the end of the log, which they have seen: then all are told, and sent what
//! is open, by entries of the log, and those subscribers go on from there.

use shared::{
    publisher::PublishError,
    store::{Gap, Position, StoreError},
    telemetry::metrics::METRICS,
};

use super::{Joiner, recent::Recent, topic::Relay};
use crate::socket::begin_reading;

impl Relay {
    /// The log does not go on from this position: all sockets that were served up to it begin anew.
    pub(super) fn interrupt(&mut self, after: Position, gap: Gap) {
        METRICS.gaps.inc();
        tracing::error!(topic = ?self.topic, %after, ?gap, "a log does not go on from where it was read");
        self.recent = Recent::default();
        for (events, socket) in self.members.take_all() {
            socket.outbox.leave_at(after);
            self.waiting.push(Joiner::having_missed(events, socket, after, gap));
        }
    }

    /// Tells of it, and has the socket served from where that is told. `false` when it holds its
    /// subscription no longer.
    pub(super) async fn begin_anew(&self, joiner: &mut Joiner, gap: Gap) -> Result<bool, StoreError> {
        let begun = match gap {
            Gap::Lost => {
                let lost = joiner.needs();
                let told = self.node.publisher.announce_loss(&joiner.subscription.topic, lost).await;
                Some(told.map_err(PublishError::into_store)?)
            }
            Gap::Trimmed => self.begin_at_the_head(joiner).await?,
        };
        if let Some(cursor) = begun {
            joiner.pass(cursor);
            joiner.has_missed = None;
            joiner.attached_at = cursor;
        }
        Ok(begun.is_some())
    }

    async fn begin_at_the_head(&self, joiner: &Joiner) -> Result<Option<Position>, StoreError> {
        let told = self.node.publisher.report_missed(&joiner.subscription, joiner.cursor).await;
        let told = told.map_err(PublishError::into_store)?;
        let (snapshot, _) = self.node.store.session(self.topic.key(), None).await?;
        let connection = joiner.socket.connection.clone();
        begin_reading(&self.node, &joiner.subscription, connection, snapshot, Some(told)).await
    }
}
