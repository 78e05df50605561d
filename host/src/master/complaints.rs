//! What a worker writes to standard error before it could serve: passed on, and its end kept, so
//! that whoever asked for an upgrade reads why it failed. Afterwards it writes where the master
//! does, so that no line of a worker that serves depends on the master.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use crate::log::Relay;

/// How much is kept. Units: bytes.
const TAIL_BYTES: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pipe: Option<OwnedFd>,
    tail: Vec<u8>,
    log: Relay,
}

impl Complaints {
    pub(super) fn of(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe: Some(pipe), ..Self::default() })
    }

    /// What the event loop waits for.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// Passes on what is there.
    pub(super) fn relay(&mut self) {
        let mut piece = [0; 8192];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut piece) {
                Ok(0) => self.end(),
                Ok(count) => {
                    self.log.add(&piece[..count]);
                    self.tail.extend_from_slice(&piece[..count]);
                    let over = self.tail.len().saturating_sub(TAIL_BYTES);
                    self.tail.drain(..over);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.end(),
            }
        }
    }

    fn end(&mut self) {
        self.pipe = None;
        self.log.finish();
    }

    /// The end of it.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim().to_owned()
    }
}
