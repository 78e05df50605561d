//! How connections come to a data plane and leave it.
//!
//! Knows nothing of why. What becomes of each connection is its own business (`connection`).
//! What is closed lets its client go by its next answer, and sends a FIN only after `idle_linger`:
//! hyper's graceful shutdown alone would end idle connections under requests that are on their way.

use std::{io, os::fd::OwnedFd, sync::mpsc::sync_channel, time::Duration};

use bytes::Bytes;

use super::DataPlane;
use crate::serve::{mail::Message, passing, socket::Socket};

/// How long a thread may take to let go of the listeners.
const PARK_TIME: Duration = Duration::from_millis(100);

/// Where connections are to go.
#[derive(Debug, Default)]
pub struct Drain {
    /// A connected `SOCK_SEQPACKET` Unix socket with a [`DataPlane::take_over`] at its other end.
    /// `None`: nowhere, they are closed.
    pub successor: Option<OwnedFd>,
}

impl DataPlane {
    /// Every data thread accepts from `sockets` from now on. After [`park`](Self::park) it does so
    /// again.
    ///
    /// # Errors
    /// A descriptor cannot be had.
    pub fn accept(&self, sockets: &[Socket]) -> io::Result<()> {
        self.each(|| {
            let shared = sockets.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
            Ok(Message::Accept(shared))
        })
    }

    /// Accepts no more and closes every copy of the listeners; connections go on as if nothing
    /// was. Waits until it is so, or a moment at most for each thread that turns.
    ///
    /// False: a thread did not say so, because it does not turn. It has not forgotten: it may
    /// accept one more connection, which it serves, before it lets go.
    pub fn park(&self) -> bool {
        let cores = self.balance.cores();
        let (done, dones) = sync_channel(cores);
        let told =
            (0..cores).filter(|it| self.balance.send(*it, Message::Park(done.clone())).is_ok());
        let turns = |core: &usize| !self.balance.seats()[*core].pulse().is_blocked();
        let told = told.filter(turns).count();
        drop(done);
        let parked = (0..told).take_while(|_| dones.recv_timeout(PARK_TIME).is_ok()).count();
        parked == cores
    }

    /// Lets every connection go as soon as nothing is in flight on it; those that come later too.
    /// Waits for nothing.
    ///
    /// With a successor HTTP/1 connections are handed over between two requests, with what was
    /// read of the next one, and their clients notice nothing. One that cannot be handed over is
    /// closed as it is without a successor: its next answer says `Connection: close`, or it ends
    /// after `idle_linger` without a request. HTTP/2 connections get a GOAWAY. What a plugin
    /// speaks after a 101 is left alone.
    ///
    /// # Errors
    /// A descriptor cannot be had.
    pub fn drain(&self, drain: Drain) -> io::Result<()> {
        let Drain { successor } = drain;
        self.each(|| {
            let successor = successor.as_ref().map(OwnedFd::try_clone).transpose()?;
            Ok(Message::Drain(successor))
        })?;
        if let Some(successor) = successor {
            self.hand_on(&successor);
        }
        Ok(())
    }

    /// What waits for threads that do not turn goes over at once: nobody here will serve it.
    fn hand_on(&self, successor: &OwnedFd) {
        for (core, seat) in self.balance.seats().iter().enumerate() {
            while seat.pulse().is_blocked()
                && let Some(accepted) = self.balance.take(core)
            {
                if let Err(error) = passing::send(successor, &accepted) {
                    tracing::debug!(%error, "a connection that waits could not be handed over");
                    self.balance.put_back(core, accepted);
                    break;
                }
                self.balance.left(core);
            }
        }
    }

    /// [`drain`](Self::drain) without a successor.
    pub fn close(&self) {
        self.balance.tell(|| Message::Drain(None));
    }

    /// Serves the connections that a [`drain`](Self::drain) sends through `socket`, until that end
    /// is closed.
    ///
    /// # Errors
    /// A descriptor cannot be had.
    pub fn take_over(&self, socket: OwnedFd) -> io::Result<()> {
        // All of them read: one that is blocked holds nobody up.
        self.each(|| Ok(Message::TakeOver(socket.try_clone()?)))
    }

    /// Serves one connected stream socket as if it had been accepted. `peer` is what plugins and
    /// logs call its other end.
    ///
    /// # Errors
    /// It is no connected stream socket, or the threads have more to do than they can.
    pub fn serve_one(&self, socket: OwnedFd, peer: &str) -> io::Result<()> {
        let accepted = passing::adopt(socket, peer, Bytes::new())?;
        let core = self.balance.choose();
        self.balance.hand_over(core, accepted).map_err(|_| {
            self.balance.left(core);
            io::Error::from(io::ErrorKind::WouldBlock)
        })
    }

    fn each(&self, message: impl Fn() -> io::Result<Message>) -> io::Result<()> {
        for core in 0..self.balance.cores() {
            let sent = self.balance.send(core, message()?);
            sent.map_err(|_| io::Error::other("a data thread takes no messages any more"))?;
        }
        Ok(())
    }
}
