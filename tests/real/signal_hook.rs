//! signal-hook: a flag, and a thread that iterates over signals and is ended in `stop`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use signal_hook::{
    consts::{SIGUSR2, SIGWINCH},
    iterator::{Handle, Signals},
};

struct Plugin {
    flag: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
    signals: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR2, flag.clone())?;
        let mut signals = Signals::new([SIGWINCH])?;
        let (handle, heard) = (signals.handle(), Arc::new(AtomicU64::new(0)));
        let count = heard.clone();
        let thread = thread::spawn(move || {
            for _ in signals.forever() {
                count.fetch_add(1, Relaxed);
            }
        });
        Ok(Self { flag, heard, signals: handle, thread: Mutex::new(Some(thread)) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let (heard, flag) = (self.heard.load(Relaxed), self.flag.load(Relaxed));
        Ok(Response::text(format!("heard {heard}, {flag}\n")))
    }

    fn stop(&self) {
        self.signals.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }
}

export_handler!(Plugin, name = "real");
