//! The binary interface between a host and a plugin: plain `repr(C)` data and function pointers.
//!
//! Owns every type that crosses the border. Knows nothing of HTTP libraries, runtimes or loading.
//! Handler authors never need this module; it is what [`export_handler!`](crate::export_handler)
//! fills in and what the host reads.
//!
//! # Invariants
//! - No `std` type, `&'static` reference, `TypeId`, `dyn` trait or panic crosses. Text is [`Str`]
//!   (borrowed) or [`Bytes`] (owned, with its own `drop`).
//! - Whoever made a value frees it: each owned type carries a `drop` function of its maker.
//! - *Fixed* types never change within an ABI major; abi_stable compares their layouts in the
//!   preflight child. *Growing* types begin with `size`, are only ever passed by pointer, which
//!   abi_stable does not follow, and gain fields at their end; a reader must check `size` (see [`entry!`](crate::entry)) first.
//! - An entry that is `None` or lies beyond `size` is absent: the other side skips it.
#![expect(unsafe_code, reason = "the ABI: raw pointers with stated owners and lifetimes")]

pub mod cell;
pub mod heap;
mod log;
pub mod root;
pub mod topic;

pub use log::{Field, LogRecord, LogSpan, field, level};

use abi_stable::StableAbi;

/// Breaking version of this ABI. A plugin with another major is refused.
pub const ABI_MAJOR: u16 = 1;
/// Additive version of this ABI. A plugin with a newer minor is accepted when every bit of its
/// required features is in [`KNOWN_FEATURES`].
pub const ABI_MINOR: u16 = 4;
/// The first minor whose libraries are promised that [`InstanceVt::drop`] follows `stop` at once, on
/// the same thread. Those before were promised that none of their threads is left by then.
pub const DROP_AFTER_STOP_MINOR: u16 = 3;
/// Everything that ABI 1.0 offers.
pub const FEATURE_BASE: u64 = 1;
/// The features this build understands.
pub const KNOWN_FEATURES: u64 = FEATURE_BASE;

/// The place of a panic that was told on another thread, and is raised again on the one that waits for
/// it. A host of before shows it as the place.
pub const TOLD_BEFORE: &str = "another thread, and was told there";

/// Result codes of every `poll` in this ABI.
pub mod poll {
    /// The out value is filled.
    pub const READY: u32 = 0;
    /// Not yet; the waker will be called.
    pub const PENDING: u32 = 1;
    /// The plugin (or host) reports an error; the out value carries its text.
    pub const FAILED: u32 = 2;
    /// Plugin code panicked; it must not be polled again, only dropped.
    pub const PANICKED: u32 = 3;
    /// A stream has ended; the out value is untouched.
    pub const END: u32 = 4;
}

/// Borrowed bytes, UTF-8 where the field says so. A null `ptr` means "absent".
///
/// # Lifetime
/// As long as the struct or call that hands it out says; never longer.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Str {
    /// First byte, or null.
    pub ptr: *const u8,
    /// Units: bytes.
    pub len: usize,
}

// SAFETY: a `Str` is an address and a length; whoever dereferences it answers for its lifetime.
unsafe impl Send for Str {}
// SAFETY: as above; it has no interior mutability.
unsafe impl Sync for Str {}

impl Str {
    /// "Absent".
    pub const NONE: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// Borrows `bytes`; the caller answers for the lifetime.
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes, empty when absent.
    ///
    /// # Safety
    /// The memory must be alive and unchanged for `'a`.
    #[must_use]
    pub const unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: not null; liveness is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Owned bytes with the maker's own `drop`.
///
/// # Ownership
/// The receiver owns the value and calls `drop` exactly once (static bytes have none).
///
/// # Threads
/// May be read and freed on any thread.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Bytes {
    /// First byte; dangling but not null when empty.
    pub ptr: *const u8,
    /// Units: bytes.
    pub len: usize,
    /// Whatever the maker needs to free it: a capacity or a box.
    pub owner: *mut (),
    /// Frees it; called with `owner`, `ptr`, `len`. `None` for static bytes.
    pub drop: Option<unsafe extern "C" fn(owner: *mut (), ptr: *const u8, len: usize)>,
}

