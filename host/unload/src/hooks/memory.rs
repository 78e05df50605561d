//! Reading memory of this process that somebody else may protect meanwhile.
//!
//! The kernel copies it, so that a page that is not there ends a read and not the process: an
//! object's data can be protected by its owner, or lie in a file that was cut short.
#![expect(unsafe_code, reason = "asks the kernel to copy memory by address")]

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Units: bytes that are copied at a time.
const PIECE: usize = 64 << 10;
/// Units: bytes of a word.
pub(super) const WORD: usize = size_of::<usize>();

/// Whether process_vm_readv(2) has been refused, as some filters of system calls do.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Copies what is at `address`; how many bytes could be read.
///
/// # Errors
/// The system's own, when this process may not read itself at all.
fn copy(address: usize, into: &mut [u8]) -> io::Result<usize> {
    if !REFUSED.load(Ordering::Relaxed) {
        match copy_by_call(address, into) {
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => return Ok(0),
            Err(_) => REFUSED.store(true, Ordering::Relaxed),
            done => return done,
        }
    }
    copy_by_file(address, into)
}

fn copy_by_call(address: usize, into: &mut [u8]) -> io::Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    // SAFETY: the kernel writes no more than `into` has room for, and checks the other address.
    let count = unsafe {
        libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn copy_by_file(address: usize, into: &mut [u8]) -> io::Result<usize> {
    static MEMORY: OnceLock<io::Result<File>> = OnceLock::new();
    let memory = MEMORY.get_or_init(|| File::open("/proc/self/mem"));
    let memory =
        memory.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    match memory.read_at(into, address as u64) {
        // Nothing is mapped there.
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
        done => done,
    }
}

/// The word at `address`, if one can be read.
pub(super) fn word(address: usize) -> Option<usize> {
    let mut bytes = [0; WORD];
    (copy(address, &mut bytes).ok()? == WORD).then(|| usize::from_ne_bytes(bytes))
}

/// The words from `address` on, as far as they can be read.
pub(super) fn words_from(address: usize) -> impl Iterator<Item = usize> {
    /// Units: bytes. A page has a whole number of them.
    const ROOM: usize = 64 * WORD;
    let mut next = address;
    let piece = move || {
        // Never over a border of pages: the next one may not be there.
        let mut room = [0; ROOM];
        let wanted = (ROOM - next % ROOM) / WORD * WORD;
        // A word over the border, which only a crooked address has.
        let wanted = wanted.max(WORD);
        let count = copy(next, &mut room[..wanted]).unwrap_or_default() / WORD * WORD;
        next = next.checked_add(wanted)?;
        let (words, _) = room[..count].as_chunks::<WORD>();
        let words: Vec<_> = words.iter().map(|bytes| usize::from_ne_bytes(*bytes)).collect();
        (!words.is_empty()).then_some(words)
    };
    std::iter::from_fn(piece).flatten()
}

/// The bytes of `range`, if all of them can be read.
pub(super) fn bytes(range: &Range<usize>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; range.len()];
    (copy(range.start, &mut bytes).ok()? == bytes.len()).then_some(bytes)
}

/// As many of the `most` bytes from `address` on as can be read without a gap.
pub(super) fn up_to(address: usize, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; most];
    let count = copy(address, &mut bytes).unwrap_or_default();
    bytes.truncate(count);
    bytes
}

/// Copies what is at `address`; whether all of it could be read.
pub(super) fn fill(address: usize, into: &mut [u8]) -> bool {
    copy(address, into).is_ok_and(|count| count == into.len())
}

/// The text at `address` up to its NUL, of `most` bytes at most.
pub(super) fn text(address: usize, most: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut piece = [0; 64];
    while text.len() < most {
        // Never over a border of pages: the next one may not be there.
        let at = address.checked_add(text.len())?;
        let room = (piece.len() - at % piece.len()).min(most - text.len());
        let piece = &mut piece[..room];
        let count = copy(at, piece).ok()?;
        if count == 0 {
            return None;
        }
        if let Some(end) = piece[..count].iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Some(text);
        }
        text.extend_from_slice(&piece[..count]);
    }
    None
}

