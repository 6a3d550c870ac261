//! The requests of webhook subscribers, and the end of their leases.
//!
//! Nothing changes before the subscriber has confirmed at its callback that it wants it. A
//! request that is not confirmed is dropped, once and for all: who meant it asks again.
//!
//! Whoever asks names a callback that need not be its own, so its owner must not be made to hear more
//! of it than one GET for one request (FC-SEC-02). Each GET is noted in the store *before* it is sent.
//! A worker that dies, or loses the store, before it has settled the answer leaves the request to the
//! next one, which asks again: [`MOST_ASKED`] times at most, then it is dropped. Not asking again at
//! all would lose, without a word, the subscription of somebody who has confirmed it; and that workers
//! die is nothing that a subscriber can bring about.
//!
//! What nobody has confirmed yet must not be in the way of what is in force (FC-WHK-06). Requests to one
//! address are made at a pace ([`crate::pace`]), and they have a part of the worker's room alone; one
//! that has to wait is due again when its turn comes. A callback that has confirmed a subscription which
//! is in force waits for neither, and is not kept from its events. A name that nobody can resolve at the
//! moment is looked for again, for as long as the store keeps the request, or the lease lasts.
//!
//! A lease is told and granted as it is when the subscriber is asked: no longer than the token of its
//! request lasts. A request whose token has ended meanwhile is denied.
//!
//! Rules: FC-WHK-02, FC-WHK-05, FC-SUB-04, FC-SUB-05, FC-SUB-08, FC-SEC-04.

use std::{net::SocketAddr, time::Duration};

use shared::{
    audit::{Kind, Record},
    protocol::{
        confirmation::LEASE_EXPIRED,
        webhook::{Mode, denial_url, verification_url},
    },
    store::{Channel, Progress, Release, Subscription, WebhookRequest},
    telemetry::metrics::{Deadline, METRICS, Verification},
};
use tracing::{debug, info, warn};
use url::Url;

use crate::{
    Served,
    delivery::{CROWDED_PAUSE, Delivery, Interruption, millis},
    http_client::{Answer, RequestError, Turn},
    outcome::counted_as,
};

/// How often one request is asked about at most: once, unless workers die of it.
pub const MOST_ASKED: u32 = 3;

/// The `hub.reason` of a request that could not be verified before its token ended.
pub const TOKEN_EXPIRED: &str = "token expired";
/// The `hub.reason` of a subscription that its subscriber has ended.
pub const UNSUBSCRIBED: &str = "unsubscribed";

/// What came of asking.
enum Asked {
    Confirmed,
    NotConfirmed,
    /// Not its turn yet, or nobody knows where it is.
    Later(Duration),
}

