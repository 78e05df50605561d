//! Counts SIGWINCH and SIGURG by signal-hook, and answers how many came. It unregisters in `stop`,
//! after which signal-hook's own handler stays in place.
#![expect(unsafe_code, reason = "signal-hook's actions run in a signal handler")]

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use signal_hook::{SigId, low_level};

struct Hooked {
    heard: Arc<AtomicU64>,
    hooks: Mutex<Vec<SigId>>,
}

impl Handler for Hooked {
    fn new(_: &Context) -> Result<Self> {
        let heard = Arc::new(AtomicU64::new(0));
        let mut hooks = Vec::new();
        for signal in [libc::SIGWINCH, libc::SIGURG] {
            let heard = Arc::clone(&heard);
            let count = move || _ = heard.fetch_add(1, Ordering::Relaxed);
            // SAFETY: an atomic is all that it touches.
            hooks.push(unsafe { low_level::register(signal, count) }?);
        }
        Ok(Self { heard, hooks: Mutex::new(hooks) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(self.heard.load(Ordering::Relaxed).to_string()))
    }

    fn stop(&self) {
        for hook in self.hooks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            low_level::unregister(hook);
        }
    }
}

export_handler!(Hooked);
