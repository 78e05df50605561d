//! Lines that wait to be written, and the one thread that writes them.
//!
//! Whoever logs only adds to a queue, which has a bound: a pipe that nobody reads, a full disk or a
//! stopped terminal stands this thread still and no other. (`O_NONBLOCK` would be set for everybody
//! who shares the descriptor.) What does not fit is dropped and counted. A line that cannot be
//! written stays where it is and is tried again at a calm pace: a disk that has room again, or a
//! reader that comes back, gets it.
//! Of a line that a full disk has cut, the beginning stays in the file as a line of its own, and the
//! line is written anew as a whole (see `sink`).
//! Invariant: no error of a write is told on the way on which it has happened.

use std::{
    io,
    ops::ControlFlow,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{repeats, sink::Sink};
use crate::thread::Inbox;

/// What a pipe takes as a whole, so that lines of several processes never mix. Units: bytes.
/// Source: pipe(7), `PIPE_BUF`.
pub(super) const WHOLE_BYTES: usize = 4096;

/// Before a line is tried again that could not be written.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(1);

/// A buffer beyond this is not kept for the next lines. Units: bytes.
const KEPT_BYTES: usize = 64 << 10;

/// Everything that waits.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// What the writer has in its hands. Units: bytes.
    taken: usize,
    /// How many lines that was at first.
    taken_lines: u64,
    /// The last attempt to write has failed.
    failing: bool,
    /// Where lines go from now on.
    sink: Option<OwnedFd>,
}

/// The lines of this process.
#[derive(Debug)]
pub(super) struct Lines {
    waiting: Inbox<Waiting>,
    /// Of the queue and what is being written. Units: bytes.
    bound: AtomicUsize,
    /// The same, for a look without the lock.
    unwritten: AtomicUsize,
    /// Lines, since the process has begun.
    dropped: AtomicU64,
    /// Those of them that a line has told of.
    told: AtomicU64,
}

/// See [`Lines`].
pub(super) static LINES: Lines = Lines {
    waiting: Inbox::new(Waiting {
        bytes: Vec::new(),
        taken: 0,
        taken_lines: 0,
        failing: false,
        sink: None,
    }),
    bound: AtomicUsize::new(usize::MAX),
    unwritten: AtomicUsize::new(0),
    dropped: AtomicU64::new(0),
    told: AtomicU64::new(0),
};

impl Lines {
    /// Has everything written to `sink`, by a thread of its own.
    pub(super) fn start(&'static self, sink: OwnedFd, bound: usize) -> io::Result<()> {
        self.bound.store(bound, Relaxed);
        thread::Builder::new().name("log".to_owned()).spawn(move || self.write_on(sink))?;
        Ok(())
    }

    /// Queues `line`, which ends with a line's end.
    pub(super) fn push(&self, line: &[u8]) {
        let fits = self.waiting.tell(|waiting| {
            let all = waiting.bytes.len() + waiting.taken + line.len();
            let fits = all <= self.bound.load(Relaxed);
            if fits {
                waiting.bytes.extend_from_slice(line);
                self.unwritten.store(all, Relaxed);
            }
            fits
        });
        if !fits {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Has what waits, and what comes, written to `sink`.
    pub(super) fn redirect(&self, sink: OwnedFd) {
        self.waiting.tell(|waiting| waiting.sink = Some(sink));
    }

    /// Has the writer look at the repeats again.
    pub(super) fn poke(&self) {
        self.waiting.tell(|_| ());
    }

    /// Waits until everything is written, at most `time`, and not where writing fails. Whether it is.
    pub(super) fn settle(&self, time: Duration) -> bool {
        let is_written = |it: &Waiting| it.bytes.is_empty() && it.taken == 0;
        self.waiting.wait_for(time, |it| is_written(it) || it.failing);
        is_written(&self.waiting.lock())
    }

    /// What is not written. Units: bytes.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.load(Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Lines that are not written, those in the writer's hands among them.
    pub(super) fn left(&self) -> u64 {
        let waiting = self.waiting.lock();
        count(&waiting.bytes) + if waiting.taken > 0 { waiting.taken_lines } else { 0 }
    }

    fn write_on(&self, sink: OwnedFd) {
        let mut batch = Vec::new();
        let mut sink = Sink::new(sink);
        loop {
            self.next(&mut batch, &mut sink);
            let mut rest = &*batch;
            while !rest.is_empty() {
                match sink.write(piece(rest)) {
                    Ok(count) => {
                        rest = &rest[count..];
                        self.written(count);
                    }
                    Err(_) => self.put_off(&mut sink),
                }
            }
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            if self.unwritten() <= self.bound.load(Relaxed) / 2 {
                self.own_up();
            }
            repeats::tell(Instant::now());
        }
    }

    /// Takes everything out, once there is something, or something is due.
    fn next(&self, batch: &mut Vec<u8>, sink: &mut Sink) {
        self.waiting.wait(|waiting| {
            if let Some(other) = waiting.sink.take() {
                *sink = Sink::new(other);
            }
            let due = repeats::due();
            if waiting.bytes.is_empty() && due.is_none_or(|due| Instant::now() < due) {
                return ControlFlow::Continue(due);
            }
            std::mem::swap(batch, &mut waiting.bytes);
            waiting.taken = batch.len();
            waiting.taken_lines = count(batch);
            ControlFlow::Break(())
        });
    }

    fn written(&self, count: usize) {
        self.waiting.tell(|waiting| {
            waiting.taken -= count;
            waiting.failing = false;
            self.unwritten.store(waiting.bytes.len() + waiting.taken, Relaxed);
        });
    }

    /// Waits before another attempt, or for another sink.
    fn put_off(&self, sink: &mut Sink) {
        let again = Instant::now() + RETRY_TIME;
        self.waiting.tell(|waiting| waiting.failing = true);
        self.waiting.wait(|waiting| match waiting.sink.take() {
            Some(other) => {
                *sink = Sink::new(other);
                ControlFlow::Break(())
            }
            None if Instant::now() < again => ControlFlow::Continue(Some(again)),
            None => ControlFlow::Break(()),
        });
    }

    /// Says what was dropped and not told of yet.
    fn own_up(&self) {
        let dropped = self.dropped();
        if let lines @ 1.. = dropped.saturating_sub(self.told.swap(dropped, Relaxed)) {
            tracing::warn!(lines, "lines of the log were dropped: nobody has taken them in time");
        }
    }

    /// The same when nothing comes any more, room or not.
    pub(super) fn own_up_at_end(&self) {
        self.bound.fetch_add(WHOLE_BYTES, Relaxed);
        self.own_up();
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// As many whole lines as a pipe takes in one piece; of a longer line all of it.
fn piece(bytes: &[u8]) -> &[u8] {
    let end = |part: &[u8]| part.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let short = bytes.get(..WHOLE_BYTES).unwrap_or(bytes);
    let first = || bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    &bytes[..end(short).or_else(first).unwrap_or(bytes.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_lines_as_a_pipe_takes_them() {
        assert_eq!(piece(b"a\nbb\nc"), b"a\nbb\n");
        assert_eq!(piece(b"abc"), b"abc");
        let long = [vec![b'x'; 5000], b"\ny\n".to_vec()].concat();
        assert_eq!(piece(&long).len(), 5001, "a long line is one piece");
        let many = b"0123456789\n".repeat(1000);
        let piece = piece(&many);
        assert!(piece.len() <= WHOLE_BYTES && piece.len().is_multiple_of(11), "{}", piece.len());
    }
}