/// Units: bytes of data from which on it is worth asking which pages were ever touched.
const LARGE: usize = 64 << 10;
/// Units: bytes of an entry of the kernel's table of pages.
const ENTRY: usize = 8;
/// The page is in memory, or was swapped out. Source: kernel, `admin-guide/mm/pagemap.rst`.
const TOUCHED: u64 = 1 << 63 | 1 << 62;

/// The parts of `range` that may hold more than the zeros or the bytes of the file that they began
/// with, which are no addresses of this process. All of it where that is not known.
pub(super) fn touched(range: &Range<usize>) -> Vec<Range<usize>> {
    let whole = vec![range.clone()];
    if range.len() < LARGE {
        return whole;
    }
    let page = rustix::param::page_size();
    let first = range.start / page;
    let mut table = vec![0; (range.end.div_ceil(page) - first) * ENTRY];
    let read = File::open("/proc/self/pagemap")
        .and_then(|file| file.read_exact_at(&mut table, (first * ENTRY) as u64));
    if read.is_err() {
        return whole;
    }
    let (entries, _) = table.as_chunks::<ENTRY>();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for (number, entry) in (first..).zip(entries) {
        if u64::from_ne_bytes(*entry) & TOUCHED == 0 {
            continue;
        }
        let (start, end) = ((number * page).max(range.start), (number + 1) * page);
        match parts.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = end.min(range.end),
            None => parts.push(start..end.min(range.end)),
        }
    }
    parts
}