impl Delivery<'_> {
    /// Asks the subscriber whether it wants what was asked for in its name, and does it.
    pub(crate) async fn verify(&mut self, request: &WebhookRequest) -> Result<Served, Interruption> {
        let mode = request.mode;
        // What is left of the lease is told in whole seconds.
        let lease_secs = request.subscription.lease(self.now()).unwrap_or_default().as_secs();
        if mode == Mode::Subscribe && lease_secs == 0 {
            METRICS.verifications.with(Verification::Dropped).inc();
            // Else the denial would be taken for that of what is in force.
            if self.in_force().is_some() {
                self.note_unverified(request, TOKEN_EXPIRED.to_owned());
            } else if let Some(pause) = self.deny(&request.subscription, TOKEN_EXPIRED).await? {
                return self.wait(millis(pause)).await;
            }
            self.settle(Some(&request.nonce), Release::Idle).await?;
            return Ok(Served::NotVerified(mode));
        }
        let is_confirmed = match self.ask(request, lease_secs).await? {
            Asked::Later(pause) => {
                self.look_around().await?;
                return self.wait(millis(pause)).await;
            }
            Asked::Confirmed => true,
            Asked::NotConfirmed => false,
        };
        self.progress.asked = 0;
        if !is_confirmed {
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
                let lease = Duration::from_secs(lease_secs);
                self.deliverer.audit.note(Record::grant(&request.subscription, lease));
            }
            Mode::Unsubscribe => {
                self.settle(Some(&request.nonce), Release::End(UNSUBSCRIBED)).await?;
                let ended = Record::about(Kind::Unsubscribe, &request.subscription);
                self.deliverer.audit.note(ended.because("confirmed: the subscription has ended"));
            }
        }
        Ok(Served::Verified(mode))
    }

    async fn ask(&mut self, request: &WebhookRequest, lease_secs: u64) -> Result<Asked, Interruption> {
        let Subscription { topic, channel, terms, .. } = &request.subscription;
        let Channel::Webhook { callback, .. } = channel else { return Ok(Asked::NotConfirmed) };
        let challenge = format!("{:032x}", rand::random::<u128>());
        let url = verification_url(callback, request.mode, topic, &terms.events, &challenge, lease_secs);
        let deliverer = self.deliverer;
        let asked = self.progress.asked;
        if asked >= MOST_ASKED {
            warn!(?callback, topic = ?self.claim.address.topic, mode = ?request.mode, asked, "a webhook is not verified: no worker has lived to settle its answer");
            METRICS.verifications.with(Verification::Dropped).inc();
            self.note_unverified(
                request,
                "not verified: no worker has lived to settle its answer".to_owned(),
            );
            return Ok(Asked::NotConfirmed);
        }
        let result = match self.turn(callback.url()).await? {
            Turn::After(wait) => {
                let pause = self.until_a_turn(wait);
                debug!(?callback, topic = ?self.claim.address.topic, ?pause, "a verification waits: limits.verifications_per_address_per_min");
                return Ok(Asked::Later(pause));
            }
            Turn::Crowded => return Ok(Asked::Later(crowded())),
            Turn::Unknown(error) => {
                let pause = self.until_a_turn(deliverer.rules.ack_timeout);
                info!(?callback, topic = ?self.claim.address.topic, ?pause, %error, "a verification waits: its callback cannot be found");
                return Ok(Asked::Later(pause));
            }
            Turn::Never(error) => Err(error),
            Turn::Now(addresses) => {
                self.progress.asked += 1;
                self.settle(None, Release::Hold(deliverer.rules.hold)).await?;
                self.tell(addresses, &url).await?
            }
        };
        if let Err(RequestError::Crowded) = result {
            self.progress.asked -= 1;
            return Ok(Asked::Later(crowded()));
        }
        METRICS.callback_attempts.with(counted_as(&result)).inc();
        let is_answered = result.is_ok();
        let reason = match result {
            Ok(answer) if !(200..=299).contains(&answer.status) => format!("status {}", answer.status),
            Ok(answer) if answer.body.as_deref() == Some(challenge.as_bytes()) => {
                METRICS.verifications.with(Verification::Confirmed).inc();
                return Ok(Asked::Confirmed);
            }
            Ok(_) => "the body is not the challenge".to_owned(),
            Err(error) => error.to_string(),
        };
        let outcome = if is_answered { Verification::Refused } else { Verification::Failed };
        METRICS.verifications.with(outcome).inc();
        warn!(?callback, topic = ?self.claim.address.topic, mode = ?request.mode, reason, "a webhook is not verified");
        self.note_unverified(request, format!("not verified: {reason}"));
        Ok(Asked::NotConfirmed)
    }

    /// Records that a request has changed nothing. Only what never began is a denial: an end that is not confirmed leaves
    /// the subscription as it is, and so does a renewal.
    fn note_unverified(&self, request: &WebhookRequest, reason: String) {
        let kind = match request.mode {
            Mode::Unsubscribe => Kind::Unsubscribe,
            Mode::Subscribe if self.in_force().is_some() => Kind::Subscribe,
            Mode::Subscribe => Kind::Denial,
        };
        self.deliverer.audit.note(Record::refused(kind, &request.subscription, reason));
    }

    /// Its turn, which who has a subscription in force need not wait for: it has confirmed that it wants
    /// to hear of it.
    async fn turn(&mut self, callback: &Url) -> Result<Turn, Interruption> {
        if self.in_force().is_some() {
            return Ok(Turn::Now(Vec::new()));
        }
        let deliverer = self.deliverer;
        self.beside(deliverer.http.turn(callback)).await
    }

    async fn tell(
        &mut self,
        addresses: Vec<SocketAddr>,
        url: &Url,
    ) -> Result<Result<Answer, RequestError>, Interruption> {
        let http = &self.deliverer.http;
        if addresses.is_empty() {
            return self.beside(http.get(url)).await;
        }
        self.beside(http.get_at(addresses, url)).await
    }

    /// When it is looked at again that waits for a turn: not all that wait for the same one come at the
    /// same time.
    fn until_a_turn(&self, wait: Duration) -> Duration {
        let half = self.deliverer.rules.ack_timeout / 2;
        wait.min(half) + half.mul_f64(rand::random())
    }

    /// Tells the others what it has not got, and the subscriber that its lease is over; forgets it.
    pub(crate) async fn expire(&mut self, subscription: &Subscription) -> Result<Served, Interruption> {
        self.report_owed(subscription).await?;
        if let Some(pause) = self.deny(subscription, LEASE_EXPIRED).await? {
            return self.wait(millis(pause)).await;
        }
        self.settle(None, Release::End(LEASE_EXPIRED)).await?;
        self.met(Deadline::Lease, self.claim.lease_end);
        Ok(Served::Ended)
    }

    /// Tells the subscriber that there is no such subscription, or none any more. `Some`: not before
    /// this time has passed.
    async fn deny(
        &mut self,
        subscription: &Subscription,
        reason: &'static str,
    ) -> Result<Option<Duration>, Interruption> {
        if let Channel::Webhook { callback, .. } = &subscription.channel {
            let url = denial_url(callback, &subscription.topic, &subscription.terms.events, reason);
            let deliverer = self.deliverer;
            let result = match self.beside(deliverer.http.turn(callback.url())).await? {
                Turn::After(wait) => return Ok(Some(self.until_a_turn(wait))),
                Turn::Crowded => return Ok(Some(crowded())),
                Turn::Never(error) | Turn::Unknown(error) => Err(error),
                Turn::Now(addresses) => self.tell(addresses, &url).await?,
            };
            if let Err(RequestError::Crowded) = result {
                return Ok(Some(crowded()));
            }
            METRICS.callback_attempts.with(counted_as(&result)).inc();
            info!(?callback, topic = ?self.claim.address.topic, reason, told = result.is_ok(), "a webhook is denied");
        }
        self.deliverer.audit.note(Record::denial(subscription, reason));
        Ok(None)
    }
}

/// When it is looked at again whose address has as many requests as it may.
fn crowded() -> Duration {
    Duration::from_millis(rand::random_range(CROWDED_PAUSE))
}

fn callback_of(subscription: &Subscription) -> Option<&shared::protocol::subscription_request::Callback> {
    match &subscription.channel {
        Channel::Webhook { callback, .. } => Some(callback),
        Channel::Websocket => None,
    }
}
