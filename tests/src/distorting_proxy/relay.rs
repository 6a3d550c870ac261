//! One socket: frames pass both ways as they came, but for those that a distortion concerns.
//!
//! What an app is not shown is answered for it, so that the hub does not take it for unresponsive
//! (FC-SUB-07, FC-WSC-04…08, FC-NOT-08).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use actix_web::web::{self, Bytes};
use futures_util::Stream;
use reqwest::Upgraded;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::frame::{BINARY, CLOSE, Frame, Frames, PING, PONG, TEXT};
use super::json::Json;
use super::message::{Message, Told};
use super::{Distortion, Proxy};

/// For how long a notification waits for the one that is to pass it.
const HELD_FOR: Duration = Duration::from_millis(500);
/// For how long the hub may take to end a connection that the app has ended.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Both directions of a socket.
pub struct Relay {
    proxy: web::Data<Proxy>,
    /// The path of its endpoint.
    path: String,
    to_app: mpsc::Sender<Bytes>,
    to_hub: Mutex<WriteHalf<Upgraded>>,
    /// A Close frame has passed, in either direction.
    is_closed: Cell<bool>,
    /// The hub has ended the subscription, and the app does not know (FC-SUB-07).
    is_kept: Cell<bool>,
    /// The ids that the hub knows, by those that the app was told.
    renamed: RefCell<HashMap<String, String>>,
    /// The ids of what was posted before this connection, if there was another one before.
    missed: RefCell<HashSet<String>>,
}

/// Which notifications of a socket come late.
#[derive(Default)]
struct Order {
    /// Whether this socket is one of those that get another order; unknown until its confirmation.
    is_other: Option<bool>,
    notifications: usize,
    held: Option<Frame>,
}

impl Relay {
    /// A socket that the hub has just accepted.
    pub fn new(
        proxy: web::Data<Proxy>,
        path: String,
        to_app: mpsc::Sender<Bytes>,
        to_hub: WriteHalf<Upgraded>,
    ) -> Relay {
        let mut seen = proxy.seen();
        let comes_back = seen.connects(&path);
        let loses = comes_back && proxy.distortion == Distortion::MissedIsLost;
        let missed = if loses { seen.posted_ids() } else { HashSet::new() };
        drop(seen);
        Relay {
            proxy,
            path,
            to_app,
            to_hub: Mutex::new(to_hub),
            is_closed: Cell::default(),
            is_kept: Cell::default(),
            renamed: RefCell::default(),
            missed: RefCell::new(missed),
        }
    }

    /// Passes frames on until either side ends.
    pub async fn run<H, A>(self, mut from_hub: Frames<H>, mut from_app: Frames<A>)
    where
        H: Stream<Item = Bytes> + Unpin,
        A: Stream<Item = Bytes> + Unpin,
    {
        let has_app_ended = tokio::select! {
            () = self.to_app(&mut from_hub) => false,
            () = self.to_hub(&mut from_app) => true,
        };
        if !self.is_closed.get() {
            self.proxy.seen().breaks(&self.path);
        }
        if has_app_ended {
            // What has been sent to the hub is read there before it hears of the end.
            let _ = self.to_hub.lock().await.shutdown().await;
            let rest = async { while from_hub.next().await.is_some() {} };
            let _ = timeout(END_WITHIN, rest).await;
        }
    }

