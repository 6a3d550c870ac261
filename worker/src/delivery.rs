//! One claim on a webhook subscription, from its beginning until it is given back.
//!
//! First a pending request is verified, or a subscription whose lease is over is denied
//! ([`crate::verification`]). Then what waits is delivered, in order, one request at a time ([`crate::attempt`]):
//!
//! - 2xx: the cursor moves on, in the store, before the next event is sent.
//! - Refused: a SyncError to the others, and the cursor moves on.
//! - Otherwise it is tried again after a pause, with the claim given back meanwhile, until it is
//!   given up: then there is a SyncError, and the cursor moves on.
//! - An event that has stayed undelivered for the ack time-out is reported at that moment, also
//!   while a request hangs, and also when it only waits behind another one, or for its host. What
//!   was accepted after the end of the lease was not for this subscriber, and is not reported.
//! - Nothing is sent after the end of the lease, however long the claim has lasted (FC-SEC-04).
//! - Who has missed what the log no longer holds is told so, and begins anew ([`crate::gap`]).
//!
//! Relies on the fence of the claim: whoever has lost it moves no cursor and sends nothing more.
//! A store that is away ends the claim where it stands; what was in flight is sent again.
//!
//! Rules: FC-WHK-03, FC-WHK-04, FC-WHK-06, FC-WHK-07, FC-NOT-01, FC-NOT-02, FC-NOT-05, FC-SEC-04.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    session::view,
    store::{Channel, Claim, LogEntry, Position, Progress, Release, StoreError, Subscription},
    telemetry::metrics::METRICS,
};
use tokio::{select, time::sleep_until};
use tracing::{debug, warn};

use crate::{Served, Tally, deliverer::Deliverer};

/// When a subscription is looked at again whose host or address has as many requests as it may, in
/// milliseconds: not all that wait for the same one come at the same time.
pub(crate) const BUSY_PAUSE: Range<u64> = 100..500;

/// The same for one that nobody has confirmed yet, and while as many of those are being verified as may.
pub(crate) const CROWDED_PAUSE: Range<u64> = 1000..4000;

/// Why a claim ended before its work.
#[derive(Debug)]
pub(crate) enum Interruption {
    /// Another worker has it.
    Lost,
    /// The worker is asked to end at once.
    Cut,
    /// The store is away.
    Store(StoreError),
}

impl From<StoreError> for Interruption {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// See the module.
pub(crate) struct Delivery<'w> {
    pub(crate) deliverer: &'w Deliverer,
    pub(crate) claim: Claim,
    pub(crate) progress: Progress,
    pub(crate) claimed: Instant,
    pub(crate) renewed: Instant,
    pub(crate) looked_around: Instant,
    /// What the claim brought: delivered in order, from the front.
    pub(crate) batch: VecDeque<Arc<LogEntry>>,
    /// What stands in the log behind the batch and may have to be reported; delivered by a later
    /// claim.
    pub(crate) ahead: VecDeque<Arc<LogEntry>>,
    /// How far the log has been read.
    pub(crate) read_to: Position,
    /// The last entry that the callback has been sent.
    pub(crate) sent: Option<Position>,
    pub(crate) tally: Tally,
}

impl<'w> Delivery<'w> {
    pub(crate) fn new(deliverer: &'w Deliverer, claim: Claim) -> Self {
        METRICS.claims.inc();
        let now = Instant::now();
        Self {
            deliverer,
            progress: claim.progress.clone(),
            claimed: now,
            renewed: now,
            looked_around: now,
            batch: claim.entries.iter().cloned().collect(),
            ahead: VecDeque::new(),
            read_to: claim.entries.last().map_or(claim.progress.cursor, |entry| entry.position),
            claim,
            sent: None,
            tally: Tally::default(),
        }
    }

    /// Does what there is to do, and gives the claim back.
    pub(crate) async fn run(mut self) -> Result<Served, StoreError> {
        match self.work().await {
            Ok(served) => Ok(served),
            Err(Interruption::Store(error)) => Err(error),
            // Its subscriber has come back or subscribed again, or another worker was quicker.
            Err(Interruption::Lost) if self.is_of_a_socket() => Ok(Served::Lost),
            Err(Interruption::Lost) => {
                METRICS.lost_leases.inc();
                warn!(subscription = ?self.claim.address.id, "a subscription is no longer held: another worker has taken over, or what was asked for was taken back");
                self.amend().await?;
                Ok(Served::Lost)
            }
            // If this fails, the claim ends by its own time.
            Err(Interruption::Cut) => match self.settle(None, Release::Idle).await {
                Err(Interruption::Store(error)) => Err(error),
                _ => Ok(Served::Delivered(self.tally)),
            },
        }
    }

