//! One WebSocket: what it is told, and what it answers (FC-WSC-01, 03, 05).

use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Handler, Message, StreamHandler};
use actix_web::web;
use actix_web_actors::ws::{self, ProtocolError, WebsocketContext};
use serde_json::Value;

use super::Wrong;
use super::hub::Hub;

/// How late what is late is sent.
const LATE: Duration = Duration::from_millis(100);
/// Frames in a row that may be no JSON object, less one.
const MAX_BROKEN: u8 = 10;

/// What the hub tells a socket to do.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub enum Order {
    Send(String),
    SendLate(String),
    /// End with a Close frame of this code.
    Close(u16),
    /// End without one.
    Cut,
}

/// A connected socket.
pub struct Socket {
    hub: web::Data<Hub>,
    /// Of the subscription.
    id: String,
    /// Frames in a row that were no JSON object.
    broken: u8,
}

impl Socket {
    pub fn new(hub: web::Data<Hub>, id: String) -> Socket {
        Socket { hub, id, broken: 0 }
    }

    fn hear(&mut self, text: &str, ctx: &mut WebsocketContext<Socket>) {
        let Some(Value::Object(object)) = serde_json::from_str(text).ok() else {
            self.broken += 1;
            if self.broken == MAX_BROKEN {
                end(ctx, 1008);
            }
            return;
        };
        self.broken = 0;
        let status = match object.get("status") {
            None | Some(Value::Null) if self.hub.wrong == Wrong::NoStatusRefuses => Some(500),
            None | Some(Value::Null) => Some(200),
            Some(Value::Number(_)) if self.hub.wrong == Wrong::NumericStatus => None,
            Some(Value::Number(number)) => number.as_u64().and_then(|status| u16::try_from(status).ok()),
            Some(digits) => digits.as_str().and_then(|digits| digits.parse().ok()),
        };
        match (object.get("id").and_then(Value::as_str), status) {
            (Some(event), Some(status)) => self.hub.answered(&self.id, event, status),
            _ if self.hub.wrong == Wrong::StrangeObject => end(ctx, 1008),
            _ => {}
        }
    }
}

fn end(ctx: &mut WebsocketContext<Socket>, code: u16) {
    ctx.close(Some(ws::CloseCode::from(code).into()));
    ctx.stop();
}

impl Actor for Socket {
    type Context = WebsocketContext<Socket>;

    fn started(&mut self, ctx: &mut Self::Context) {
        match self.hub.connect(&self.id, ctx.address()) {
            Some(first) => first.into_iter().for_each(|frame| ctx.text(frame)),
            None => end(ctx, 1008),
        }
    }
}

impl Handler<Order> for Socket {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        match order {
            Order::Send(frame) => ctx.text(frame),
            Order::SendLate(frame) => {
                ctx.run_later(LATE, |_, ctx| ctx.text(frame));
            }
            Order::Close(code) => end(ctx, code),
            Order::Cut => ctx.stop(),
        }
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Socket {
    fn handle(&mut self, frame: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        match frame {
            Ok(ws::Message::Text(text)) => self.hear(&text, ctx),
            // What comes in parts is not understood either: answers are short.
            Ok(ws::Message::Binary(_) | ws::Message::Continuation(_)) => end(ctx, 1003),
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(reason)) => {
                if reason.as_ref().is_some_and(|reason| u16::from(reason.code) == 1000) {
                    self.hub.left(&self.id);
                }
                ctx.close(reason);
                ctx.stop();
            }
            Err(ProtocolError::Overflow) => end(ctx, 1009),
            Err(_) => ctx.stop(),
        }
    }
}
