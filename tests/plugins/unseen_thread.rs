//! `?gate=SOCKET` has a function called on a thread that the host does not see (the C library's
//! own), which registers a thread-local destructor, reports at the test's socket and waits for its byte.
#![expect(unsafe_code, reason = "takes a value through the C library")]

use std::{cell::Cell, ffi::c_void, io::Read as _, os::unix::net::UnixStream};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

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

extern "C" fn wait(socket: *mut c_void) {
    // SAFETY: the box that `start` made for this thread.
    let socket = unsafe { Box::from_raw(socket.cast::<String>()) };
    COUNTED.with(|it| it.0.set(1));
    if let Ok(mut stream) = UnixStream::connect(*socket) {
        let _ = stream.read(&mut [0]);
    }
}

fn start(socket: String) -> Result<()> {
    let socket = Box::into_raw(Box::new(socket)).cast();
    let started = hotseat_test_plugins::on_unseen_thread(wait, socket);
    started.map_err(|rc| Error::new(format!("aio_read: {rc}")))
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
