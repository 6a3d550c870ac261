//! The hub's own SyncErrors: who did not follow is named to the others, once for each cause.
//!
//! Rules: FC-NOT-02, FC-NOT-04.

use std::time::{Duration, Instant};

use super::publishing::{PublishError, Published, Publisher};
use crate::{
    audit,
    protocol::{
        Event, EventName,
        sync_error::{Cause, Reason},
    },
    session::{Audience, Entry, sync_error_for},
    store::{LogEntry, Once, Position, StoreError, Subscription},
    telemetry::{
        metrics::{METRICS, SyncErrorCause},
        traces::{Span, SpanKind},
    },
};

/// How long a SyncError is tried while the store is away, and the longest pause between two tries.
const REPORT_FOR: Duration = Duration::from_secs(300);
const MAX_REPORT_PAUSE: Duration = Duration::from_secs(4);

impl Publisher {
    /// Tells the others that a subscription did not follow an entry, once for each cause
    /// (FC-NOT-02). `None` when it is nothing that is told.
    pub async fn report(
        &self,
        subscription: &Subscription,
        entry: &LogEntry,
        reason: Reason,
    ) -> Result<Option<Published>, PublishError> {
        let Some(notice) = entry.entry.as_event().filter(|notice| notice.is_reported()) else {
            return Ok(None);
        };
        let position = entry.position.to_string();
        let cause = Cause {
            topic: &subscription.topic,
            event: Some((&notice.id, &notice.name)),
            mark: &position,
            subscription: Some(subscription.id),
            subscriber_name: subscription.terms.subscriber_name.as_deref(),
            reason,
        };
        let event = (notice.id.as_str(), &notice.name, entry.position);
        let told = self.tell_and_record(&cause, subscription, Some(event));
        // Whoever notices may do so long after, or while it works on another event; it is a part of what this one has
        // caused all the same.
        Span::of(SpanKind::Internal, "report", entry.entry.trace()).over(told).await.map(Some)
    }

    /// Tells the others that a subscriber has lost its connection and did not come back, once for
    /// each `mark` of it (FC-NOT-04).
    pub async fn report_gone(
        &self,
        subscription: &Subscription,
        mark: &str,
    ) -> Result<Published, PublishError> {
        self.tell_and_record(&whole(subscription, mark, Reason::Gone), subscription, None).await
    }

    /// Tells the others that a subscriber has missed what came after a position, once. Returns the
    /// SyncError for itself: it is to be the first of what it is sent anew.
    pub async fn report_missed(
        &self,
        subscription: &Subscription,
        after: Position,
    ) -> Result<Entry, PublishError> {
        let mark = format!("missed after {after}");
        let cause = whole(subscription, &mark, Reason::Missed);
        self.tell_and_record(&cause, subscription, None).await?;
        let message = cause.message(self.severity, &now_iso_8601());
        Ok(sync_error_for(subscription.id, &read_own(&message)?))
    }

    /// Tells it, and records it where it is told first.
    async fn tell_and_record(
        &self,
        cause: &Cause<'_>,
        subscription: &Subscription,
        event: Option<(&str, &EventName, Position)>,
    ) -> Result<Published, PublishError> {
        let published = self.tell(cause).await?;
        if published != Published::Again {
            self.audit.note(audit::Record::delivery(subscription, event, cause.reason));
        }
        Ok(published)
    }

    async fn tell(&self, cause: &Cause<'_>) -> Result<Published, PublishError> {
        let message = cause.message(self.severity, &now_iso_8601());
        let event = read_own(&message)?;
        let audience = cause.subscription.map_or(Audience::Everyone, Audience::Except);
        let published = self.commit(&event, audience, Once::Cause(event.id.clone())).await?;
        if published != Published::Again {
            METRICS.sync_errors.with(metric_of(cause.reason)).inc();
        }
        Ok(published)
    }

    /// Like [`report`](Self::report), and tries again while the store is away: whoever noticed
    /// the cause may be the only one who did.
    pub async fn report_surely(
        &self,
        subscription: &Subscription,
        entry: &LogEntry,
        reason: Reason,
    ) -> Result<Option<Published>, PublishError> {
        let since = Instant::now();
        let mut pause = Duration::from_millis(250);
        loop {
            match self.report(subscription, entry, reason).await {
                Err(PublishError::Store(StoreError::Unavailable(_)) | PublishError::Contended)
                    if since.elapsed() < REPORT_FOR =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_REPORT_PAUSE);
                }
                outcome => return outcome,
            }
        }
    }
}

/// Reads a message that the hub has made.
pub(super) fn read_own(message: &str) -> Result<Event<'_>, StoreError> {
    Event::read(message).map_err(|invalid| StoreError::Corrupt(invalid.to_string()))
}

/// A cause that is about no event in particular.
fn whole<'a>(subscription: &'a Subscription, mark: &'a str, reason: Reason) -> Cause<'a> {
    Cause {
        topic: &subscription.topic,
        event: None,
        mark,
        subscription: Some(subscription.id),
        subscriber_name: subscription.terms.subscriber_name.as_deref(),
        reason,
    }
}

fn metric_of(reason: Reason) -> SyncErrorCause {
    match reason {
        Reason::Refused(_) => SyncErrorCause::Refused,
        Reason::Undelivered => SyncErrorCause::Undelivered,
        Reason::Unanswered => SyncErrorCause::Unanswered,
        Reason::Gone => SyncErrorCause::Gone,
        Reason::Missed => SyncErrorCause::Missed,
        Reason::Lost => SyncErrorCause::Lost,
    }
}

/// The present, for the timestamps of the hub's own events.
pub fn now_iso_8601() -> String {
    use time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