/// One header field, borrowed. `name` is lower case ASCII, `value` is not always UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Header {
    /// Lower case field name.
    pub name: Str,
    /// Field value as it came. From the host: of bytes that HTTP allows in one.
    pub value: Str,
}

impl Header {
    /// For arrays that [`HeadersVt::fill`] will overwrite.
    pub const NONE: Self = Self { name: Str::NONE, value: Str::NONE };
}

/// A list of header fields, read in place through functions of whoever holds it.
///
/// # Ownership
/// Where `vt.drop` is `Some`, the receiver owns the list and calls it once; what `get` and `fill`
/// hand out is valid until then. In a [`RequestHead`] it is borrowed and has no `drop`.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Headers {
    /// The holder's data.
    pub data: *mut (),
    /// Null: an empty list.
    #[sabi(unsafe_opaque_field)]
    pub vt: *const HeadersVt,
}

impl Headers {
    /// The empty list.
    pub const NONE: Self = Self { data: std::ptr::null_mut(), vt: std::ptr::null() };
}

/// Functions of a [`Headers`] list. Growing.
#[repr(C)]
#[derive(Debug)]
pub struct HeadersVt {
    /// Units: bytes of this struct in the maker's build.
    pub size: u32,
    /// How many fields, repeated names counted each.
    pub count: unsafe extern "C" fn(data: *const ()) -> usize,
    /// The first value of `name` (lower case), or [`Str::NONE`].
    pub get: unsafe extern "C" fn(data: *const (), name: Str) -> Str,
    /// Writes fields from index `from` into `out`, at most `cap`; returns how many.
    pub fill:
        unsafe extern "C" fn(data: *const (), from: usize, out: *mut Header, cap: usize) -> usize,
    /// Frees an owned list.
    pub drop: Option<unsafe extern "C" fn(data: *mut ())>,
}

/// A waker that belongs to `vt`'s side. Passed by pointer it is borrowed for the call.
///
/// The host's own wakers carry their raw parts in `data` and `aux`, so that a plugin can hand one
/// back to a stream of the host and the host finds its own waker again.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Waker {
    /// The maker's data.
    pub data: *const (),
    /// More of the maker's data.
    pub aux: *const (),
    /// Functions of the maker.
    #[sabi(unsafe_opaque_field)]
    pub vt: *const WakerVt,
}

/// Functions of a [`Waker`]. Growing. All may be called from any thread.
#[repr(C)]
#[derive(Debug)]
pub struct WakerVt {
    /// Units: bytes of this struct in the maker's build.
    pub size: u32,
    /// A waker of its own; the caller owns it.
    pub clone: unsafe extern "C" fn(waker: *const Waker) -> Waker,
    /// Wakes without consuming.
    pub wake_by_ref: unsafe extern "C" fn(waker: *const Waker),
    /// Frees an owned waker; called once, with a pointer to it.
    pub drop: unsafe extern "C" fn(waker: *mut Waker),
}

/// A future whose result is `T`, written to the `out` pointer of the poll that is
/// [`READY`](poll::READY).
///
/// # Threads
/// Polled and dropped on one thread, the one that made it. Those of [`HostVt`], and tasks
/// ([`HostVt::spawn`]), may go to another thread between two calls.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Future<T> {
    /// The maker's data.
    pub data: *mut (),
    /// One of [`poll`]'s codes. Not called again after any code but `PENDING`.
    pub poll: unsafe extern "C" fn(data: *mut (), waker: *const Waker, out: *mut T) -> u32,
    /// Frees the future, finished or not; called once.
    pub drop: unsafe extern "C" fn(data: *mut ()),
}

/// The result of a future that only ends: on `FAILED`, `error` is the text, else it is empty.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Done {
    /// UTF-8.
    pub error: Bytes,
}

/// One piece of a body.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Frame {
    /// Data; on `FAILED` the error's text.
    pub data: Bytes,
    /// Trailers, in the last frame only; else [`Headers::NONE`]. A frame with trailers has no data.
    pub trailers: Headers,
}

