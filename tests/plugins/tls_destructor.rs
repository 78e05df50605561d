//! Registers thread-local destructors on every thread that it meets.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use std::cell::Cell;

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

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let count = COUNTED.with(|it| {
            it.0.set(it.0.get() + 1);
            it.0.get()
        });
        Ok(Response::text(format!("tls_destructor {count}")))
    }
}

export_handler!(Fault);
