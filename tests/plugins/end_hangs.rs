//! In the serving process its static destructors take their time.
#![expect(unsafe_code, reason = "a destructor is placed in `.fini_array` by hand")]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

static SERVES: AtomicBool = AtomicBool::new(false);

#[used]
// SAFETY: the section holds pointers to functions like this one.
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = hang;

extern "C" fn hang() {
    let end = Instant::now() + Duration::from_secs(1);
    while SERVES.load(Ordering::Relaxed) && Instant::now() < end {
        std::hint::spin_loop();
    }
}

struct Fault;

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        SERVES.store(!context.is_preflight(), Ordering::Relaxed);
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("end_hangs"))
    }
}

export_handler!(Fault);
