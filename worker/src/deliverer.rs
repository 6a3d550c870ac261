//! What all deliveries of one thread share: the store, the client, and the rules.

use std::{sync::Arc, time::Duration};

use shared::{
    audit::Audit,
    publisher::Publisher,
    settings::Settings,
    store::{Address, Store, StoreError},
};
use tokio::sync::{Semaphore, watch};

use crate::{
    Served,
    delivery::Delivery,
    hosts::Hosts,
    http_client::{HttpClient, Setup},
    retry::Backoff,
};

/// The most entries that one claim reads.
pub(crate) const PAGE: usize = 64;

/// What part of `limits.deliveries` may be used for what nobody has confirmed yet.
const UNCONFIRMED_PART: usize = 4;

/// How the worker deals with time; from the settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// After which an event that has not arrived is reported.
    pub ack_timeout: Duration,
    /// For which a claim holds.
    pub hold: Duration,
    /// How long a delivery works, or waits for an answer, before it looks around: it renews the
    /// claim and looks for events that have come since.
    pub look_around: Duration,
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// The most attempts.
    pub max_attempts: u32,
    /// The age of an event at which no further attempt is made.
    pub give_up: Duration,
    /// For which a subscriber whose socket has gone may come back.
    pub grace: Duration,
    /// How many of those may go by before its subscription ends.
    pub graces: u32,
}

impl Rules {
    pub(crate) fn new(settings: &Settings) -> Self {
        let retry = &settings.retry;
        let (hold, ack_timeout) = (retry.claim(), settings.ack_timeout());
        Self {
            ack_timeout,
            hold,
            look_around: (hold / 3).min(ack_timeout / 2),
            backoff: Backoff {
                initial: Duration::from_secs_f64(retry.initial_secs),
                max: Duration::from_secs_f64(retry.max_secs),
                jitter: retry.jitter,
            },
            max_attempts: retry.max_attempts,
            give_up: retry.give_up(),
            grace: settings.reconnect_grace(),
            graces: settings.syncerror.absences_in_a_row,
        }
    }
}

/// What deliveries are asked to do about the worker's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Nothing: it goes on.
    Working,
    /// Finish the request in flight, begin none.
    Stopping,
    /// Drop the request in flight, give the claim back.
    Cut,
}

/// See the module.
pub(crate) struct Deliverer {
    pub store: Arc<dyn Store>,
    pub publisher: Arc<Publisher>,
    pub audit: Audit,
    pub http: HttpClient,
    pub hosts: Hosts,
    /// Room for what nobody has confirmed yet: how many such requests there are is up to those who ask.
    pub unconfirmed: Arc<Semaphore>,
    pub rules: Rules,
    pub phase: watch::Sender<Phase>,
}

impl Deliverer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        audit: Audit,
        setup: Arc<Setup>,
        (deliveries, deliveries_per_host): (usize, usize),
        rules: Rules,
    ) -> Self {
        let (http, hosts) = (HttpClient::new(setup), Hosts::new(deliveries_per_host));
        let unconfirmed = (deliveries / UNCONFIRMED_PART).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            store,
            publisher,
            audit,
            http,
            hosts,
            unconfirmed: Arc::new(Semaphore::new(unconfirmed)),
            rules,
            phase: watch::Sender::new(Phase::Working),
        }
    }

    /// Claims a subscription that is due, and does what there is to do. `None`: another worker
    /// was first.
    pub(crate) async fn serve(&self, address: Address) -> Result<Option<Served>, StoreError> {
        match self.store.claim(address, self.rules.hold, PAGE).await? {
            Some(claim) => Delivery::new(self, claim).run().await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }

    /// Waits until requests in flight are to be dropped.
    pub(crate) async fn cut(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as this future.
        let _ = phase.wait_for(|phase| *phase >= Phase::Cut).await;
    }
}
