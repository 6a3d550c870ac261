//! Nodes that have died with sockets in their hands.
//!
//! A node says once a second that it lives. One that has not said so for too long holds its
//! subscriptions no longer: they are let go of, so that their subscribers count as away. While the
//! store is away nobody can say so; therefore a node counts as dead only when it has been seen
//! lapsed for a while during which the store answered.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use shared::store::StoreError;
use tracing::warn;

use crate::deliverer::Deliverer;

/// How long a node must be seen lapsed.
const CERTAIN_AFTER: Duration = Duration::from_secs(2);

/// Since when which node has been seen lapsed.
#[derive(Default)]
pub(crate) struct Nodes(HashMap<String, Instant>);

impl Nodes {
    /// The store was away: those that could not say that they live get their time again.
    pub(crate) fn begin_anew(&mut self) {
        self.0.clear();
    }

    /// Looks for dead nodes, and lets go of what they held. Several workers may do so at once.
    pub(crate) async fn look(&mut self, deliverer: &Deliverer) -> Result<(), StoreError> {
        let lapsed = deliverer.store.lapsed_nodes().await?;
        self.0.retain(|node, _| lapsed.contains(node));
        for node in lapsed {
            let since = *self.0.entry(node.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= CERTAIN_AFTER {
                let grace = deliverer.rules.grace * deliverer.rules.graces;
                let subscriptions = deliverer.store.orphan(&node, grace).await?;
                warn!(node, subscriptions, "a node is dead: its subscribers have to come back");
                self.0.remove(&node);
            }
        }
        Ok(())
    }
}
