//! Handing notifications to a socket. The relay pushes, the session answers, and both bounds are
//! here: bytes that the socket has not taken, and notifications that are not confirmed.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix::Addr;
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;
use shared::{
    lock::lock,
    settings::Limits,
    store::{Address, Connection, CursorMove, LogEntry, Position, Subscription},
};

use super::{
    close::Closing,
    in_flight::InFlight,
    session::{SocketSession, ToSocket},
};
use crate::relay::{Followed, Frame};

/// What is on its way to one subscriber, shared by the relay, the session and the socket's body.
#[derive(Default)]
pub struct Outbox {
    in_flight: Mutex<InFlight>,
    following: Mutex<Following>,
    saved: Mutex<Position>,
}

impl Outbox {
    /// For a subscriber that has answered before, or has not.
    pub fn new(answers: bool) -> Self {
        Self { in_flight: Mutex::new(InFlight::new(answers)), ..Self::default() }
    }

    /// Looks at, or changes, what is in flight.
    pub fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        lock(&self.in_flight)
    }

    /// From now on the subscriber is where the relay is.
    pub fn follow(&self, followed: Arc<Followed>) {
        *lock(&self.following) = Following::Relay(followed);
    }

    /// From now on the relay goes on without the subscriber, which is left at `position`.
    pub fn leave_at(&self, position: Position) {
        *lock(&self.following) = Following::LeftAt(position);
    }

    /// The cursor to save, if it has moved since it was saved last.
    fn moved_cursor(&self) -> Option<Position> {
        let followed = {
            // Held while the relay's position is read: the relay leaves the subscriber behind
            // before it moves on.
            let following = lock(&self.following);
            match &*following {
                Following::NotYet => return None,
                Following::Relay(followed) => followed.get(),
                Following::LeftAt(position) => *position,
            }
        };
        // Read after the relay's position: an entry is in flight before it counts as followed.
        let cursor = self.in_flight().cursor(followed);
        // Not only when it is later: after a loss the log may go on at an earlier place.
        (cursor != *lock(&self.saved)).then_some(cursor)
    }

    /// What is to be saved, if the cursor has moved since it was saved last.
    pub fn cursor_move(&self, address: Address, connection: &Connection) -> Option<CursorMove> {
        let cursor = self.moved_cursor()?;
        let answers = self.in_flight().answers();
        Some(CursorMove { address, connection: connection.clone(), cursor, answers })
    }

    /// The store has this cursor.
    pub fn saved(&self, cursor: Position) {
        *lock(&self.saved) = cursor;
    }
}

/// Whether the relay hands its entries to the subscriber.
#[derive(Default)]
enum Following {
    /// It is still being brought up.
    #[default]
    NotYet,
    /// It is where the relay is.
    Relay(Arc<Followed>),
    /// It was left behind here.
    LeftAt(Position),
}

/// A socket, for those who send to it.
#[derive(Clone)]
pub struct SocketHandle {
    /// Where the subscription is that it serves.
    pub address: Address,
    /// The subscription as it was when the socket was opened.
    pub subscription: Arc<Subscription>,
    /// The connection that it is.
    pub connection: Connection,
    /// What is on its way to it.
    pub outbox: Arc<Outbox>,
    /// The session's mailbox.
    pub session: Addr<SocketSession>,
}

impl SocketHandle {
    /// Hands over a notification. An error is the reason for which the socket is being closed.
    pub fn notify(&self, entry: &Arc<LogEntry>, frame: Frame, limits: &Limits) -> Result<(), Closing> {
        let Frame { text: frame, id } = frame;
        let mut in_flight = self.outbox.in_flight();
        if in_flight.unsent_bytes() + frame.len() > limits.unsent_bytes {
            return Err(Closing::TooSlow);
        }
        if in_flight.unconfirmed() >= limits.unanswered {
            return Err(Closing::Unanswered);
        }
        let number = in_flight.push(entry.clone(), id, frame.len(), Instant::now());
        drop(in_flight);
        self.session.do_send(ToSocket::Notification { frame, number, accepted_at: entry.position.millis });
        Ok(())
    }

    /// What asks the store, and changes nothing, whether this connection still holds its
    /// subscription: a cursor that is before every other.
    pub fn ask_whether_held(&self) -> CursorMove {
        CursorMove {
            address: self.address,
            connection: self.connection.clone(),
            cursor: Position::START,
            answers: false,
        }
    }

    /// Has the session ended?
    pub fn is_gone(&self) -> bool {
        !self.session.connected()
    }

    /// The subscription is like this from now on, and its lease lasts so long: confirms it.
    pub fn confirm(&self, subscription: &Subscription, lease: Duration) {
        self.session.do_send(ToSocket::Confirmed(Box::new(subscription.clone()), lease));
    }

    /// The subscription has ended: denies it, and closes.
    pub fn end(&self, reason: &str) {
        self.session.do_send(ToSocket::Ended(reason.to_owned()));
    }

    /// Sends a message that may as well be left out, unless the socket has much to take already.
    pub fn tell_if_it_listens(&self, text: ByteString, limits: &Limits) {
        if self.outbox.in_flight().unsent_bytes() < limits.unsent_bytes && !self.is_gone() {
            self.session.do_send(ToSocket::Text(text));
        }
    }

    /// Has the socket closed, as the hub is shutting down, once what has been sent is confirmed, and within this time.
    pub fn leave(&self, within: Duration) {
        self.session.do_send(ToSocket::Leave(within));
    }

    /// Has the socket closed.
    pub fn close(&self, closing: Closing) {
        self.session.do_send(ToSocket::Close(closing));
    }
}

/// The body of the upgraded response. The server asks it for more when the socket can take more;
/// it then gives all there is, so what was unsent is sent.
pub struct CountedBody<S> {
    body: Pin<Box<S>>,
    outbox: Arc<Outbox>,
}

impl<S> CountedBody<S> {
    /// Wraps a session's stream of bytes.
    pub fn new(body: S, outbox: Arc<Outbox>) -> Self {
        Self { body: Box::pin(body), outbox }
    }
}

impl<S: Stream<Item = Result<Bytes, actix_web::Error>>> Stream for CountedBody<S> {
    type Item = Result<Bytes, actix_web::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.body.as_mut().poll_next(cx);
        if let Poll::Ready(Some(_)) = &polled {
            self.outbox.in_flight().sent();
        }
        polled
    }
}
