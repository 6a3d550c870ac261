//! Subscribers that do not answer (FC-NOT-04, FC-NOT-06).
//!
//! One look at all sockets of the node every few moments, not a timer for each. What is overdue is
//! told to the others; who leaves too many notifications in a row unanswered is unsubscribed.

use std::time::{Duration, Instant};

use actix_web::web;
use shared::{
    audit::Record,
    protocol::sync_error::Reason,
    store::{StoreError, Subscribed},
    telemetry::metrics::{Channel, Deadline, METRICS, Notification},
};

use super::{
    in_flight::{Awaited, Overdue},
    outbox::SocketHandle,
};
use crate::node::Node;

/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The part of the ack time-out that a report may be late.
const LATE: f64 = 0.1;
/// The `hub.reason` of a subscription whose subscriber does not answer.
const UNANSWERED: &str = "notifications were not answered";

/// Looks after the sockets of this node, for as long as the process runs.
pub async fn watch_unanswered(node: web::Data<Node>) {
    let ack_timeout = node.settings.ack_timeout();
    let mut ticks = tokio::time::interval(ack_timeout.mul_f64(LATE).min(LOOK_EVERY));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let turning = node.loops.watch("answers");
    loop {
        ticks.tick().await;
        turning.turned();
        let now = Instant::now();
        let (mut notifications, mut bytes) = (0, 0);
        let overdue = node.sockets.those(|socket| {
            let in_flight = socket.outbox.in_flight();
            notifications += in_flight.unconfirmed();
            bytes += in_flight.unsent_bytes();
            in_flight.has_overdue(now, ack_timeout)
        });
        METRICS.outbox_notifications.set(notifications.try_into().unwrap_or(i64::MAX));
        METRICS.outbox_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
        for socket in overdue {
            let overdue = socket.outbox.in_flight().take_overdue(now, ack_timeout);
            actix_web::rt::spawn(report(node.clone(), socket, overdue));
        }
    }
}

async fn report(node: web::Data<Node>, socket: SocketHandle, overdue: Overdue) {
    for Awaited { entry, since } in &overdue.notifications {
        let late = since.elapsed().saturating_sub(node.settings.ack_timeout());
        METRICS.deadline_met(Deadline::Ack, late);
        METRICS.notifications(Channel::Websocket, Notification::Unanswered).inc();
        if let Err(error) =
            node.publisher.report_surely(&socket.subscription, entry, Reason::Unanswered).await
        {
            tracing::error!(%error, subscription = ?socket.address.id, "a SyncError could not be published");
        }
    }
    if overdue.in_a_row < node.settings.syncerror.unanswered_in_a_row {
        return;
    }
    // The next one that it does not answer ends it, if this fails.
    if let Err(error) = unsubscribe(&node, &socket, overdue.in_a_row).await {
        tracing::warn!(%error, "a subscription could not be ended");
    }
}

/// Ends the subscription, unless its subscriber has come back on another connection meanwhile.
async fn unsubscribe(node: &Node, socket: &SocketHandle, in_a_row: u32) -> Result<(), StoreError> {
    if node.store.save_cursors(&[socket.ask_whether_held()]).await? == [true] {
        tracing::info!(subscription = ?socket.address.id, in_a_row, "a subscriber does not answer and is unsubscribed");
        if node.store.end_websocket(socket.address, None, UNANSWERED).await? == Subscribed::Accepted {
            node.audit.note(Record::denial(&socket.subscription, UNANSWERED));
        }
    }
    Ok(())
}
