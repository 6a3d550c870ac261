//! Leaving a subscriber whose hub is shutting down (FC-SUB-11): what it has been sent is confirmed first, so that nothing
//! that it has answered is sent again by the hub to which it comes next. Nothing more is sent meanwhile.

use std::time::Duration;

use actix::AsyncContext;
use actix_web_actors::ws::WebsocketContext;

use super::{close::Closing, session::SocketSession};

impl SocketSession {
    /// Closes the socket, once what has been sent is confirmed, or not within this time.
    pub(super) fn leave(&mut self, within: Duration, ctx: &mut WebsocketContext<Self>) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        // Of who never answers a pong has to do.
        self.ping(ctx);
        ctx.run_later(within, |session, ctx| session.close(Closing::GoingAway, ctx));
        self.leave_if_confirmed(ctx);
    }

    /// Something has been confirmed.
    pub(super) fn leave_if_confirmed(&mut self, ctx: &mut WebsocketContext<Self>) {
        if self.is_leaving && self.held.outbox.in_flight().is_confirmed_up_to(self.written) {
            self.close(Closing::GoingAway, ctx);
        }
    }
}
