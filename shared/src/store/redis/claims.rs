//! What is due, and the claims on it.

use std::{collections::HashSet, time::Duration};

use redis::{Value, streams::StreamRangeReply};
use uuid::Uuid;

use super::{
    RedisStore, keys, not_after, owner,
    reply::{self, Reply, corrupt, log_entries},
    seal::Place,
    shares::some,
    sockets::parting,
    subscribed,
};
use crate::{
    protocol::webhook::Mode,
    session::SubscriptionChange,
    store::{
        Absence, Address, Claim, Owner, PAGE_BYTES, Position, Progress, Release, Result, Subscribed,
        WebhookRequest,
    },
};

impl RedisStore {
    pub(super) async fn note_request(&self, request: &WebhookRequest, limit: usize) -> Result<Subscribed> {
        let Address { id, topic } = request.subscription.address();
        let keys = self.topic(topic);
        let mut script = self.scripts.request_webhook.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.webhooks()).key(keys.due()).key(keys.due_bell());
        let mode = match request.mode {
            Mode::Subscribe => "subscribe",
            Mode::Unsubscribe => "unsubscribe",
        };
        script.arg(id.to_string()).arg(topic.to_string()).arg(keys.partition()).arg(mode);
        script
            .arg(self.seal.seal(Place::Request(id), &reply::record(request, self.format())?)?)
            .arg(&request.nonce)
            .arg(limit);
        script.arg(owner(request.subscription.owner.as_ref())).arg(not_after(&request.subscription));
        subscribed(&self.invoke::<String>("request_webhook", keys.slot(), &script).await?)
    }

    pub(super) async fn take_request_back(&self, address: Address, by: Option<&Owner>) -> Result<bool> {
        let (Address { id, topic }, keys) = (address, self.topic(address.topic));
        let mut script = self.scripts.withdraw_webhook.prepare_invoke();
        script.key(keys::subscription(id)).key(keys.webhooks()).key(keys.due()).key(keys.due_bell());
        script.arg(id.to_string()).arg(topic.to_string()).arg(keys.partition()).arg(owner(by));
        self.invoke("withdraw_webhook", keys.slot(), &script).await
    }

    /// What one server cannot say now is left out: the others' partitions must not wait for it.
    pub(super) async fn due_in(&self, partitions: &[u16], limit: usize) -> Result<Vec<Address>> {
        let ask = |mut wire, partitions: Vec<u16>| async move {
            // Each server goes by its own clock.
            let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut wire).await?;
            let now = seconds * 1000 + micros / 1000;
            let mut all = redis::pipe();
            for partition in partitions {
                all.zrangebyscore_limit(keys::due(partition), "-inf", now, 0, limit as isize);
                all.zrangebyscore_limit(keys::leases(partition), "-inf", now, 0, limit as isize);
            }
            all.query_async::<Vec<Vec<String>>>(&mut wire).await
        };
        let members = some(self.connections.ask_each("due", partitions, ask).await)?;
        let mut addresses = Vec::new();
        let mut seen = HashSet::new();
        for address in members.iter().flatten().flatten().filter_map(|member| keys::address(member)) {
            if seen.insert(address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    pub(super) async fn claim_due(
        &self,
        address: Address,
        hold: Duration,
        max_entries: usize,
    ) -> Result<Option<Claim>> {
        let keys = self.topic(address.topic);
        let token = Uuid::new_v4().to_string();
        let mut script = self.scripts.claim.prepare_invoke();
        script.key(keys.due()).key(keys::subscription(address.id)).key(keys.log());
        script.key(keys.webhooks()).key(keys.leases()).key(keys.session());
        script.arg(address.id.to_string()).arg(address.topic.to_string());
        script.arg(hold.as_millis() as u64).arg(&token).arg(max_entries).arg(PAGE_BYTES);
        let answer: Value = self.invoke("claim", keys.slot(), &script).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut reply = Reply::new(answer)?;
        let (now, lease_end) = (reply.parsed()?, reply.parsed()?);
        let subscription = reply.json(&self.seal, Place::Record(address.id))?;
        let request = reply.json(&self.seal, Place::Request(address.id))?;
        let cursor = reply.text()?;
        let is_read = !cursor.is_empty();
        let progress = Progress {
            cursor: if is_read { cursor.parse().map_err(corrupt)? } else { Position::START },
            attempts: reply.parsed()?,
            retry_at: reply.parsed()?,
            reported: reply.parsed()?,
            asked: reply.parsed()?,
        };
        let (since, until, why) = (reply.text()?, reply.text()?, reply.text()?);
        let absence = if since.is_empty() {
            None
        } else {
            let time = |text: String| text.parse().map_err(corrupt);
            Some(Absence { since: time(since)?, until: time(until)?, parting: parting(&why)? })
        };
        let gap = reply.gap()?;
        let entries = log_entries(reply.value::<StreamRangeReply>()?.ids, &self.seal, address.topic)?;
        Ok(Some(Claim {
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
        }))
    }

    pub(super) async fn settle_claim(
        &self,
        claim: &Claim,
        progress: &Progress,
        answered: Option<&str>,
        release: Release,
    ) -> Result<bool> {
        let (Address { id, topic }, keys) = (claim.address, self.topic(claim.address.topic));
        let mut script = self.on_topic(&self.scripts.settle, &keys);
        script.key(keys::subscription(id)).key(keys.due()).key(keys.due_bell()).key(keys.leases());
        script.key(keys.webhooks()).key(keys.sockets()).key(keys.held());
        script.arg(id.to_string()).arg(topic.to_string()).arg(keys.partition());
        script.arg(&claim.token).arg(progress.cursor.to_string()).arg(progress.attempts);
        script.arg(progress.retry_at).arg(progress.reported.to_string()).arg(answered.unwrap_or(""));
        match release {
            Release::Hold(time) => script.arg("hold").arg(time.as_millis() as u64),
            Release::After(time) => script.arg("after").arg(time.as_millis() as u64),
            Release::Idle => script.arg("idle").arg(0),
            Release::End(_) => script.arg("end").arg(0),
        };
        let reason = if let Release::End(reason) = release { reason } else { "" };
        let ended = SubscriptionChange::Ended { id, reason: reason.to_owned() };
        script.arg(self.changed(ended)).arg(progress.asked);
        script.arg(claim.request.as_ref().map_or("", |request| request.nonce.as_str()));
        self.invoke("settle", keys.slot(), &script).await
    }
}
