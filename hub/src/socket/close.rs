//! Why the hub closes a socket: every code in one table, with what it tells the client to do.

use actix_web_actors::ws::{CloseCode, CloseReason};
use shared::store::Parting;

/// A reason for which the hub closes a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The subscription has ended (FC-SUB-09): the endpoint is gone, subscribe anew.
    Ended,
    /// The hub is shutting down (FC-SUB-11): connect to the same endpoint again.
    GoingAway,
    /// A binary frame came (FC-WSC-05): the client is broken.
    Binary,
    /// Too many frames in a row that are no JSON object (FC-WSC-05): the client is broken.
    BadFrames,
    /// More notifications are unanswered than may be: connect again, and answer.
    Unanswered,
    /// A frame is larger than it may be (FC-WSC-05): the client is broken.
    TooLarge,
    /// The client reads slower than its session moves: connect again, nothing is lost.
    TooSlow,
    /// What comes is no WebSocket (RFC 6455): the client is broken.
    Protocol,
    /// A text message is not UTF-8 (RFC 6455): the client is broken.
    NoText,
    /// More frames or pings come than may (`limits.frames_per_sec`, `limits.pings_per_sec`): the client is broken.
    Flood,
    /// A newer connection to the same endpoint has taken over (FC-WSC-04): do not connect again.
    Replaced,
}

impl Closing {
    /// The code of RFC 6455, or of the range that it leaves to applications.
    pub fn code(self) -> u16 {
        match self {
            Self::Ended => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::NoText => 1007,
            Self::BadFrames | Self::Unanswered | Self::Flood => 1008,
            Self::TooLarge => 1009,
            Self::TooSlow => 1013,
            Self::Replaced => 4000,
        }
    }

    /// What is thought of the subscriber from then on.
    pub fn parting(self) -> Parting {
        match self {
            Self::GoingAway => Parting::SentAway,
            // Nothing is left to be taken again.
            Self::Ended | Self::Replaced => Parting::Left,
            Self::Binary
            | Self::BadFrames
            | Self::Unanswered
            | Self::TooLarge
            | Self::TooSlow
            | Self::Protocol
            | Self::NoText
            | Self::Flood => Parting::Lost,
        }
    }

    /// What the close frame says beside the code.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ended => "the subscription has ended",
            Self::GoingAway => "the hub is shutting down: connect again",
            Self::Binary => "binary frames are not FHIRcast",
            Self::BadFrames => "too many frames that are no JSON object",
            Self::Unanswered => "too many notifications are unanswered",
            Self::TooLarge => "the frame is too large",
            Self::TooSlow => "the socket is read too slowly: connect again",
            Self::Protocol => "this is not the WebSocket protocol",
            Self::NoText => "a text message is not UTF-8",
            Self::Flood => "too many frames in too short a time",
            Self::Replaced => "replaced",
        }
    }

    /// The close frame.
    pub fn reason(self) -> CloseReason {
        CloseReason { code: CloseCode::from(self.code()), description: Some(self.text().to_owned()) }
    }
}