/// A body, in either direction. Back-pressure: nothing is produced until it is polled.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Stream {
    /// The maker's data.
    pub data: *mut (),
    /// Functions of the maker.
    #[sabi(unsafe_opaque_field)]
    pub vt: *const StreamVt,
}

/// Functions of a [`Stream`]. Growing. Called on the thread that the request lives on.
#[repr(C)]
#[derive(Debug)]
pub struct StreamVt {
    /// Units: bytes of this struct in the maker's build.
    pub size: u32,
    /// `READY` (frame), `PENDING`, `END`, `FAILED` (text in `out.data`) or `PANICKED`.
    pub poll_next: unsafe extern "C" fn(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32,
    /// Bytes that are still to come, [`UNKNOWN_LEN`] when not known.
    pub len: unsafe extern "C" fn(data: *const ()) -> u64,
    /// Frees the stream, ended or not; called once.
    pub drop: unsafe extern "C" fn(data: *mut ()),
}

/// Functions of a [`Stream`] that is a request's body: those of [`StreamVt`], at the same places, and
/// what came later. Growing. `size` is that of all of it.
#[repr(C)]
#[derive(Debug)]
pub struct BodyVt {
    /// As in [`StreamVt`].
    pub size: u32,
    /// As in [`StreamVt`].
    pub poll_next: unsafe extern "C" fn(data: *mut (), waker: *const Waker, out: *mut Frame) -> u32,
    /// As in [`StreamVt`].
    pub len: unsafe extern "C" fn(data: *const ()) -> u64,
    /// As in [`StreamVt`].
    pub drop: unsafe extern "C" fn(data: *mut ()),
    /// 1: every function may be called from any thread, one at a time. Since 1.4.
    pub any_thread: u32,
}

/// A stream that does not know its length.
pub const UNKNOWN_LEN: u64 = u64::MAX;

/// A byte stream in both directions: a connection after `101 Switching Protocols`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Io {
    /// The host's data.
    pub data: *mut (),
    /// Functions of the host.
    #[sabi(unsafe_opaque_field)]
    pub vt: *const IoVt,
}

/// [`IoVt`]'s answer for "not yet; the waker will be called".
pub const IO_PENDING: i64 = i64::MIN;

/// Functions of an [`Io`]. Growing. Each answers a count (0 or more), [`IO_PENDING`], or a negated errno.
#[repr(C)]
#[derive(Debug)]
pub struct IoVt {
    /// Units: bytes of this struct in the maker's build.
    pub size: u32,
    /// Reads up to `len` bytes; 0 means the peer has ended its side.
    pub read:
        unsafe extern "C" fn(data: *mut (), waker: *const Waker, buf: *mut u8, len: usize) -> i64,
    /// Writes up to `len` bytes.
    pub write:
        unsafe extern "C" fn(data: *mut (), waker: *const Waker, buf: *const u8, len: usize) -> i64,
    /// Flushes what was written.
    pub flush: unsafe extern "C" fn(data: *mut (), waker: *const Waker) -> i64,
    /// Ends our side.
    pub shutdown: unsafe extern "C" fn(data: *mut (), waker: *const Waker) -> i64,
    /// Closes the connection; called once.
    pub drop: unsafe extern "C" fn(data: *mut ()),
}

/// What to do with the connection once the host has sent the `101`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Upgrade {
    /// The plugin's data.
    pub data: *mut (),
    /// Consumes `data`; the future owns the [`Io`] and runs until the conversation is over.
    pub start: Option<unsafe extern "C" fn(data: *mut (), io: Io) -> Future<Done>>,
    /// Frees `data` when `start` is never called.
    pub drop: Option<unsafe extern "C" fn(data: *mut ())>,
}

/// Which body an [`Answer`] has.
pub mod body {
    /// None.
    pub const EMPTY: u16 = 0;
    /// [`Answer::bytes`](super::Answer::bytes).
    pub const BYTES: u16 = 1;
    /// [`Answer::stream`](super::Answer::stream).
    pub const STREAM: u16 = 2;
    /// [`Answer::upgrade`](super::Answer::upgrade); the status is 101, or 200 to an extended CONNECT.
    pub const UPGRADE: u16 = 3;
}

