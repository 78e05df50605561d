//! The C library's own versions of the interposed functions.
//!
//! Found once by `dlsym(RTLD_NEXT)` and cached: these are called before `main`, so nothing here
//! allocates, locks or needs a constructor.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use super::on_heap::{CookieFunctions, lists::Entry};

/// A thread-local destructor.
pub(super) type Dtor = unsafe extern "C" fn(*mut c_void);
/// A thread's first function. `C-unwind`, because `pthread_exit` unwinds through it.
pub(super) type Routine = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;
/// As [`Routine`], of C11.
pub(super) type C11Routine = unsafe extern "C-unwind" fn(*mut c_void) -> c_int;

pub(super) type AtExit = unsafe extern "C" fn(Option<Dtor>, *mut c_void, *mut c_void) -> c_int;
pub(super) type KeyCreate = unsafe extern "C" fn(*mut libc::pthread_key_t, Option<Dtor>) -> c_int;
pub(super) type KeyDelete = unsafe extern "C" fn(libc::pthread_key_t) -> c_int;
pub(super) type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Option<Routine>,
    *mut c_void,
) -> c_int;
/// C11's deletion of a key says nothing.
pub(super) type TssDelete = unsafe extern "C" fn(libc::pthread_key_t);
pub(super) type ThrdCreate =
    unsafe extern "C" fn(*mut libc::pthread_t, Option<C11Routine>, *mut c_void) -> c_int;

/// Ends the process with a code.
pub(super) type Ending = unsafe extern "C" fn(c_int) -> !;
/// Sends a signal to what its first argument names.
pub(super) type Signalling<T> = unsafe extern "C" fn(T, c_int) -> c_int;
pub(super) type Raise = unsafe extern "C" fn(c_int) -> c_int;
/// `C-unwind`, because it unwinds.
pub(super) type ThreadExit = unsafe extern "C-unwind" fn(*mut c_void) -> !;

/// Opens the system's log under a name.
pub(super) type OpenLog = unsafe extern "C" fn(*const c_char, c_int, c_int);
pub(super) type Stack = unsafe extern "C" fn(*const libc::stack_t, *mut libc::stack_t) -> c_int;
/// What is called with the status at a process's end.
pub(super) type AtEnd = unsafe extern "C" fn(c_int, *mut c_void);
pub(super) type OnExit = unsafe extern "C" fn(Option<AtEnd>, *mut c_void) -> c_int;
pub(super) type TimerCreate =
    unsafe extern "C" fn(libc::clockid_t, *const c_void, *mut *mut c_void) -> c_int;
pub(super) type TimerDelete = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type QueueNotify = unsafe extern "C" fn(c_int, *const c_void) -> c_int;

/// Of a function that is only passed on.
pub(super) type Address = *const c_void;
pub(super) type CookieOpen =
    unsafe extern "C" fn(*mut c_void, *const c_char, CookieFunctions) -> *mut libc::FILE;
pub(super) type MemoryOpen =
    unsafe extern "C" fn(*mut c_void, usize, *const c_char) -> *mut libc::FILE;
pub(super) type TextOpen = unsafe extern "C" fn(*mut *mut c_void, *mut usize) -> *mut libc::FILE;
pub(super) type Close = unsafe extern "C" fn(*mut libc::FILE) -> c_int;
pub(super) type RegisterLetter = unsafe extern "C" fn(c_int, Address, Address) -> c_int;
pub(super) type RegisterType = unsafe extern "C" fn(Address) -> c_int;

/// Is called around a fork.
pub(super) type AroundFork = unsafe extern "C" fn();
pub(super) type RegisterAtfork = unsafe extern "C" fn(
    Option<AroundFork>,
    Option<AroundFork>,
    Option<AroundFork>,
    *mut c_void,
) -> c_int;

/// As `malloc` in one or two sizes, and with an alignment first.
pub(super) type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
pub(super) type Malloc2 = unsafe extern "C" fn(usize, usize) -> *mut c_void;
pub(super) type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
pub(super) type AlignedInto = unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int;

/// Tables to unwind by.
pub(super) type Frames = unsafe extern "C" fn(*mut c_void);
pub(super) type FramesInfo = unsafe extern "C" fn(*mut c_void, *mut c_void);
pub(super) type FramesEnd = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
pub(super) type Hsearch = unsafe extern "C" fn(Entry, c_int) -> *mut Entry;
pub(super) type Hdestroy = unsafe extern "C" fn();
pub(super) type Addseverity = unsafe extern "C" fn(c_int, *const c_char) -> c_int;

/// As `C-unwind` as [`Routine`].
pub(super) type Write = unsafe extern "C-unwind" fn(c_int, *const c_void, usize) -> isize;

pub(super) type Socketpair = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_int) -> c_int;

struct Slot {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Slot {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(ptr::null_mut()) }
    }

    fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the name is a C string; RTLD_NEXT means "behind the executable", where we are.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// All of them, each by its name.
