//! Delivers notifications to webhook subscribers, and looks after all that no hub looks after.
//!
//! A worker claims subscriptions that are due, and speaks to their callbacks: it verifies intent,
//! posts notifications, and tells the others when one of them does not follow. The subscriptions
//! of sockets that have gone, and all whose lease is over, are due as well.
//!
//! What it promises:
//!
//! - At least once, in order (FC-WHK-06, FC-WHK-07): one subscription has at most one request in
//!   flight, and its cursor moves only behind what was answered, refused or given up. A worker
//!   that dies holds nothing: its claim ends by itself, and another worker goes on.
//! - Two subscriptions never wait for each other, except for a bound on the requests in flight in
//!   all, to one host and to one address.
//! - An event that does not arrive in time is reported in time (FC-WHK-04), whatever its
//!   subscriber does meanwhile.
//! - No request leaves for where callbacks must not go, and none without verified TLS unless http
//!   is allowed (FC-SEC-02, FC-TRN-01).
//!
//! What it relies on: the store's due set and the fence of its claims, and the store's clock.
//!
//! The rooms: `claims` is the loop that takes what is due, `delivery` (an `attempt` after the other), `verification` and `absence`
//! what is done with one claim, `reports` whom the others are told about meanwhile, `gap` what a
//! subscriber is told that has missed something; `nodes` looks for hubs that have died, `census` counts,
//! `span_export` sends spans to a collector. `plan`, `outcome`, `retry` and `rendezvous` are the
//! rules, pure; `http_client` makes the requests over a `connection` (what is common to all is in `outgoing`), `hosts`, `addresses` and `pace` bound them. Where
//! they may lead is in [`shared::callbacks`].

mod absence;
mod addresses;
mod attempt;
mod census;
mod claims;
pub mod connection;
mod deliverer;
mod delivery;
mod gap;
mod hosts;
pub mod http_client;
mod nodes;
pub mod outcome;
pub mod outgoing;
mod pace;
mod plan;
mod rendezvous;
mod reports;
pub mod retry;
pub mod span_export;
mod verification;

use std::{rc::Rc, sync::Arc, time::Duration};

use shared::{
    audit::Audit,
    protocol::webhook::Mode,
    publisher::Publisher,
    settings::Settings,
    store::{Store, StoreError},
    telemetry::Loops,
};

use self::{
    deliverer::{Deliverer, Rules},
    http_client::{Setup, SetupError},
};

/// A worker that has not begun yet; it may be sent to the thread that it shall run on.
pub struct Worker {
    store: Arc<dyn Store>,
    publisher: Arc<Publisher>,
    audit: Audit,
    loops: Loops,
    setup: Arc<Setup>,
    rules: Rules,
    deliveries: usize,
    deliveries_per_host: usize,
    drain: Duration,
}

/// What came of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The subscriber confirmed its request, and it is done.
    Verified(Mode),
    /// The subscriber did not confirm it, and it is dropped.
    NotVerified(Mode),
    /// All that the claim brought is done with.
    Delivered(Tally),
    /// Something waits for this long: for its next try, or for its host.
    Waiting {
        /// What was done before.
        tally: Tally,
        /// When the subscription is due again.
        pause: Duration,
    },
    /// The subscription has ended: its lease is over, or the subscriber said that it is gone.
    Ended,
    /// Another worker has taken over.
    Lost,
}

/// How many events became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The subscriber has them.
    pub delivered: usize,
    /// The subscriber refused them.
    pub refused: usize,
    /// They were tried too often or for too long.
    pub given_up: usize,
    /// The other subscribers were told of them.
    pub reported: usize,
}

impl Worker {
    /// A worker on this store, whose loop is one of `loops` when it runs. Follows the files that `callbacks` names, in a task: so it is made where Tokio runs.
    pub fn new(
        store: Arc<dyn Store>,
        publisher: Arc<Publisher>,
        audit: Audit,
        loops: Loops,
        settings: &Settings,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            store,
            publisher,
            audit,
            loops,
            setup: Arc::new(Setup::new(settings)?),
            rules: Rules::new(settings),
            deliveries: settings.limits.deliveries,
            deliveries_per_host: settings.limits.deliveries_per_host,
            drain: settings.drain(),
        })
    }

    /// Works until `stop` is over; then finishes what is in flight, for `drain_secs` at most, and
    /// gives everything back.
    ///
    /// Runs on the thread that it is called on, which must be actix's (a `System` or an
    /// `Arbiter`): `arbiter.spawn_fn(move || { actix_rt::spawn(worker.run_until_stopped(stop)); })`.
    pub async fn run_until_stopped(self, stop: impl Future<Output = ()>) {
        let turning = self.loops.watch("claims");
        claims::run(Rc::new(self.deliverer()), turning, self.deliveries, self.drain, stop).await;
    }

    /// Claims what is due now, does what there is to do, and says what came of it: empty when
    /// nothing is due. For those who want to see each step; [`Self::run_until_stopped`] loops.
    pub async fn step(&self) -> Result<Vec<Served>, StoreError> {
        let deliverer = self.deliverer();
        let partitions: Vec<u16> = (0..self.store.partitions()).collect();
        let due = self.store.due(&partitions, self.deliveries).await?;
        let served = due.into_iter().take(self.deliveries).map(|address| deliverer.serve(address));
        let outcomes = futures_util::future::try_join_all(served).await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn deliverer(&self) -> Deliverer {
        let (store, publisher, setup) = (self.store.clone(), self.publisher.clone(), self.setup.clone());
        let rooms = (self.deliveries, self.deliveries_per_host);
        Deliverer::new(store, publisher, self.audit.clone(), setup, rooms, self.rules)
    }
}
