//! The requests of webhook subscribers, and the end of their leases.
//!
//! Nothing changes before the subscriber has confirmed at its callback that it wants it. A
//! request that is not confirmed is dropped, once and for all: who meant it asks again.
//!
//! Rules: FC-WHK-02, FC-WHK-05, FC-SUB-04, FC-SUB-08.

use shared::{
    protocol::webhook::{Mode, denial_url, verification_url},
    publisher::read_state,
    session::Entry,
    store::{
        Activated, Activation, Channel, Holder, Position, Progress, Release, Snapshot, StoreError,
        Subscription, WebhookRequest,
    },
    telemetry::metrics::METRICS,
};
use tracing::{info, warn};

use crate::{
    Served,
    delivery::{Delivery, Interruption},
    outcome::counted_as,
};

/// The `hub.reason` of a subscription whose time is over.
pub const LEASE_EXPIRED: &str = "lease expired";
/// How often an activation is decided anew, before it is left to the next claim.
const MAX_CONFLICTS: u32 = 20;

impl Delivery<'_> {
    /// Asks the subscriber whether it wants what was asked for in its name, and does it.
    pub(crate) async fn verify(&mut self, request: &WebhookRequest) -> Result<Served, Interruption> {
        let mode = request.mode;
        if !self.is_confirmed(request).await? {
            self.settle(Some(&request.nonce), Release::Idle).await?;
            return Ok(Served::NotVerified(mode));
        }
        info!(callback = ?callback_of(&request.subscription), topic = ?self.claim.address.topic, ?mode, "a webhook is verified");
        match mode {
            Mode::Subscribe => {
                let cursor = self.activate(request).await?;
                if self.is_new() {
                    self.progress = Progress { cursor, ..Progress::default() };
                }
                // What waits now was not part of this claim: the next one brings it.
                self.settle(Some(&request.nonce), Release::Idle).await?;
            }
            Mode::Unsubscribe => self.settle(Some(&request.nonce), Release::End).await?,
        }
        Ok(Served::Verified(mode))
    }

    async fn is_confirmed(&mut self, request: &WebhookRequest) -> Result<bool, Interruption> {
        let Subscription { topic, channel, terms, .. } = &request.subscription;
        let Channel::Webhook { callback, .. } = channel else { return Ok(false) };
        let challenge = format!("{:032x}", rand::random::<u128>());
        let url =
            verification_url(callback, request.mode, topic, &terms.events, &challenge, terms.lease_secs);
        let deliverer = self.deliverer;
        let result = self.beside(deliverer.http.get(&url)).await?;
        METRICS.callback_attempts.with(counted_as(&result)).inc();
        let reason = match result {
            Ok(answer) if !(200..=299).contains(&answer.status) => format!("status {}", answer.status),
            Ok(answer) if answer.body.as_deref() == Some(challenge.as_bytes()) => return Ok(true),
            Ok(_) => "the body is not the challenge".to_owned(),
            Err(error) => error.to_string(),
        };
        warn!(?callback, topic = ?self.claim.address.topic, mode = ?request.mode, reason, "a webhook is not verified");
        Ok(false)
    }

    /// Puts verified terms into force. A new subscriber is sent the open contexts first.
    async fn activate(&mut self, request: &WebhookRequest) -> Result<Position, Interruption> {
        let address = self.claim.address;
        let store = self.deliverer.store.clone();
        let (mut snapshot, _) = store.session(address.topic, None).await?;
        for _ in 0..MAX_CONFLICTS {
            let holder =
                Holder::Claim { token: self.claim.token.clone(), request: Box::new(request.clone()) };
            let entries = self.first_entries(&request.subscription, &snapshot)?;
            let activation = Activation { holder, revision: snapshot.revision, entries };
            match store.activate(address, &activation).await? {
                Activated::From(cursor) => return Ok(cursor),
                Activated::Conflict(present) => snapshot = present,
                Activated::Lost => return Err(Interruption::Lost),
            }
        }
        Err(StoreError::Unavailable("the session changes too fast".into()).into())
    }

    /// Is nothing in force that the verified terms replace?
    fn is_new(&self) -> bool {
        self.in_force().is_none()
    }

    fn first_entries(
        &self,
        subscription: &Subscription,
        snapshot: &Snapshot,
    ) -> Result<Vec<Entry>, StoreError> {
        if !self.is_new() {
            return Ok(Vec::new());
        }
        Ok(read_state(snapshot)?.opens_for(subscription.id, &subscription.terms.events))
    }

    /// Tells the subscriber that its lease is over, and forgets it.
    pub(crate) async fn expire(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        if let Channel::Webhook { callback, .. } = &subscription.channel {
            let url = denial_url(callback, &subscription.topic, &subscription.terms.events, LEASE_EXPIRED);
            let deliverer = self.deliverer;
            let result = self.beside(deliverer.http.get(&url)).await?;
            METRICS.callback_attempts.with(counted_as(&result)).inc();
            info!(?callback, topic = ?self.claim.address.topic, told = result.is_ok(), "a webhook's lease is over");
        }
        self.settle(None, Release::End).await?;
        Ok(Served::Ended)
    }
}

fn callback_of(subscription: &Subscription) -> Option<&shared::protocol::subscription_request::Callback> {
    match &subscription.channel {
        Channel::Webhook { callback, .. } => Some(callback),
        Channel::Websocket => None,
    }
}
