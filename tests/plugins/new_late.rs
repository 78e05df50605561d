//! In the serving process `new` is slow and starts a thread that goes on for a while, whatever
//! `stop` says. As `2.promised` it takes the promise of ABI 1.2 by its word: the thread must not see
//! the handler freed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

static FREED: AtomicBool = AtomicBool::new(false);

fn pass(time: Duration, promised: bool) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(rest.min(Duration::from_millis(5)));
        if FREED.load(Ordering::Relaxed) && promised {
            std::process::abort();
        }
    }
}

struct Fault;

impl Drop for Fault {
    fn drop(&mut self) {
        FREED.store(true, Ordering::Relaxed);
    }
}

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        if !context.is_preflight() {
            let promised = context.label().ends_with("promised");
            std::thread::spawn(move || pass(Duration::from_millis(900), promised));
            pass(Duration::from_millis(500), promised);
        }
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("must never serve"))
    }
}

export_handler!(Fault);
