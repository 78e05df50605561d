//! A connection's socket, watched: when a head began, whether writing is stuck.
//!
//! Owns reading and writing. Knows nothing of HTTP.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::{conn::Conn, own::Own};

/// How often it is looked whether a peer has closed its side behind what nobody has read yet.
const CLOSED_LOOK: Duration = Duration::from_millis(100);

/// An accepted socket in the runtime of its core.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Runs the same expression on either kind of socket.
macro_rules! either {
    ($stream:expr, $socket:ident => $work:expr) => {
        match $stream {
            Stream::Tcp($socket) => $work,
            Stream::Unix($socket) => $work,
        }
    };
}

/// As writev(2), which has no way to ask for an error instead of SIGPIPE: a plugin may have set that
/// signal to end the process.
fn send(socket: impl AsFd, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut nothing = SendAncillaryBuffer::default();
    Ok(sendmsg(socket, bufs, &mut nothing, SendFlags::NOSIGNAL)?)
}

impl Stream {
    pub(super) async fn readable(&self) -> io::Result<()> {
        either!(self, socket => socket.readable().await)
    }

    pub(super) fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => socket.try_read(buf))
    }

    pub(super) fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        let bufs = &[IoSlice::new(buf)];
        either!(self, socket => socket.try_io(Interest::WRITABLE, || send(socket, bufs)))
    }

    /// Ends when the peer has gone for good: a reset, not a mere end of its side.
    pub(super) async fn gone(&self) {
        // An error of the wait itself means that the socket is of no more use either.
        let _ = either!(self, socket => socket.ready(Interest::ERROR).await);
    }

    /// Ends when the peer has closed its side, or has gone.
    pub(super) async fn closed(&self) {
        loop {
            match either!(self, socket => socket.ready(Interest::READABLE).await) {
                Ok(ready) if !ready.is_read_closed() => {}
                // An error of the wait itself means that the socket is of no more use either.
                Ok(_) | Err(_) => return,
            }
            // There is something to be read, and the runtime says no more than that until it was.
            tokio::time::sleep(CLOSED_LOOK).await;
        }
    }

    /// How many bytes were read.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(self, socket => socket.poll_read_ready(cx)))?;
            let room = buf.remaining();
            match either!(self, socket => socket.try_read_buf(buf)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) if 0 < count && count < room => {
                    self.has_read_all();
                    return Poll::Ready(Ok(count));
                }
                done => return Poll::Ready(done),
            }
        }
    }

    /// A short read has taken all that there was: the next one waits, instead of asking the system
    /// in vain. What comes after it is announced anew.
    fn has_read_all(&self) {
        let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = either!(self, socket => socket.try_io(Interest::READABLE, nothing));
    }

    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(either!(self, socket => socket.poll_write_ready(cx)))?;
            match either!(self, socket => socket.try_io(Interest::WRITABLE, || send(socket, bufs)))
            {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Whether bytes are there to be read now, asked of the system itself: the runtime may not have
    /// heard of them yet.
    pub(super) fn has_bytes(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        either!(self, socket => recv(socket, &mut [0; 1], flags)).is_ok_and(|(_, count)| count > 0)
    }

    /// The socket itself.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, socket => socket.as_fd())
    }

    /// Makes the close of a connection a reset: the peer must not take what it has got for the whole.
    pub(super) fn reset_on_close(&self) {
        // Where it is not possible, the close is seen as an end too soon.
        let _ = rustix::net::sockopt::set_socket_linger(self.as_fd(), Some(Duration::ZERO));
    }

    /// Ends our side.
    pub(super) fn end(&self) -> io::Result<()> {
        let how = rustix::net::Shutdown::Write;
        either!(self, socket => rustix::net::shutdown(socket, how)).map_err(Into::into)
    }
}

/// What hyper, or a plugin after an upgrade, reads from and writes to.
#[derive(Debug)]
pub(super) struct Io {
    stream: Rc<Stream>,
    conn: Rc<Conn>,
    /// Bytes that were read before: by the sniffer, or by hyper before an upgrade.
    prefix: Bytes,
    /// What is written in place of an error answer of hyper's own, and how long that one was.
    instead: Option<(Bytes, usize)>,
}

impl Io {
    pub(super) fn new(stream: Rc<Stream>, conn: Rc<Conn>, prefix: Bytes) -> Self {
        Self { stream, conn, prefix, instead: None }
    }

    /// The same connection with `prefix` to be read first.
    pub(super) fn rewind(mut self, prefix: Bytes) -> Self {
        // Whoever read the prefix had read ours before.
        debug_assert!(self.prefix.is_empty());
        self.prefix = prefix;
        self
    }

    /// What was read before and nobody has taken yet.
    pub(super) fn into_prefix(self) -> Bytes {
        self.prefix
    }

    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.instead.is_none() && !self.conn.is_answering() && !self.conn.speaks_h2() {
            // hyper refuses what it cannot parse by itself; say why, as everywhere else.
            let own = bufs.iter().find(|buf| !buf.is_empty()).and_then(|it| Own::instead_of(it));
            self.instead = own.map(|own| {
                self.conn.count(own);
                (own.to_bytes(), all)
            });
        }
        while let Some((bytes, _)) = &mut self.instead {
            if bytes.is_empty() {
                let swallowed = self.instead.take().map_or(all, |(_, swallowed)| swallowed);
                return Poll::Ready(Ok(swallowed.min(all)));
            }
            let written = self.stream.poll_write(cx, &[IoSlice::new(bytes)]);
            self.conn.has_written(written.is_ready());
            let count = ready!(written)?;
            bytes::Buf::advance(bytes, count);
        }
        let written = self.stream.poll_write(cx, bufs);
        self.conn.has_written(written.is_ready());
        if matches!(&written, Poll::Ready(Ok(count)) if *count == all) {
            self.conn.all_written();
        }
        written
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let count = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let count = ready!(self.stream.poll_read(cx, buf))?;
        self.conn.has_read(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[IoSlice::new(buf)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.end())
    }
}
