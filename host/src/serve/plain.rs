//! Plain requests of HTTP/1.1: what they are, what they are read from, and how they are answered.
//!
//! Owns the buffers of a thread and the bytes in them. Knows nothing of connections and calls; who goes
//! from a request to its answer is [`super::thin`].

pub(super) mod answer;
pub(super) mod desk;
pub(super) mod head;
mod output;

use std::{
    io::{self, IoSlice},
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use tokio::io::ReadBuf;

use super::io::Stream;

/// What is read from and written to.
pub(super) trait Wire {
    /// How many bytes were read.
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>>;

    /// As writev(2).
    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;
}

impl Wire for Stream {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buf)
    }

    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, bufs)
    }
}

/// Requests of one thread that went past hyper. Apart from what others write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ThinCount(AtomicU64);

impl ThinCount {
    /// Only its thread counts.
    pub(super) fn add(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
