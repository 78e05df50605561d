//! What is printed past the log: by plugins, their dependencies, and runtimes that give up.
//!
//! A print to a pipe that nobody reads blocks whoever prints, and a print to a reader that is gone
//! ends it; neither may happen to a thread that serves. So both standard streams of a process with
//! plugins are a pipe of its own, which this thread reads whatever becomes of the log.
//! What the code of a plugin prints goes into the pipe behind a mark that says whose it is (see
//! `hotseat_unload::set_printer`), and becomes a line of that generation. What has no mark (C's `printf`)
//! stays as it is in a text log; in a JSON log each line is a record.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, IoSlice, Write as _},
    mem,
    os::fd::{AsFd, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::fstat,
    io::{Errno, fcntl_dupfd_cloexec},
    pipe::{PipeFlags, pipe_with},
};

use super::{
    lines::{LINES, WHOLE_BYTES},
    plugins, record,
};

/// A longer line is passed on in parts. Units: bytes.
const LINE_BYTES: usize = 8 << 10;

/// After which a line without an end is passed on.
const UNFINISHED: Duration = Duration::from_secs(1);

/// How many may have begun a line; of more, those that began first are passed on.
const PRINTERS: usize = 256;

/// How a mark begins: with a byte that no text has. `MARK GENERATION THREAD STREAM LENGTH`, each with a
/// space behind it, then `LENGTH` bytes.
const MARK: &[u8] = b"\x01hotseat ";

/// A mark, with four numbers of twenty digits at most. Units: bytes.
const MARK_BYTES: usize = MARK.len() + 4 * 21;

/// Where it is read.
static PIPE: OnceLock<OwnedFd> = OnceLock::new();

/// What was read and is not in the queue yet. Units: bytes.
static IN_HAND: AtomicUsize = AtomicUsize::new(0);

/// Which open file our pipe is: its device and its number there.
static INODE: OnceLock<(u64, u64)> = OnceLock::new();

/// Puts a pipe in the place of both standard streams; what standard output was before.
pub(super) fn take() -> io::Result<OwnedFd> {
    let before = fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    if PIPE.set(reader).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    thread::Builder::new().name("printed".to_owned()).spawn(read)?;
    if let Some(inode) = inode(&writer) {
        let _ = INODE.set(inode);
    }
    rustix::stdio::dup2_stdout(&writer)?;
    rustix::stdio::dup2_stderr(&writer)?;
    hotseat_unload::set_printer(print);
    Ok(before)
}

fn inode(file: impl AsFd) -> Option<(u64, u64)> {
    fstat(file).ok().map(|it| (it.st_dev, it.st_ino))
}

/// Writes what the code of a generation prints, with a mark before each piece. Does only what a signal
/// handler may.
fn print(stream: i32, text: &[u8], generation: u64) -> Option<io::Result<usize>> {
    let to = if stream == 1 { rustix::stdio::stdout() } else { rustix::stdio::stderr() };
    // A plugin may have put a file of its own there.
    if inode(to) != INODE.get().copied() {
        return None;
    }
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let mut written = 0;
    // Each with its mark is one piece for the pipe, so that those of several threads do not mix.
    for piece in text.chunks(WHOLE_BYTES - MARK_BYTES) {
        let mut mark = Cursor::new([0; MARK_BYTES]);
        mark.write_all(MARK).ok()?;
        write!(mark, "{generation} {thread} {stream} {} ", piece.len()).ok()?;
        let length = usize::try_from(mark.position()).ok()?;
        let both = [IoSlice::new(&mark.get_ref()[..length]), IoSlice::new(piece)];
        match rustix::io::writev(to, &both) {
            Ok(count) => written += count.saturating_sub(length),
            Err(error) if written == 0 => return Some(Err(error.into())),
            Err(_) => break,
        }
    }
    Some(Ok(written))
}

/// What was printed and is not in the queue yet. Units: bytes.
pub(super) fn unread() -> usize {
    let in_pipe = PIPE.get().and_then(|pipe| rustix::io::ioctl_fionread(pipe).ok());
    let in_pipe = usize::try_from(in_pipe.unwrap_or(0)).unwrap_or(usize::MAX);
    in_pipe.saturating_add(IN_HAND.load(Relaxed))
}

