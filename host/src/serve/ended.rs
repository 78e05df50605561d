//! The end of an HTTP/1 connection, and what is waited for beside its requests.

mod linger;

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use self::linger::Lingering;
use super::{
    conn::{Conn, Expired},
    io::Stream,
    limit::Limit,
    own::{self, Own},
};

pub(super) use self::linger::{QUICK, linger};

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its last answer written.
    Answered,
    /// As [`Self::Answered`], with more of a request's body to come that nobody wants.
    Unread,
    /// Without a request in time.
    Idle,
    /// By an error or a limit.
    Broken,
}

impl Ended {
    /// Lets the client hear as much as it can. `unread`: as [`Limits::unread_time`].
    ///
    /// [`Limits::unread_time`]: crate::config::Limits::unread_time
    pub(super) async fn see_to(self, stream: &Stream, conn: &Conn, unread: Duration) {
        match self {
            Self::Answered | Self::Idle => Box::pin(linger(stream, QUICK)).await,
            Self::Unread => Box::pin(linger(stream, Lingering::over_a_body(unread))).await,
            Self::Broken => {
                if let Some(own) = conn.broken_off() {
                    Box::pin(break_off(stream, conn, own, unread)).await;
                }
            }
        }
    }
}

/// An answer has failed. Where none of it has gone out there is still time to say so.
async fn break_off(stream: &Stream, conn: &Conn, own: Own, time: Duration) {
    let heard = own != own::GONE && conn.is_unanswered();
    if heard && stream.try_write(&own.to_bytes()).is_ok() {
        conn.count(own);
        return linger(stream, Lingering::over_a_body(time)).await;
    }
    // The client must not take what it has for the whole.
    stream.reset_on_close();
}

/// Ready when a limit has passed; whoever can hear of it is told.
pub(super) fn timed_out(
    stream: &Stream,
    conn: &Conn,
    limit: &mut Limit<'_>,
    cx: &mut Context<'_>,
) -> Poll<Ended> {
    expired(stream, limit, cx).map(|expired| {
        tracing::debug!(
            peer = conn.peer.as_str(),
            limit = expired.as_str(),
            "connection timed out"
        );
        match expired {
            Expired::Head => say_timeout(stream, conn),
            Expired::Idle if conn.is_closing() => return Ended::Idle,
            // What lies in the system's buffers would lie there for long.
            Expired::Write => {
                conn.count(own::GONE);
                conn.break_off(own::GONE);
            }
            Expired::Idle => {}
        }
        Ended::Broken
    })
}

/// The client's end, while it has a request in flight: nobody reads then, and would see it.
#[derive(Default)]
pub(super) struct ClientEnd {
    /// It is gone.
    gone: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// It has closed its side, which somebody wants to know.
    closed: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl ClientEnd {
    /// Ready when it is gone.
    pub(super) fn poll(
        &mut self,
        stream: &Rc<Stream>,
        conn: &Conn,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if !conn.is_busy() {
            return Poll::Pending;
        }
        if let Some(watchers) = conn.watchers() {
            let closed = self.closed.get_or_insert_with(|| {
                let stream = stream.clone();
                Box::pin(async move { stream.closed().await })
            });
            if closed.as_mut().poll(cx).is_ready() {
                self.closed = None;
                watchers.tell();
            }
        }
        let gone = self.gone.get_or_insert_with(|| {
            let stream = stream.clone();
            Box::pin(async move { stream.gone().await })
        });
        gone.as_mut().poll(cx)
    }
}

/// Which limit has passed. A connection with bytes that are only not read yet is not idle.
pub(super) fn expired(
    stream: &Stream,
    limit: &mut Limit<'_>,
    cx: &mut Context<'_>,
) -> Poll<Expired> {
    loop {
        let expired = ready!(limit.poll(cx));
        if expired != Expired::Idle || !stream.has_bytes() {
            return Poll::Ready(expired);
        }
        limit.look_again();
    }
}

/// Whether the connection is closed here and now, to make room for another one. Its place is needed,
/// so the close does not linger; nothing is lost that has come.
pub(super) fn leaves(stream: &Stream, conn: &Conn) -> bool {
    if !conn.makes_room() {
        return false;
    }
    let leaves = !stream.has_bytes();
    if !leaves {
        conn.stays();
    }
    leaves
}

/// A head did not come in time: says so, if the socket takes it at once.
pub(super) fn say_timeout(stream: &Stream, conn: &Conn) {
    conn.count(own::HEADER_TIMEOUT);
    let _ = stream.try_write(&own::HEADER_TIMEOUT.to_bytes());
}
