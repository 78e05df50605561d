//! Where lines are written, so that a reader of a file finds each of them whole.
//!
//! A pipe takes a piece as a whole. A file on a full disk takes the first part of a line and nothing
//! more, and the processes of a host write to one file: what comes next, from whomever, must not
//! stand on the same line. So who writes to a file looks first whether its last line has an end, and
//! begins with one where it has not; and a line that was cut is written anew, never continued.
//! (A lock would let a stopped process hold up the log of all others, and cutting the file back could
//! take somebody else's line.)
//! Invariant: what is one line of the file was written by one process, and is a whole line of its
//! log or the beginning of one.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, SeekFrom, fcntl_getfl, fstat, seek},
    io::Errno,
};

use super::lines::RETRY_TIME;

/// A write of another process that is seen half done is whole after that.
const WRITING_TIME: Duration = Duration::from_millis(1);

/// What is written to.
#[derive(Debug)]
pub(super) struct Sink {
    descriptor: OwnedFd,
    /// It is a file.
    file: Option<Lines>,
}

/// The file, as far as its lines can be told.
#[derive(Debug)]
struct Lines {
    /// Opened once more, to be read. `None`: that is not allowed, or there is no `/proc`.
    reader: Option<File>,
    /// Each write goes to the end, wherever that is.
    appends: bool,
    /// This process has cut a line there.
    torn: bool,
    /// Where the last whole line of this process has ended.
    ended: u64,
}

impl Sink {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        let is_file = fstat(&descriptor)
            .is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile);
        let file = is_file.then(|| Lines {
            reader: File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok(),
            appends: fcntl_getfl(&descriptor).is_ok_and(|it| it.contains(OFlags::APPEND)),
            torn: false,
            ended: 0,
        });
        Self { descriptor, file }
    }

    /// Writes a part of `lines`, which end with a line's end; how much of them need not be written
    /// again. Of a file that is whole lines.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<usize, Errno> {
        let Some(file) = &mut self.file else { return write(&self.descriptor, lines) };
        let fresh = file.torn || file.is_cut(&self.descriptor);
        let ahead = usize::from(fresh);
        let written = if fresh {
            write(&self.descriptor, &[b"\n", lines].concat())?
        } else {
            write(&self.descriptor, lines)?
        };
        let Some(count) = written.checked_sub(ahead) else { return Ok(0) };
        let whole = lines[..count].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.torn = whole < count;
        file.ended = if file.torn { 0 } else { file.place(&self.descriptor).unwrap_or(0) };
        if whole == 0 {
            // Nothing of the disk is left for it, and trying at once would only leave another part.
            return Err(Errno::NOSPC);
        }
        Ok(whole)
    }
}

impl Lines {
    /// Where the next write goes.
    fn place(&self, descriptor: &OwnedFd) -> Option<u64> {
        if self.appends {
            return u64::try_from(fstat(descriptor).ok()?.st_size).ok();
        }
        seek(descriptor, SeekFrom::Current(0)).ok()
    }

    /// Whether somebody has left a line there without an end.
    fn is_cut(&self, descriptor: &OwnedFd) -> bool {
        let Some(reader) = &self.reader else { return false };
        let mut before = None;
        loop {
            let Some(place) = self.place(descriptor) else { return false };
            if place == 0 || place == self.ended {
                return false;
            }
            let mut last = [0];
            // Nothing is read there where the file was cut behind us.
            let read = reader.read_at(&mut last, place - 1);
            if !matches!(read, Ok(1)) || last == *b"\n" {
                return false;
            }
            if before == Some(place) {
                return true;
            }
            before = Some(place);
            thread::park_timeout(WRITING_TIME);
        }
    }
}

/// Writes a part of `bytes`; how much.
fn write(sink: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::write(sink, bytes) {
            // A device that takes nothing would be asked for ever.
            Ok(0) => return Err(Errno::IO),
            Err(Errno::INTR) => {}
            // Whoever shares it with us has made it so.
            Err(Errno::AGAIN) => {
                let time = Timespec::try_from(RETRY_TIME).ok();
                let mut list = [PollFd::from_borrowed_fd(sink.as_fd(), PollFlags::OUT)];
                if poll(&mut list, time.as_ref()) == Ok(0) {
                    return Err(Errno::AGAIN);
                }
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    fn append(path: &std::path::Path) -> File {
        File::options().append(true).create(true).open(path).unwrap()
    }

    /// Whoever comes first after a part of a line begins a line of its own.
    #[test]
    fn nothing_is_written_behind_a_part_of_a_line() {
        let dir = tempfile::tempdir().unwrap();
        for appends in [true, false] {
            let path = dir.path().join(format!("log-{appends}"));
            let mut before = append(&path);
            before.write_all(b"whole\n{\"a par").unwrap();
            let descriptor = if appends {
                append(&path)
            } else {
                let file = File::options().write(true).open(&path).unwrap();
                seek(&file, SeekFrom::End(0)).unwrap();
                file
            };
            let mut sink = Sink::new(descriptor.into());
            assert_eq!(sink.write(b"one\ntwo\n"), Ok(8));
            assert_eq!(sink.write(b"three\n"), Ok(6));
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, "whole\n{\"a par\none\ntwo\nthree\n", "appends: {appends}");
            // Made empty by whoever keeps it small.
            before.set_len(0).unwrap();
            assert_eq!(sink.write(b"four\n"), Ok(5));
            assert!(fs::read_to_string(&path).unwrap().ends_with("four\n"));
        }
    }

    #[test]
    fn what_is_no_file_is_written_as_it_comes() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let mut sink = Sink::new(writer.into());
        assert!(sink.file.is_none());
        assert_eq!(sink.write(b"no end"), Ok(6));
    }
}