fn read() {
    let Some(pipe) = PIPE.get() else { return };
    let (mut piece, mut pieces) = ([0; LINE_BYTES], Pieces::default());
    loop {
        let mut list = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
        let time = Timespec { tv_sec: UNFINISHED.as_secs().cast_signed(), tv_nsec: 0 };
        let polled = poll(&mut list, (!pieces.is_empty()).then_some(&time));
        pieces.pass_on(Instant::now());
        if polled == Ok(0) {
            continue;
        }
        // What is out of the pipe is in hand: nobody may believe in between that there is nothing.
        IN_HAND.store(piece.len(), Relaxed);
        match rustix::io::read(pipe, &mut piece) {
            Ok(0) => return pieces.finish(),
            Ok(count) => pieces.add(&piece[..count]),
            Err(Errno::INTR) => {}
            // A pipe of our own: only if it is not there any more.
            Err(_) => return pieces.finish(),
        }
    }
}

/// Who has printed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Printer {
    pub(super) generation: u64,
    thread: i32,
    /// 1 or 2.
    pub(super) stream: i32,
}

/// What comes out of the pipe, told apart by who has printed it.
#[derive(Debug, Default)]
struct Pieces {
    /// The begin of a mark, or of what it announces.
    raw: Vec<u8>,
    /// Since when.
    raw_since: Option<Instant>,
    nobodys: Text,
    /// Those that have begun a line.
    marked: BTreeMap<Printer, Text>,
}

/// What the bytes at a mark's first one are.
enum Marked {
    /// Announces so many bytes behind it.
    By(Printer, usize, usize),
    /// Nobody can know yet.
    Unfinished,
    /// Something else.
    No,
}

fn marked(bytes: &[u8]) -> Marked {
    let common = bytes.len().min(MARK.len());
    if bytes[..common] != MARK[..common] {
        return Marked::No;
    }
    let mut at = common;
    let mut number = || {
        let rest = bytes.get(at..)?;
        let length = rest.iter().position(|byte| *byte == b' ')?;
        at += length + 1;
        std::str::from_utf8(&rest[..length]).ok()?.parse::<u64>().ok()
    };
    let numbers = (number(), number(), number(), number());
    let (Some(generation), Some(thread), Some(stream), Some(length)) = numbers else {
        return if bytes.len() < MARK_BYTES { Marked::Unfinished } else { Marked::No };
    };
    let small = (i32::try_from(thread), i32::try_from(stream), usize::try_from(length));
    let (Ok(thread), Ok(stream), Ok(length @ ..WHOLE_BYTES)) = small else { return Marked::No };
    Marked::By(Printer { generation, thread, stream }, at, length)
}

impl Pieces {
    fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.nobodys.rest.is_empty() && self.marked.is_empty()
    }

    fn add(&mut self, piece: &[u8]) {
        self.raw.extend_from_slice(piece);
        let raw = mem::take(&mut self.raw);
        let mut rest = &*raw;
        while !rest.is_empty() {
            let plain = rest.iter().position(|byte| *byte == MARK[0]).unwrap_or(rest.len());
            self.nobodys.add(&rest[..plain]);
            rest = &rest[plain..];
            match marked(rest) {
                _ if rest.is_empty() => {}
                Marked::By(by, head, length) if rest.len() >= head + length => {
                    self.add_by(by, &rest[head..head + length]);
                    rest = &rest[head + length..];
                }
                Marked::By(..) | Marked::Unfinished => break,
                Marked::No => {
                    self.nobodys.add(&rest[..1]);
                    rest = &rest[1..];
                }
            }
        }
        self.raw = rest.to_vec();
        self.raw_since = (!rest.is_empty()).then(Instant::now);
        // What is left is not in the queue, and whoever waits for the queue does not wait for more.
        IN_HAND.store(0, Relaxed);
    }

    fn add_by(&mut self, by: Printer, piece: &[u8]) {
        let text =
            self.marked.entry(by).or_insert_with(|| Text { by: Some(by), ..Text::default() });
        text.add(piece);
        if text.rest.is_empty() {
            self.marked.remove(&by);
        }
    }

    /// Passes on what has waited for its line's end for long enough.
    fn pass_on(&mut self, now: Instant) {
        let is_old = |since: Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= UNFINISHED)
        };
        if is_old(self.raw_since) {
            self.raw_since = None;
            let raw = mem::take(&mut self.raw);
            self.nobodys.add(&raw);
        }
        if is_old(self.nobodys.since) {
            self.nobodys.finish();
        }
        self.marked.retain(|_, text| {
            let is_old = is_old(text.since);
            if is_old {
                text.finish();
            }
            !is_old
        });
        while self.marked.len() > PRINTERS {
            let oldest = self.marked.iter().min_by_key(|(_, text)| text.since).map(|(by, _)| *by);
            if let Some(mut text) = oldest.and_then(|by| self.marked.remove(&by)) {
                text.finish();
            }
        }
    }

    /// Passes on what is there.
    fn finish(&mut self) {
        let raw = mem::take(&mut self.raw);
        self.nobodys.add(&raw);
        self.nobodys.finish();
        for (_, mut text) in mem::take(&mut self.marked) {
            text.finish();
        }
    }
}

