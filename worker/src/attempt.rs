//! One request about an event, and what follows from its answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    audit::Record,
    protocol::{sync_error::Reason, webhook},
    session::{render, view},
    store::{Channel, LogEntry, Release, Subscription},
    telemetry::{
        metrics::{Channel as ChannelLabel, METRICS, Notification},
        traces::{Span, SpanKind},
    },
};
use tracing::{debug, info, warn};

use crate::{
    Served,
    delivery::{BUSY_PAUSE, Delivery, Interruption, millis},
    http_client::{Answer, RequestError},
    outcome::{Outcome, counted_as, outcome},
};

/// The `hub.reason` of a subscription whose callback answered 410.
const GONE: &str = "the callback is gone";

impl Delivery<'_> {
    /// One request, and what follows from its answer. Something, when it ends the claim.
    pub(crate) async fn attempt(
        &mut self,
        subscription: &Subscription,
        entry: &Arc<LogEntry>,
    ) -> Result<Option<Served>, Interruption> {
        let span = Span::of(SpanKind::Consumer, "deliver", entry.entry.trace());
        span.note(|| {
            [
                ("messaging.system", "fhircast".into()),
                ("messaging.operation.type", "process".into()),
                ("messaging.operation.name", "deliver".into()),
                ("messaging.destination.name", format!("{:?}", self.claim.address.topic).into()),
                ("fhircast.channel", "webhook".into()),
                ("fhircast.attempts", i64::from(self.progress.attempts).into()),
            ]
        });
        let attempted = span.over(self.ask_and_follow(subscription, entry)).await;
        match &attempted {
            Ok(_) => {}
            Err(Interruption::Lost) => span.fail("lost"),
            Err(Interruption::Cut) => span.fail("cut"),
            Err(Interruption::Store(_)) => span.fail("unavailable"),
        }
        attempted
    }

    async fn ask_and_follow(
        &mut self,
        subscription: &Subscription,
        entry: &Arc<LogEntry>,
    ) -> Result<Option<Served>, Interruption> {
        let Channel::Webhook { callback, secret } = &subscription.channel else { return Ok(None) };
        let seen = view(&entry.entry, &subscription.id, &subscription.terms.events);
        let Some(body) = seen.and_then(|view| render(&entry.entry, view)) else { return Ok(None) };
        METRICS.renderings.inc();
        let signature = secret.as_ref().map(|secret| webhook::signature(secret, body.as_bytes()));
        let deliverer = self.deliverer;
        let sent_before = self.sent.replace(entry.position);
        let begun = Instant::now();
        let result = self.beside(deliverer.http.post(callback.url(), body, signature)).await?;
        if let Err(RequestError::Crowded) = result {
            self.sent = sent_before;
            self.look_around().await?;
            return self.wait(rand::random_range(BUSY_PAUSE)).await.map(Some);
        }
        if self.progress.attempts == 0 {
            METRICS.notifications(ChannelLabel::Webhook, Notification::Sent).inc();
        } else {
            METRICS.callback_retries.inc();
        }
        if result.is_ok() {
            METRICS.answered(ChannelLabel::Webhook, begun.elapsed());
        }
        METRICS.callback_attempts.with(counted_as(&result)).inc();
        match outcome(&result) {
            Outcome::Delivered => {
                self.tally.delivered += 1;
                METRICS.notifications(ChannelLabel::Webhook, Notification::Confirmed).inc();
                debug!(?callback, topic = ?self.claim.address.topic, "an event is delivered");
                METRICS.delivered(
                    ChannelLabel::Webhook,
                    Duration::from_millis(self.now().saturating_sub(entry.position.millis)),
                );
                self.move_on(entry).await?;
                Ok(None)
            }
            Outcome::Refused(status) => {
                self.tally.refused += 1;
                METRICS.notifications(ChannelLabel::Webhook, Notification::Refused).inc();
                info!(?callback, topic = ?self.claim.address.topic, status, "a subscriber refused an event");
                self.report(subscription, entry, Reason::Refused(status)).await?;
                self.move_on(entry).await?;
                Ok(None)
            }
            Outcome::Gone => {
                METRICS.notifications(ChannelLabel::Webhook, Notification::Refused).inc();
                info!(?callback, topic = ?self.claim.address.topic, "a subscriber is gone: its subscription ends");
                self.report(subscription, entry, Reason::Refused(410)).await?;
                self.settle(None, Release::End(GONE)).await?;
                self.deliverer.audit.note(Record::denial(subscription, GONE));
                Ok(Some(Served::Ended))
            }
            Outcome::Retry { after } => self.failed(subscription, entry, &result, after).await,
        }
    }

    async fn failed(
        &mut self,
        subscription: &Subscription,
        entry: &LogEntry,
        result: &Result<Answer, RequestError>,
        after: Option<Duration>,
    ) -> Result<Option<Served>, Interruption> {
        let rules = self.deliverer.rules;
        let Channel::Webhook { callback, .. } = &subscription.channel else { return Ok(None) };
        let now = self.now();
        self.progress.attempts += 1;
        let attempts = self.progress.attempts;
        let reason = match result {
            Ok(answer) => format!("status {}", answer.status),
            Err(error) => error.to_string(),
        };
        let age = Duration::from_millis(now.saturating_sub(entry.position.millis));
        if attempts >= rules.max_attempts || age >= rules.give_up {
            METRICS.callback_give_ups.inc();
            self.tally.given_up += 1;
            warn!(?callback, topic = ?self.claim.address.topic, attempts, reason, "an event is given up for a subscriber");
            self.report(subscription, entry, Reason::Undelivered).await?;
            self.move_on(entry).await?;
            return Ok(None);
        }
        let pause =
            rules.backoff.after(attempts, rand::random()).max(after.unwrap_or_default()).min(rules.give_up);
        info!(?callback, topic = ?self.claim.address.topic, attempts, reason, ?pause, "a delivery failed and will be tried again");
        self.progress.retry_at = now.saturating_add(millis(pause)).max(now + 1);
        self.look_around().await?;
        self.wait(u64::MAX).await.map(Some)
    }
}
