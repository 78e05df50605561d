//! Leaves an address of its own where others keep it: which one says the end of its label
//! (`1.openlog`), or the path of a request. `/use` makes the C library use what was left.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem::transmute,
    ptr,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

unsafe extern "C" {
    fn atexit(end: extern "C" fn()) -> c_int;
    fn on_exit(end: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    static mut environ: *mut *mut c_char;
    static mut program_invocation_name: *mut c_char;
    static mut program_invocation_short_name: *mut c_char;
    static mut optarg: *mut c_char;
    static mut stdout: *mut libc::FILE;
}

/// The name that a test makes a needed library of, in this library's table of names.
#[used]
// SAFETY: no code has this name.
#[unsafe(export_name = "libkeeper.so")]
static NEEDED: u8 = 0;

static mut TEXT: [u8; 32] = *b"HOTSEAT_KEEPS=kept by a plugin\0\0";
static mut BUFFER: [u8; 4096] = [0; 4096];
static mut ARRAY: [*mut c_char; 1024] = [ptr::null_mut(); 1024];

fn text() -> *mut c_char {
    (&raw mut TEXT).cast()
}

extern "C" fn nothing() {}
extern "C" fn nothing_at_exit(_: c_int, _: *mut c_void) {}
extern "C" fn answer() -> c_int {
    42
}

/// Leaves what is asked for; false where nobody knows it.
///
/// # Safety
/// Others of the process must not look at the same variables meanwhile.
unsafe fn leave(what: &str) -> bool {
    // SAFETY: as the caller says; the functions get what lives as long as this library.
    unsafe {
        match what {
            "putenv" => {
                libc::putenv(text());
            }
            "environ" => {
                let array = (&raw mut ARRAY).cast::<*mut c_char>();
                for number in 0..1022 {
                    array.add(number).write(environ.add(number).read());
                    if array.add(number).read().is_null() {
                        array.add(number).write(text());
                        break;
                    }
                }
                (&raw mut environ).write(array);
            }
            "openlog" => {
                let name = (&raw mut TEXT).cast::<c_char>().add(14);
                libc::openlog(name, libc::LOG_PERROR | libc::LOG_NDELAY, libc::LOG_USER);
            }
            "setvbuf" => {
                libc::setvbuf(stdout, (&raw mut BUFFER).cast(), libc::_IOFBF, 4096);
            }
            "names" => {
                program_invocation_name = text();
                program_invocation_short_name = text();
                optarg = text();
            }
            "on_exit" => {
                on_exit(nothing_at_exit, ptr::null_mut());
            }
            "atexit" => {
                for _ in 0..3 {
                    atexit(nothing);
                }
            }
            "atfork" => {
                libc::pthread_atfork(Some(nothing_to_do), Some(nothing_to_do), None);
            }
            "terminate" => return terminate(),
            "keeper" => return keeper("keep", "libkeeper.so").is_some(),
            _ => return false,
        }
    }
    true
}

unsafe extern "C" fn nothing_to_do() {}

/// Sets C++'s function for a failure that nobody has caught; false where there is no C++.
fn terminate() -> bool {
    let set = find(c"libstdc++.so.6", c"_ZSt13set_terminatePFvvE", 0);
    if set.is_null() {
        return false;
    }
    // SAFETY: the function of that name has this type.
    let set =
        unsafe { transmute::<*mut c_void, unsafe extern "C" fn(extern "C" fn()) -> usize>(set) };
    // SAFETY: a function without arguments.
    unsafe { set(nothing) };
    true
}

/// A symbol of a library that is opened for it, and stays open; null where there is none.
fn find(library: &CStr, symbol: &CStr, flags: c_int) -> *mut c_void {
    // SAFETY: C strings.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW | flags) };
    if handle.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: an open handle, and a C string.
    let found = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
    if flags & libc::RTLD_NOLOAD != 0 {
        // SAFETY: opened above; whoever needs it keeps it.
        unsafe { libc::dlclose(handle) };
    }
    found
}

/// Has `library` keep a function of this library, or none, or call what it keeps. What is needed
/// already is not opened once more.
fn keeper(what: &str, library: &str) -> Option<c_int> {
    let flags = if library.contains('/') { 0 } else { libc::RTLD_NOLOAD };
    let library = CString::new(library).ok()?;
    let symbol = if what == "call" { c"keeper_call" } else { c"keeper_keep" };
    let found = find(&library, symbol, flags);
    if found.is_null() {
        return None;
    }
    // SAFETY: the tests' library has functions of these types under these names.
    Some(unsafe {
        if what == "call" {
            transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(found)()
        } else {
            let kept = (what == "keep").then_some(answer as extern "C" fn() -> c_int);
            let keep = transmute::<
                *mut c_void,
                unsafe extern "C" fn(Option<extern "C" fn() -> c_int>) -> c_int,
            >(found);
            keep(kept)
        }
    })
}

/// Has the C library use what may have been left; what an environment's entry says.
fn make_use() -> String {
    // SAFETY: C strings, and a stream that is always open.
    unsafe {
        libc::syslog(libc::LOG_INFO, c"%s".as_ptr(), c"said to the log".as_ptr());
        libc::fputs(c"said to standard output\n".as_ptr(), stdout);
        libc::fflush(stdout);
        let name = CStr::from_ptr(program_invocation_name);
        let value = libc::getenv(c"HOTSEAT_KEEPS".as_ptr());
        let value = if value.is_null() { c"nothing" } else { CStr::from_ptr(value) };
        format!("{} {}", name.to_string_lossy(), value.to_string_lossy())
    }
}

struct Keeps;

impl Handler for Keeps {
    fn new(context: &Context) -> Result<Self> {
        if let Some((_, what)) = context.label().split_once('.') {
            // SAFETY: tests load one at a time.
            if !unsafe { leave(what) } {
                return Err(Error::new(format!("nobody can leave `{what}`")));
            }
        }
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        // Wherever it is mounted.
        let what = request.path().rsplit('/').next().unwrap_or_default();
        if what == "use" {
            return Ok(Response::text(make_use()));
        }
        let library = request.query_value("library").unwrap_or_default();
        match keeper(what, &library) {
            Some(number) => Ok(Response::text(format!("{what} {number}"))),
            None => Err(Error::new(format!("`{library}` is not to be had"))),
        }
    }
}

export_handler!(Keeps);
