//! The requests of webhook subscribers, and the end of their leases.
//!
//! Nothing changes before the subscriber has confirmed at its callback that it wants it. A
//! request that is not confirmed is dropped, once and for all: who meant it asks again.
//!
//! A lease is told and granted as it is when the subscriber is asked: no longer than the token of its
//! request lasts. A request whose token has ended meanwhile is denied.
//!
//! Rules: FC-WHK-02, FC-WHK-05, FC-SUB-04, FC-SUB-05, FC-SUB-08, FC-SEC-04.

use shared::{
    protocol::webhook::{Mode, denial_url, verification_url},
    store::{Channel, Progress, Release, Subscription, WebhookRequest},
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
/// The `hub.reason` of a request that could not be verified before its token ended.
pub const TOKEN_EXPIRED: &str = "token expired";
/// The `hub.reason` of a subscription that its subscriber has ended.
pub const UNSUBSCRIBED: &str = "unsubscribed";

impl Delivery<'_> {
    /// Asks the subscriber whether it wants what was asked for in its name, and does it.
    pub(crate) async fn verify(&mut self, request: &WebhookRequest) -> Result<Served, Interruption> {
        let mode = request.mode;
        // What is left of the lease is told in whole seconds.
        let lease_secs = request.subscription.lease(self.now()).unwrap_or_default().as_secs();
        if mode == Mode::Subscribe && lease_secs == 0 {
            // Else the denial would be taken for that of what is in force.
            if self.in_force().is_none() {
                self.deny(&request.subscription, TOKEN_EXPIRED).await?;
            }
            self.settle(Some(&request.nonce), Release::Idle).await?;
            return Ok(Served::NotVerified(mode));
        }
        if !self.is_confirmed(request, lease_secs).await? {
            self.settle(Some(&request.nonce), Release::Idle).await?;
            return Ok(Served::NotVerified(mode));
        }
        info!(callback = ?callback_of(&request.subscription), topic = ?self.claim.address.topic, ?mode, "a webhook is verified");
        match mode {
            Mode::Subscribe => {
                // A new subscriber is sent the open contexts first.
                let cursor = self.activate(&request.subscription, Some(request), None).await?;
                if self.in_force().is_none() {
                    self.progress = Progress { cursor, ..Progress::default() };
                }
                // What waits now was not part of this claim: the next one brings it.
                self.settle(Some(&request.nonce), Release::Idle).await?;
            }
            Mode::Unsubscribe => self.settle(Some(&request.nonce), Release::End(UNSUBSCRIBED)).await?,
        }
        Ok(Served::Verified(mode))
    }

    async fn is_confirmed(
        &mut self,
        request: &WebhookRequest,
        lease_secs: u64,
    ) -> Result<bool, Interruption> {
        let Subscription { topic, channel, terms, .. } = &request.subscription;
        let Channel::Webhook { callback, .. } = channel else { return Ok(false) };
        let challenge = format!("{:032x}", rand::random::<u128>());
        let url = verification_url(callback, request.mode, topic, &terms.events, &challenge, lease_secs);
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

    /// Tells the others what it has not got, and the subscriber that its lease is over; forgets it.
    pub(crate) async fn expire(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        self.report_owed(subscription).await?;
        self.deny(subscription, LEASE_EXPIRED).await?;
        self.settle(None, Release::End(LEASE_EXPIRED)).await?;
        Ok(Served::Ended)
    }

    /// Tells the subscriber that there is no such subscription, or none any more.
    async fn deny(&mut self, subscription: &Subscription, reason: &str) -> Result<(), Interruption> {
        if let Channel::Webhook { callback, .. } = &subscription.channel {
            let url = denial_url(callback, &subscription.topic, &subscription.terms.events, reason);
            let deliverer = self.deliverer;
            let result = self.beside(deliverer.http.get(&url)).await?;
            METRICS.callback_attempts.with(counted_as(&result)).inc();
            info!(?callback, topic = ?self.claim.address.topic, reason, told = result.is_ok(), "a webhook is denied");
        }
        Ok(())
    }
}

fn callback_of(subscription: &Subscription) -> Option<&shared::protocol::subscription_request::Callback> {
    match &subscription.channel {
        Channel::Webhook { callback, .. } => Some(callback),
        Channel::Websocket => None,
    }
}
