//! Ends its process where and how a file says, and never in a preflight.
//!
//! The folder that `HOTSEAT_TEST_TROUBLE` names holds a file for each generation, or `any`: a line
//! `WHERE HOW`. WHERE is `constructor`, `new`, `call`, `stop`, `drop`, `thread` (one that `new`
//! starts) or `late` (one that a call starts). HOW is the name of a function of the C library, or
//! `std_exit`, `segv`, `panic`, `fail`, `hang`, `stack`, `memory`; `syscall` and `killed` are an exit
//! and a SIGKILL that the C library does not see; `wait` says so by a file `waits` and goes on when
//! there is a file `go`; `abort_held` and `raise_held` are ends that do not
//! end it.
#![expect(unsafe_code, clippy::exit, reason = "the fault is the purpose")]

use std::{
    alloc::{Layout, handle_alloc_error},
    ffi::{CStr, OsStr, c_int},
    hint::black_box,
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

unsafe extern "C" {
    fn quick_exit(code: c_int) -> !;
    fn _Exit(code: c_int) -> !;
}

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    happen("constructor");
}

/// The private copy that this is: `GENERATION-DIGEST.so`.
fn generation() -> Option<String> {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked for; `info` has room for the answer.
    if unsafe { libc::dladdr(generation as *const _, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: not 0 means that the answer was written.
    let info = unsafe { info.assume_init() };
    // SAFETY: the loader keeps a C string there as long as the library is loaded.
    let path = unsafe { CStr::from_ptr(info.dli_fname) };
    let name = Path::new(OsStr::from_bytes(path.to_bytes())).file_name()?.to_str()?;
    Some(name.split('-').next()?.to_owned())
}

fn is_preflight() -> bool {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"preflight-child")
}

/// How it ends at `place`, if it does.
fn how(place: &str) -> Option<String> {
    let folder = PathBuf::from(std::env::var_os("HOTSEAT_TEST_TROUBLE")?);
    let own = std::fs::read_to_string(folder.join(generation()?));
    let text = own.or_else(|_| std::fs::read_to_string(folder.join("any"))).ok()?;
    let (where_, how) = text.trim().split_once(' ')?;
    (where_ == place && !is_preflight()).then(|| how.to_owned())
}

fn happen(place: &str) -> Option<Error> {
    let how = how(place)?;
    if how == "fail" {
        return Some(Error::new("the database is away"));
    }
    end(&how);
    None
}

fn end(how: &str) {
    match how {
        "exit" | "_exit" | "_Exit" | "quick_exit" | "std_exit" | "syscall" => end_with(how, 3),
        "abort" => std::process::abort(),
        // SAFETY: none; the fault is the purpose.
        "segv" => unsafe { ptr::without_provenance_mut::<u8>(8).write_volatile(1) },
        "panic" => panic!("asked to"),
        "wait" => wait(),
        "hang" => loop {
            std::thread::park();
        },
        "stack" => {
            black_box(deeper(1));
        }
        "memory" => handle_alloc_error(Layout::new::<[u64; 1 << 20]>()),
        "abort_held" => hold_abort(),
        "raise_held" => hold_signal(),
        "kill" | "killed" | "raise" | "pthread_kill" => send(how),
        // SAFETY: none; the fault is the purpose.
        "pthread_exit" => unsafe { pthread_exit(ptr::null_mut()) },
        other => panic!("`{other}` is no end"),
    }
}

fn wait() {
    let folder = PathBuf::from(std::env::var_os("HOTSEAT_TEST_TROUBLE").unwrap_or_default());
    let _ = std::fs::write(folder.join("waits"), []);
    while !folder.join("go").exists() {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

unsafe extern "C-unwind" {
    fn pthread_exit(value: *mut libc::c_void) -> !;
}

fn end_with(how: &str, code: c_int) {
    // SAFETY: each ends the process.
    unsafe {
        match how {
            "exit" => libc::exit(code),
            "_exit" => libc::_exit(code),
            "_Exit" => _Exit(code),
            "quick_exit" => quick_exit(code),
            "std_exit" => std::process::exit(code),
            _ => libc::syscall(libc::SYS_exit_group, code),
        }
    };
}

extern "C" fn never_back(_: c_int) {
    if let Some(folder) = std::env::var_os("HOTSEAT_TEST_TROUBLE") {
        let _ = std::fs::write(Path::new(&folder).join("held"), []);
    }
    loop {
        std::thread::park();
    }
}

/// Gives up, and handles that itself by going nowhere.
fn hold_abort() {
    let handler: extern "C" fn(c_int) = never_back;
    // SAFETY: a handler of the right type, which lives as long as the process.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
    std::process::abort()
}

/// Sends itself a fault that it does not let through.
fn hold_signal() {
    let mut only = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: makes the set empty, adds a signal that there is, and blocks it for this thread.
    unsafe {
        libc::sigemptyset(only.as_mut_ptr());
        libc::sigaddset(only.as_mut_ptr(), libc::SIGSEGV);
        libc::pthread_sigmask(libc::SIG_BLOCK, only.as_ptr(), ptr::null_mut());
        libc::raise(libc::SIGSEGV);
    }
}

/// SIGKILL to this process; `killed` does not ask the C library.
fn send(how: &str) {
    // SAFETY: ends the process.
    unsafe {
        match how {
            "kill" => libc::kill(libc::getpid(), libc::SIGKILL),
            "raise" => libc::raise(libc::SIGKILL),
            "pthread_kill" => libc::pthread_kill(libc::pthread_self(), libc::SIGKILL),
            _ => c_int::from(libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL) != 0),
        }
    };
}

/// Uses up the stack; `black_box` keeps the frames.
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + black_box(frame)[7] }
}

struct Trouble;

impl Handler for Trouble {
    fn new(_: &Context) -> Result<Self> {
        if let Some(how) = how("thread") {
            std::thread::spawn(move || end(&how));
        }
        happen("new").map_or(Ok(Self), Err)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        if let Some(how) = how("late") {
            std::thread::spawn(move || end(&how));
        }
        happen("call").map_or_else(|| Ok(Response::text("trouble")), Err)
    }

    fn stop(&self) {
        happen("stop");
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        happen("drop");
    }
}

export_handler!(Trouble);
