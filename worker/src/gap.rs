//! A subscriber from whose cursor the log does not go on: that is never silent.
//!
//! Either it has missed what the log no longer holds: then the others are told with a SyncError
//! (FC-NOT-03), and so is the subscriber itself, which is sent what is open now, as one that has just
//! joined. Or Redis has lost the end of the log, which it has seen: then all are told, and sent what is
//! open, by entries of the log, and it goes on from there.

use shared::{
    protocol::webhook::Mode,
    publisher::{PublishError, read_state},
    session::Entry,
    store::{
        Activated, Activation, Gap, Holder, Position, Progress, Release, StoreError, Subscription,
        WebhookRequest,
    },
    telemetry::metrics::METRICS,
};
use tracing::warn;

use crate::{
    Served,
    delivery::{Delivery, Interruption},
};

/// How often an activation is decided anew, before it is left to the next claim.
const MAX_CONFLICTS: u32 = 20;

impl Delivery<'_> {
    /// Tells of it, and starts again where that is told.
    pub(crate) async fn begin_anew(
        &mut self,
        subscription: &Subscription,
        gap: Gap,
    ) -> Result<Served, Interruption> {
        METRICS.gaps.inc();
        warn!(topic = ?self.claim.address.topic, subscription = ?self.claim.address.id, ?gap, "the log does not go on from where a subscriber has come");
        let (publisher, cursor) = (&self.deliverer.publisher, self.progress.cursor);
        let cursor = match gap {
            Gap::Lost => {
                let told = publisher.announce_loss(&subscription.topic, cursor).await;
                told.map_err(PublishError::into_store)?
            }
            Gap::Trimmed => {
                let told = publisher.report_missed(subscription, cursor).await;
                let told = told.map_err(PublishError::into_store)?;
                self.activate(subscription, None, Some(told)).await?
            }
        };
        self.progress = Progress { cursor, ..Progress::default() };
        self.settle(None, Release::Idle).await?;
        Ok(Served::Delivered(self.tally))
    }

    /// The claim is void, perhaps because Redis has gone back to before it: then what has been sent
    /// last may be lost, and have arrived after the callback was told so.
    pub(crate) async fn amend(&self) -> Result<(), StoreError> {
        let (Some(sent), Some(subscription)) = (self.sent, self.in_force()) else { return Ok(()) };
        let amended = self.deliverer.publisher.amend(subscription, sent).await;
        amended.map(|_| ()).map_err(PublishError::into_store)
    }

    /// Starts the reading behind the head: first the entries that only this subscriber is sent.
    /// A request that has been verified comes into force.
    pub(crate) async fn activate(
        &mut self,
        subscription: &Subscription,
        verified: Option<&WebhookRequest>,
        first: Option<Entry>,
    ) -> Result<Position, Interruption> {
        let address = self.claim.address;
        let store = self.deliverer.store.clone();
        let is_restart = first.is_some();
        let is_new = is_restart || self.in_force().is_none();
        let (mut snapshot, _) = store.session(address.topic, None).await?;
        for _ in 0..MAX_CONFLICTS {
            let request = verified.filter(|request| request.mode == Mode::Subscribe).cloned().map(Box::new);
            let holder = Holder::Claim { token: self.claim.token.clone(), request };
            let mut entries: Vec<Entry> = first.iter().cloned().collect();
            if is_new {
                entries.extend(read_state(&snapshot)?.opens_for(subscription.id, &subscription.terms.events));
            }
            let activation = Activation { holder, revision: snapshot.revision, is_restart, entries };
            match store.activate(address, &activation).await? {
                Activated::From(cursor) => return Ok(cursor),
                Activated::Conflict(present) => snapshot = present,
                Activated::Lost => return Err(Interruption::Lost),
            }
        }
        Err(StoreError::Unavailable("the session changes too fast".into()).into())
    }
}
