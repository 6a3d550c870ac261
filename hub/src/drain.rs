//! Letting go (FC-SUB-11): the sockets are closed one after the other, so that their subscribers
//! do not all come to the next node in the same moment; what they have not got waits for them.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use actix_web::web;

use crate::{node::Node, socket::Closing};

/// The longest pause between two closes: few sockets need no whole window.
const MAX_PAUSE: Duration = Duration::from_millis(5);
/// The part of the window in which sockets are closed; the rest is for the last of them.
const CLOSING_PART: f64 = 0.8;

/// Closes all sockets within the window, and waits until the store knows of each.
pub async fn drain(node: &web::Data<Node>, window: Duration) {
    node.is_draining.store(true, Ordering::Relaxed);
    let end = Instant::now() + window;
    let sockets = node.sockets.all();
    tracing::info!(sockets = sockets.len(), "draining");
    let pause = window
        .mul_f64(CLOSING_PART)
        .checked_div(sockets.len().max(1) as u32)
        .unwrap_or_default()
        .min(MAX_PAUSE);
    for socket in sockets {
        socket.close(Closing::GoingAway);
        tokio::time::sleep(pause).await;
    }
    while !node.sockets.is_empty() && Instant::now() < end {
        // Those that were on their way in when the drain began.
        node.sockets.all().iter().for_each(|socket| socket.close(Closing::GoingAway));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if !node.sockets.is_empty() {
        tracing::warn!(
            sockets = node.sockets.all().len(),
            "the drain time is over and sockets are still open"
        );
    }
}