/// What a call ends with. Members that `body` does not name are uninitialised and must not be
/// read; `headers` always is valid on `READY`.
///
/// On `FAILED` only `bytes` is valid (the error's text), on `PANICKED` nothing.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Answer {
    /// HTTP status, 100 to 999.
    pub status: u16,
    /// One of [`body`]'s constants.
    pub body: u16,
    /// Zero.
    pub reserved: u32,
    /// Response headers; owned by the receiver when they have a `drop`, and in any case valid
    /// until the call's future is dropped.
    pub headers: Headers,
    /// With [`body::BYTES`], or the error text.
    pub bytes: Bytes,
    /// With [`body::STREAM`].
    pub stream: Stream,
    /// With [`body::UPGRADE`].
    pub upgrade: Upgrade,
    /// Zero: room for what a later minor answers.
    pub more: [usize; 2],
}

/// A pointer to a struct that may grow: abi_stable does not compare what it points to.
#[repr(transparent)]
#[derive(Debug, StableAbi)]
#[sabi(unsafe_unconstrained(T))]
pub struct Growing<T> {
    /// Never null.
    #[sabi(unsafe_opaque_field)]
    pub ptr: *const T,
}

impl<T> Clone for Growing<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Growing<T> {}

// SAFETY: an address; whoever dereferences it answers for the pointee.
unsafe impl<T> Send for Growing<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Growing<T> {}

/// A request as the host keeps it. Growing. All texts are UTF-8.
///
/// # Lifetime
/// The struct and all it borrows live, unmoved and unchanged, until the call's future is dropped.
#[repr(C)]
#[derive(Debug)]
pub struct RequestHead {
    /// Units: bytes of this struct in the host's build.
    pub size: u32,
    /// HTTP version: 10, 11 or 20.
    pub version: u32,
    /// Counts up within one host; also in the host's status.
    pub id: u64,
    /// The method, ASCII.
    pub method: Str,
    /// The path with the mount's prefix removed; begins with `/` (or is `*`).
    pub path: Str,
    /// Behind the `?`, undecoded; absent without one.
    pub query: Str,
    /// The path as the client sent it.
    pub original_path: Str,
    /// The host name the client asked for, without port; absent when unknown.
    pub host: Str,
    /// The client's address as text, `127.0.0.1:4711`, or `unix`.
    pub peer: Str,
    /// Borrowed, no `drop`.
    pub headers: Headers,
    /// The host's data for `vt`.
    pub data: *const (),
    /// Functions of the host.
    pub vt: *const RequestVt,
    /// Whom the client asked for as it said it, with the port if it named one; absent when unknown.
    /// Since 1.2.
    pub authority: Str,
    /// `http`, or what the target says: `https` where a proxy spoke TLS and said so. Since 1.2.
    pub scheme: Str,
    /// The client's address as numbers, where it has one. Since 1.4.
    pub peer_address: Address,
    /// How the client has written its target: one of [`target`]'s. Since 1.4.
    pub target: u32,
}

/// The forms of [`RequestHead::target`]. Source: RFC 9112, 3.2.
pub mod target {
    /// Path and query alone, or `*`.
    pub const ORIGIN: u32 = 0;
    /// With scheme and authority, as all of HTTP/2 is: those of the head.
    pub const ABSOLUTE: u32 = 1;
}

/// An address of the internet. Fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// 4 or 6: the version of the protocol; 0: there is none.
    pub version: u16,
    /// In the machine's own order.
    pub port: u16,
    /// Of version 6: the interface.
    pub scope: u32,
    /// As it goes over the wire; version 4 has the first four bytes.
    pub bytes: [u8; 16],
}

/// Functions on a [`RequestHead`]. Growing.
#[repr(C)]
#[derive(Debug)]
pub struct RequestVt {
    /// Units: bytes of this struct in the host's build.
    pub size: u32,
    /// Moves the body out; 1 the first time, 0 (and `out` untouched) afterwards. The stream may
    /// outlive the call.
    pub take_body: unsafe extern "C" fn(data: *const (), out: *mut Stream) -> u8,
    /// Bytes of the body still to come, without taking it.
    pub body_len: unsafe extern "C" fn(data: *const ()) -> u64,
    /// When the time is up that the answer's head may take, [`NO_DEADLINE`] where there is no limit; it
    /// moves on while the handler waits for its client's body. Units: nanoseconds of
    /// `CLOCK_MONOTONIC`. Since 1.4.
    pub deadline: Option<unsafe extern "C" fn(data: *const ()) -> u64>,
    /// A future that ends when the client has gone, or has closed its side. Of the request's thread.
    /// Since 1.4.
    pub client_gone: Option<unsafe extern "C" fn(data: *const ()) -> Future<Done>>,
}

