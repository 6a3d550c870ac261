//! Webhook subscriptions: what is in force, what waits to be verified, and which claim holds each.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    super::{
        Activated, Activation, Address, Claim, Gap, LogEntry, Owner, Progress, Release, Subscribed,
        WebhookRequest,
    },
    end_of, is_foreign,
    state::{Leased, State},
};
use crate::protocol::{TopicKey, webhook::Mode};

/// A webhook subscription.
pub(super) struct Webhook {
    address: Address,
    /// Whose it is, while it is in force or a request waits.
    owner: Option<Owner>,
    /// What has been verified and is in force. Nothing until the first activation.
    pub verified: Option<Leased>,
    /// What waits to be verified.
    request: Option<WebhookRequest>,
    /// When that was asked.
    requested_at: u64,
    progress: Progress,
    /// The claim that holds it, or did until its time ran out.
    token: Option<String>,
}

impl Webhook {
    /// Does it count as one of its topic's subscriptions?
    fn is_living(&self, now: u64) -> bool {
        self.is_in_force(now) || self.request.as_ref().is_some_and(|request| request.mode == Mode::Subscribe)
    }

    /// Is it anybody's? What has ended and is still remembered is nobody's any more.
    fn is_owned(&self, now: u64) -> bool {
        self.is_in_force(now) || self.request.is_some()
    }

    fn is_in_force(&self, now: u64) -> bool {
        self.verified.as_ref().is_some_and(|leased| !leased.is_over(now))
    }
}

impl State {
    pub fn request_webhook(&mut self, request: &WebhookRequest, limit: usize, now: u64) -> Subscribed {
        let address = request.subscription.address();
        let asking = request.subscription.owner;
        let (is_living, is_in_force) = self
            .webhook(address)
            .map_or((false, false), |webhook| (webhook.is_living(now), webhook.is_in_force(now)));
        let owned = self.webhook(address).filter(|webhook| webhook.is_owned(now));
        let is_foreign = owned.is_some_and(|webhook| is_foreign(webhook.owner.as_ref(), asking.as_ref()));
        match request.mode {
            Mode::Unsubscribe if !is_in_force => return Subscribed::Unknown,
            Mode::Subscribe | Mode::Unsubscribe if is_foreign => return Subscribed::Foreign,
            Mode::Subscribe if request.subscription.lease(now).is_none() => return Subscribed::TooLate,
            Mode::Subscribe if !is_living && self.living_webhooks(address.topic, now) >= limit => {
                return Subscribed::TooMany;
            }
            Mode::Subscribe | Mode::Unsubscribe => {}
        }
        self.topic(address.topic, now).webhooks.insert(address.id);
        let webhook = self.webhooks.entry(address.id).or_insert_with(|| Webhook {
            address,
            owner: None,
            verified: None,
            request: None,
            requested_at: now,
            progress: Progress::default(),
            token: None,
        });
        if asking.is_some() || !webhook.is_owned(now) {
            webhook.owner = asking;
        }
        webhook.request = Some(request.clone());
        webhook.requested_at = now;
        webhook.progress.asked = 0;
        let is_held = webhook.token.is_some() && self.due.time_of(address).is_some_and(|time| time > now);
        if !is_held {
            self.make_due(address, now, now);
        }
        Subscribed::Accepted
    }

    pub fn withdraw_webhook(&mut self, address: Address, by: Option<&Owner>, now: u64) -> bool {
        let Some(webhook) = self.webhook(address) else { return false };
        let is_withdrawn =
            webhook.request.is_some() && !webhook.is_in_force(now) && !is_foreign(webhook.owner.as_ref(), by);
        if !is_withdrawn {
            return false;
        }
        (webhook.request, webhook.token) = (None, None);
        webhook.progress.asked = 0;
        if webhook.verified.is_some() {
            // What was in force before is still to be denied.
            self.make_due(address, now, now);
        } else {
            self.end_webhook(address);
        }
        true
    }

    fn living_webhooks(&self, topic: TopicKey, now: u64) -> usize {
        let ids = self.topics.get(&topic).into_iter().flat_map(|state| &state.webhooks);
        ids.filter_map(|id| self.webhooks.get(id)).filter(|webhook| webhook.is_living(now)).count()
    }

    /// Makes the webhooks of a topic due that are not.
    pub fn make_webhooks_due(&mut self, topic: TopicKey, now: u64) {
        let ids = self.topics.get(&topic).into_iter().flat_map(|state| &state.webhooks);
        let mut has_rung = false;
        for id in ids {
            let address = Address { id: *id, topic };
            let is_verified = self.webhooks.get(id).is_some_and(|webhook| webhook.verified.is_some());
            if is_verified && self.due.time_of(address).is_none() {
                self.due.put(address, now);
                if !has_rung {
                    self.due.ring(topic);
                    has_rung = true;
                }
            }
        }
    }

    pub fn make_due(&mut self, address: Address, time: u64, now: u64) {
        self.due.put(address, time);
        if time <= now {
            self.due.ring(address.topic);
        }
    }

