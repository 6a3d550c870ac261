//! WebSocket frames, right and wrong (RFC 6455, 5.2).

/// A part of a message that has begun.
pub const CONTINUATION: u8 = 0x0;
/// Text.
pub const TEXT: u8 = 0x1;
/// Bytes.
pub const BINARY: u8 = 0x2;
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
    /// The length that it says it has; that of its payload when there is none.
    pub announced: Option<u64>,
}

impl Shape {
    /// As a client of good will makes it.
    pub fn good(opcode: u8) -> Shape {
        Shape { opcode, is_last: true, reserved: 0, is_masked: true, announced: None }
    }

    /// The bytes of a frame with this payload.
    pub fn frame(self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![(u8::from(self.is_last) << 7) | self.reserved | self.opcode];
        let mask_bit = u8::from(self.is_masked) << 7;
        match self.announced.unwrap_or(payload.len() as u64) {
            length @ 0..=125 => bytes.push(mask_bit | length as u8),
            length @ 126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
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

/// The request that asks for the socket of an endpoint, with these headers besides the usual ones; of a name that stands in
/// both, this one; without a value it is left out.
pub fn upgrade(path: &str, headers: &[(&str, &str)]) -> String {
    let usual = [
        ("Host", "hub"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let kept = usual.iter().filter(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    let all = kept.chain(headers.iter().filter(|(_, value)| !value.is_empty()));
    let lines: String = all.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
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

    #[test]
    fn a_length_may_be_a_lie() {
        let frame = Shape { announced: Some(1 << 63), is_last: false, reserved: 0x40, ..Shape::good(BINARY) }
            .frame(b"");
        assert_eq!(frame[..10], [0x42, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_header_of_the_upgrade_can_be_replaced_and_left_out() {
        let text = upgrade("/ws/e", &[("Upgrade", ""), ("Sec-WebSocket-Version", "8")]);
        assert!(
            text.starts_with("GET /ws/e HTTP/1.1\r\nHost: hub\r\n") && !text.contains("Upgrade: "),
            "{text}"
        );
        assert!(text.contains("Version: 8\r\n") && !text.contains("Version: 13"), "{text}");
    }
}