macro_rules! slots {
    ($($slot:ident $name:literal)*) => {
        $(static $slot: Slot = Slot::new($name);)*
        static ALL: &[&Slot] = &[$(&$slot),*];
    };
}

slots! {
    MALLOC c"malloc"
    CALLOC c"calloc"
    REALLOC c"realloc"
    ALIGNED_ALLOC c"aligned_alloc"
    MEMALIGN c"memalign"
    POSIX_MEMALIGN c"posix_memalign"
    MALLOC_USABLE_SIZE c"malloc_usable_size"
    GETPPID c"getppid"
    AT_EXIT c"__cxa_thread_atexit_impl"
    KEY_CREATE c"pthread_key_create"
    KEY_DELETE c"pthread_key_delete"
    CREATE c"pthread_create"
    TSS_CREATE c"tss_create"
    TSS_DELETE c"tss_delete"
    THRD_CREATE c"thrd_create"
    EXIT c"exit"
    UNDERSCORE_EXIT c"_exit"
    QUICK_EXIT c"quick_exit"
    KILL c"kill"
    RAISE c"raise"
    PTHREAD_KILL c"pthread_kill"
    OPENLOG c"openlog"
    PTHREAD_EXIT c"pthread_exit"
    SIGALTSTACK c"sigaltstack"
    SOCKETPAIR c"socketpair"
    WRITE c"write"
    TIMER_CREATE c"timer_create"
    TIMER_DELETE c"timer_delete"
    MQ_NOTIFY c"mq_notify"
    REGISTER_ATFORK c"__register_atfork"
    FOPENCOOKIE c"fopencookie"
    FMEMOPEN c"fmemopen"
    OPEN_MEMSTREAM c"open_memstream"
    OPEN_WMEMSTREAM c"open_wmemstream"
    FCLOSE c"fclose"
    REGISTER_PRINTF_SPECIFIER c"register_printf_specifier"
    REGISTER_PRINTF_FUNCTION c"register_printf_function"
    REGISTER_PRINTF_TYPE c"register_printf_type"
    ON_EXIT c"on_exit"
    REGISTER_FRAME c"__register_frame"
    DEREGISTER_FRAME c"__deregister_frame"
    REGISTER_FRAME_INFO c"__register_frame_info"
    DEREGISTER_FRAME_INFO c"__deregister_frame_info"
    HSEARCH c"hsearch"
    HDESTROY c"hdestroy"
    ADDSEVERITY c"addseverity"
}

/// Looks all of them up: they may be called where nothing can be looked up, in a signal handler or
/// while a constructor that does not return holds the loader.
pub(super) fn look_up() {
    for slot in ALL {
        slot.address();
    }
}

pub(super) fn malloc() -> Option<Malloc> {
    // SAFETY: null is `None`; else it is the function of that name, whose type is this.
    unsafe { std::mem::transmute::<*mut c_void, Option<Malloc>>(MALLOC.address()) }
}

pub(super) fn calloc() -> Option<Malloc2> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Malloc2>>(CALLOC.address()) }
}

pub(super) fn realloc() -> Option<Realloc> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Realloc>>(REALLOC.address()) }
}

pub(super) fn aligned_alloc() -> Option<Malloc2> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Malloc2>>(ALIGNED_ALLOC.address()) }
}

pub(super) fn memalign() -> Option<Malloc2> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Malloc2>>(MEMALIGN.address()) }
}

pub(super) fn posix_memalign() -> Option<AlignedInto> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<AlignedInto>>(POSIX_MEMALIGN.address()) }
}

/// Where it is.
pub(super) fn malloc_usable_size() -> *const c_void {
    MALLOC_USABLE_SIZE.address()
}

/// Where it is: a function that can be called with anything.
pub(super) fn getppid() -> *mut c_void {
    GETPPID.address()
}

pub(super) fn write() -> Option<Write> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Write>>(WRITE.address()) }
}

pub(super) fn socketpair() -> Option<Socketpair> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Socketpair>>(SOCKETPAIR.address()) }
}

pub(super) fn __register_frame() -> Option<Frames> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Frames>>(REGISTER_FRAME.address()) }
}

pub(super) fn __deregister_frame() -> Option<Frames> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Frames>>(DEREGISTER_FRAME.address()) }
}

pub(super) fn __register_frame_info() -> Option<FramesInfo> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<FramesInfo>>(REGISTER_FRAME_INFO.address()) }
}

pub(super) fn __deregister_frame_info() -> Option<FramesEnd> {
    // SAFETY: as above.
    unsafe {
        std::mem::transmute::<*mut c_void, Option<FramesEnd>>(DEREGISTER_FRAME_INFO.address())
    }
}

pub(super) fn hsearch() -> Option<Hsearch> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Hsearch>>(HSEARCH.address()) }
}

pub(super) fn hdestroy() -> Option<Hdestroy> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Hdestroy>>(HDESTROY.address()) }
}

