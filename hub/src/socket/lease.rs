//! The end of the lease, which a session keeps itself (FC-SEC-04, FC-SUB-07): from then on nothing is delivered, whether a
//! worker lives that ends the subscription or not. What comes is withheld while the store is asked, once, whether the
//! lease has been renewed; unless it says so the subscriber is denied.

use std::time::{Duration, Instant};

use actix::{ActorFutureExt, AsyncContext, Handler, WrapFuture};
use actix_web_actors::ws::WebsocketContext;
use shared::protocol::confirmation::LEASE_EXPIRED;

use super::session::{SocketSession, ToSocket};

/// How long the store is asked at the end of a lease whether it has been renewed.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// The longest time for which a timer is set.
const LONGEST_TIMER: Duration = Duration::from_secs(86_400);

impl SocketSession {
    /// Has the lease looked at when it ends.
    pub(super) fn watch_lease(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(timer) = self.lease_timer.take() {
            ctx.cancel_future(timer);
        }
        let left = self.lease_end.saturating_duration_since(Instant::now()).min(LONGEST_TIMER);
        self.lease_timer = Some(ctx.run_later(left, |session, ctx| {
            session.lease_timer = None;
            if session.is_lease_over() {
                session.ask_for_lease(ctx);
            } else {
                session.watch_lease(ctx);
            }
        }));
    }

    pub(super) fn is_lease_over(&self) -> bool {
        Instant::now() >= self.lease_end
    }

    /// It may have been renewed, and the log not been read so far.
    pub(super) fn ask_for_lease(&mut self, ctx: &mut WebsocketContext<Self>) {
        if self.has_closed || self.withheld.is_some() {
            return;
        }
        self.withheld = Some(Vec::new());
        let (store, id) = (self.node().store.clone(), self.subscription.id);
        let asked = async move { tokio::time::timeout(ASK_WITHIN, store.subscription(id)).await };
        let heard = |answer, session: &mut Self, ctx: &mut WebsocketContext<Self>| {
            if session.has_closed || session.withheld.is_none() {
                return;
            }
            match answer {
                Ok(Ok(Some((_, lease)))) => session.go_on(lease, ctx),
                // Who cannot be asked does not lengthen it.
                _ => {
                    tracing::info!(subscription = ?session.subscription.id, "the lease of an open socket is over");
                    session.end(LEASE_EXPIRED, ctx);
                }
            }
        };
        ctx.spawn(asked.into_actor(self).map(heard));
    }

    /// The lease ends so long from now; what has been withheld is delivered.
    pub(super) fn go_on(&mut self, lease: Duration, ctx: &mut WebsocketContext<Self>) {
        self.lease_end = Instant::now() + lease;
        self.watch_lease(ctx);
        for message in self.withheld.take().unwrap_or_default() {
            Handler::<ToSocket>::handle(self, message, ctx);
        }
    }
}