/// Pieces become lines.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// The begin of a line.
    rest: Vec<u8>,
    /// Since when there is one.
    since: Option<Instant>,
    by: Option<Printer>,
}

impl Text {
    /// Passes on every line that is whole by now.
    pub(super) fn add(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if self.rest.ends_with(b"\n") || self.rest.len() >= LINE_BYTES {
                self.finish();
            } else {
                self.since = self.since.or_else(|| Some(Instant::now()));
            }
        }
    }

    /// Passes on what is there.
    pub(super) fn finish(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let line = match self.by {
            None => record::printed(&self.rest),
            Some(by) => record::printed_by(by, &plugins::name_of(by.generation), &self.rest),
        };
        LINES.push(&line);
        self.rest.clear();
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(generation: u64, text: &str) -> Vec<u8> {
        let mark = String::from_utf8_lossy(MARK);
        format!("{mark}{generation} 77 2 {} {text}", text.len()).into_bytes()
    }

    /// What has come of it, and what waits for its line's end.
    fn kept(pieces: &Pieces) -> Vec<(u64, String)> {
        let text = |text: &Text| String::from_utf8_lossy(&text.rest).into_owned();
        let nobodys = std::iter::once((0, text(&pieces.nobodys)));
        let marked = pieces.marked.iter().map(|(by, it)| (by.generation, text(it)));
        nobodys.chain(marked).collect()
    }

    #[test]
    fn pieces_are_told_apart_however_they_are_cut() {
        let all =
            [&b"plain "[..], &piece(7, "by \x01seven"), b"\x01 and", &piece(8, "eight")].concat();
        let told = [(0, "plain \x01 and"), (7, "by \x01seven"), (8, "eight")];
        let told = told.map(|(by, text)| (by, text.to_owned()));
        for size in 1..all.len() {
            let mut pieces = Pieces::default();
            all.chunks(size).for_each(|it| pieces.add(it));
            assert_eq!(kept(&pieces), told, "in pieces of {size}");
            assert!(pieces.raw.is_empty());
        }
    }

    #[test]
    fn a_line_without_an_end_is_passed_on_whoever_prints() {
        let mut pieces = Pieces::default();
        pieces.add(&[&piece(7, "seven")[..], b"plain", &piece(8, "eight"), b"\x01hot"].concat());
        pieces.pass_on(Instant::now());
        assert_eq!(kept(&pieces).len(), 3);
        pieces.pass_on(Instant::now() + UNFINISHED);
        assert!(pieces.marked.is_empty() && pieces.raw.is_empty());
        pieces.pass_on(Instant::now() + 2 * UNFINISHED);
        assert!(pieces.is_empty());
        for generation in 0..2000 {
            pieces.add(&piece(generation, "begun"));
            pieces.pass_on(Instant::now());
        }
        assert_eq!(pieces.marked.len(), PRINTERS);
        assert!(pieces.marked.keys().all(|it| it.generation >= 2000 - PRINTERS as u64));
    }

    #[test]
    fn what_only_looks_like_a_mark_is_text() {
        for text in
            ["\x01hotseat x y", "\x01hotseat 1 2 3 999999999 x", "\x01\x01", "\x01hotseat  1 "]
        {
            let mut pieces = Pieces::default();
            pieces.add(text.as_bytes());
            // Nobody waits for its rest for ever.
            pieces.add(&[b'.'; MARK_BYTES]);
            assert_eq!(kept(&pieces)[0].1, format!("{text}{}", ".".repeat(MARK_BYTES)), "{text}");
        }
        assert_eq!(piece(1, "x").len() - 1, MARK.len() + "1 77 2 1 ".len());
    }
}