/// [`RequestVt::deadline`] of a request that may take any time.
pub const NO_DEADLINE: u64 = u64::MAX;

/// Kinds of [`HostVt::metric`].
pub mod metric {
    /// `value` is added.
    pub const COUNTER: u32 = 0;
    /// `value` replaces.
    pub const GAUGE: u32 = 1;
    /// `value` is observed.
    pub const HISTOGRAM: u32 = 2;
}

/// A piece of work for the host's blocking pool.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Job {
    /// The plugin's data.
    pub data: *mut (),
    /// Consumes `data`; never unwinds.
    pub run: unsafe extern "C" fn(data: *mut ()),
    /// Frees `data` when `run` is never called.
    pub drop: unsafe extern "C" fn(data: *mut ()),
}

// SAFETY: made from a `Send` closure by the SDK.
unsafe impl Send for Job {}

/// Services of the host. Growing. Every function may be called from any thread, as long as the
/// library is loaded.
#[repr(C)]
#[derive(Debug)]
pub struct HostVt {
    /// Units: bytes of this struct in the host's build.
    pub size: u32,
    /// Writes a log line; `fields` are `n` name/value pairs.
    pub log: unsafe extern "C" fn(
        host: *const (),
        level: u32,
        target: Str,
        message: Str,
        fields: *const Header,
        n: usize,
    ),
    /// Whether a line of `level` would be written (1) or dropped (0).
    pub log_enabled: unsafe extern "C" fn(host: *const (), level: u32) -> u8,
    /// Records `value` for the metric `name`; `labels` are `n` name/value pairs.
    pub metric: unsafe extern "C" fn(
        host: *const (),
        kind: u32,
        name: Str,
        labels: *const Header,
        n: usize,
        value: f64,
    ),
    /// Reports a panic: message and `file:line:column`, or [`TOLD_BEFORE`]. Called by the plugin's panic
    /// hook.
    pub panicked: unsafe extern "C" fn(host: *const (), message: Str, location: Str),
    /// A future that ends after `nanos`.
    pub sleep: unsafe extern "C" fn(host: *const (), nanos: u64) -> Future<Done>,
    /// Runs `job` on the host's bounded pool; the future ends when it has run, or is `FAILED`
    /// when the pool's queue is full (the job is then dropped).
    pub blocking: unsafe extern "C" fn(host: *const (), job: Job) -> Future<Done>,
    /// Whether a line of `level` from the module `target` would be written (1) or dropped (0).
    /// Since 1.4.
    pub log_enabled_for:
        Option<unsafe extern "C" fn(host: *const (), level: u32, target: Str) -> u8>,
    /// Writes a log line with all that is known of it; borrowed for the call. Since 1.4.
    pub log_record: Option<unsafe extern "C" fn(host: *const (), record: *const LogRecord)>,
    /// Runs `task` on a data thread: see [`spawn`]. The host owns it from now on, unless it refuses
    /// it. Since 1.4.
    pub spawn: Option<unsafe extern "C" fn(host: *const (), task: Future<Done>, flags: u32) -> u32>,
    /// Reads or changes one value of the plugin's cells, by one of [`cell`]'s operations. `expected`
    /// is the version that the value must have for a change with a condition (0: there is none);
    /// `out` is filled whatever the answer is, one of [`cell`]'s. Since 1.4.
    pub cell: Option<
        unsafe extern "C" fn(
            host: *const (),
            operation: u32,
            key: Str,
            expected: u64,
            value: Str,
            out: *mut cell::CellValue,
        ) -> u32,
    >,
    /// Gives a copy of `message` to all that are subscribed to the plugin's `topic` now; how many, or
    /// [`topic::TOO_LONG`]. Since 1.4.
    pub publish: Option<unsafe extern "C" fn(host: *const (), topic: Str, message: Str) -> u64>,
    /// Subscribes to the plugin's `topic`; at most `capacity` messages wait. `out` is filled when the
    /// answer, one of [`topic`]'s, is `DONE`. Since 1.4.
    pub subscribe: Option<
        unsafe extern "C" fn(
            host: *const (),
            topic: Str,
            capacity: u32,
            out: *mut topic::Subscription,
        ) -> u32,
    >,
    /// As [`blocking`](Self::blocking), for a job that is of use to nobody but who waits for it: if
    /// it has not begun when the future is dropped, it is dropped too. Since 1.4.
    pub blocking_call: Option<unsafe extern "C" fn(host: *const (), job: Job) -> Future<Done>>,
}

