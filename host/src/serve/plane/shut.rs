//! The last end of the listeners, without a connection reset.
//!
//! A connection is the client's from the end of its handshake on, long before it is accepted; to
//! close a listener with some of them in its queue resets them. So no new handshake is begun
//! ([`sys::filter`]), the queue is emptied, and only then the listener may be closed.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::DataPlane;
use crate::{
    serve::{
        listener,
        socket::{self, Accepted, Socket},
    },
    sys,
};

/// For how long nobody may have come before a TCP listener's queue counts as empty: handshakes that
/// were begun end within it.
const QUIET: Duration = Duration::from_millis(100);

/// How long emptying the queues may take in all.
const SHUT_TIME: Duration = Duration::from_secs(2);

/// Listeners that are being emptied. What is still in their queues when the last copy of them is
/// closed is reset.
#[derive(Debug)]
#[must_use = "the listeners are not emptied before `step` says so"]
pub struct Shutting<'a> {
    plane: &'a DataPlane,
    sockets: &'a [Socket],
    /// Came when no thread could take it.
    waiting: Option<Accepted>,
    last: Instant,
    until: Instant,
}

impl DataPlane {
    /// Begins to empty `sockets`, which nobody else may accept from any more; the data threads are
    /// parked. What comes is served as the course of the plane is: call [`close`](Self::close)
    /// before.
    pub fn begin_shut<'a>(&'a self, sockets: &'a [Socket]) -> Shutting<'a> {
        for socket in sockets {
            let done = match socket {
                Socket::Tcp(listener) => sys::filter::refuse_new(listener),
                // Without its file nobody finds it; who has, is in the queue.
                Socket::Unix(_, path) => fs::remove_file(path),
                // Its name cannot be taken away, and goes with the last copy of the socket.
                Socket::Abstract(..) => Ok(()),
            };
            if let Err(error) = done.or_else(gone_is_gone) {
                tracing::warn!(%error, "a listener goes on taking connections until it is closed");
            }
        }
        if !self.park() {
            tracing::warn!("a data thread still holds the listeners");
        }
        let now = Instant::now();
        Shutting { plane: self, sockets, waiting: None, last: now, until: now + SHUT_TIME }
    }

    /// Empties `sockets` for good: afterwards they may be closed and no connection is reset. Waits
    /// for that, at most 2 s and usually 100 ms; [`begin_shut`](Self::begin_shut) is the same in
    /// steps. False: they are not empty.
    pub fn shut(&self, sockets: &[Socket]) -> bool {
        let mut shutting = self.begin_shut(sockets);
        loop {
            if let Some(emptied) = shutting.step(QUIET) {
                return emptied;
            }
        }
    }
}

/// A file that somebody else has removed is as good.
fn gone_is_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

impl Shutting<'_> {
    /// Takes what is there, else waits for it for at most `time`. `Some`: it is over, and whether
    /// the queues are empty.
    pub fn step(&mut self, time: Duration) -> Option<bool> {
        let came = self.take();
        let now = Instant::now();
        if came.is_ok_and(|came| came) {
            self.last = now;
        }
        let is_tcp = self.sockets.iter().any(Socket::is_tcp);
        let quiet = if is_tcp { QUIET } else { Duration::ZERO };
        let rest = quiet.saturating_sub(now - self.last);
        if now >= self.until {
            tracing::warn!("the listeners could not be emptied in time");
            return Some(false);
        }
        match came {
            // Nobody has to be waited for who cannot be taken now.
            Err(_) => self.wait(&[], time.min(listener::PAUSE)),
            Ok(_) if rest.is_zero() => return Some(true),
            Ok(_) => self.wait(self.sockets, time.min(rest)),
        }
        None
    }

    fn wait(&self, sockets: &[Socket], time: Duration) {
        let mut wanted: Vec<_> = sockets.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
        let time = Timespec::try_from(time.min(self.until - Instant::now().min(self.until))).ok();
        // Woken early is as good.
        let _ = poll(&mut wanted, time.as_ref());
    }

    /// Accepts all that is there; whether it was any. An error: more may be there.
    fn take(&mut self) -> Result<bool, Errno> {
        let mut came = false;
        if let Some(accepted) = self.waiting.take() {
            self.place(accepted)?;
            came = true;
        }
        let limit = self.plane.limits.connections_count;
        for socket in self.sockets {
            loop {
                if self.plane.balance.is_full(limit) {
                    return Err(Errno::AGAIN);
                }
                match socket::accept_one(socket, socket.is_tcp()) {
                    Ok(accepted) => self.place(accepted)?,
                    Err(Errno::AGAIN) => break,
                    Err(error) if socket::is_shortage(error) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%error, "a connection failed before it was accepted");
                        continue;
                    }
                }
                came = true;
            }
        }
        Ok(came)
    }

    fn place(&mut self, accepted: Accepted) -> Result<(), Errno> {
        let balance = &self.plane.balance;
        let core = balance.choose();
        balance.hand_over(core, accepted).map_err(|accepted| {
            balance.left(core);
            self.waiting = Some(accepted);
            Errno::AGAIN
        })
    }
}
