//! That this node lives: one lease for all sockets that it holds.
//!
//! While it is renewed, the subscriptions of those sockets are this node's. When the node dies,
//! others let go of them. Nothing but the renewal is done here, so that nothing holds it up.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use actix_web::web;
use shared::store::StoreError;

use crate::node::Node;

/// How often the lease is renewed, and for how long.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);

/// Whether the others know of this node.
#[derive(Default)]
pub struct Liveness {
    is_known: AtomicBool,
    /// May the lease have been over since this was asked last?
    has_lapsed: AtomicBool,
}

impl Liveness {
    /// Makes sure of it: no socket is taken before.
    pub async fn announce(&self, node: &Node) -> Result<(), StoreError> {
        if !self.is_known.load(Ordering::Acquire) {
            node.store.register_node(&node.id, LEASE).await?;
            self.is_known.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// May the lease have been over since this was asked last? Then others may have taken sockets.
    pub fn take_lapse(&self) -> bool {
        self.has_lapsed.swap(false, Ordering::AcqRel)
    }
}

/// Renews the lease for as long as the process runs.
pub async fn live(node: web::Data<Node>) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    let mut is_unheard = false;
    let turning = node.loops.watch("lease");
    loop {
        ticks.tick().await;
        turning.turned();
        let asked = Instant::now();
        let was_known = node.liveness.is_known.load(Ordering::Acquire);
        let answer = node.store.register_node(&node.id, LEASE).await;
        // An error, or a second try within the call, may hide the one answer that says so.
        let is_sure = matches!(answer, Ok(true)) && asked.duration_since(renewed) < LEASE;
        if was_known && !is_sure {
            node.liveness.has_lapsed.store(true, Ordering::Release);
        }
        match answer {
            Ok(_) => {
                renewed = asked;
                node.liveness.is_known.store(true, Ordering::Release);
                if std::mem::take(&mut is_unheard) {
                    tracing::info!("the node says again that it lives");
                }
            }
            Err(error) => {
                // It may last: once is enough.
                if !std::mem::replace(&mut is_unheard, true) {
                    tracing::warn!(%error, "the node cannot say that it lives; trying again");
                }
            }
        }
    }
}

/// Lets go of whatever the node still holds, at its end.
pub async fn resign(node: &Node) {
    let grace = node.settings.reconnect_grace() * node.settings.syncerror.absences_in_a_row;
    let resigned = async {
        node.store.register_node(&node.id, Duration::ZERO).await?;
        node.store.orphan(&node.id, grace).await
    };
    if let Err(error) = resigned.await {
        tracing::warn!(%error, "the node could not resign: its lease ends by itself");
    }
}
