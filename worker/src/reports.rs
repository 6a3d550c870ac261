//! Looking around while a claim is worked on: is it to be renewed, and which events have stayed
//! undelivered for so long that the others must be told?
//!
//! Also those that wait behind another one are told about, and those that the claim did not bring
//! (FC-WHK-04). Nothing is told about SyncErrors (FC-NOT-05), nor about what was accepted after
//! the end of the lease.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    protocol::sync_error::Reason,
    publisher::PublishError,
    store::{LogEntry, Position, Release, StoreError, Subscription},
    telemetry::metrics::{Channel as ChannelLabel, Deadline, METRICS, Notification},
};

use crate::{
    deliverer::PAGE,
    delivery::{Delivery, Interruption, is_for, millis},
    plan::{Plan, Waiting, plan},
};

impl Delivery<'_> {
    pub(crate) fn wake_at(&self) -> Instant {
        let plan = self.plan();
        let next_report = self.claimed + Duration::from_millis(plan.wake_at.saturating_sub(self.claim.now));
        let next_look = self.looked_around + self.deliverer.rules.look_around;
        if plan.overdue.is_empty() { next_report.min(next_look) } else { Instant::now() }
    }

    /// Renews the claim if it is time, and reports what has become overdue, as far as the log
    /// goes.
    pub(crate) async fn look_around(&mut self) -> Result<(), Interruption> {
        loop {
            self.looked_around = Instant::now();
            self.renew_when_old().await?;
            let plan = self.plan();
            if let Some(subscription) = self.in_force().cloned() {
                for position in &plan.overdue {
                    self.renew_when_old().await?;
                    self.report_overdue(&subscription, *position).await?;
                }
            }
            if plan.has_more_to_report || !self.read_ahead().await? {
                return Ok(());
            }
        }
    }

    async fn renew_when_old(&mut self) -> Result<(), Interruption> {
        let hold = self.deliverer.rules.hold;
        if self.renewed.elapsed() >= hold / 3 { self.settle(None, Release::Hold(hold)).await } else { Ok(()) }
    }

    async fn report_overdue(
        &mut self,
        subscription: &Subscription,
        position: Position,
    ) -> Result<(), Interruption> {
        let found = self.batch.iter().chain(&self.ahead).find(|entry| entry.position == position).cloned();
        if let Some(entry) = found {
            METRICS.notifications(ChannelLabel::Webhook, Notification::Unanswered).inc();
            let due = position.millis.saturating_add(millis(self.deliverer.rules.ack_timeout));
            self.met(Deadline::Ack, due);
            self.report(subscription, &entry, Reason::Undelivered).await?;
        }
        Ok(())
    }

    /// Something is done that was to be done at `due`, in milliseconds since 1970.
    pub(crate) fn met(&self, deadline: Deadline, due: u64) {
        METRICS.deadline_met(deadline, Duration::from_millis(self.now().saturating_sub(due)));
    }

    /// Tells the others, unless they have been told or it is about a SyncError.
    pub(crate) async fn report(
        &mut self,
        subscription: &Subscription,
        entry: &LogEntry,
        reason: Reason,
    ) -> Result<(), Interruption> {
        if entry.position <= self.progress.reported {
            return Ok(());
        }
        match self.deliverer.publisher.report(subscription, entry, reason).await {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => {}
            Err(PublishError::Store(error)) => return Err(error.into()),
            // It stays overdue, and is reported when the claim is taken again.
            Err(other) => return Err(Interruption::Store(StoreError::Unavailable(other.to_string()))),
        }
        self.tally.reported += 1;
        self.progress.reported = entry.position;
        Ok(())
    }

    /// Was it accepted for this subscriber while its lease lasted?
    fn is_owed(&self, subscription: &Subscription, entry: &LogEntry) -> bool {
        entry.position.millis < self.claim.lease_end && is_for(subscription, entry)
    }

    /// Reports all that the subscriber has not got and will not get any more, overdue or not.
    pub(crate) async fn report_owed(&mut self, subscription: &Subscription) -> Result<(), Interruption> {
        if !self.claim.is_read {
            return Ok(());
        }
        let mut read_to = self.progress.cursor;
        loop {
            let page = self.deliverer.store.log(self.claim.address.topic, read_to, PAGE).await?;
            for entry in &page.entries {
                read_to = entry.position;
                if self.is_owed(subscription, entry) {
                    self.renew_when_old().await?;
                    self.report(subscription, entry, Reason::Undelivered).await?;
                }
            }
            if !page.has_more {
                return Ok(());
            }
        }
    }

    /// Reads on in the log for events that may become overdue. `false` when there are none.
    async fn read_ahead(&mut self) -> Result<bool, Interruption> {
        let Some(subscription) = self.in_force().cloned() else { return Ok(false) };
        let page = self.deliverer.store.log(self.claim.address.topic, self.read_to, PAGE).await?;
        let Some(last) = page.entries.last() else { return Ok(false) };
        self.read_to = last.position;
        self.ahead = page.entries.into_iter().filter(|entry| is_for(&subscription, entry)).collect();
        Ok(true)
    }

    pub(crate) fn plan(&self) -> Plan {
        let Some(subscription) = self.in_force() else {
            return plan(self.now(), [], &self.progress, millis(self.deliverer.rules.ack_timeout));
        };
        let is_owed = |entry: &&Arc<LogEntry>| self.is_owed(subscription, entry);
        let entries = self.batch.iter().chain(&self.ahead).filter(is_owed);
        let waiting = entries.filter_map(|entry| {
            let notice = entry.entry.as_event()?;
            Some(Waiting { position: entry.position, is_reported: notice.is_reported() })
        });
        plan(self.now(), waiting, &self.progress, millis(self.deliverer.rules.ack_timeout))
    }
}
