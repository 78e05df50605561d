//! Panics of the host under a plugin: in a body, in a connection, in their drops.
#![expect(unsafe_code, reason = "calls what a plugin calls")]

use std::{
    io,
    mem::MaybeUninit,
    panic::panic_any,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hotseat_plugin_api::abi;
use hotseat_unload::{LibraryId, LibraryLease};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shield;
use crate::plugin::{
    body::HostBody,
    exchange::{Client, Exchange, Head, Lease, Origin, Prefix},
    instance::Instance,
    lent::{Lent, Owner},
    tests::Played,
    upgrade::HostIo,
    waker::HostWaker,
};

/// Panics wherever it is touched.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any("dropped");
    }
}

impl Body for Bomb {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        panic_any("polled")
    }

    fn size_hint(&self) -> SizeHint {
        panic_any("measured")
    }
}

impl AsyncRead for Bomb {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        panic_any("read")
    }
}

impl AsyncWrite for Bomb {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        panic_any("written")
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic_any("flushed")
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic_any("shut down")
    }
}

struct NoLease;

impl Lease for NoLease {
    fn instance(&self) -> &Instance {
        unreachable!("nothing here calls a plugin")
    }

    fn deadline(&self) -> Option<u64> {
        None
    }

    fn client_gone(&self) -> impl Future<Output = ()> + Unpin + 'static {
        std::future::pending()
    }
}

fn exchange() -> Exchange<NoLease, Bomb> {
    let (parts, ()) = http::Request::new(()).into_parts();
    let origin = Origin { id: 1, prefix: Prefix::default(), peer: Client::new("peer".into()) };
    Exchange::new(Head::of(parts, None), None, origin, NoLease)
}

#[derive(Clone)]
struct NoRequest(Rc<Played>);

impl Owner for NoRequest {
    fn lend(&self, _: Weak<dyn Lent>) {}

    fn waker_lease(&self) -> LibraryLease {
        unreachable!("the host's own waker needs none")
    }

    fn library(&self) -> LibraryId {
        self.0.record().id()
    }
}

#[test]
fn nothing_gets_out() {
    assert_eq!(shield(|| 1), Some(1));
    assert_eq!(shield(|| -> u8 { panic_any("a first one") }), None);
    assert_eq!(shield(|| -> u8 { panic_any(Bomb) }), None);
}

#[test]
fn a_body_that_panics_answers_with_codes() {
    let stream = HostBody::into_abi(Bomb, NoRequest(Rc::new(Played::start())));
    let waker = HostWaker::new(Waker::noop());
    let mut out = MaybeUninit::uninit();
    // SAFETY: a stream of the host has its functions.
    let vt = unsafe { &*stream.vt };
    // SAFETY: a live stream, a live waker, and room for a frame.
    let code = unsafe { (vt.poll_next)(stream.data, waker.as_ptr(), out.as_mut_ptr()) };
    assert_eq!(code, abi::poll::PANICKED);
    // SAFETY: a live stream.
    assert_eq!(unsafe { (vt.len)(stream.data) }, abi::UNKNOWN_LEN);
    // SAFETY: dropped once.
    unsafe { (vt.drop)(stream.data) };
}

#[test]
fn a_connection_that_panics_answers_with_codes() {
    let io = HostIo::into_abi(Bomb, exchange());
    let waker = HostWaker::new(Waker::noop());
    let failed = -i64::from(libc::EIO);
    let mut byte = 0;
    // SAFETY: a connection of the host has its functions.
    let vt = unsafe { &*io.vt };
    // SAFETY: a live connection, a live waker, and one byte.
    assert_eq!(unsafe { (vt.read)(io.data, waker.as_ptr(), &raw mut byte, 1) }, failed);
    // SAFETY: as above; no room needs no address.
    assert_eq!(unsafe { (vt.read)(io.data, waker.as_ptr(), std::ptr::null_mut(), 0) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { (vt.write)(io.data, waker.as_ptr(), &raw const byte, 1) }, failed);
    // SAFETY: as above.
    assert_eq!(unsafe { (vt.flush)(io.data, waker.as_ptr()) }, failed);
    // SAFETY: as above.
    assert_eq!(unsafe { (vt.shutdown)(io.data, waker.as_ptr()) }, failed);
    // SAFETY: dropped once.
    unsafe { (vt.drop)(io.data) };
}