/// How [`HostVt::spawn`] runs a task, and how it answers.
///
/// It begins when the generation serves; from its first poll on it is polled, and dropped, on one data
/// thread. At the latest it is dropped after the generation's last request and before `stop`, on any
/// thread if it has not begun. In a preflight none begins.
pub mod spawn {
    /// A flag: on the calling thread, if that is a data thread.
    pub const HERE: u32 = 1;
    /// The answer: it will run.
    pub const ACCEPTED: u32 = 0;
    /// The answer: the generation has too many; it is still the caller's.
    pub const FULL: u32 = 1;
    /// The answer: the generation is at its end; it is still the caller's.
    pub const ENDED: u32 = 2;
}

/// Bits of [`NewArgs::flags`].
pub mod new_flags {
    /// This instance lives in a preflight child: check, do not act.
    pub const PREFLIGHT: u32 = 1;
}

/// What an instance is made with. Growing; borrowed for the call, except `host` and `host_vt`,
/// which stay valid as long as the library is loaded.
#[repr(C)]
#[derive(Debug)]
pub struct NewArgs {
    /// Units: bytes of this struct in the host's build.
    pub size: u32,
    /// See [`new_flags`].
    pub flags: u32,
    /// First argument of every function in `host_vt`.
    pub host: *const (),
    /// Services of the host.
    pub host_vt: *const HostVt,
    /// The plugin's name as the host calls it.
    pub name: Str,
    /// The version label as the host calls it.
    pub label: Str,
    /// The generation this instance is, 0 in a preflight.
    pub generation: u64,
    /// The plugin's own configuration as JSON text; absent when there is none.
    pub config: Str,
    /// Where `config` comes from, for messages: JSON text, an object with `file` (its path), `line`
    /// (of the plugin's table) and `lines` (of each key in it, by its path: `db.pool`, `list[0]`);
    /// with `secrets`, the paths of texts that no message may have in it, and `host`, the keys of the
    /// table that the host reads itself. Each may be missing. Absent when `config` comes from no file.
    /// Since 1.4.
    pub config_places: Str,
}

/// What `new` ends with: `instance` on `READY`, the error's text in `error` on `FAILED`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Created {
    /// The plugin's own pointer, first argument of every [`InstanceVt`] entry.
    pub instance: *const (),
    /// UTF-8.
    pub error: Bytes,
}

/// Phases of [`InstanceVt::drain_notice`].
pub mod drain {
    /// The generation is retired: finish what has an end, end what has none.
    pub const REQUESTED: u32 = 0;
    /// The limit is near: close what is still open, properly and now.
    pub const LAST_CALL: u32 = 1;
}

/// What [`InstanceVt::signal`] tells of. Numbers of this ABI's own: those of the system differ from
/// machine to machine.
pub mod signal {
    /// `SIGHUP`.
    pub const HUP: u32 = 1;
    /// `SIGUSR1`.
    pub const USR1: u32 = 2;
    /// `SIGUSR2`.
    pub const USR2: u32 = 3;
    /// `SIGINT`.
    pub const INT: u32 = 4;
    /// `SIGTERM`.
    pub const TERM: u32 = 5;
    /// `SIGQUIT`.
    pub const QUIT: u32 = 6;
    /// `SIGTSTP`.
    pub const TSTP: u32 = 7;
}

