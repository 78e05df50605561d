//! A connection after `101 Switching Protocols`: a byte stream in the plugin's hands.
//!
//! Owns the host's side of [`abi::Io`] and the plugin's conversation future. Knows nothing of
//! what is spoken.
#![expect(unsafe_code, reason = "crosses the ABI")]

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use hotseat_plugin_api::abi;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    exchange::{Exchange, Lease, RequestBody},
    future::{CallError, PluginFuture},
    lent::{Owner, Shell},
    release::{self, Leaving},
    shield::shield,
    stream::PluginBytes,
    waker,
};

/// What a plugin wants to do with the connection, until the 101 has been sent.
pub struct PluginUpgrade<L: Lease, B: RequestBody> {
    /// Until it has begun.
    upgrade: Option<abi::Upgrade>,
    exchange: Exchange<L, B>,
}

impl<L: Lease, B: RequestBody> std::fmt::Debug for PluginUpgrade<L, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginUpgrade")
    }
}

impl<L: Lease, B: RequestBody> PluginUpgrade<L, B> {
    pub(super) fn new(upgrade: abi::Upgrade, exchange: Exchange<L, B>) -> Self {
        Self { upgrade: Some(upgrade), exchange }
    }

    /// The request it answers.
    pub fn exchange(&self) -> &Exchange<L, B> {
        &self.exchange
    }

    /// Gives the connection to the plugin. `None` when the plugin left the entry out.
    pub fn start<T>(mut self, io: T) -> Option<Conversation<L, B>>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let start = self.upgrade.as_ref()?.start?;
        let abi::Upgrade { data, .. } = self.upgrade.take()?;
        let exchange = self.exchange.clone();
        let io = HostIo::into_abi(io, exchange.clone());
        let entered = exchange.enter();
        // SAFETY: consumes `data`, which is not dropped any more; the exchange keeps the library.
        let future = unsafe { start(data, io) };
        drop(entered);
        Some(Conversation { future: PluginFuture::new(future, exchange) })
    }
}

impl<L: Lease, B: RequestBody> Drop for PluginUpgrade<L, B> {
    fn drop(&mut self) {
        if let Some(upgrade) = self.upgrade.take() {
            release::let_go(Leaving::Upgrade(upgrade, self.exchange.keeper()));
        }
    }
}

/// The plugin's side of an upgraded connection, until it ends.
pub struct Conversation<L: Lease, B: RequestBody> {
    future: PluginFuture<abi::Done, L, B>,
}

impl<L: Lease, B: RequestBody> std::fmt::Debug for Conversation<L, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conversation")
    }
}

impl<L: Lease, B: RequestBody> Conversation<L, B> {
    /// The request it began with.
    pub fn exchange(&self) -> &Exchange<L, B> {
        self.future.exchange()
    }

    /// Runs the conversation until it waits or ends.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if self.exchange().is_cut() {
            return Poll::Ready(Err(CallError::Cut));
        }
        let mut out = MaybeUninit::<abi::Done>::uninit();
        let code = self.future.poll(cx, &mut out);
        Poll::Ready(match code {
            abi::poll::PENDING => {
                self.exchange().wait(cx);
                return Poll::Pending;
            }
            abi::poll::READY | abi::poll::FAILED => {
                // SAFETY: filled with both codes.
                let done = unsafe { out.assume_init() };
                let text = PluginBytes::into_text(done.error, self.exchange().clone());
                if code == abi::poll::READY { Ok(()) } else { Err(CallError::Failed(text)) }
            }
            abi::poll::PANICKED => Err(CallError::Panicked(self.exchange().take_panic())),
            other => Err(CallError::Invalid(format!("with the poll code {other}"))),
        })
    }
}

/// A connection in the plugin's hands.
pub(super) struct HostIo<T, O>(std::marker::PhantomData<(T, O)>);

impl<T, O> HostIo<T, O>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    O: Owner,
{
    const VT: &'static abi::IoVt = &abi::IoVt {
        size: abi::size_of_u32::<abi::IoVt>(),
        read: Self::read,
        write: Self::write,
        flush: Self::flush,
        shutdown: Self::shutdown,
        drop: Self::drop,
    };

    pub(super) fn into_abi(io: T, owner: O) -> abi::Io {
        abi::Io { data: Shell::lend(io, owner), vt: Self::VT }
    }

    /// # Safety
    /// `data` must come from `into_abi` and not be freed yet; `waker` lent for the call.
    unsafe fn with(
        data: *mut (),
        waker: *const abi::Waker,
        work: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> i64 {
        let poll = |io: &mut T, owner: &O| {
            let lease = || owner.waker_lease();
            // SAFETY: the caller's promise.
            let waker = unsafe { waker::to_std(waker, lease) };
            work(Pin::new(io), &mut Context::from_waker(&waker))
        };
        // SAFETY: the caller's promise; the connection is this thread's alone.
        let polled = shield(|| release::scope(|| unsafe { Shell::with(data, poll) }));
        match polled {
            Some(Some(Poll::Pending)) => abi::IO_PENDING,
            Some(Some(Poll::Ready(Ok(count)))) => i64::try_from(count).unwrap_or(i64::MAX),
            Some(Some(Poll::Ready(Err(error)))) => {
                -i64::from(error.raw_os_error().unwrap_or(libc::EIO))
            }
            // Cut at the drain limit.
            Some(None) => -i64::from(libc::ECONNABORTED),
            None => -i64::from(libc::EIO),
        }
    }

    unsafe extern "C" fn read(
        data: *mut (),
        waker: *const abi::Waker,
        buf: *mut u8,
        len: usize,
    ) -> i64 {
        // Without room a null pointer is as good as any other.
        let buf = if len == 0 { std::ptr::NonNull::dangling().as_ptr() } else { buf };
        // SAFETY: the plugin lends `len` bytes; reading treats them as uninitialised.
        let buf = unsafe { std::slice::from_raw_parts_mut(buf.cast::<MaybeUninit<u8>>(), len) };
        let mut buf = ReadBuf::uninit(buf);
        // SAFETY: called with the stream's own data.
        unsafe {
            Self::with(data, waker, |io, cx| {
                io.poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
            })
        }
    }

    unsafe extern "C" fn write(
        data: *mut (),
        waker: *const abi::Waker,
        buf: *const u8,
        len: usize,
    ) -> i64 {
        let buf = abi::Str { ptr: buf, len };
        // SAFETY: called with the stream's own data; the plugin lends the bytes for the call.
        unsafe { Self::with(data, waker, |io, cx| io.poll_write(cx, buf.bytes())) }
    }

    unsafe extern "C" fn flush(data: *mut (), waker: *const abi::Waker) -> i64 {
        // SAFETY: called with the stream's own data.
        unsafe { Self::with(data, waker, |io, cx| io.poll_flush(cx).map_ok(|()| 0)) }
    }

    unsafe extern "C" fn shutdown(data: *mut (), waker: *const abi::Waker) -> i64 {
        // SAFETY: called with the stream's own data.
        unsafe { Self::with(data, waker, |io, cx| io.poll_shutdown(cx).map_ok(|()| 0)) }
    }

    unsafe extern "C" fn drop(data: *mut ()) {
        // SAFETY: made by `into_abi`; called once.
        shield(|| release::scope(|| unsafe { Shell::<T, O>::free(data) }));
    }
}
