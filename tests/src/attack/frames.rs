//! WebSocket frames, right and wrong (RFC 6455, 5.2).

/// A part of a message that has begun.
pub const CONTINUATION: u8 = 0x0;
/// Text.
pub const TEXT: u8 = 0x1;
/// The end.
pub const CLOSE: u8 = 0x8;
/// A ping.
pub const PING: u8 = 0x9;

/// How a frame is made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What it is.
    pub opcode: u8,
    /// Whether it is the last of its message.
    pub is_last: bool,
    /// Bits that must be 0 where no extension was agreed on: `0x40` says that it is compressed.
    pub reserved: u8,
    /// Whether it is masked, as a client's must be.
    pub is_masked: bool,
}

impl Shape {
    /// As a client of good will makes it.
    pub fn good(opcode: u8) -> Shape {
        Shape { opcode, is_last: true, reserved: 0, is_masked: true }
    }

    /// The bytes of a frame with this payload.
    pub fn frame(self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(u8::from(self.is_last) << 7) | self.reserved | self.opcode];
        let mask_bit = u8::from(self.is_masked) << 7;
        match payload.len() {
            length @ 0..=125 => bytes.push(mask_bit | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if self.is_masked {
            // A mask of zeros leaves the payload as it is.
            bytes.extend([0; 4]);
        }
        bytes.extend(payload);
        bytes
    }
}

/// Reads a frame of the hub from the beginning of `bytes`: opcode, payload, and the bytes that it takes.
pub fn read(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, head): (usize, usize) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        length => (usize::from(length), 2),
    };
    let payload = bytes.get(head..head.checked_add(length)?)?;
    Some((first & 0x0f, payload, head + length))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_is_written_without_a_mask_is_read_again() {
        for length in [0, 125, 126, 0xffff, 0x10000] {
            let payload = vec![7; length];
            let frame = Shape { is_masked: false, ..Shape::good(TEXT) }.frame(&payload);
            assert_eq!(read(&frame), Some((TEXT, payload.as_slice(), frame.len())));
            assert_eq!(read(&frame[..frame.len() - 1]), None);
        }
    }
}
