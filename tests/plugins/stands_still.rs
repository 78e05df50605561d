//! Holds up the data thread that runs it, for ever, each path in a way of its own:
//!
//! - `/loop` within the handler, `/spin` the same with all of a processor,
//! - `/lock` within the handler, by a mutex that it holds already,
//! - `/bytes` in the destructor of what owns the bytes of its answer,
//! - `/future` in the destructor of what its future owns, once the answer is made,
//! - `/body` in the destructor of a body that is streamed,
//! - `/waker` in a waker of its own, when what it waits for wakes it.
//!
//! Everything else is answered with the process id.

use std::{
    future::poll_fn,
    hint::spin_loop,
    pin::pin,
    sync::{Arc, Mutex},
    task::{self, Poll, Wake},
    time::Duration,
};

use hotseat_plugin_api::{Bytes, Context, Handler, Request, Response, Result, export_handler};

/// Never returns, and leaves the processor to others.
fn stand_still() {
    loop {
        std::thread::park();
    }
}

/// Stands still when it is dropped.
struct Bomb;

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        b"answered\n"
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        stand_still();
    }
}

/// Stands still when somebody wakes it.
struct Sleeper;

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        stand_still();
    }
}

struct StandsStill {
    context: Context,
    lock: Mutex<()>,
}

impl Handler for StandsStill {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone(), lock: Mutex::new(()) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/loop" => stand_still(),
            "/spin" => loop {
                spin_loop();
            },
            "/lock" => {
                let _held = self.lock.lock();
                drop(self.lock.lock());
            }
            "/bytes" => return Ok(Response::bytes(Bytes::from_owner(Bomb))),
            "/future" => {
                let _bomb = Bomb;
                return Ok(Response::text("answered\n"));
            }
            "/body" => {
                let bomb = Bomb;
                return Ok(Response::streaming(|mut out| async move {
                    let _bomb = bomb;
                    out.send("answered\n").await;
                    Ok(())
                }));
            }
            "/waker" => {
                let mut time = pin!(self.context.sleep(Duration::from_millis(10)));
                let waker = Arc::new(Sleeper).into();
                let mut cx = task::Context::from_waker(&waker);
                poll_fn(|_| -> Poll<()> { time.as_mut().poll(&mut cx).map(|_| ()) }).await;
            }
            _ => {}
        }
        let pid = std::process::id().to_string();
        Ok(Response::text(format!("still {pid}")).with_header("x-pid", pid))
    }
}

export_handler!(StandsStill);
