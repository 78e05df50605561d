//! A host in miniature, for the tests of this crate.
//!
//! Owns fake services, a fake waker and a fake instance. Knows nothing of real loading.
//! Invariant: it reaches plugin code through the ABI only, as a real host does.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

pub(crate) mod allocations;
pub(crate) mod io;
pub(crate) mod request;
mod wakers;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    marker::PhantomData,
    mem::MaybeUninit,
    ptr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    Context, Handler,
    abi::{
        self, Answer, Bytes, CellValue, Created, Done, Future, Growing, Header, HostVt, Job,
        NewArgs, Str, Waker, poll,
    },
    owned::OwnedBytes,
    shim,
};
use request::FakeRequest;
use wakers::WAKER;

pub(crate) use wakers::FakeWaker;

/// What plugin code has asked of the host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) cells: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    pub(crate) pool_is_full: AtomicBool,
    pub(crate) clock_stands: AtomicBool,
    /// Polls of timers that came with a waker of the host's own.
    pub(crate) own_wakers: AtomicUsize,
    pub(crate) foreign_wakers: AtomicUsize,
}

impl Host {
    /// Lives for ever: the panic hook of the test process may report to it later.
    pub(crate) fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    pub(crate) fn note(&self, line: String) {
        lock(&self.lines).push(line);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics under a lock")
}

fn text(text: Str) -> String {
    // SAFETY: the plugin lends its texts for the call.
    String::from_utf8_lossy(unsafe { text.bytes() }).into_owned()
}

unsafe fn host<'a>(data: *const ()) -> &'a Host {
    // SAFETY: every fake table gets a leaked host as its data.
    unsafe { &*data.cast::<Host>() }
}

fn pairs(fields: *const Header, n: usize) -> String {
    // SAFETY: the plugin lends `n` pairs for the call.
    let fields = unsafe { std::slice::from_raw_parts(fields, n) };
    fields.iter().map(|it| format!(" {}={}", text(it.name), text(it.value))).collect()
}

unsafe extern "C" fn log(
    data: *const (),
    level: u32,
    target: Str,
    message: Str,
    fields: *const Header,
    n: usize,
) {
    let line = format!("{level} {}: {}{}", text(target), text(message), pairs(fields, n));
    // SAFETY: our own data.
    unsafe { host(data) }.note(line);
}

unsafe extern "C" fn log_enabled(_: *const (), level: u32) -> u8 {
    u8::from(level <= abi::level::INFO)
}

unsafe extern "C" fn metric(
    data: *const (),
    kind: u32,
    name: Str,
    labels: *const Header,
    n: usize,
    value: f64,
) {
    let line = format!("metric {kind} {}{} {value}", text(name), pairs(labels, n));
    // SAFETY: our own data.
    unsafe { host(data) }.note(line);
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the panic hook has reported on this thread. The hook and its host are one for the process,
/// but each test drives its plugin code on a thread of its own.
pub(crate) fn panics() -> Vec<String> {
    PANICS.take()
}

unsafe extern "C" fn panicked(_: *const (), message: Str, location: Str) {
    let line = format!("{} at {}", text(message), text(location));
    // The hook has replaced the one that prints why a test failed.
    eprintln!("panic: {line}");
    PANICS.with_borrow_mut(|panics| panics.push(line));
}

struct Timer {
    host: &'static Host,
    polls: usize,
    job: Option<Job>,
}

/// Ends at the second poll, having run its job.
unsafe extern "C" fn poll_timer(data: *mut (), waker: *const Waker, out: *mut Done) -> u32 {
    // SAFETY: made in `timer`.
    let timer = unsafe { &mut *data.cast::<Timer>() };
    // SAFETY: lent for the call.
    let vt = unsafe { (*waker).vt };
    let own = ptr::eq(vt, &raw const WAKER);
    let counter = if own { &timer.host.own_wakers } else { &timer.host.foreign_wakers };
    counter.fetch_add(1, Ordering::Relaxed);
    if timer.host.clock_stands.load(Ordering::Relaxed) && timer.job.is_none() {
        return poll::PENDING;
    }
    timer.polls += 1;
    if timer.polls == 1 {
        // A host would keep a clone and wake that one later.
        // SAFETY: the table belongs to the waker.
        let mut kept = unsafe { ((*vt).clone)(waker) };
        // SAFETY: as above.
        unsafe { ((*kept.vt).wake_by_ref)(&raw const kept) };
        // SAFETY: as above; dropped once.
        unsafe { ((*kept.vt).drop)(&raw mut kept) };
        return poll::PENDING;
    }
    if let Some(job) = timer.job.take() {
        // SAFETY: run once.
        unsafe { (job.run)(job.data) };
    }
    // SAFETY: room for the result.
    unsafe { out.write(Done { error: OwnedBytes::EMPTY.into_abi() }) };
    poll::READY
}

unsafe extern "C" fn drop_timer(data: *mut ()) {
    // SAFETY: made in `timer`, dropped once.
    let mut timer = unsafe { Box::from_raw(data.cast::<Timer>()) };
    if let Some(job) = timer.job.take() {
        // SAFETY: it never ran.
        unsafe { (job.drop)(job.data) };
    }
}

unsafe fn timer(data: *const (), job: Option<Job>) -> Future<Done> {
    // SAFETY: our own data.
    let timer = Timer { host: unsafe { host(data) }, polls: 0, job };
    Future { data: Box::into_raw(Box::new(timer)).cast(), poll: poll_timer, drop: drop_timer }
}

unsafe extern "C" fn sleep(data: *const (), _: u64) -> Future<Done> {
    // SAFETY: our own data.
    unsafe { timer(data, None) }
}

unsafe extern "C" fn full(_: *mut (), _: *const Waker, out: *mut Done) -> u32 {
    let error = OwnedBytes::from_static(b"the pool's queue is full").into_abi();
    // SAFETY: room for the result.
    unsafe { out.write(Done { error }) };
    poll::FAILED
}

unsafe extern "C" fn nothing(_: *mut ()) {}

unsafe extern "C" fn blocking(data: *const (), job: Job) -> Future<Done> {
    // SAFETY: our own data.
    if unsafe { host(data) }.pool_is_full.load(Ordering::Relaxed) {
        // SAFETY: dropped instead of run.
        unsafe { (job.drop)(job.data) };
        return Future { data: ptr::null_mut(), poll: full, drop: nothing };
    }
    // SAFETY: our own data.
    unsafe { timer(data, Some(job)) }
}

unsafe extern "C" fn cell(
    data: *const (),
    operation: u32,
    key: Str,
    expected: u64,
    value: Str,
    out: *mut CellValue,
) -> u32 {
    use abi::cell::{CONFLICT, DONE, GET, LIST, REMOVE, REMOVE_IF, SET, SET_IF, TOO_LONG};
    // SAFETY: our own data.
    let mut kept = lock(&unsafe { host(data) }.cells);
    // SAFETY: the plugin lends its texts for the call.
    let value = unsafe { value.bytes() }.to_vec();
    let key = text(key);
    let now = kept.get(&key).cloned();
    let version = now.as_ref().map_or(0, |(version, _)| *version);
    let (code, version, bytes) = match operation {
        GET => (DONE, version, now.map(|it| it.1).unwrap_or_default()),
        LIST => (DONE, 0, kept.keys().flat_map(|key| format!("{key}\n").into_bytes()).collect()),
        SET_IF | REMOVE_IF if version != expected => {
            (CONFLICT, version, now.map(|it| it.1).unwrap_or_default())
        }
        SET | SET_IF if value.len() > 100 => (TOO_LONG, 0, b"100 bytes are allowed".to_vec()),
        SET | SET_IF => {
            kept.insert(key, (version + 1, value));
            (DONE, version + 1, Vec::new())
        }
        REMOVE | REMOVE_IF => {
            kept.remove(&key);
            (DONE, 0, Vec::new())
        }
        other => panic!("no operation: {other}"),
    };
    // SAFETY: room for the result.
    unsafe { out.write(CellValue { version, bytes: OwnedBytes::from(bytes).into_abi() }) };
    code
}

/// The functions of the host.
const FUNCTIONS: HostVt = HostVt {
    size: crate::abi::size_of_u32::<HostVt>(),
    log,
    log_enabled,
    metric,
    panicked,
    sleep,
    blocking,
    log_enabled_for: None,
    log_record: None,
    spawn: None,
    cell: Some(cell),
    publish: None,
    subscribe: None,
    blocking_call: None,
};

static HOST_VT: HostVt = FUNCTIONS;

/// What a host of ABI 1.3 has.
static BEFORE_VT: HostVt = {
    #[expect(clippy::cast_possible_truncation, reason = "the place of a field")]
    let size = std::mem::offset_of!(HostVt, log_enabled_for) as u32;
    HostVt { size, ..FUNCTIONS }
};

/// A future of the plugin, dropped as a host would.
pub(crate) struct Running<T> {
    raw: Future<T>,
    pub(crate) waker: FakeWaker,
}

impl<T> Running<T> {
    pub(crate) fn new(raw: Future<T>) -> Self {
        Self { raw, waker: FakeWaker::new() }
    }

    /// One poll; the result on `READY` and `FAILED`.
    pub(crate) fn poll(&mut self) -> (u32, Option<T>) {
        let mut out = MaybeUninit::uninit();
        // SAFETY: the future is alive, and `out` has room.
        let code = unsafe { (self.raw.poll)(self.raw.data, self.waker.raw(), out.as_mut_ptr()) };
        // SAFETY: filled on these codes.
        let filled =
            matches!(code, poll::READY | poll::FAILED).then(|| unsafe { out.assume_init() });
        (code, filled)
    }

    /// Polls to the end, at most 100 times.
    pub(crate) fn finish(&mut self) -> (u32, Option<T>) {
        for _ in 0..100 {
            let polled = self.poll();
            if polled.0 != poll::PENDING {
                return polled;
            }
        }
        panic!("it does not come to an end");
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // SAFETY: dropped once.
        unsafe { (self.raw.drop)(self.raw.data) }
    }
}

/// A plugin's instance, driven through its shims.
pub(crate) struct Instance<H: Handler> {
    pub(crate) raw: *const (),
    pub(crate) host: &'static Host,
    of: PhantomData<H>,
}

/// Makes one; `Err` is the code and the text.
fn args(host: &'static Host, host_vt: *const HostVt) -> NewArgs {
    NewArgs {
        size: crate::abi::size_of_u32::<NewArgs>(),
        flags: 0,
        host: ptr::from_ref(host).cast(),
        host_vt,
        name: Str::new(b"fake"),
        label: Str::new(b"7"),
        generation: 42,
        config: Str::new(b"{}"),
        config_places: Str::NONE,
    }
}

/// The surroundings of an instance that there is not.
pub(crate) fn context(host: &'static Host) -> Context {
    // SAFETY: alive for the call, and the table for ever.
    unsafe { Context::from_args(&args(host, &HOST_VT)) }
}

/// The same at a host of before.
pub(crate) fn context_of_before() -> Context {
    // SAFETY: as above.
    unsafe { Context::from_args(&args(Host::new(), &BEFORE_VT)) }
}

pub(crate) fn create<H: Handler>(host: &'static Host) -> Result<Instance<H>, (u32, String)> {
    let args = args(host, &HOST_VT);
    let mut out = MaybeUninit::<Created>::uninit();
    // SAFETY: the arguments live for the call, and `out` has room.
    let code = unsafe { shim::new::<H>(Growing { ptr: &raw const args }, out.as_mut_ptr()) };
    // SAFETY: our shim fills it on every code.
    let created = unsafe { out.assume_init() };
    if code == poll::READY {
        return Ok(Instance { raw: created.instance, host, of: PhantomData });
    }
    Err((code, take(created.error)))
}

/// The text of bytes that the plugin has given away.
pub(crate) fn take(bytes: Bytes) -> String {
    // SAFETY: they are the receiver's.
    unsafe { OwnedBytes::from_abi(bytes) }.to_text()
}

impl<H: Handler> Instance<H> {
    pub(crate) fn new() -> Self {
        create(Host::new()).expect("the handler is made")
    }

    pub(crate) fn call(&self, request: &FakeRequest) -> Running<Answer> {
        // SAFETY: every test keeps instance and request longer than the future.
        Running::new(unsafe { shim::call::<H>(self.raw, Growing { ptr: request.head() }) })
    }

    pub(crate) fn drain(&self, phase: u32) {
        let notice = shim::Table::<H>::TABLE.drain_notice.expect("always set");
        // SAFETY: the instance is alive.
        unsafe { notice(self.raw, phase) }
    }

    pub(crate) fn signal(&self, signal: u32, phase: u32) {
        let told = shim::Table::<H>::TABLE.signal.expect("always set");
        // SAFETY: the instance is alive.
        unsafe { told(self.raw, signal, phase) }
    }
}

impl<H: Handler> Drop for Instance<H> {
    fn drop(&mut self) {
        let stop = shim::Table::<H>::TABLE.stop.expect("always set");
        // SAFETY: the instance is alive.
        unsafe { stop(self.raw) };
        // SAFETY: once, last.
        unsafe { (shim::Table::<H>::TABLE.drop)(self.raw) }
    }
}
