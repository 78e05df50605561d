//! `?gate=SOCKET` starts a thread that the host does not see (by the C library's own function),
//! which registers a thread-local destructor, reports at the test's socket and waits for its byte.
#![expect(unsafe_code, reason = "calls the C library")]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    io::Read as _,
    mem::transmute,
    os::unix::net::UnixStream,
    ptr,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Routine,
    *mut c_void,
) -> c_int;

/// Its destructor stands in this library: who unmaps it first crashes at the thread's end.
#[derive(Default)]
struct Counted(Cell<u64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

thread_local! {
    static COUNTED: Counted = Counted::default();
}

extern "C" fn wait(socket: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `start` made for this thread.
    let socket = unsafe { Box::from_raw(socket.cast::<String>()) };
    COUNTED.with(|it| it.0.set(1));
    if let Ok(mut stream) = UnixStream::connect(*socket) {
        let _ = stream.read(&mut [0]);
    }
    ptr::null_mut()
}

fn start(socket: String) -> Result<()> {
    // SAFETY: the name is a C string; the library is there.
    let libc = unsafe { libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    // SAFETY: a library's handle and a C string.
    let found = unsafe { libc::dlsym(libc, c"pthread_create".as_ptr()) };
    // SAFETY: null is `None`; else it is the function of that name.
    let create = unsafe { transmute::<*mut c_void, Option<Create>>(found) };
    let create = create.ok_or_else(|| Error::new("the C library makes no threads"))?;
    let mut thread = 0;
    let socket = Box::into_raw(Box::new(socket)).cast();
    // SAFETY: the routine may run on any thread and takes the box over.
    match unsafe { create(&raw mut thread, ptr::null(), wait, socket) } {
        0 => Ok(()),
        rc => Err(Error::new(format!("pthread_create: {rc}"))),
    }
}

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if let Some(socket) = request.query().and_then(|query| query.strip_prefix("gate=")) {
            start(socket.to_owned())?;
        }
        Ok(Response::text("unseen_thread"))
    }
}

export_handler!(Fault);