    pub fn claim(&mut self, address: Address, hold: Duration, max_entries: usize, now: u64) -> Option<Claim> {
        // One that is held, or waits for its retry, is in the due set and has its time there.
        let time = self.due.time_of(address).or_else(|| self.due.lease_end_of(address));
        time.filter(|time| *time <= now)?;
        if self.socket(address).is_some() {
            return self.claim_websocket(address, hold, max_entries, now);
        }
        let webhook = self.webhook(address)?;
        let token = Uuid::new_v4().to_string();
        webhook.token = Some(token.clone());
        let (request, progress) = (webhook.request.clone(), webhook.progress.clone());
        let subscription = webhook.verified.as_ref().map(|leased| leased.subscription.clone());
        let lease_end = webhook.verified.as_ref().map_or(0, |leased| leased.until);
        let (is_read, is_over) = (subscription.is_some(), lease_end <= now);
        let (entries, gap) = self.waiting(address, &progress, !is_over, max_entries);
        self.hold(address, hold, is_over, now);
        let absence = None;
        Some(Claim {
            address,
            token,
            subscription,
            lease_end,
            request,
            progress,
            is_read,
            absence,
            entries,
            gap,
            now,
        })
    }

    /// What a claim brings: the entries after the cursor, if there is one to be read from, and the
    /// head if they reach up to it.
    pub fn waiting(
        &self,
        address: Address,
        progress: &Progress,
        is_read: bool,
        max_entries: usize,
    ) -> (Vec<Arc<LogEntry>>, Option<Gap>) {
        let topic = self.topics.get(&address.topic).filter(|_| is_read);
        let page = topic.map(|topic| topic.page(progress.cursor, max_entries));
        page.map(|page| (page.entries, page.gap)).unwrap_or_default()
    }

    /// A claim holds it for so long. Of one whose lease is over, the due set alone knows from now on
    /// that it is to be ended.
    pub fn hold(&mut self, address: Address, hold: Duration, is_over: bool, now: u64) {
        self.due.put(address, end_of(hold, now));
        if is_over {
            self.due.remove_lease(address);
        }
    }

    pub fn activate_webhook(
        &mut self,
        address: Address,
        token: &str,
        request: Option<&WebhookRequest>,
        activation: &Activation,
        now: u64,
    ) -> Activated {
        let Some(webhook) = self.claimed(address, token) else { return Activated::Lost };
        let progress = if webhook.is_in_force(now) && !activation.is_restart {
            webhook.progress.clone()
        } else {
            match self.begin(address.topic, activation, now) {
                Ok(cursor) => Progress { cursor, ..Progress::default() },
                Err(snapshot) => return Activated::Conflict(snapshot),
            }
        };
        let cursor = progress.cursor;
        let leased = request.map(|request| Leased::new(request.subscription.clone(), now));
        if let Some(leased) = &leased {
            self.due.put_lease(address, leased.until);
        }
        if let Some(webhook) = self.webhook(address) {
            webhook.progress = progress;
            webhook.verified = leased.or(webhook.verified.take());
            webhook.request.take_if(|pending| request.is_some_and(|request| pending.nonce == request.nonce));
        }
        Activated::From(cursor)
    }

    pub fn settle(
        &mut self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
        now: u64,
    ) -> bool {
        let address = claim.address;
        if self.socket(address).is_some() {
            return self.settle_websocket(claim, progress, release, now);
        }
        let head = self.head(address.topic);
        let Some(webhook) = self.claimed(address, &claim.token) else { return false };
        webhook.progress = progress.clone();
        webhook.request.take_if(|pending| Some(pending.nonce.as_str()) == answered);
        if matches!(release, Release::End(_)) {
            (webhook.verified, webhook.progress) = (None, Progress::default());
        }
        let has_request = webhook.request.is_some();
        let nonce = |request: &Option<WebhookRequest>| request.as_ref().map(|request| request.nonce.clone());
        let has_new_request = has_request && nonce(&webhook.request) != nonce(&claim.request);
        let is_verified = webhook.verified.is_some();
        let is_over = is_verified && !webhook.is_in_force(now);
        if !matches!(release, Release::Hold(_)) {
            webhook.token = None;
        }
        if matches!(release, Release::End(_)) {
            self.due.remove_lease(address);
        }
        match release {
            Release::Hold(hold) => self.make_due(address, end_of(hold, now), now),
            Release::After(_) if has_new_request => self.make_due(address, now, now),
            Release::Idle | Release::End(_) if has_request => self.make_due(address, now, now),
            Release::After(pause) => self.make_due(address, end_of(pause, now), now),
            Release::Idle | Release::End(_) if !is_verified => {
                self.end_webhook(address);
            }
            Release::Idle if head != progress.cursor || is_over => self.make_due(address, now, now),
            Release::Idle | Release::End(_) => self.due.remove(address),
        }
        true
    }

    /// `false` when there is none.
    pub fn end_webhook(&mut self, address: Address) -> bool {
        if self.webhook(address).is_none() {
            return false;
        }
        self.due.remove(address);
        self.due.remove_lease(address);
        self.webhooks.remove(&address.id);
        if let Some(topic) = self.topics.get_mut(&address.topic) {
            topic.webhooks.remove(&address.id);
        }
        true
    }

    /// Those whose lease ended before this time, or that were asked for before it and never
    /// verified.
    pub fn webhooks_over_before(&self, time: u64) -> Vec<Address> {
        let is_over = |webhook: &&Webhook| {
            let is_asked_for = webhook.request.is_some() && webhook.requested_at > time;
            !webhook.is_in_force(time) && !is_asked_for
        };
        self.webhooks.values().filter(is_over).map(|webhook| webhook.address).collect()
    }

    fn webhook(&mut self, address: Address) -> Option<&mut Webhook> {
        self.webhooks.get_mut(&address.id).filter(|webhook| webhook.address == address)
    }

    /// The webhook that this claim holds.
    fn claimed(&mut self, address: Address, token: &str) -> Option<&mut Webhook> {
        self.webhook(address).filter(|webhook| webhook.token.as_deref() == Some(token))
    }
}
