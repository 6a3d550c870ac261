//! What this node believes, and has to look at again.
//!
//! A node whose lease may have been over (it was stopped for a while, say) may have lost sockets: it
//! finds out which, and sends their subscribers away, who come back and miss nothing. After the
//! connections to the store have been interrupted, the store may have lost what it was told last: then the
//! node looks for such sockets as well, says again which sockets have gone, and looks whether the events
//! are there that it has accepted.
//!
//! All this takes as long as it takes: the lease is renewed elsewhere ([`crate::liveness`]).

use std::time::Duration;

use actix_web::web;
use shared::{
    publisher::PublishError,
    store::{CursorMove, StoreError},
};

use crate::{
    node::Node,
    socket::{Closing, SocketHandle},
};

/// How often there may be something to look at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often lost sockets are looked for after a doubt: who takes them may be in the middle of it.
const LOOKS: u32 = 3;
/// Sockets that are asked about in one call.
const AT_ONCE: usize = 500;

/// What is still to be looked at.
#[derive(Default)]
struct Doubts {
    /// How often the connections to the store had been interrupted at the last look.
    interruptions: u64,
    lost_sockets: u32,
    lost_departures: bool,
    lost_events: bool,
}

/// Looks for as long as the process runs.
pub async fn look_again(node: web::Data<Node>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let turning = node.loops.watch("doubts");
    let mut doubts = Doubts { interruptions: node.store.interruptions(), ..Doubts::default() };
    loop {
        ticks.tick().await;
        turning.turned();
        if let Ok(now) = node.store.now().await {
            node.clock.set(now);
        }
        doubts.gather(&node);
        turning.while_waiting(doubts.settle(&node)).await;
    }
}

impl Doubts {
    fn gather(&mut self, node: &Node) {
        let interruptions = node.store.interruptions();
        if interruptions != self.interruptions {
            (self.lost_departures, self.lost_events) = (true, true);
            (self.lost_sockets, self.interruptions) = (LOOKS, interruptions);
        }
        if node.liveness.take_lapse() {
            self.lost_sockets = LOOKS;
        }
    }

    /// What cannot be looked at now is looked at next time; one does not wait for the other.
    async fn settle(&mut self, node: &Node) {
        if self.lost_events {
            self.lost_events = is_open(look_for_losses(node).await);
        }
        if self.lost_departures {
            self.lost_departures = is_open(node.sockets.detach_again(&*node.store).await);
        }
        if self.lost_sockets > 0 && !is_open(close_lost(node).await) {
            self.lost_sockets -= 1;
        }
    }
}

fn is_open(looked: Result<(), StoreError>) -> bool {
    looked
        .inspect_err(
            |error| tracing::warn!(%error, "the node cannot make sure of what it holds; trying again"),
        )
        .is_err()
}

async fn look_for_losses(node: &Node) -> Result<(), StoreError> {
    let topics = node.publisher.look_for_losses().await.map_err(PublishError::into_store)?;
    if topics > 0 {
        tracing::error!(topics, "Redis has lost events that had been accepted: their subscribers are told");
    }
    Ok(())
}

async fn close_lost(node: &Node) -> Result<(), StoreError> {
    for sockets in node.sockets.all().chunks(AT_ONCE) {
        let asked: Vec<CursorMove> = sockets.iter().map(SocketHandle::ask_whether_held).collect();
        let held = node.store.save_cursors(&asked).await?;
        for (socket, _) in sockets.iter().zip(held).filter(|(_, is_held)| !is_held) {
            tracing::warn!(subscription = ?socket.address.id, "a socket is lost: another holds its subscription, or nobody");
            socket.close(Closing::GoingAway);
        }
    }
    Ok(())
}
