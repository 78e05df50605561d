//! What is to be written on a connection: answers one behind the other, and at most one piece of a
//! plugin that is too large to be copied.

use std::{
    io::{self, IoSlice},
    mem,
    task::{Context, Poll, ready},
};

use bytes::Buf as _;

use super::{Wire, answer};
use crate::{
    plugin::stream::PluginBytes,
    serve::{conn::Conn, hold::Hold, inbound::Inbound},
};

/// Pieces up to this are copied behind their head. Units: bytes.
const COPIED_BYTES: usize = 4 << 10;

/// No more answers are begun while more is not written. Units: bytes.
const FULL_BYTES: usize = 32 << 10;

/// What a buffer keeps of its room once all is written. Units: bytes.
const KEPT_BYTES: usize = 64 << 10;

/// A piece of a body, as the plugin has made it.
pub(in crate::serve) type Piece = PluginBytes<Hold, Inbound>;

/// See the module. In order: `bytes` from `written` on, `piece`, `behind`.
#[derive(Debug, Default)]
pub(in crate::serve) struct Output {
    bytes: Vec<u8>,
    written: usize,
    piece: Option<Piece>,
    behind: Vec<u8>,
    /// What was copied: it goes once it is written, because nobody knows how long its end takes.
    copied: Vec<Piece>,
}

impl Output {
    pub(in crate::serve) fn is_empty(&self) -> bool {
        self.written == self.bytes.len() && self.piece.is_none() && self.behind.is_empty()
    }

    /// Whether nothing is left of anybody.
    pub(in crate::serve) fn is_clean(&self) -> bool {
        self.is_empty() && self.copied.is_empty()
    }

    /// Whether what is there is to be written before there is more.
    pub(in crate::serve) fn is_full(&self) -> bool {
        self.piece.is_some() || self.bytes.len() - self.written >= FULL_BYTES
    }

    /// Where heads and small pieces go; there is no large one.
    pub(in crate::serve) fn bytes(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_none(), "it would go before a piece that came first");
        &mut self.bytes
    }

    /// How much was put there, for [`Self::take_back`].
    pub(in crate::serve) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was put behind `mark`; nothing was written since.
    pub(in crate::serve) fn take_back(&mut self, mark: usize) {
        debug_assert!(self.written <= mark, "it is written");
        self.piece = None;
        self.behind.clear();
        self.bytes.truncate(mark);
    }

    /// A piece of a body; there is no large one before it.
    pub(in crate::serve) fn put(&mut self, piece: Piece, is_chunk: bool) {
        let len = piece.remaining();
        if len == 0 {
            return;
        }
        if is_chunk {
            answer::chunk_head(&mut self.bytes, len as u64);
        }
        let end = if len <= COPIED_BYTES {
            self.bytes.extend_from_slice(piece.chunk());
            self.copied.push(piece);
            &mut self.bytes
        } else {
            self.piece = Some(piece);
            &mut self.behind
        };
        if is_chunk {
            answer::chunk_end(end);
        }
    }

    /// Writes all of it.
    pub(in crate::serve) fn flush(
        &mut self,
        (stream, conn): (&impl Wire, &Conn),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let piece = self.piece.as_ref().map_or(&[][..], |piece| piece.chunk());
            let parts = [&self.bytes[self.written..], piece, &self.behind].map(IoSlice::new);
            let written = stream.poll_write(cx, &parts);
            conn.has_written(written.is_ready());
            self.advance(ready!(written)?);
        }
        conn.all_written();
        self.copied.clear();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        let first = count.min(self.bytes.len() - self.written);
        self.written += first;
        count -= first;
        if self.written < self.bytes.len() {
            return;
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.written = 0;
        let Some(piece) = &mut self.piece else { return };
        let taken = count.min(piece.remaining());
        piece.advance(taken);
        if piece.has_remaining() {
            return;
        }
        self.piece = None;
        // What is behind it is first now.
        mem::swap(&mut self.bytes, &mut self.behind);
        self.written = count - taken;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}