pub(super) fn addseverity() -> Option<Addseverity> {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<*mut c_void, Option<Addseverity>>(ADDSEVERITY.address()) }
}

pub(super) fn thread_atexit() -> Option<AtExit> {
    // SAFETY: null is `None`; else it is the function of that name, whose type is this.
    unsafe { std::mem::transmute::<*mut c_void, Option<AtExit>>(AT_EXIT.address()) }
}

pub(super) fn key_create() -> Option<KeyCreate> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<KeyCreate>>(KEY_CREATE.address()) }
}

pub(super) fn key_delete() -> Option<KeyDelete> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<KeyDelete>>(KEY_DELETE.address()) }
}

pub(super) fn create() -> Option<Create> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Create>>(CREATE.address()) }
}

pub(super) fn tss_create() -> Option<KeyCreate> {
    // SAFETY: as in `thread_atexit`; C11's type of a key is POSIX's.
    unsafe { std::mem::transmute::<*mut c_void, Option<KeyCreate>>(TSS_CREATE.address()) }
}

pub(super) fn tss_delete() -> Option<TssDelete> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<TssDelete>>(TSS_DELETE.address()) }
}

pub(super) fn thrd_create() -> Option<ThrdCreate> {
    // SAFETY: as in `thread_atexit`; C11's type of a thread is POSIX's.
    unsafe { std::mem::transmute::<*mut c_void, Option<ThrdCreate>>(THRD_CREATE.address()) }
}

pub(super) fn exit() -> Option<Ending> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Ending>>(EXIT.address()) }
}

pub(super) fn underscore_exit() -> Option<Ending> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Ending>>(UNDERSCORE_EXIT.address()) }
}

pub(super) fn quick_exit() -> Option<Ending> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Ending>>(QUICK_EXIT.address()) }
}

pub(super) fn kill() -> Option<Signalling<libc::pid_t>> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Signalling<libc::pid_t>>>(KILL.address()) }
}

pub(super) fn raise() -> Option<Raise> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Raise>>(RAISE.address()) }
}

pub(super) fn pthread_kill() -> Option<Signalling<libc::pthread_t>> {
    // SAFETY: as in `thread_atexit`.
    unsafe {
        std::mem::transmute::<*mut c_void, Option<Signalling<libc::pthread_t>>>(
            PTHREAD_KILL.address(),
        )
    }
}

pub(super) fn pthread_exit() -> Option<ThreadExit> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<ThreadExit>>(PTHREAD_EXIT.address()) }
}

pub(super) fn openlog() -> Option<OpenLog> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<OpenLog>>(OPENLOG.address()) }
}

pub(super) fn sigaltstack() -> Option<Stack> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Stack>>(SIGALTSTACK.address()) }
}

pub(super) fn on_exit() -> Option<OnExit> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<OnExit>>(ON_EXIT.address()) }
}

pub(super) fn timer_create() -> Option<TimerCreate> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<TimerCreate>>(TIMER_CREATE.address()) }
}

pub(super) fn timer_delete() -> Option<TimerDelete> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<TimerDelete>>(TIMER_DELETE.address()) }
}

pub(super) fn mq_notify() -> Option<QueueNotify> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<QueueNotify>>(MQ_NOTIFY.address()) }
}

pub(super) fn register_atfork() -> Option<RegisterAtfork> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<RegisterAtfork>>(REGISTER_ATFORK.address()) }
}

pub(super) fn fopencookie() -> Option<CookieOpen> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<CookieOpen>>(FOPENCOOKIE.address()) }
}

pub(super) fn fmemopen() -> Option<MemoryOpen> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<MemoryOpen>>(FMEMOPEN.address()) }
}

pub(super) fn open_memstream() -> Option<TextOpen> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<TextOpen>>(OPEN_MEMSTREAM.address()) }
}

pub(super) fn open_wmemstream() -> Option<TextOpen> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<TextOpen>>(OPEN_WMEMSTREAM.address()) }
}

pub(super) fn fclose() -> Option<Close> {
    // SAFETY: as in `thread_atexit`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Close>>(FCLOSE.address()) }
}

pub(super) fn register_printf_specifier() -> Option<RegisterLetter> {
    // SAFETY: as in `thread_atexit`.
    unsafe {
        std::mem::transmute::<*mut c_void, Option<RegisterLetter>>(
            REGISTER_PRINTF_SPECIFIER.address(),
        )
    }
}

pub(super) fn register_printf_function() -> Option<RegisterLetter> {
    // SAFETY: as in `thread_atexit`.
    unsafe {
        std::mem::transmute::<*mut c_void, Option<RegisterLetter>>(
            REGISTER_PRINTF_FUNCTION.address(),
        )
    }
}

pub(super) fn register_printf_type() -> Option<RegisterType> {
    // SAFETY: as in `thread_atexit`.
    unsafe {
        std::mem::transmute::<*mut c_void, Option<RegisterType>>(REGISTER_PRINTF_TYPE.address())
    }
}
