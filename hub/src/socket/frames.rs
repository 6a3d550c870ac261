//! What comes in over a socket, one frame after the other (FC-WSC-03, FC-WSC-05). No socket in it.

use shared::protocol::answer::Frame;

use super::close::Closing;

/// Frames in a row that may be no JSON object.
const MAX_BROKEN: u32 = 10;

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
#[derive(Default)]
pub struct Frames {
    broken_in_a_row: u32,
    /// A text message that has begun and not ended.
    parts: Option<Vec<u8>>,
}

impl Frames {
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
        // What is not UTF-8 is no JSON object either.
        self.text(std::str::from_utf8(&whole).unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_broken_frames_in_a_row_close_the_socket() {
        let mut frames = Frames::default();
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
        let mut frames = Frames::default();
        frames.first(br#"{"id":"#);
        assert_eq!(frames.part(br#""a""#, false, 100), Heard::Nothing);
        assert_eq!(frames.part(b"}", true, 100), Heard::Answer { id: "a".into(), status: 200 }, "FC-WSC-03");
        frames.first(b"{");
        assert_eq!(frames.part(&[b' '; 100], false, 100), Heard::Close(Closing::TooLarge), "FC-WSC-05");
        assert_eq!(Frames::default().part(b"x", true, 100), Heard::Close(Closing::BadFrames));
    }
}
