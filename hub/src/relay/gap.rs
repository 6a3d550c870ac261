//! Subscribers from whose position the log does not go on: that is never silent.
//!
//! Either they have missed what the log no longer holds: then the others are told with a SyncError
//! (FC-NOT-03), and so is the subscriber itself, which is sent what is open now, as one that has just
//! joined. Or Redis has lost the end of the log, which they have seen: then all are told, and sent what
//! is open, by entries of the log, and those subscribers go on from there.
//!
//! That a subscription was narrowed or has ended may be among what is missing. So each goes on as the
//! store has it now, not as it was remembered (FC-SCO-03, FC-SUB-04); one that is gone ends its socket.

use shared::{
    publisher::PublishError,
    store::{Gap, Position, StoreError},
    telemetry::metrics::METRICS,
};

use super::{
    Joiner,
    recent::Recent,
    topic::{ENDED, Relay},
};
use crate::socket::{Closing, begin_reading};

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
        if !self.as_it_is_now(joiner).await? {
            return Ok(false);
        }
        let begun = match gap {
            Gap::Lost => {
                let lost = joiner.needs();
                let told = self.node.publisher.announce_loss(&joiner.subscription.topic, lost).await;
                Some(told.map_err(PublishError::into_store)?)
            }
            Gap::Trimmed => self.begin_at_the_head(joiner).await?,
        };
        match begun {
            Some(cursor) => {
                joiner.pass(cursor);
                joiner.has_missed = None;
                joiner.attached_at = cursor;
            }
            // Who has it now, or whether it may be taken again, is seen when it comes back.
            None => joiner.socket.close(Closing::GoingAway),
        }
        Ok(begun.is_some())
    }

    /// Reads the subscription anew. `false` when there is none any more.
    async fn as_it_is_now(&self, joiner: &mut Joiner) -> Result<bool, StoreError> {
        let socket = &joiner.socket;
        let Some((subscription, lease)) = self.node.store.subscription(socket.address.id).await? else {
            socket.end(ENDED);
            return Ok(false);
        };
        if subscription != joiner.subscription {
            self.confirm(socket, &subscription, lease);
            joiner.subscription = subscription;
        }
        Ok(true)
    }

    async fn begin_at_the_head(&self, joiner: &Joiner) -> Result<Option<Position>, StoreError> {
        let told = self.node.publisher.report_missed(&joiner.subscription, joiner.cursor).await;
        let told = told.map_err(PublishError::into_store)?;
        let (snapshot, _) = self.node.store.session(self.topic.key(), None).await?;
        let connection = joiner.socket.connection.clone();
        begin_reading(&self.node, &joiner.subscription, connection, snapshot, Some(told)).await
    }
}
