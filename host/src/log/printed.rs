//! What is printed past the log: by plugins, their dependencies, and runtimes that give up.
//!
//! A print to a pipe that nobody reads blocks whoever prints, and a print to a reader that is gone
//! ends it; neither may happen to a thread that serves. So both standard streams of a process with
//! plugins are a pipe of its own, which this thread reads whatever becomes of the log.
//! In a text log such lines stay as they are; in a JSON log each is a record.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, fcntl_dupfd_cloexec},
    pipe::{PipeFlags, pipe_with},
};

use super::{lines::LINES, record};

/// A longer line is passed on in parts. Units: bytes.
const LINE_BYTES: usize = 8 << 10;

/// After which a line without an end is passed on. Units: seconds.
const UNFINISHED: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Where it is read.
static PIPE: OnceLock<OwnedFd> = OnceLock::new();

/// What was read and is not in the queue yet. Units: bytes.
static IN_HAND: AtomicUsize = AtomicUsize::new(0);

/// Puts a pipe in the place of both standard streams; what standard output was before.
pub(super) fn take() -> io::Result<OwnedFd> {
    let before = fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    if PIPE.set(reader).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    thread::Builder::new().name("printed".to_owned()).spawn(read)?;
    rustix::stdio::dup2_stdout(&writer)?;
    rustix::stdio::dup2_stderr(&writer)?;
    Ok(before)
}

/// What was printed and is not in the queue yet. Units: bytes.
pub(super) fn unread() -> usize {
    let in_pipe = PIPE.get().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
    let in_pipe = usize::try_from(in_pipe.unwrap_or(0)).unwrap_or(usize::MAX);
    in_pipe.saturating_add(IN_HAND.load(Relaxed))
}

fn read() {
    let Some(pipe) = PIPE.get() else { return };
    let (mut piece, mut text) = ([0; LINE_BYTES], Text::default());
    loop {
        let mut list = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        let time = (!text.rest.is_empty()).then_some(&UNFINISHED);
        if poll(&mut list, time) == Ok(0) {
            text.finish();
            continue;
        }
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => return text.finish(),
            Ok(count) => text.add(&piece[..count]),
            Err(Errno::INTR) => {}
            // A pipe of our own: only if it is not there any more.
            Err(_) => return text.finish(),
        }
    }
}

/// Pieces become lines.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The begin of a line.
    rest: Vec<u8>,
}

impl Text {
    /// Passes on every line that is whole by now.
    pub(super) fn add(&mut self, piece: &[u8]) {
        IN_HAND.store(self.rest.len() + piece.len(), Relaxed);
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.ends_with(b"\n") || self.rest.len() >= LINE_BYTES {
                self.finish();
            }
        }
        // What is left is not in the queue, and whoever waits for the queue does not wait for more.
        IN_HAND.store(0, Relaxed);
    }

    /// Passes on what is there.
    pub(super) fn finish(&mut self) {
        if !self.rest.is_empty() {
            LINES.push(&record::printed(&self.rest));
            self.rest.clear();
        }
    }
}
