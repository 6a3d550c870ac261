//! What comes in over a socket, one frame after the other (FC-WSC-03, FC-WSC-05). No socket in it.

use std::{io::ErrorKind, num::NonZeroU32};

use actix_http::ws::ProtocolError;
use actix_web::error::PayloadError;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use shared::{
    protocol::answer::Frame,
    settings::Limits,
    telemetry::metrics::{Limit, METRICS},
};

use super::close::Closing;

/// Frames in a row that may be no JSON object.
const MAX_BROKEN: u32 = 10;
const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// What the session has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The subscriber answered a notification.
    Answer {
        /// The `id` of the notification.
        id: String,
        /// Its HTTP status.
        status: u16,
    },
    /// Nothing.
    Nothing,
    /// The frame was no JSON object: count it.
    Broken,
    /// Close the socket.
    Close(Closing),
}

/// What the frames so far have been.
pub struct Frames {
    rate: DefaultDirectRateLimiter,
    pings: DefaultDirectRateLimiter,
    broken_in_a_row: u32,
    /// A text message that has begun and not ended.
    parts: Option<Vec<u8>>,
}

impl Frames {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        let rate = |per_sec: u32| {
            let per_sec = NonZeroU32::new(per_sec).unwrap_or(NonZeroU32::MIN);
            // Twice as many at once: what a network holds up comes together.
            RateLimiter::direct(Quota::per_second(per_sec).allow_burst(per_sec.saturating_mul(TWO)))
        };
        Self {
            rate: rate(limits.frames_per_sec),
            pings: rate(limits.pings_per_sec),
            broken_in_a_row: 0,
            parts: None,
        }
    }

    /// One more frame that is not needed.
    pub fn is_one_too_many(&self) -> Option<Closing> {
        Self::count(&self.rate, Limit::FramesPerSec)
    }

    /// One more ping, each of which costs a pong.
    pub fn is_one_ping_too_many(&self) -> Option<Closing> {
        Self::count(&self.pings, Limit::PingsPerSec)
    }

    fn count(rate: &DefaultDirectRateLimiter, limit: Limit) -> Option<Closing> {
        rate.check().is_err().then(|| {
            METRICS.limited.with(limit).inc();
            Closing::Flood
        })
    }

    /// A whole text message.
    pub fn text(&mut self, text: &str) -> Heard {
        match Frame::read(text) {
            Frame::Broken => {
                self.broken_in_a_row += 1;
                if self.broken_in_a_row >= MAX_BROKEN {
                    Heard::Close(Closing::BadFrames)
                } else {
                    Heard::Broken
                }
            }
            Frame::Other => {
                self.broken_in_a_row = 0;
                Heard::Nothing
            }
            Frame::Answer { id, status } => {
                self.broken_in_a_row = 0;
                Heard::Answer { id, status }
            }
        }
    }

    /// The first part of a text message that comes in several frames.
    pub fn first(&mut self, part: &[u8]) -> Heard {
        self.parts = Some(part.to_vec());
        Heard::Nothing
    }

    /// A further part; with `is_last` the message is whole. Together they may be as large as one
    /// frame may.
    pub fn part(&mut self, part: &[u8], is_last: bool, max_bytes: usize) -> Heard {
        let Some(parts) = &mut self.parts else { return Heard::Close(Closing::BadFrames) };
        if parts.len() + part.len() > max_bytes {
            return Heard::Close(Closing::TooLarge);
        }
        parts.extend_from_slice(part);
        if !is_last {
            return Heard::Nothing;
        }
        let whole = self.parts.take().unwrap_or_default();
        match std::str::from_utf8(&whole) {
            Ok(text) => self.text(text),
            Err(_) => Heard::Close(Closing::NoText),
        }
    }
}

/// How a socket is closed whose bytes are no frames; `None` when the connection has gone.
pub fn closing(error: &ProtocolError) -> Option<Closing> {
    match error {
        ProtocolError::Overflow => Some(Closing::TooLarge),
        // The codec knows no better words for reserved bits, and none at all for text that is none.
        ProtocolError::Io(error) if error.kind() == ErrorKind::InvalidData => Some(Closing::Protocol),
        ProtocolError::Io(error) => closing_for(&error.to_string()),
        _ => Some(Closing::Protocol),
    }
}

/// Of these errors the stream of messages leaves nothing but their text.
fn closing_for(problem: &str) -> Option<Closing> {
    if problem.starts_with("invalid utf-8") || problem.starts_with("incomplete utf-8") {
        Some(Closing::NoText)
    } else {
        (problem == PayloadError::Overflow.to_string()).then_some(Closing::TooLarge)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use bytestring::ByteString;

    use super::*;

    fn frames() -> Frames {
        Frames::new(&Limits { frames_per_sec: 3, pings_per_sec: 1, ..Limits::default() })
    }

    #[test]
    fn more_frames_or_pings_than_may_be_close_the_socket() {
        let frames = frames();
        assert_eq!((0..6).find_map(|_| frames.is_one_too_many()), None);
        assert_eq!(frames.is_one_too_many(), Some(Closing::Flood));
        assert_eq!((0..2).find_map(|_| frames.is_one_ping_too_many()), None);
        assert_eq!(frames.is_one_ping_too_many(), Some(Closing::Flood));
    }

    #[test]
    fn text_that_is_none_is_told_from_a_connection_that_breaks() {
        for bytes in [b"\xff".as_slice(), b"\xe2\x82"] {
            let problem = ByteString::try_from(Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
            let error = ProtocolError::Io(std::io::Error::other(problem));
            assert_eq!(closing(&error), Some(Closing::NoText));
        }
        assert_eq!(closing(&ProtocolError::Io(std::io::Error::other("payload reached EOF"))), None);
        let too_large = std::io::Error::other(PayloadError::Overflow.to_string());
        assert_eq!(closing(&ProtocolError::Io(too_large)), Some(Closing::TooLarge));
        assert_eq!(closing(&ProtocolError::UnmaskedFrame), Some(Closing::Protocol));
        let reserved = std::io::Error::new(ErrorKind::InvalidData, "reserved bits");
        assert_eq!(closing(&ProtocolError::Io(reserved)), Some(Closing::Protocol));
    }

    #[test]
    fn ten_broken_frames_in_a_row_close_the_socket() {
        let mut frames = frames();
        for _ in 0..9 {
            assert_eq!(frames.text("nonsense"), Heard::Broken, "FC-WSC-05");
        }
        assert_eq!(frames.text(r#"{"hub.channel.endpoint":"x"}"#), Heard::Nothing, "FC-WSC-05");
        for _ in 0..9 {
            assert_eq!(frames.text("nonsense"), Heard::Broken, "FC-WSC-05");
        }
        assert_eq!(frames.text("nonsense"), Heard::Close(Closing::BadFrames), "FC-WSC-05");
    }

    #[test]
    fn a_message_in_several_frames_is_joined_up_to_the_limit() {
        let mut frames = frames();
        frames.first(br#"{"id":"#);
        assert_eq!(frames.part(br#""a""#, false, 100), Heard::Nothing);
        assert_eq!(frames.part(b"}", true, 100), Heard::Answer { id: "a".into(), status: 200 }, "FC-WSC-03");
        frames.first(b"{");
        assert_eq!(frames.part(&[b' '; 100], false, 100), Heard::Close(Closing::TooLarge), "FC-WSC-05");
        assert_eq!(self::frames().part(b"x", true, 100), Heard::Close(Closing::BadFrames));
    }
}
