//! Whether the interposition works in this very process.
//!
//! A missing hook is invisible otherwise: libraries still unload, and the process dies later.

use std::{
    ffi::{c_int, c_void},
    mem::transmute,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    enter,
    heap::{self, Flow, Want},
    interpose, keys, ledger, object,
    real::{
        self, AtExit, C11Routine, Create, Dtor, KeyCreate, KeyDelete, Routine, ThrdCreate,
        TssDelete,
    },
    registry::{self, Record},
    signals,
};
use crate::action;

/// Checks that plugins find the host's functions, and that those do their work: with the C
/// library itself playing the plugin, a thread, a thread-local destructor and a key are made,
/// attributed, purged and gone.
///
/// To be called at start, before the first library is loaded: that is when it is tried, once for all.
///
/// # Errors
/// What does not work; then nothing is ever unloaded.
pub fn self_test() -> Result<(), String> {
    let lacks = TRIED.get_or_init(|| try_here().err().unwrap_or_default());
    if lacks.is_empty() { Ok(()) } else { Err(lacks.clone()) }
}

/// What does not work; empty: nothing. Of a value with nothing in it some bytes would never be written,
/// and what a stack held before looks to the census like somebody who keeps an address.
static TRIED: OnceLock<String> = OnceLock::new();

/// Spares this process a [`self_test`] that has not begun: what it finds is known.
///
/// # Safety
/// Another process has passed it, with the same executable and the same preloaded libraries.
pub unsafe fn spare_self_test() {
    real::look_up();
    // Whoever has tried it knows better.
    let _ = TRIED.set(String::new());
}

fn try_here() -> Result<(), String> {
    real::look_up();
    for (name, ours) in interpose::table() {
        let found = interpose::lookup(name);
        if !ptr::eq(found, ours) {
            return Err(format!(
                "plugins do not find the host's `{}`: the executable does not export it",
                name.to_string_lossy()
            ));
        }
    }
    let libc_address = real::getppid();
    let object = object::find(libc_address).ok_or("no loaded object holds `getppid`")?;
    let path = object.name().to_owned();
    let record = registry::register(path).ok_or("the C library is registered already")?;
    let outcome = try_all(&record, libc_address);
    keys::delete_all(&record);
    registry::unregister(&record);
    outcome
}

/// As a plugin sees them: through the dynamic symbol table.
struct Seen {
    at_exit: AtExit,
    key_create: KeyCreate,
    key_delete: KeyDelete,
    create: Create,
    tss_create: KeyCreate,
    tss_delete: TssDelete,
    thrd_create: ThrdCreate,
    signal: SetHandler,
}

/// signal(2).
type SetHandler = unsafe extern "C" fn(c_int, usize) -> usize;

impl Seen {
    fn look() -> Self {
        let of = interpose::lookup;
        // SAFETY: `self_test` has just found our own function under this name.
        let at_exit = unsafe { transmute::<*mut c_void, AtExit>(of(c"__cxa_thread_atexit_impl")) };
        // SAFETY: as above.
        let key_create = unsafe { transmute::<*mut c_void, KeyCreate>(of(c"pthread_key_create")) };
        // SAFETY: as above.
        let key_delete = unsafe { transmute::<*mut c_void, KeyDelete>(of(c"pthread_key_delete")) };
        // SAFETY: as above.
        let create = unsafe { transmute::<*mut c_void, Create>(of(c"pthread_create")) };
        // SAFETY: as above; C11's type of a key is POSIX's.
        let tss_create = unsafe { transmute::<*mut c_void, KeyCreate>(of(c"tss_create")) };
        // SAFETY: as above.
        let tss_delete = unsafe { transmute::<*mut c_void, TssDelete>(of(c"tss_delete")) };
        // SAFETY: as above; C11's type of a thread is POSIX's.
        let thrd_create = unsafe { transmute::<*mut c_void, ThrdCreate>(of(c"thrd_create")) };
        // SAFETY: as above.
        let signal = unsafe { transmute::<*mut c_void, SetHandler>(of(c"signal")) };
        Self {
            at_exit,
            key_create,
            key_delete,
            create,
            tss_create,
            tss_delete,
            thrd_create,
            signal,
        }
    }
}

