//! The actor around one socket. It decides little: [`Frames`] says what a frame means, the
//! [`Outbox`](super::Outbox) what is confirmed, the relay what is sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Handler, Message, SpawnHandle, StreamHandler};
use actix_http::ws::{Item, ProtocolError};
use actix_web::web;
use actix_web_actors::ws::{self, WebsocketContext};
use bytestring::ByteString;
use shared::{
    protocol::{confirmation, sync_error::Reason},
    store::{Parting, Position, Subscription},
    telemetry::metrics::{Channel, METRICS, Notification},
};

use super::{
    close::Closing,
    frames::{self, Frames, Heard},
    held::Held,
    in_flight::Awaited,
    outbox::SocketHandle,
};
use crate::{node::Node, relay::Joiner};

/// How long after a notification a ping asks whether it has been read, at most: before it is overdue.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Pings in a row that a peer may leave without a pong (FC-WSC-07).
const MAX_MISSED_PONGS: u32 = 2;

/// The codes with which a subscriber says that it leaves on purpose (FC-NOT-05).
const GOODBYES: [u16; 2] = [1000, 1001];

/// What others send to a socket's session.
#[derive(Message)]
#[rtype(result = "()")]
pub enum ToSocket {
    /// A notification.
    Notification {
        /// The frame.
        frame: ByteString,
        /// Its number among those of this socket.
        number: u64,
        /// When the store accepted the event, in milliseconds since 1970.
        accepted_at: u64,
    },
    /// A message about something else than events.
    Text(ByteString),
    /// The subscription as it is from now on, and what remains of its lease: it is confirmed (FC-SUB-04).
    Confirmed(Box<Subscription>, Duration),
    /// The subscription has ended, for this `hub.reason` (FC-SUB-09, FC-SUB-10).
    Ended(String),
    /// Close the socket.
    Close(Closing),
    /// Close it, as the hub is shutting down, once what has been sent is confirmed, and within this time.
    Leave(Duration),
}

/// One socket. It holds its subscription until it is dropped.
pub struct SocketSession {
    pub(super) held: Held,
    pub(super) subscription: Subscription,
    /// When the lease ends.
    pub(super) lease_end: Instant,
    /// What looks at the lease next.
    pub(super) lease_timer: Option<SpawnHandle>,
    /// What has come since the end of the lease, while the store is asked about it.
    pub(super) withheld: Option<Vec<ToSocket>>,
    /// The log's head when the connection took the subscription.
    attached_at: Position,
    /// From where the subscriber is to be served.
    cursor: Position,
    frames: Frames,
    /// The number of the last notification that has been written.
    pub(super) written: u64,
    missed_pongs: u32,
    is_confirming: bool,
    /// It is to be closed once what has been sent is confirmed.
    pub(super) is_leaving: bool,
    pub(super) has_closed: bool,
}

impl SocketSession {
    /// A session for a subscription that `connection` has just taken.
    pub fn new(
        held: Held,
        subscription: Subscription,
        lease: Duration,
        attached_at: Position,
        cursor: Position,
    ) -> Self {
        let frames = Frames::new(&held.node.settings.limits);
        Self {
            held,
            subscription,
            lease_end: Instant::now() + lease,
            lease_timer: None,
            withheld: None,
            attached_at,
            cursor,
            frames,
            written: 0,
            missed_pongs: 0,
            is_confirming: false,
            is_leaving: false,
            has_closed: false,
        }
    }

    pub(super) fn node(&self) -> &web::Data<Node> {
        &self.held.node
    }

    /// Every frame counts but the answers to what was sent: after a while away they come all at once.
    fn hear(&mut self, heard: Heard, ctx: &mut WebsocketContext<Self>) {
        match heard {
            Heard::Nothing => self.count(Frames::is_one_too_many, ctx),
            Heard::Broken => {
                METRICS.bad_frames.inc();
                self.count(Frames::is_one_too_many, ctx);
            }
            Heard::Close(closing) => self.close(closing, ctx),
            Heard::Answer { id, status } => {
                if !self.answered(&id, status) {
                    self.count(Frames::is_one_too_many, ctx);
                }
                self.leave_if_confirmed(ctx);
            }
        }
    }