/// Copies words in pieces; its room is used again and again.
pub(super) struct Words {
    room: Vec<u8>,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { room: vec![0; PIECE] }
    }

    /// Shows each aligned word of `range` that can be read, with its address; how many there were.
    /// Pages that cannot be read are passed over: nobody else can use what they hold either.
    ///
    /// # Errors
    /// As for [`copy`].
    pub(super) fn each(
        &mut self,
        range: &Range<usize>,
        look: impl FnMut(usize, usize),
    ) -> io::Result<usize> {
        self.each_near(range, |_| true, look)
    }

    /// As [`each`](Self::each), but only what stands beside a word that is `near`: most are not, and that
    /// is asked of some at a time.
    pub(super) fn each_near(
        &mut self,
        range: &Range<usize>,
        near: impl Fn(usize) -> bool,
        mut look: impl FnMut(usize, usize),
    ) -> io::Result<usize> {
        const BESIDE: usize = 8;
        let page = rustix::param::page_size();
        let (mut at, mut seen) = (range.start.next_multiple_of(WORD), 0);
        let mut most = PIECE;
        while at.saturating_add(WORD) <= range.end {
            let wanted = (range.end - at).min(most) / WORD * WORD;
            let count = copy(at, &mut self.room[..wanted])?;
            let (words, _) = self.room[..count].as_chunks::<WORD>();
            for (first, beside) in words.chunks(BESIDE).enumerate() {
                let any = |any, bytes: &[u8; WORD]| any | near(usize::from_ne_bytes(*bytes));
                if beside.iter().fold(false, any) {
                    for (number, bytes) in (first * BESIDE..).zip(beside) {
                        look(at + number * WORD, usize::from_ne_bytes(*bytes));
                    }
                }
            }
            seen += words.len();
            at += words.len() * WORD;
            if count == wanted {
                most = PIECE;
            } else if wanted > page {
                // What comes before the page that is missing may not have been copied.
                most = page - at % page;
            } else {
                at = (at + 1).next_multiple_of(page);
                most = PIECE;
            }
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::c_void, ptr};

    use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

    use super::*;

    /// Five pages, of which the second and the last are taken away.
    fn with_holes(test: impl FnOnce(usize, usize)) {
        let page = rustix::param::page_size();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping where the kernel likes.
        let at = unsafe { mmap_anonymous(ptr::null_mut(), 5 * page, access, flags) }.unwrap();
        for word in 0..5 * page / WORD {
            // SAFETY: inside of what was mapped above.
            unsafe { at.cast::<usize>().add(word).write(!word) };
        }
        let hole = |number: usize| at.wrapping_byte_add(number * page).cast::<c_void>();
        // SAFETY: nobody else knows of the mapping.
        unsafe { mprotect(hole(1), page, MprotectFlags::empty()) }.unwrap();
        // SAFETY: as above.
        unsafe { munmap(hole(4), page) }.unwrap();
        test(at.addr(), page);
        // SAFETY: as above.
        unsafe { munmap(at, 4 * page) }.unwrap();
    }

    /// Where this process may read itself by the file alone, what is protected is read all the same.
    #[test]
    fn holes_are_passed_over() {
        with_holes(|at, page| {
            let each = page / WORD;
            let mut seen = Vec::new();
            let range = at + 3..at + 5 * page;
            let count = Words::new().each(&range, |_, word| seen.push(!word)).unwrap();
            let expected: Vec<_> = (1..each).chain(2 * each..4 * each).collect();
            assert_eq!((count, seen), (expected.len(), expected));
            assert_eq!(word(at + WORD), Some(!1));
            assert_eq!(word(at + page), None);
            assert_eq!(bytes(&(at + page - 8..at + page + 8)), None);
            assert_eq!(up_to(at + page - 8, 16), (!(each - 1)).to_ne_bytes());
            assert_eq!(text(at + page - 6, 8), None, "a hole before its end");
        });
    }

    /// A gibibyte of which two pages were touched costs no more than these.
    #[test]
    fn what_was_never_touched_is_passed_over() {
        let page = rustix::param::page_size();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let size = 1 << 30;
        // SAFETY: a new mapping where the kernel likes.
        let at = unsafe { mmap_anonymous(ptr::null_mut(), size, access, flags) }.unwrap();
        for offset in [5 * page, size / 2] {
            // SAFETY: inside of what was mapped above.
            unsafe { at.byte_add(offset).cast::<usize>().write(7) };
        }
        let range = at.addr()..at.addr() + size;
        let parts = touched(&range);
        let holds = |offset| parts.iter().any(|part| part.contains(&(at.addr() + offset)));
        assert!(holds(5 * page) && holds(size / 2), "{parts:?}");
        // Whole large pages at most, where the system makes such.
        assert!(parts.iter().map(Range::len).sum::<usize>() <= 8 << 20, "{parts:?}");
        // SAFETY: mapped above, and nobody else knows of it.
        unsafe { munmap(at, size) }.unwrap();
        let small = 16..32;
        assert_eq!(touched(&small), [small]);
    }

    #[test]
    fn both_ways_read_the_same() {
        let here = *b"some words to be read\0and more";
        let at = here.as_ptr().addr();
        let (mut by_call, mut by_file) = ([0; 30], [0; 30]);
        assert_eq!(copy_by_call(at, &mut by_call).unwrap(), 30);
        assert_eq!(copy_by_file(at, &mut by_file).unwrap(), 30);
        assert_eq!((by_call, by_file), (here, here));
        assert_eq!(text(at, 100).unwrap(), b"some words to be read");
        assert_eq!(text(at, 10), None, "too long");
    }

    #[test]
    fn words_are_read_up_to_a_hole() {
        with_holes(|at, page| {
            let each = page / WORD;
            let read = |from: usize| words_from(from).take(each + 1).collect::<Vec<_>>();
            let expected: Vec<_> = (1..each).map(|number| !number).collect();
            assert_eq!(read(at + WORD), expected);
            assert_eq!(words_from(at + 2 * page).take(2 * each).count(), 2 * each);
            assert_eq!((read(at + page), read(usize::MAX - 3)), (vec![], vec![]));
            // A word that reaches into the hole is none.
            assert_eq!(words_from(at + 3).count(), each - 1);
        });
    }
}
