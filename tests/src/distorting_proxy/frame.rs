//! WebSocket frames (RFC 6455, 5.2) as they pass: read whole, sent on byte for byte unless they are to be changed.

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt};

/// A text frame.
pub const TEXT: u8 = 1;
/// A binary frame.
pub const BINARY: u8 = 2;
/// The end.
pub const CLOSE: u8 = 8;
/// Is anybody there?
pub const PING: u8 = 9;
/// Yes.
pub const PONG: u8 = 10;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const MASK_BYTES: usize = 4;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    bytes: Vec<u8>,
    /// How many of the bytes come before the payload.
    head: usize,
}

impl Frame {
    /// A frame that is a whole message. What an app sends is masked: by zeros, which leave it readable.
    pub fn new(opcode: u8, payload: &[u8], is_of_app: bool) -> Frame {
        let mask = if is_of_app { MASKED } else { 0 };
        let mut bytes = vec![FINAL | opcode];
        match payload.len() {
            short @ 0..=125 => bytes.push(mask | short as u8),
            medium @ 126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(mask | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        if is_of_app {
            bytes.extend([0; MASK_BYTES]);
        }
        let head = bytes.len();
        bytes.extend(payload);
        Frame { bytes, head }
    }

    /// The first frame of what has come, which is removed there; `None` while it is not complete.
    fn take(buffer: &mut Vec<u8>) -> Option<Frame> {
        let second = *buffer.get(1)?;
        let (length, mut head) = match second & !MASKED {
            126 => (u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?) as usize, 4),
            127 => (usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?, 10),
            short => (short as usize, 2),
        };
        if second & MASKED != 0 {
            head += MASK_BYTES;
        }
        let end = head.checked_add(length).filter(|end| *end <= buffer.len())?;
        let rest = buffer.split_off(end);
        Some(Frame { bytes: std::mem::replace(buffer, rest), head })
    }

    /// What it is; 0 goes on with the message before it.
    pub fn opcode(&self) -> u8 {
        self.bytes[0] & 0x0f
    }

    /// The payload, without its mask.
    pub fn payload(&self) -> Vec<u8> {
        let payload = &self.bytes[self.head..];
        if self.bytes[1] & MASKED == 0 {
            return payload.to_vec();
        }
        let mask = &self.bytes[self.head - MASK_BYTES..self.head];
        payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
    }

    /// The text of a frame that is a whole text message.
    pub fn text(&self) -> Option<String> {
        (self.bytes[0] == FINAL | TEXT).then(|| String::from_utf8(self.payload()).ok())?
    }

    /// The code of a Close frame that has one.
    pub fn close_code(&self) -> Option<u16> {
        let payload = (self.opcode() == CLOSE).then(|| self.payload())?;
        Some(u16::from_be_bytes(payload.get(..2)?.try_into().ok()?))
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The frames of one direction.
pub struct Frames<S> {
    chunks: S,
    buffer: Vec<u8>,
}

impl<S: Stream<Item = Bytes> + Unpin> Frames<S> {
    /// Reads what comes in these chunks, which end with the connection.
    pub fn new(chunks: S) -> Frames<S> {
        Frames { chunks, buffer: Vec::new() }
    }

    /// The next frame; `None` at the end. Nothing is lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = Frame::take(&mut self.buffer) {
                return Some(frame);
            }
            self.buffer.extend(self.chunks.next().await?);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use futures_util::stream;

    #[tokio::test]
    async fn frames_of_every_length_are_found_however_they_are_cut() {
        for size in [0, 125, 126, 0xffff, 0x1_0000] {
            for is_of_app in [false, true] {
                let frame = Frame::new(TEXT, &vec![b'x'; size], is_of_app);
                let bytes = [frame.clone().into_bytes(), frame.clone().into_bytes()].concat();
                let chunks = bytes.chunks(7).map(Bytes::copy_from_slice).collect::<Vec<_>>();
                let mut frames = Frames::new(stream::iter(chunks));
                for _ in 0..2 {
                    let read = frames.next().await.unwrap();
                    assert_eq!((read.text().unwrap().len(), &read), (size, &frame));
                }
                assert_eq!(frames.next().await, None);
            }
        }
    }

    #[test]
    fn the_mask_is_taken_off_as_rfc_6455_shows() {
        let mut hello = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(Frame::take(&mut hello).unwrap().text().unwrap(), "Hello");
        assert_eq!(Frame::new(CLOSE, &1001_u16.to_be_bytes(), true).close_code(), Some(1001));
    }
}