    fn count(&mut self, too_many: fn(&Frames) -> Option<Closing>, ctx: &mut WebsocketContext<Self>) {
        if let Some(closing) = too_many(&self.frames) {
            self.close(closing, ctx);
        }
    }

    /// The subscriber answered; an error is told to the others (FC-NOT-02).
    /// Says whether it was to something that it had been sent.
    fn answered(&mut self, id: &str, status: u16) -> bool {
        if status < 400 {
            let Some(awaited) = self.held.outbox.in_flight().answer(id) else { return false };
            METRICS.notifications(Channel::Websocket, Notification::Confirmed).inc();
            METRICS.answered(Channel::Websocket, awaited.since.elapsed());
            return true;
        }
        let Some(Awaited { entry, since }) = self.held.outbox.in_flight().refuse(id) else { return false };
        METRICS.answered(Channel::Websocket, since.elapsed());
        METRICS.notifications(Channel::Websocket, Notification::Refused).inc();
        let (node, subscription) = (self.node().clone(), self.subscription.clone());
        let outbox = self.held.outbox.clone();
        actix_web::rt::spawn(async move {
            match node.publisher.report_surely(&subscription, &entry, Reason::Refused(status)).await {
                Ok(_) => outbox.in_flight().reported(entry.position),
                Err(error) => {
                    tracing::error!(%error, topic = ?subscription.topic, "a SyncError could not be published");
                }
            }
        });
        true
    }

    /// Asks, once for all notifications of the last second, whether they have been read.
    fn confirm_soon(&mut self, ctx: &mut WebsocketContext<Self>) {
        if self.is_confirming {
            return;
        }
        self.is_confirming = true;
        let confirm_after = CONFIRM_AFTER.min(self.node().settings.ack_timeout() / 2);
        ctx.run_later(confirm_after, |session, ctx| {
            session.is_confirming = false;
            if session.held.outbox.in_flight().unconfirmed() > 0 {
                session.ping(ctx);
                session.confirm_soon(ctx);
            }
        });
    }

    pub(super) fn ping(&self, ctx: &mut WebsocketContext<Self>) {
        ctx.ping(&self.written.to_be_bytes());
    }

    fn send(&mut self, message: ToSocket, ctx: &mut WebsocketContext<Self>) {
        match message {
            ToSocket::Notification { frame, number, accepted_at } => {
                ctx.text(frame);
                self.written = number;
                METRICS.notifications(Channel::Websocket, Notification::Sent).inc();
                METRICS.delivered(Channel::Websocket, self.node().clock.since(accepted_at));
                self.confirm_soon(ctx);
            }
            ToSocket::Text(text) => ctx.text(text),
            ToSocket::Confirmed(subscription, lease) => {
                self.go_on(lease, ctx);
                self.subscription = *subscription;
                self.confirm(ctx);
            }
            ToSocket::Ended(reason) => self.end(&reason, ctx),
            ToSocket::Close(closing) => self.close(closing, ctx),
            ToSocket::Leave(within) => self.leave(within, ctx),
        }
    }

    fn confirm(&mut self, ctx: &mut WebsocketContext<Self>) {
        let lease = self.lease_end.saturating_duration_since(Instant::now());
        let Subscription { topic, terms, .. } = &self.subscription;
        ctx.text(confirmation::confirmation(topic, &terms.events, lease));
    }

    pub(super) fn end(&mut self, reason: &str, ctx: &mut WebsocketContext<Self>) {
        let Subscription { topic, terms, .. } = &self.subscription;
        ctx.text(confirmation::denial(topic, &terms.events, reason));
        self.close(Closing::Ended, ctx);
    }

    pub(super) fn close(&mut self, closing: Closing, ctx: &mut WebsocketContext<Self>) {
        if self.has_closed {
            return;
        }
        // What it is not sent any more, as it is leaving, makes it no slow reader.
        let is_slow = matches!(closing, Closing::TooSlow | Closing::Unanswered);
        let closing = if self.is_leaving && is_slow { Closing::GoingAway } else { closing };
        self.has_closed = true;
        self.held.parting = closing.parting();
        METRICS.websocket_closed(Some(closing.code()));
        ctx.close(Some(closing.reason()));
        ctx.stop();
    }
}