/// When [`InstanceVt::signal`] tells of it.
pub mod signal_phase {
    /// Before the host acts on it.
    pub const PRE: u32 = 0;
    /// After the host has acted on it.
    pub const POST: u32 = 1;
}

/// Functions on an instance. Growing. All but `drop` may be called from several threads at once.
#[repr(C)]
#[derive(Debug)]
pub struct InstanceVt {
    /// Units: bytes of this struct in the plugin's build.
    pub size: u32,
    /// Version of the state that `export_state` writes; 0 without state.
    pub state_schema: u32,
    /// Checks the instance with a request or otherwise; run in the preflight child.
    pub self_test: Option<unsafe extern "C" fn(instance: *const ()) -> Future<Done>>,
    /// Tells that the generation is going; see [`drain`]. Must return at once.
    pub drain_notice: Option<unsafe extern "C" fn(instance: *const (), phase: u32)>,
    /// Stops what the instance started: joins threads, closes files. May block within a limit. The
    /// last call in which the instance exists.
    pub stop: Option<unsafe extern "C" fn(instance: *const ())>,
    /// Frees the instance; called once, last: right after `stop`, on its thread, whether or not
    /// threads of the library still run. Of a library before 1.3 none does.
    pub drop: unsafe extern "C" fn(instance: *const ()),
    /// Warms the instance up before it serves.
    pub ready: Option<unsafe extern "C" fn(instance: *const ()) -> Future<Done>>,
    /// Stops changing state, because an export follows.
    pub quiesce: Option<unsafe extern "C" fn(instance: *const ()) -> Future<Done>>,
    /// Takes a `quiesce` back.
    pub resume: Option<unsafe extern "C" fn(instance: *const ())>,
    /// Writes the state in `state_schema`'s format.
    pub export_state: Option<unsafe extern "C" fn(instance: *const ()) -> Future<StateBlob>>,
    /// Takes over a state of `schema`; borrowed for the future's life.
    pub import_state:
        Option<unsafe extern "C" fn(instance: *const (), schema: u32, state: Str) -> Future<Done>>,
    /// Tells of a signal that the host got, one of [`signal`], at one of [`signal_phase`]; numbers
    /// that the plugin does not know are ignored. Should return soon. Since 1.1.
    pub signal: Option<unsafe extern "C" fn(instance: *const (), signal: u32, phase: u32)>,
}

/// An exported state: bytes on `READY`, the error's text on `FAILED`.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct StateBlob {
    /// The state, or an error's UTF-8 text.
    pub bytes: Bytes,
}

/// The entry of `call`: makes the future of one request.
pub type CallFn =
    unsafe extern "C" fn(instance: *const (), head: Growing<RequestHead>) -> Future<Answer>;

/// The entry of `new`: makes the instance; returns one of [`poll`]'s codes, never `PENDING`.
pub type NewFn = unsafe extern "C" fn(args: Growing<NewArgs>, out: *mut Created) -> u32;

/// Whether the growing struct behind `$ptr` reaches as far as `$field`; then its value.
///
/// `entry!(ptr => Struct.field)` reads `(*ptr).field` when the other side's `size` covers it.
///
/// # Safety
/// `$ptr` must point to a live `$ty` of which at least `size` bytes are there.
#[macro_export]
#[doc(hidden)]
macro_rules! entry {
    ($ptr:expr => $ty:ident . $field:ident) => {{
        let ptr: *const $crate::abi::$ty = $ptr;
        // Size and field are read one by one: a reference to the whole would claim bytes that
        // an older side does not have.
        // SAFETY: live, as whoever names it says; `size` is the first field of every version.
        let size = unsafe { (*ptr).size } as usize;
        let end = ::core::mem::offset_of!($crate::abi::$ty, $field)
            + $crate::abi::__size_of_field(|it: &$crate::abi::$ty| &it.$field);
        if end > size {
            None
        } else {
            // SAFETY: within the `size` bytes that the other side has.
            Some(unsafe { (*ptr).$field })
        }
    }};
}

/// The size of a growing struct of this build, for its `size` field.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "ABI structs are far below 4 GiB")]
pub const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}

#[doc(hidden)]
pub const fn __size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}