    async fn to_app<S: Stream<Item = Bytes> + Unpin>(&self, from_hub: &mut Frames<S>) {
        let mut order = Order::default();
        loop {
            let next = match order.held {
                None => Ok(from_hub.next().await),
                Some(_) => timeout(HELD_FOR, from_hub.next()).await,
            };
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.tell_all(order.held.take()).await,
                Err(_) => {
                    self.tell_all(order.held.take()).await;
                    continue;
                }
            };
            if self.proxy.distortion == Distortion::LeaseOutlived && self.is_denial_unasked(&frame) {
                self.is_kept.set(true);
                // From now on the app hears nothing, until it leaves.
                return std::future::pending().await;
            }
            let Some(frame) = self.told(frame).await else { continue };
            if self.comes_late(&frame, &mut order) {
                order.held = Some(frame);
                continue;
            }
            // A Close is the last that is heard.
            let (first, second) = match frame.opcode() {
                CLOSE => (order.held.take(), Some(frame)),
                TEXT => (Some(frame), order.held.take()),
                _ => (Some(frame), None),
            };
            self.tell_all(first.into_iter().chain(second)).await;
        }
    }

    async fn tell_all(&self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.is_closed.set(self.is_closed.get() || frame.opcode() == CLOSE);
            // An app that is gone ends the other direction.
            let _ = self.to_app.send(frame.into_bytes().into()).await;
        }
    }

    async fn tell_hub(&self, frame: Frame) {
        self.is_closed.set(self.is_closed.get() || frame.opcode() == CLOSE);
        let mut to_hub = self.to_hub.lock().await;
        // A hub that is gone ends the other direction.
        if to_hub.write_all(&frame.into_bytes()).await.is_ok() {
            let _ = to_hub.flush().await;
        }
    }

    fn is_denial_unasked(&self, frame: &Frame) -> bool {
        let json = frame.text().and_then(|text| Json::parse(&text));
        let mode = json.and_then(|json| json.string_at(&["hub.mode"]));
        mode.as_deref() == Some("denied") && !self.proxy.seen().has_unsubscribed(&self.path)
    }

    /// What the app is told instead of this frame; `None` for nothing.
    async fn told(&self, frame: Frame) -> Option<Frame> {
        let distortion = self.proxy.distortion;
        match (frame.opcode(), frame.close_code()) {
            (CLOSE, Some(4000)) if distortion == Distortion::ReplacedWith1000 => {
                return Some(closed_with_1000(&frame));
            }
            (CLOSE, Some(1001)) if distortion == Distortion::GoingAwayWith1000 => {
                return Some(closed_with_1000(&frame));
            }
            (PING, _) if distortion == Distortion::NoPings => {
                self.tell_hub(Frame::new(PONG, &frame.payload(), true)).await;
                return None;
            }
            _ => {}
        }
        let Some(message) = frame.text().and_then(|text| Message::read(&text)) else { return Some(frame) };
        let is_missed = self.missed.borrow_mut().remove(message.id());
        let told = if is_missed { Told::Nothing } else { message.told(distortion, &self.proxy.seen()) };
        match told {
            Told::AsItIs => Some(frame),
            Told::Instead(other) => {
                if other.id() != message.id() {
                    let ids = (other.id().to_owned(), message.id().to_owned());
                    self.renamed.borrow_mut().extend([ids]);
                }
                Some(Frame::new(TEXT, other.text().as_bytes(), false))
            }
            Told::Nothing => {
                let answer = json!({"id": message.id(), "status": "200"}).to_string();
                self.tell_hub(Frame::new(TEXT, answer.as_bytes(), true)).await;
                None
            }
        }
    }

    /// Whether a frame is to wait for the next notification (FC-NOT-08).
    fn comes_late(&self, frame: &Frame, order: &mut Order) -> bool {
        if self.proxy.distortion != Distortion::SwappedForOne || order.held.is_some() {
            return false;
        }
        let Some(text) = frame.text() else { return false };
        if order.is_other.is_none() {
            let topic =
                Json::parse(&text).and_then(|json| json.string_at(&["hub.topic"])).unwrap_or_default();
            order.is_other = Some(self.proxy.seen().number_of_socket(&topic).is_multiple_of(2));
        }
        if order.is_other != Some(true) || Message::read(&text).is_none() {
            return false;
        }
        order.notifications += 1;
        order.notifications.is_multiple_of(2)
    }

    async fn to_hub<S: Stream<Item = Bytes> + Unpin>(&self, from_app: &mut Frames<S>) {
        while let Some(frame) = from_app.next().await {
            match frame.opcode() {
                // The hub is not there to agree.
                CLOSE if self.is_kept.get() => {
                    return self.tell_all([Frame::new(CLOSE, &frame.payload(), false)]).await;
                }
                BINARY if self.proxy.distortion == Distortion::BinaryIgnored => {}
                TEXT => self.tell_hub(self.heard(frame)).await,
                _ => self.tell_hub(frame).await,
            }
        }
    }

    /// What the hub is told instead of this answer.
    fn heard(&self, frame: Frame) -> Frame {
        let Some(mut json) = frame.text().and_then(|text| Json::parse(&text)) else { return frame };
        let Some(told) = json.string_at(&["id"]) else { return frame };
        let known = self.renamed.borrow().get(&told).cloned();
        if is_error(&json) {
            self.proxy.seen().fails(known.as_ref().unwrap_or(&told));
        }
        match (known, json.at_mut(&["id"])) {
            (Some(known), Some(id)) => {
                *id = Json::string(&known);
                Frame::new(TEXT, json.to_string().as_bytes(), true)
            }
            _ => frame,
        }
    }
}

/// Whether the status of an answer is an error, be it a number or digits.
fn is_error(answer: &Json) -> bool {
    let status = answer.at(&["status"]).and_then(|status| serde_json::from_str(&status.to_string()).ok());
    match status {
        Some(Value::String(digits)) => digits.parse().is_ok_and(|status: u16| status >= 400),
        Some(Value::Number(number)) => number.as_u64().is_some_and(|status| status >= 400),
        _ => false,
    }
}

/// The same Close frame with the code of an end that was wanted.
fn closed_with_1000(close: &Frame) -> Frame {
    let payload = close.payload();
    let reason = payload.get(2..).unwrap_or_default();
    Frame::new(CLOSE, &[&1000_u16.to_be_bytes(), reason].concat(), false)
}
