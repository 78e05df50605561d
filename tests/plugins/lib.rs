//! What the test plugins share.
//!
//! Each file beside this one is a plugin of its own with one behaviour or one fault; it is built
//! as `libNAME.so` into the `examples` folder of cargo's profile.
#![expect(unsafe_code, reason = "calls the C library")]

use std::ffi::{c_int, c_void};

/// What the plugins of the soak answer: one short text many times over, so that a body made of two
/// versions would show.
#[must_use]
pub fn versioned_body(label: &str) -> String {
    format!("v{label};").repeat(64)
}

/// A handler that answers every request with one text.
#[macro_export]
macro_rules! plain {
    ($text:literal) => {
        struct Plain;

        impl ::hotseat_plugin_api::Handler for Plain {
            fn new(_: &::hotseat_plugin_api::Context) -> ::hotseat_plugin_api::Result<Self> {
                Ok(Self)
            }

            async fn call(
                &self,
                _: ::hotseat_plugin_api::Request<'_>,
            ) -> ::hotseat_plugin_api::Result<::hotseat_plugin_api::Response> {
                Ok(::hotseat_plugin_api::Response::text($text))
            }
        }

        ::hotseat_plugin_api::export_handler!(Plain);
    };
}

/// glibc's `struct sigevent` of `SIGEV_THREAD`, whose fields the crate libc lacks.
///
/// Source: sigevent(3type), `<bits/types/sigevent_t.h>`.
#[repr(C)]
#[derive(Debug)]
pub struct ThreadEvent {
    value: *mut c_void,
    signal: c_int,
    notify: c_int,
    function: extern "C" fn(*mut c_void),
    attributes: *mut c_void,
    rest: [c_int; 8],
}

const _: () = assert!(size_of::<ThreadEvent>() == size_of::<libc::sigevent>());

impl ThreadEvent {
    /// `function` is called with `value` on a thread of the C library's.
    #[must_use]
    pub fn new(function: extern "C" fn(*mut c_void), value: *mut c_void) -> Self {
        const SIGEV_THREAD: c_int = 2;
        let attributes = std::ptr::null_mut();
        Self { value, signal: 0, notify: SIGEV_THREAD, function, attributes, rest: [0; 8] }
    }
}

/// Has `function` called with `value` on a thread that the C library makes for itself, which no host
/// sees: that by which asynchronous input tells that it is there.
///
/// Source: aio_read(3).
///
/// # Errors
/// The number of the C library's error.
pub fn on_unseen_thread(
    function: extern "C" fn(*mut c_void),
    value: *mut c_void,
) -> Result<(), c_int> {
    // The C library uses all of it until the call is over; a few hundred bytes stay.
    let room = Box::leak(Box::new([0_u8; 1]));
    // SAFETY: all zeros is a request for nothing.
    let request = Box::leak(Box::new(unsafe { std::mem::zeroed::<libc::aiocb>() }));
    // SAFETY: a path; an event in the place of another of that size; a request that stays.
    let failed = unsafe {
        request.aio_fildes = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        request.aio_buf = room.as_mut_ptr().cast();
        request.aio_nbytes = 1;
        (&raw mut request.aio_sigevent)
            .cast::<ThreadEvent>()
            .write(ThreadEvent::new(function, value));
        libc::aio_read(request)
    };
    if failed == 0 { Ok(()) } else { Err(failed) }
}
