//! A frame that says it is too large is refused when it says so (FC-WSC-05).
//!
//! The codec looks at the length of a frame only when all of it is there, and keeps what has come until then: whoever
//! announced a frame without end could fill the memory. So the bytes are looked at on their way to it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

/// The longest head of a frame: two bytes, a length of eight, a mask of four.
const MAX_HEAD: usize = 14;

/// Where in its frames a stream of bytes is.
#[derive(Debug)]
pub struct FrameLengths {
    max_bytes: u64,
    head: [u8; MAX_HEAD],
    /// How much of a head has come.
    had: usize,
    /// How much of a payload is still to come.
    to_come: u64,
}

impl FrameLengths {
    /// At the beginning of a frame.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes: max_bytes as u64, head: [0; MAX_HEAD], had: 0, to_come: 0 }
    }

    /// Follows these bytes; false as soon as a frame is announced that is too large.
    pub fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, rest)) = bytes.split_first() {
            if self.to_come > 0 {
                let here = usize::try_from(self.to_come).unwrap_or(usize::MAX).min(bytes.len());
                self.to_come -= here as u64;
                bytes = &bytes[here..];
                continue;
            }
            self.head[self.had] = *first;
            self.had += 1;
            bytes = rest;
            let Some((head, payload)) = lengths(&self.head[..self.had]) else { continue };
            if payload > self.max_bytes {
                return false;
            }
            if self.had == head {
                (self.had, self.to_come) = (0, payload);
            }
        }
        true
    }
}

/// The length of the head that begins so, and of its payload, once they are known.
fn lengths(head: &[u8]) -> Option<(usize, u64)> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    match second & 0x7f {
        126 => Some((4 + mask, u64::from(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?)))),
        127 => Some((10 + mask, u64::from_be_bytes(head.get(2..10)?.try_into().ok()?))),
        length => Some((2 + mask, u64::from(length))),
    }
}

/// A stream of frames, none of which is too large. It ends with the error that tells of one.
pub struct Limited<S> {
    stream: S,
    lengths: Option<FrameLengths>,
}

impl<S> Limited<S> {
    /// The frames of `stream`.
    pub fn new(stream: S, max_bytes: usize) -> Self {
        Self { stream, lengths: Some(FrameLengths::new(max_bytes)) }
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for Limited<S> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(lengths) = &mut this.lengths else { return Poll::Ready(None) };
        let next = Pin::new(&mut this.stream).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &next
            && !lengths.follow(bytes)
        {
            this.lengths = None;
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let mask_bit = if is_masked { 0x80 } else { 0 };
        let mut bytes = vec![0x81];
        match length {
            0..=125 => bytes.push(mask_bit | length as u8),
            126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(vec![0xff; length + if is_masked { 4 } else { 0 }]);
        bytes
    }

    proptest! {
        #[test]
        fn frames_that_are_small_enough_pass_and_the_first_that_is_not_is_found_by_its_head(
            lengths in prop::collection::vec((0usize..70_000, any::<bool>()), 1..6), piece in 1usize..5000,
        ) {
            let mut bytes = Vec::new();
            for (length, is_masked) in &lengths {
                bytes.extend(frame(*length, *is_masked));
            }
            let mut small = FrameLengths::new(70_000);
            prop_assert!(bytes.chunks(piece).all(|piece| small.follow(piece)));
            // Only the first bytes of one that is announced to be larger.
            let mut large = vec![0x81, 0xff];
            large.extend(70_001u64.to_be_bytes());
            prop_assert!(!large.chunks(piece).all(|piece| small.follow(piece)), "FC-WSC-05");
        }
    }
}
