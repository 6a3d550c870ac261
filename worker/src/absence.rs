//! A WebSocket subscription that no hub looks after: its subscriber is away, or its lease is over.
//!
//! Who is away has not followed what it has not got (FC-NOT-04): an event that has been in the log
//! for the ack time-out is reported, as for a callback that does not answer. At the end of the
//! reconnect grace its absence is reported, and the subscription ends (FC-NOT-06). Nobody is told
//! about who has said goodbye (FC-NOT-05), and of who was sent away by a hub that shuts down only
//! what it has missed.
//!
//! A lease that is over ends the subscription, also under a socket that is open: the node that
//! holds it hears of it in the log, denies, and closes (FC-SUB-07).
//!
//! Relies on the claim for that all this happens once: whoever comes back voids it, and whoever
//! takes over from a dead worker tells nothing twice.

use std::time::Duration;

use shared::{
    audit::Record,
    protocol::confirmation::LEASE_EXPIRED,
    publisher::PublishError,
    store::{Absence, Parting, Release, StoreError, Subscription},
    telemetry::metrics::Deadline,
};
use tracing::info;

use crate::{
    Served,
    delivery::{Delivery, Interruption, millis},
};

/// The `hub.reason` of a subscription whose subscriber stayed away.
const GONE: &str = "the connection was lost";

impl Delivery<'_> {
    /// Does what is to be done about it now, and gives it back until something else is.
    pub(crate) async fn attend(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        let (id, topic) = (self.claim.address.id, self.claim.address.topic);
        if self.claim.is_over() {
            if let Some(absence) = self.claim.absence.filter(|absence| absence.parting != Parting::Left) {
                self.report_owed(subscription).await?;
                // Both are over, if nobody has looked for so long: the grace was first.
                if absence.parting == Parting::Lost && absence.until < self.claim.lease_end {
                    self.report_absences(subscription, absence).await?;
                }
            }
            info!(subscription = ?id, ?topic, "the lease of a socket's subscription is over");
            return self.end(subscription, LEASE_EXPIRED, (Deadline::Lease, self.claim.lease_end)).await;
        }
        let Some(absence) = self.claim.absence else {
            // The store gives none out that is held.
            self.settle(None, Release::Idle).await?;
            return Ok(Served::Delivered(self.tally));
        };
        if absence.parting != Parting::Left {
            self.look_around().await?;
        }
        let is_over = self.now() >= absence.until;
        match absence.parting {
            Parting::Lost => self.report_absences(subscription, absence).await?,
            Parting::SentAway if is_over => self.report_owed(subscription).await?,
            Parting::SentAway | Parting::Left => {}
        }
        if is_over {
            info!(subscription = ?id, ?topic, parting = ?absence.parting, "a subscriber did not come back: its subscription ends");
            return self.end(subscription, GONE, (Deadline::Grace, absence.until)).await;
        }
        self.await_next(absence).await
    }

    async fn end(
        &mut self,
        subscription: &Subscription,
        reason: &'static str,
        (deadline, at): (Deadline, u64),
    ) -> Result<Served, Interruption> {
        self.settle(None, Release::End(reason)).await?;
        self.met(deadline, at);
        self.deliverer.audit.note(Record::denial(subscription, reason));
        Ok(Served::Ended)
    }

    /// Tells the others of each grace that has gone by.
    async fn report_absences(
        &mut self,
        subscription: &Subscription,
        absence: Absence,
    ) -> Result<(), Interruption> {
        let now = self.now();
        let gone_by = self.graces(absence).into_iter().take_while(|end| *end <= now).count();
        for number in 1..=gone_by {
            let mark = format!("gone since {}, {number}", absence.since);
            match self.deliverer.publisher.report_gone(subscription, &mark).await {
                Ok(_) => self.tally.reported += 1,
                Err(PublishError::Store(error)) => return Err(error.into()),
                // It is told when the claim is taken again.
                Err(other) => return Err(Interruption::Store(StoreError::Unavailable(other.to_string()))),
            }
        }
        Ok(())
    }

    /// The ends of the graces; the last is the end of the absence.
    fn graces(&self, absence: Absence) -> Vec<u64> {
        let grace = millis(self.deliverer.rules.grace);
        let ends = (1..self.deliverer.rules.graces).map(|number| absence.since + grace * u64::from(number));
        ends.filter(|end| *end < absence.until).chain([absence.until]).collect()
    }

    async fn await_next(&mut self, absence: Absence) -> Result<Served, Interruption> {
        let now = self.now();
        let next_grace = self.graces(absence).into_iter().find(|end| *end > now);
        let next_report = (absence.parting != Parting::Left).then(|| self.plan().wake_at);
        let next = next_grace.into_iter().chain(next_report).fold(absence.until, u64::min);
        let pause = Duration::from_millis(next.saturating_sub(now).max(1));
        self.settle(None, Release::After(pause)).await?;
        Ok(Served::Waiting { tally: self.tally, pause })
    }
}