    async fn work(&mut self) -> Result<Served, Interruption> {
        let subscription = self.claim.subscription.clone();
        if let Some(socket) = subscription.filter(|subscription| subscription.channel == Channel::Websocket) {
            return self.attend(&socket).await;
        }
        let Some(callback) = self.callback_host() else {
            // Neither verified nor to be verified: the store forgets it.
            self.settle(None, Release::Idle).await?;
            return Ok(Served::Delivered(self.tally));
        };
        let Some(_slot) = self.deliverer.hosts.slot(&callback) else {
            self.look_around().await?;
            return self.wait(rand::random_range(BUSY_PAUSE)).await;
        };
        if let Some(request) = self.claim.request.clone() {
            let unconfirmed = self.deliverer.unconfirmed.clone().try_acquire_owned();
            let Some(_room) = self.in_force().map(|_| None).or_else(|| unconfirmed.ok().map(Some)) else {
                self.look_around().await?;
                return self.wait(rand::random_range(CROWDED_PAUSE)).await;
            };
            return self.verify(&request).await;
        }
        match self.claim.subscription.clone() {
            Some(subscription) if self.claim.is_over() => self.expire(&subscription).await,
            Some(subscription) => self.deliver(&subscription).await,
            None => Ok(Served::Delivered(self.tally)),
        }
    }

    fn is_of_a_socket(&self) -> bool {
        self.claim.subscription.as_ref().is_some_and(|known| known.channel == Channel::Websocket)
    }

    fn callback_host(&self) -> Option<String> {
        let requested = self.claim.request.as_ref().map(|request| &request.subscription);
        let subscription = requested.or(self.claim.subscription.as_ref())?;
        match &subscription.channel {
            Channel::Webhook { callback, .. } => {
                callback.url().host_str().map(|host| host.trim_end_matches('.').to_owned())
            }
            Channel::Websocket => None,
        }
    }

    /// The subscription, unless its lease was over when it was claimed.
    pub(crate) fn in_force(&self) -> Option<&Subscription> {
        self.claim.subscription.as_ref().filter(|_| !self.claim.is_over())
    }

    async fn deliver(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        if let Some(gap) = self.claim.gap {
            return self.begin_anew(subscription, gap).await;
        }
        loop {
            self.pass_over(subscription);
            let plan = self.plan();
            let Some(entry) = self.batch.front().cloned() else {
                break;
            };
            if !plan.may_try {
                self.look_around().await?;
                return self.wait(u64::MAX).await;
            }
            if self.deliverer.is_stopping() {
                break;
            }
            if self.now() >= self.claim.lease_end {
                // The next claim sees whether it has been asked for anew, or denies it.
                return self.wait(1).await;
            }
            if let Some(ended) = self.attempt(subscription, &entry).await? {
                return Ok(ended);
            }
        }
        self.settle(None, Release::Idle).await?;
        Ok(Served::Delivered(self.tally))
    }

    /// Gives the claim back until the next try or report, and for so many milliseconds at most.
    pub(crate) async fn wait(&mut self, at_most: u64) -> Result<Served, Interruption> {
        let until_next = self.plan().wake_at.saturating_sub(self.now());
        let pause = Duration::from_millis(until_next.clamp(1, at_most));
        self.settle(None, Release::After(pause)).await?;
        Ok(Served::Waiting { tally: self.tally, pause })
    }

    /// The entry is done with. The last one of a batch is noted when the claim is given back.
    pub(crate) async fn move_on(&mut self, entry: &LogEntry) -> Result<(), Interruption> {
        self.batch.pop_front();
        self.progress =
            Progress { cursor: entry.position, reported: self.progress.reported, ..Progress::default() };
        if self.batch.is_empty() {
            Ok(())
        } else {
            self.settle(None, Release::Hold(self.deliverer.rules.hold)).await
        }
    }

    /// Passes over entries at the front that are not for this subscriber.
    fn pass_over(&mut self, subscription: &Subscription) {
        while let Some(entry) = self.batch.front().filter(|entry| !is_for(subscription, entry)) {
            self.progress.cursor = entry.position;
            self.batch.pop_front();
        }
    }

    /// Waits for a request, and looks around meanwhile.
    pub(crate) async fn beside<T>(&mut self, request: impl Future<Output = T>) -> Result<T, Interruption> {
        let mut request = pin!(request);
        let deliverer = self.deliverer;
        let mut not_before = Instant::now();
        loop {
            let wake = self.wake_at().max(not_before);
            select! {
                biased;
                answer = &mut request => return Ok(answer),
                () = deliverer.cut() => return Err(Interruption::Cut),
                () = sleep_until(wake.into()) => {}
            }
            match self.look_around().await {
                // The request may still be answered, and the store may be back by then.
                Err(Interruption::Store(error)) => {
                    debug!(%error, "the store is away during a request");
                    not_before = Instant::now() + self.deliverer.rules.look_around;
                }
                looked => looked?,
            }
        }
    }

    /// Saves the progress, and keeps the claim or gives it back.
    pub(crate) async fn settle(
        &mut self,
        answered: Option<&str>,
        release: Release,
    ) -> Result<(), Interruption> {
        let asked = Instant::now();
        if !self.deliverer.store.settle(&self.claim, &self.progress, answered, release).await? {
            return Err(Interruption::Lost);
        }
        self.renewed = asked;
        Ok(())
    }

    /// The store's clock.
    pub(crate) fn now(&self) -> u64 {
        self.claim.now.saturating_add(millis(self.claimed.elapsed()))
    }
}

pub(crate) fn is_for(subscription: &Subscription, entry: &LogEntry) -> bool {
    view(&entry.entry, &subscription.id, &subscription.terms.events).is_some()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
