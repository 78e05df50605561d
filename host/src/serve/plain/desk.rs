//! What a connection works with while it works: buffers for what was read and what is to be written.
//!
//! A thread has as many as it has connections at work, and the one given back last is taken first, so
//! that it is in the caches still. A connection that waits for its client has none.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::{Wire, output::Output};

/// A head that is longer is hyper's. Units: bytes.
const INPUT_BYTES: usize = 8 << 10;

/// Desks that are kept for later.
const KEPT: usize = 64;

/// See the module.
#[derive(Debug)]
pub(in crate::serve) struct Desk {
    input: Box<[u8]>,
    /// What was read and is not used yet lies from `from` to `to`.
    from: usize,
    to: usize,
    pub(in crate::serve) output: Output,
}

/// The desks of one thread that nobody uses.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "one goes from hand to hand with each request")]
pub(in crate::serve) struct Desks(RefCell<Vec<Box<Desk>>>);

impl Desks {
    pub(in crate::serve) fn take(&self) -> Box<Desk> {
        self.0.borrow_mut().pop().unwrap_or_else(|| {
            let input = vec![0; INPUT_BYTES].into();
            Box::new(Desk { input, from: 0, to: 0, output: Output::default() })
        })
    }

    /// `desk` has nothing on it.
    pub(in crate::serve) fn give_back(&self, desk: Box<Desk>) {
        let mut all = self.0.borrow_mut();
        if all.len() < KEPT {
            all.push(desk);
        }
    }
}

impl Desk {
    /// What was read and is not used yet.
    pub(in crate::serve) fn read(&self) -> &[u8] {
        &self.input[self.from..self.to]
    }

    /// Whether there is nothing on it.
    pub(in crate::serve) fn is_clean(&self) -> bool {
        self.from == self.to && self.output.is_clean()
    }

    /// The first `count` bytes are used.
    pub(in crate::serve) fn use_up(&mut self, count: usize) {
        self.from += count;
        debug_assert!(self.from <= self.to, "only what was read is used");
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    /// Whether nothing more can be read.
    pub(in crate::serve) fn is_full(&self) -> bool {
        self.from == 0 && self.to == self.input.len()
    }

    /// Puts down what was read elsewhere; false where there is no room for it.
    pub(in crate::serve) fn put(&mut self, bytes: &[u8]) -> bool {
        let room = self.input.get_mut(self.to..self.to + bytes.len());
        room.is_some_and(|room| {
            room.copy_from_slice(bytes);
            self.to += bytes.len();
            true
        })
    }

    /// Takes what was read and is not used.
    pub(in crate::serve) fn take_read(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(self.read());
        (self.from, self.to) = (0, 0);
        bytes
    }

    /// Reads what has come: how many bytes, 0 at the end. There is room.
    pub(in crate::serve) fn poll_read(
        &mut self,
        stream: &impl Wire,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.to == self.input.len() {
            self.input.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let count = ready!(stream.poll_read(cx, &mut ReadBuf::new(&mut self.input[self.to..])))?;
        self.to += count;
        Poll::Ready(Ok(count))
    }
}