static RAN: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count_run(_: *mut c_void) {
    RAN.fetch_add(1, Ordering::Relaxed);
}

fn try_all(record: &Record, libc_address: *mut c_void) -> Result<(), String> {
    let seen = Seen::look();
    try_destructor(&seen, record, libc_address)?;
    try_key(&seen, record, libc_address)?;
    try_c11_key(&seen, record)?;
    try_thread(&seen, record, libc_address)?;
    try_c11_thread(&seen, record, libc_address)?;
    try_heap(record, libc_address)?;
    try_action(&seen, record)
}

/// What a library asks for is lent, and goes when it is taken back.
fn try_heap(record: &Record, libc_address: *mut c_void) -> Result<(), String> {
    unsafe fn nothing(_: *const c_void) -> Flow {
        Flow::default()
    }
    let want = Want { size: 1 << 20, align: 1 << 20, old: ptr::null_mut() };
    // SAFETY: an address in the library; nothing is read there.
    let base = unsafe { heap::request(libc_address.cast_const(), nothing, want) };
    let lent = heap::ranges(record.id());
    heap::take_back(record.id());
    let whole = base.addr()..base.addr() + want.size;
    if !base.is_null() && lent.iter().eq([&whole]) && heap::ranges(record.id()).is_empty() {
        return Ok(());
    }
    Err(format!("a range of a heap was noted as {} ranges", lent.len()))
}

fn try_destructor(seen: &Seen, record: &Record, dso: *mut c_void) -> Result<(), String> {
    let before = RAN.load(Ordering::Relaxed);
    // SAFETY: `count_run` ignores its argument and lives as long as the process.
    let rc = unsafe { (seen.at_exit)(Some(count_run), ptr::null_mut(), dso) };
    let kept = record.tls_count();
    ledger::purge_thread(record.id());
    let ran = RAN.load(Ordering::Relaxed) - before;
    if (rc, kept, ran, record.tls_count()) == (0, 1, 1, 0) {
        return Ok(());
    }
    Err(format!("a thread-local destructor was kept {kept} times and purged {ran} times"))
}

fn try_key(seen: &Seen, record: &Record, libc_address: *mut c_void) -> Result<(), String> {
    // SAFETY: `getppid` takes no argument, and what it returns in a register nobody looks at.
    let dtor = unsafe { transmute::<*mut c_void, Option<Dtor>>(libc_address) };
    let mut key = 0;
    // SAFETY: the key is ours.
    let rc = unsafe { (seen.key_create)(&raw mut key, dtor) };
    if rc != 0 {
        return Err(format!("a key cannot be made: error {rc}"));
    }
    let noted = record.keys().iter().filter(|known| known.key == key).count();
    // SAFETY: the key exists; its destructor does not look at the value.
    unsafe { libc::pthread_setspecific(key, libc_address) };
    ledger::purge_thread(record.id());
    // SAFETY: the key exists.
    let left = unsafe { libc::pthread_getspecific(key) };
    // SAFETY: the key exists, and is not used again.
    unsafe { (seen.key_delete)(key) };
    let still = record.keys().iter().filter(|known| known.key == key).count();
    if noted == 1 && left.is_null() && still == 0 {
        return Ok(());
    }
    Err(format!("a key was noted {noted} times, purged: {}, then {still} times", left.is_null()))
}

