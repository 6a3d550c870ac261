//! What there is, for the metrics: each worker counts in the partitions that it looks after first, so the sum over all
//! workers is all.

use std::{sync::Arc, time::Duration};

use shared::{
    store::{Store, census::Kind},
    telemetry::metrics::{Channel, METRICS},
};
use tracing::debug;

/// How often it is counted.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// Counts, and shows it.
pub(crate) async fn expose(store: Arc<dyn Store>, partitions: Vec<u16>) {
    let census = match store.census(&partitions).await {
        Ok(census) => census,
        Err(error) => return debug!(%error, "what there is cannot be counted"),
    };
    if census.len() < partitions.len() {
        // A part is not the whole: what was counted last stays.
        return debug!(counted = census.len(), of = partitions.len(), "not all partitions can be counted");
    }
    let (mut websockets, mut webhooks, mut due, mut oldest) = (0, 0, 0, Duration::ZERO);
    for partition in &census {
        for counted in &partition.subscriptions {
            match counted.kind {
                Kind::Connected | Kind::Away => websockets += 1,
                Kind::Webhook => webhooks += 1,
            }
        }
        due += partition.due_count;
        oldest = oldest.max(partition.oldest_due());
    }
    METRICS.subscriptions(Channel::Websocket, websockets);
    METRICS.subscriptions(Channel::Webhook, webhooks);
    METRICS.due_subscriptions.set(i64::try_from(due).unwrap_or(i64::MAX));
    METRICS.due_oldest(oldest);
}
