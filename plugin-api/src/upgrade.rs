//! A connection after `101 Switching Protocols`.
//!
//! Owns the byte stream and the hand-over of whoever converses on it. Knows nothing of protocols.
//! Invariant: the connection is closed exactly once, when its [`Io`] is dropped.
#![expect(unsafe_code, reason = "calls the host's table of a byte stream")]

#[cfg(feature = "runtime")]
mod stream;

use std::{
    future::{Future, poll_fn},
    io,
    mem::ManuallyDrop,
    task::{Context, Poll},
};

use crate::{
    Result,
    abi::{self, Done, IO_PENDING, Upgrade},
    guard::guard,
    task, waker,
};

/// A byte stream in both directions.
///
/// # Ownership
/// Owned; dropping it closes the connection.
///
/// # Threads
/// Stays on the thread that it was given on.
#[derive(Debug)]
pub struct Io {
    raw: abi::Io,
}

/// Calls one entry of the host's table and sorts its answer.
macro_rules! call {
    ($io:expr, $cx:expr, $entry:ident $(, $arg:expr)*) => {{
        let vt = $io.raw.vt;
        // SAFETY: the table lives as long as the stream.
        let entry = unsafe { (*vt).$entry };
        waker::with_abi($cx.waker(), |waker| {
            // SAFETY: `data` belongs to the table, and the buffer lives for the call.
            sort(unsafe { entry($io.raw.data, waker $(, $arg)*) })
        })
    }};
}

impl Io {
    /// Reads up to `buf.len()` bytes; 0 when the peer has ended its side.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends what was written and not sent yet.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Ends our side.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown(cx)).await
    }

    /// [`read`](Self::read) as a poll.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        call!(self, cx, read, buf.as_mut_ptr(), buf.len())
    }

    /// Writes some of `bytes` and tells how many.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        call!(self, cx, write, bytes.as_ptr(), bytes.len())
    }

    /// [`flush`](Self::flush) as a poll.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        call!(self, cx, flush).map_ok(drop)
    }

    /// [`shutdown`](Self::shutdown) as a poll.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        call!(self, cx, shutdown).map_ok(drop)
    }
}

/// A count, "not yet", or a negated errno.
fn sort(answer: i64) -> Poll<io::Result<usize>> {
    if answer == IO_PENDING {
        return Poll::Pending;
    }
    Poll::Ready(usize::try_from(answer).map_err(|_| {
        i32::try_from(-answer)
            .map_or_else(|_| io::ErrorKind::Other.into(), io::Error::from_raw_os_error)
    }))
}

impl Drop for Io {
    fn drop(&mut self) {
        // SAFETY: the table lives as long as the stream.
        let close = unsafe { (*self.raw.vt).drop };
        // SAFETY: called once.
        unsafe { close(self.raw.data) }
    }
}

/// Whoever converses, until the host starts or forgets it.
#[derive(Debug)]
pub(crate) struct OwnedUpgrade(pub(crate) Upgrade);

impl OwnedUpgrade {
    pub(crate) fn new<F, C>(converse: C) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
        C: FnOnce(Io) -> F + 'static,
    {
        Self(Upgrade {
            data: Box::into_raw(Box::new(converse)).cast(),
            start: Some(start::<F, C>),
            drop: Some(free::<C>),
        })
    }

    pub(crate) fn into_abi(self) -> Upgrade {
        let this = ManuallyDrop::new(self);
        Upgrade { data: this.0.data, start: this.0.start, drop: this.0.drop }
    }
}

impl Drop for OwnedUpgrade {
    fn drop(&mut self) {
        if let Some(free) = self.0.drop {
            // SAFETY: called once, and only when `start` was not.
            unsafe { free(self.0.data) }
        }
    }
}

unsafe extern "C" fn start<F, C>(data: *mut (), io: abi::Io) -> abi::Future<Done>
where
    F: Future<Output = Result<()>> + 'static,
    C: FnOnce(Io) -> F + 'static,
{
    // SAFETY: the box made in `OwnedUpgrade::new`, consumed here.
    let converse = unsafe { Box::from_raw(data.cast::<C>()) };
    let io = Io { raw: io };
    // The author's closure runs at the first poll, under its guard.
    task::export(async move { converse(io).await })
}

unsafe extern "C" fn free<C>(data: *mut ()) {
    // SAFETY: the box made in `OwnedUpgrade::new`; the host frees what it does not start, once.
    let converse = unsafe { Box::from_raw(data.cast::<C>()) };
    guard(|| drop(converse));
}