impl Actor for SocketSession {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        METRICS.connections.inc();
        self.confirm(ctx);
        self.watch_lease(ctx);
        let handle = SocketHandle {
            address: self.held.address,
            subscription: Arc::new(self.subscription.clone()),
            connection: self.held.connection.clone(),
            outbox: self.held.outbox.clone(),
            session: ctx.address(),
        };
        let node = self.node().clone();
        node.sockets.add(handle.clone());
        if node.is_draining() {
            // The upgrade was under way when the drain began.
            return self.close(Closing::GoingAway, ctx);
        }
        let joiner = Joiner::new(self.subscription.clone(), handle, self.attached_at, self.cursor);
        actix_web::rt::spawn(async move { node.relays.join(&node, Box::new(joiner)).await });
        ctx.run_interval(self.node().settings.ping(), |session, ctx| {
            if session.missed_pongs >= MAX_MISSED_PONGS {
                tracing::info!(subscription = ?session.held.address.id, "a peer does not answer pings and is dropped");
                METRICS.websocket_closed(None);
                session.has_closed = true;
                ctx.stop();
                return;
            }
            session.missed_pongs += 1;
            session.ping(ctx);
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        METRICS.connections.dec();
    }
}

impl Handler<ToSocket> for SocketSession {
    type Result = ();

    fn handle(&mut self, message: ToSocket, ctx: &mut Self::Context) {
        if self.has_closed {
            return;
        }
        if self.is_lease_over() {
            self.ask_for_lease(ctx);
        }
        let is_of_a_lease = matches!(&message, ToSocket::Notification { .. } | ToSocket::Text(_));
        if self.is_leaving && is_of_a_lease {
            // It comes to the connection that is made next.
            return;
        }
        match &mut self.withheld {
            Some(withheld) if is_of_a_lease => withheld.push(message),
            _ => self.send(message, ctx),
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for SocketSession {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        if self.has_closed {
            return;
        }
        // Whatever arrives shows that the peer is there.
        self.missed_pongs = 0;
        let max_bytes = self.node().settings.limits.frame_bytes;
        match message {
            Ok(ws::Message::Text(text)) => {
                let heard = self.frames.text(&text);
                self.hear(heard, ctx);
            }
            Ok(ws::Message::Continuation(item)) => {
                let heard = match item {
                    Item::FirstText(part) => self.frames.first(&part),
                    Item::FirstBinary(_) => Heard::Close(Closing::Binary),
                    Item::Continue(part) => self.frames.part(&part, false, max_bytes),
                    Item::Last(part) => self.frames.part(&part, true, max_bytes),
                };
                self.hear(heard, ctx);
            }
            Ok(ws::Message::Binary(_)) => self.close(Closing::Binary, ctx),
            Ok(ws::Message::Ping(payload)) => {
                ctx.pong(&payload);
                self.count(Frames::is_one_ping_too_many, ctx);
            }
            Ok(ws::Message::Pong(payload)) => {
                self.count(Frames::is_one_too_many, ctx);
                if let Ok(number) = <[u8; 8]>::try_from(payload.as_ref()) {
                    let settings = &self.node().settings;
                    let (ack_timeout, is_strict) = (settings.ack_timeout(), settings.syncerror.strict);
                    self.held.outbox.in_flight().pong(
                        u64::from_be_bytes(number),
                        Instant::now(),
                        ack_timeout,
                        is_strict,
                    );
                    self.leave_if_confirmed(ctx);
                }
            }
            Ok(ws::Message::Close(reason)) => {
                let code = reason.as_ref().map(|reason| reason.code.into());
                if !self.has_closed && code.is_some_and(|code: u16| GOODBYES.contains(&code)) {
                    self.held.parting = Parting::Left;
                }
                self.has_closed = true;
                METRICS.websocket_closed(code);
                ctx.close(reason);
                ctx.stop();
            }
            Ok(ws::Message::Nop) => {}
            Err(error) => match frames::closing(&error) {
                Some(closing) => self.close(closing, ctx),
                None => {
                    self.has_closed = true;
                    METRICS.websocket_closed(None);
                    ctx.stop();
                }
            },
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        if !self.has_closed {
            METRICS.websocket_closed(None);
        }
        ctx.stop();
    }
}
