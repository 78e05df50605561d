//! `?gate=SOCKET` has a signal handler of the library run on a thread that is nobody's (the C
//! library made it, and it begins there), report at the test's socket and wait for its byte.
#![expect(unsafe_code, reason = "a signal handler is the purpose")]

use std::{
    ffi::{c_int, c_void},
    mem::{MaybeUninit, transmute},
    ptr,
    sync::OnceLock,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

type Routine = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Routine,
    *mut c_void,
) -> c_int;

static GATE: OnceLock<libc::sockaddr_un> = OnceLock::new();

/// Only does what a signal handler may.
extern "C" fn wait(_: c_int) {
    let Some(gate) = GATE.get() else { return };
    let size = libc::socklen_t::try_from(size_of_val(gate)).unwrap_or(0);
    let mut byte = 0_u8;
    // SAFETY: an address of that size, and room for a byte; an error shows in the test.
    unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        libc::connect(socket, std::ptr::from_ref(gate).cast(), size);
        libc::read(socket, (&raw mut byte).cast(), 1);
        libc::close(socket);
    }
}

fn start(socket: &str) -> Result<()> {
    GATE.get_or_init(|| {
        // SAFETY: all zeros is an address without a path.
        let mut gate = unsafe { MaybeUninit::<libc::sockaddr_un>::zeroed().assume_init() };
        gate.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or(0);
        for (place, byte) in gate.sun_path.iter_mut().zip(socket.bytes()) {
            *place = libc::c_char::from_ne_bytes([byte]);
        }
        gate
    });
    // SAFETY: the names are C strings; the library is there; the functions have these types.
    let (create, pause) = unsafe {
        let libc = libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD);
        let create = libc::dlsym(libc, c"pthread_create".as_ptr());
        let pause = libc::dlsym(libc, c"pause".as_ptr());
        (
            transmute::<*mut c_void, Option<Create>>(create),
            transmute::<*mut c_void, Option<Routine>>(pause),
        )
    };
    let (create, pause) = create.zip(pause).ok_or_else(|| Error::new("the C library is odd"))?;
    let mut thread = 0;
    // SAFETY: `pause` ignores its argument, and gives the register that a pointer has.
    let rc = unsafe { create(&raw mut thread, ptr::null(), pause, ptr::null_mut()) };
    if rc != 0 {
        return Err(Error::new(format!("pthread_create: {rc}")));
    }
    let on_signal: extern "C" fn(c_int) = wait;
    // SAFETY: a handler of this kind, and a thread that has not been joined.
    unsafe {
        libc::signal(libc::SIGWINCH, on_signal as usize);
        libc::pthread_kill(thread, libc::SIGWINCH);
    }
    Ok(())
}

struct Slow;

impl Handler for Slow {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if let Some(socket) = request.query().and_then(|query| query.strip_prefix("gate=")) {
            start(socket)?;
        }
        Ok(Response::text("slow_handler"))
    }
}

export_handler!(Slow);
