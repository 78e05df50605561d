//! `?gate=SOCKET` has a signal handler of the library run on a thread that the host does not see
//! (the C library's own), report at the test's socket and wait for its byte.
#![expect(unsafe_code, reason = "a signal handler is the purpose")]

use std::{
    ffi::{c_int, c_void},
    mem::MaybeUninit,
    ptr,
    sync::OnceLock,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

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
    let on_signal: extern "C" fn(c_int) = wait;
    // SAFETY: a handler of this kind.
    unsafe { libc::signal(libc::SIGWINCH, on_signal as usize) };
    let started = hotseat_test_plugins::on_unseen_thread(hit, ptr::null_mut());
    started.map_err(|rc| Error::new(format!("aio_read: {rc}")))
}

/// The handler runs on the thread that this does.
extern "C" fn hit(_: *mut c_void) {
    // SAFETY: to this thread.
    unsafe { libc::raise(libc::SIGWINCH) };
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