/// A key whose destructor lies elsewhere (C's `free` is the usual one) in a variable of the
/// library, by C11's functions; and one that the host deletes first.
fn try_c11_key(seen: &Seen, record: &Record) -> Result<(), String> {
    // The loader's.
    let elsewhere = interpose::lookup(c"__tls_get_addr");
    // SAFETY: null is `None`; never called, because the key never gets a value.
    let elsewhere = unsafe { transmute::<*mut c_void, Option<Dtor>>(elsewhere) };
    // A number that only getopt(3) writes.
    let variable = interpose::lookup(c"optopt").cast::<libc::pthread_key_t>();
    if elsewhere.is_none() || variable.is_null() {
        return Err("the C library lacks what a key is tried with".to_owned());
    }
    // SAFETY: a live variable of the C library, which nobody uses at start.
    let before = unsafe { variable.read() };
    // SAFETY: as above.
    let rc = unsafe { (seen.tss_create)(variable, elsewhere) };
    // SAFETY: as above.
    let key = unsafe { variable.read() };
    // SAFETY: as above.
    unsafe { variable.write(before) };
    if rc != 0 {
        return Err(format!("a key cannot be made by `tss_create`: error {rc}"));
    }
    let noted = record.keys().iter().filter(|known| known.key == key).count();
    keys::delete_all(record);
    let entered = enter(record.id());
    // SAFETY: deleted already, which this call is to find out.
    unsafe { (seen.tss_delete)(key) };
    drop(entered);
    let still = record.take_deleted(key);
    if noted == 1 && !still {
        return Ok(());
    }
    Err(format!("a key in a variable was noted {noted} times; its second deletion passed: {still}"))
}

fn try_thread(seen: &Seen, record: &Record, libc_address: *mut c_void) -> Result<(), String> {
    // SAFETY: `getppid` takes no argument and returns an integer in the register of a pointer.
    let routine = unsafe { transmute::<*mut c_void, Option<Routine>>(libc_address) };
    let before = record.totals().0;
    let mut thread = 0;
    let entered = enter(record.id());
    // SAFETY: the routine may run on any thread; null attributes are the defaults.
    let rc = unsafe { (seen.create)(&raw mut thread, ptr::null(), routine, ptr::null_mut()) };
    drop(entered);
    if rc != 0 {
        return Err(format!("a thread cannot be started: error {rc}"));
    }
    // SAFETY: started above and joined once.
    unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    one_thread(record, before)
}

fn try_c11_thread(seen: &Seen, record: &Record, libc_address: *mut c_void) -> Result<(), String> {
    // SAFETY: `getppid` takes no argument and returns such an integer.
    let routine = unsafe { transmute::<*mut c_void, Option<C11Routine>>(libc_address) };
    let before = record.totals().0;
    let mut thread = 0;
    // SAFETY: the routine may run on any thread.
    let rc = unsafe { (seen.thrd_create)(&raw mut thread, routine, ptr::null_mut()) };
    if rc != 0 {
        return Err(format!("a thread cannot be started by `thrd_create`: error {rc}"));
    }
    // SAFETY: started above and joined once; C11's threads are POSIX's.
    unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    one_thread(record, before)
}

/// Whether one thread has begun since there were `before`, and has ended.
fn one_thread(record: &Record, before: usize) -> Result<(), String> {
    let (began, live) = (record.totals().0 - before, record.thread_count());
    if (began, live) == (1, 0) {
        return Ok(());
    }
    Err(format!("one thread was counted {began} times at its start, {live} are left at its end"))
}

/// A handler of the library, which the kernel does not get to see, and which goes.
fn try_action(seen: &Seen, record: &Record) -> Result<(), String> {
    extern "C" fn nothing(_: c_int) {}
    let signal = libc::SIGURG;
    let there = || action::get(signal).map_or(libc::SIG_ERR, |it| it.sa_sigaction);
    let (before, ours): (_, extern "C" fn(c_int)) = (there(), nothing);
    let entered = enter(record.id());
    // SAFETY: a handler that stays.
    unsafe { (seen.signal)(signal, ours as usize) };
    drop(entered);
    let meanwhile = there();
    signals::withdraw(record.id(), &[])?;
    if ![before, ours as usize].contains(&meanwhile) && there() == before {
        return Ok(());
    }
    Err("a signal handler is not kept from the kernel, or does not go".to_owned())
}
