//! The requests of webhook subscribers, and the end of their leases.
//!
//! Nothing changes before the subscriber has confirmed at its callback that it wants it. A
//! request that is not confirmed is dropped, once and for all: who meant it asks again.
//!
//! Rules: FC-WHK-02, FC-WHK-05, FC-SUB-04, FC-SUB-08.

use std::time::Duration;

use shared::{
    audit::{Kind, Record},
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
/// The `hub.reason` of a subscription that its subscriber has ended.
pub const UNSUBSCRIBED: &str = "unsubscribed";

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
                // A new subscriber is sent the open contexts first.
                let cursor = self.activate(&request.subscription, Some(request), None).await?;
                if self.in_force().is_none() {
                    self.progress = Progress { cursor, ..Progress::default() };
                }
                // What waits now was not part of this claim: the next one brings it.
                self.settle(Some(&request.nonce), Release::Idle).await?;
                let subscription = &request.subscription;
                let lease = Duration::from_secs(subscription.terms.lease_secs);
                self.deliverer.audit.note(Record::grant(subscription, lease));
            }
            Mode::Unsubscribe => {
                self.settle(Some(&request.nonce), Release::End(UNSUBSCRIBED)).await?;
                let ended = Record::about(Kind::Unsubscribe, &request.subscription);
                self.deliverer.audit.note(ended.because("confirmed: the subscription has ended"));
            }
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
        let denied = Record::denial(&request.subscription, format!("not verified: {reason}"));
        self.deliverer.audit.note(denied);
        Ok(false)
    }

    /// Tells the others what it has not got, and the subscriber that its lease is over; forgets it.
    pub(crate) async fn expire(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        self.report_owed(subscription).await?;
        if let Channel::Webhook { callback, .. } = &subscription.channel {
            let url = denial_url(callback, &subscription.topic, &subscription.terms.events, LEASE_EXPIRED);
            let deliverer = self.deliverer;
            let result = self.beside(deliverer.http.get(&url)).await?;
            METRICS.callback_attempts.with(counted_as(&result)).inc();
            info!(?callback, topic = ?self.claim.address.topic, told = result.is_ok(), "a webhook's lease is over");
        }
        self.settle(None, Release::End(LEASE_EXPIRED)).await?;
        self.deliverer.audit.note(Record::denial(subscription, LEASE_EXPIRED));
        Ok(Served::Ended)
    }
}

fn callback_of(subscription: &Subscription) -> Option<&shared::protocol::subscription_request::Callback> {
    match &subscription.channel {
        Channel::Webhook { callback, .. } => Some(callback),
        Channel::Websocket => None,
    }
}
