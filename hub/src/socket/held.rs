//! What a socket holds while it is open, and lets go of however it came to its end.

use std::{sync::Arc, time::Duration};

use actix_web::web;
use shared::store::{Address, Connection, Departure, Parting};

use super::{outbox::Outbox, sockets::Departed};
use crate::{limits::SocketPlace, node::Node};

/// Workers look once a second for what has become due: so much before something has to be done
/// about a subscriber that is away, it is due.
const AHEAD: Duration = Duration::from_millis(1200);

/// A subscription that this process holds for a socket. When it is dropped, however the socket
/// came to its end, the cursor is saved and the subscription may be taken by the next connection.
pub struct Held {
    pub(super) node: web::Data<Node>,
    pub(super) address: Address,
    pub(super) connection: Connection,
    pub(super) outbox: Arc<Outbox>,
    /// Why the socket ends, as far as is known.
    pub(super) parting: Parting,
    /// One of its caller's (`limits.caller_sockets`).
    _place: SocketPlace,
}

impl Held {
    /// Holds what `connection` has taken.
    pub fn new(
        node: web::Data<Node>,
        address: Address,
        connection: Connection,
        outbox: Arc<Outbox>,
        place: SocketPlace,
    ) -> Self {
        Self { node, address, connection, outbox, parting: Parting::Lost, _place: place }
    }

    /// Somebody has to look after the subscriber when the first of what it has not confirmed is
    /// overdue; what comes later is overdue later.
    fn departure(&self) -> Departure {
        let settings = &self.node.settings;
        let (ack_timeout, grace) = (settings.ack_timeout(), settings.reconnect_grace());
        let first = self.outbox.in_flight().first_watched();
        let overdue = first.map(|accepted_at| ack_timeout.saturating_sub(self.node.clock.since(accepted_at)));
        Departure {
            parting: self.parting,
            grace: grace * settings.syncerror.absences_in_a_row,
            look_after: overdue.unwrap_or(ack_timeout).min(grace).saturating_sub(AHEAD),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (node, address, connection) = (self.node.clone(), self.address, self.connection.clone());
        let (outbox, departure) = (self.outbox.clone(), self.departure());
        runtime.spawn(async move {
            node.relays.leave(address, &connection).await;
            let moved = outbox.cursor_move(address, &connection);
            node.sockets.depart(&*node.store, Departed { address, connection, departure }, moved).await;
        });
    }
}
