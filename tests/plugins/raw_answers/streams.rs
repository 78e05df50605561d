//! Bodies that break their word.
#![expect(unsafe_code, reason = "functions that the host calls with raw pointers")]

use hotseat_plugin_api::abi::{
    self, Done, Frame, Future, Headers, Io, Stream, StreamVt, Waker, poll,
};

use crate::{NULL, TEN, bytes, fields::Fields};

/// A stream of [`TEN`] that promises `table.len` bytes.
pub(crate) fn stream(table: &'static StreamVt) -> Stream {
    Stream { data: Box::into_raw(Box::new(0_u32)).cast(), vt: table }
}

unsafe extern "C" fn free(data: *mut ()) {
    // SAFETY: the box made in `stream`; the host frees a stream once.
    drop(unsafe { Box::from_raw(data.cast::<u32>()) });
}

unsafe extern "C" fn ten(data: *mut (), _: *const Waker, out: *mut Frame) -> u32 {
    // SAFETY: the box made in `stream`.
    let polls = unsafe { &mut *data.cast::<u32>() };
    *polls += 1;
    if *polls > 1 {
        return poll::END;
    }
    // SAFETY: the host gives room for one frame.
    unsafe { out.write(Frame { data: bytes(TEN), trailers: Headers::NONE }) };
    poll::READY
}

unsafe extern "C" fn null_piece(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32 {
    // SAFETY: as the caller promises.
    let code = unsafe { ten(data, waker, out) };
    if code == poll::READY {
        // SAFETY: filled on the line before.
        unsafe { (*out).data = NULL };
    }
    code
}

/// Trailers behind half of what it promises.
unsafe extern "C" fn early(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32 {
    // SAFETY: as the caller promises.
    let code = unsafe { ten(data, waker, out) };
    if code != poll::END {
        return code;
    }
    let trailers = Fields::pairs(&[("x-sum", "10")]);
    // SAFETY: the host gives room for one frame.
    unsafe { out.write(Frame { data: bytes(b""), trailers }) };
    poll::READY
}

unsafe extern "C" fn strange_poll(_: *mut (), _: *const Waker, _: *mut Frame) -> u32 {
    77
}

unsafe extern "C" fn five(_: *const ()) -> u64 {
    5
}

unsafe extern "C" fn twenty(_: *const ()) -> u64 {
    20
}

unsafe extern "C" fn unknown(_: *const ()) -> u64 {
    abi::UNKNOWN_LEN
}

type PollNext = unsafe extern "C" fn(*mut (), *const Waker, *mut Frame) -> u32;
type Len = unsafe extern "C" fn(*const ()) -> u64;

const fn table(poll_next: PollNext, len: Len) -> StreamVt {
    StreamVt { size: abi::size_of_u32::<StreamVt>(), poll_next, len, drop: free }
}

pub(crate) static LONGER: StreamVt = table(ten, five);
pub(crate) static SHORTER: StreamVt = table(ten, twenty);
pub(crate) static EARLY: StreamVt = table(early, twenty);
pub(crate) static OPEN: StreamVt = table(ten, unknown);
pub(crate) static STRANGE: StreamVt = table(strange_poll, unknown);
pub(crate) static NULL_PIECE: StreamVt = table(null_piece, unknown);

unsafe extern "C" fn strange_end(_: *mut (), _: *const Waker, _: *mut Done) -> u32 {
    77
}

/// Takes the connection, and says nothing on it.
pub(crate) unsafe extern "C" fn converse(_: *mut (), io: Io) -> Future<Done> {
    Future { data: Box::into_raw(Box::new(io)).cast(), poll: strange_end, drop: free_io }
}

unsafe extern "C" fn free_io(data: *mut ()) {
    // SAFETY: the box made in `converse`; the host frees a future once.
    let io = unsafe { Box::from_raw(data.cast::<Io>()) };
    // SAFETY: a live table, as the host gave it, and the last use of its data.
    unsafe { ((*io.vt).drop)(io.data) };
}
