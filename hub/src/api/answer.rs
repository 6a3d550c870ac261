//! Answers that may be large: those that wait for their readers at once share `limits.answers_at_once_bytes`.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::ApiError;
use crate::{
    auth::Caller,
    limits::{AnswerShare, FREE_BYTES, SHARE_BYTES},
    node::Node,
};

/// So much is handed to the connection at a time, which takes more when its client has read: what it is
/// handed it copies.
const PIECE_BYTES: usize = 32_768;

/// The body of an answer, with its share of the room.
pub struct Answer {
    left: Bytes,
    _shares: Vec<AnswerShare>,
}

impl Answer {
    /// Too many for now, if there is no room for it.
    pub fn new(text: String, node: &Node, caller: &Caller) -> Result<Self, ApiError> {
        let counted = text.len().saturating_sub(FREE_BYTES).div_ceil(SHARE_BYTES);
        let shares = (0..counted).map(|_| node.limits.answer_share(caller)).collect::<Result<_, _>>()?;
        Ok(Self { left: text.into(), _shares: shares })
    }
}

impl MessageBody for Answer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.left.len() as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let left = &mut self.get_mut().left;
        let piece = left.split_to(left.len().min(PIECE_BYTES));
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }
}
