//! That this node lives: one lease for all sockets that it holds.
//!
//! While it is renewed, the subscriptions of those sockets are this node's. When the node dies,
//! others let go of them. A node that could not renew its lease in time (it was stopped for a
//! while, say) may have lost some: it finds out which, and sends their subscribers away, who come
//! back and miss nothing. So it does after the connections to the store have been interrupted, for
//! the store may have lost what it was told last; then the node also looks whether the events are
//! there that it has accepted.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use actix_web::web;
use shared::{
    publisher::PublishError,
    store::{CursorMove, StoreError},
};

use crate::{
    node::Node,
    socket::{Closing, SocketHandle},
};

/// How often the lease is renewed, and for how long.
const RENEW_EVERY: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(3);
/// How often a node whose lease may have been over looks for sockets that it has lost, once at each
/// renewal: who takes them may be in the middle of it.
const LOOKS: u32 = 3;
/// Sockets that are asked about in one call.
const AT_ONCE: usize = 500;

/// Whether the others know of this node.
#[derive(Default)]
pub struct Liveness(AtomicBool);

impl Liveness {
    /// Makes sure of it: no socket is taken before.
    pub async fn announce(&self, node: &Node) -> Result<(), StoreError> {
        if !self.0.load(Ordering::Acquire) {
            node.store.register_node(&node.id, LEASE).await?;
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// Renews the lease for as long as the process runs.
pub async fn live(node: web::Data<Node>) {
    let mut ticks = tokio::time::interval(RENEW_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut doubts = Doubts { interruptions: node.store.interruptions(), ..Doubts::default() };
    loop {
        ticks.tick().await;
        if let Err(error) = renew(&node, &mut doubts).await {
            tracing::warn!(%error, "the node cannot say that it lives; trying again");
        }
    }
}

/// What the node believes and has to look at.
#[derive(Default)]
struct Doubts {
    /// How often lost sockets are still to be looked for.
    looks: u32,
    /// Whether lost events are still to be looked for.
    has_lost_events: bool,
    /// How often the connections to the store had been interrupted at the last look.
    interruptions: u64,
}

async fn renew(node: &web::Data<Node>, doubts: &mut Doubts) -> Result<(), StoreError> {
    let was_known = node.liveness.0.load(Ordering::Acquire);
    let renewed = node.store.register_node(&node.id, LEASE).await;
    let interruptions = node.store.interruptions();
    if interruptions != doubts.interruptions {
        *doubts = Doubts { looks: LOOKS, has_lost_events: true, interruptions };
    }
    // An error may hide the one answer that says so.
    if was_known && !matches!(renewed, Ok(true)) {
        doubts.looks = LOOKS;
    }
    renewed?;
    node.liveness.0.store(true, Ordering::Release);
    node.clock.set(node.store.now().await?);
    if doubts.has_lost_events {
        look_for_losses(node).await?;
        doubts.has_lost_events = false;
    }
    if doubts.looks > 0 {
        close_lost(node).await?;
        doubts.looks -= 1;
    }
    Ok(())
}

async fn look_for_losses(node: &web::Data<Node>) -> Result<(), StoreError> {
    match node.publisher.look_for_losses().await {
        Ok(0) => Ok(()),
        Ok(topics) => {
            tracing::error!(
                topics,
                "Redis has lost events that had been accepted: their subscribers are told"
            );
            Ok(())
        }
        Err(PublishError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Unavailable(other.to_string())),
    }
}

async fn close_lost(node: &web::Data<Node>) -> Result<(), StoreError> {
    for sockets in node.sockets.all().chunks(AT_ONCE) {
        let asked: Vec<CursorMove> = sockets.iter().map(SocketHandle::ask_whether_held).collect();
        let held = node.store.save_cursors(&asked).await?;
        for (socket, _) in sockets.iter().zip(held).filter(|(_, is_held)| !is_held) {
            tracing::warn!(subscription = ?socket.address.id, "the node's lease was over and a socket is lost");
            socket.close(Closing::GoingAway);
        }
    }
    Ok(())
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
