//! Listens to SIGWINCH and SIGINT by tokio, on a runtime of its own, and answers how many came.
//!
//! tokio leaves its handler in place for ever, and calls whichever it found there.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

struct Listens {
    heard: Arc<AtomicU64>,
    listener: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

fn listen(heard: &AtomicU64, ends: oneshot::Receiver<()>, ready: &std::sync::mpsc::Sender<()>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut winch = signal(SignalKind::window_change()).expect("listen to SIGWINCH");
        let mut int = signal(SignalKind::interrupt()).expect("listen to SIGINT");
        // Whoever waits for it has gone if this fails.
        let _ = ready.send(());
        tokio::pin!(ends);
        loop {
            tokio::select! {
                _ = winch.recv() => {}
                _ = int.recv() => {}
                _ = &mut ends => return,
            }
            heard.fetch_add(1, Ordering::Relaxed);
        }
    });
}

impl Handler for Listens {
    fn new(_: &Context) -> Result<Self> {
        let heard = Arc::new(AtomicU64::new(0));
        let (end, ends) = oneshot::channel();
        let (ready, wait) = std::sync::mpsc::channel();
        let count = Arc::clone(&heard);
        let thread = std::thread::spawn(move || listen(&count, ends, &ready));
        wait.recv()?;
        Ok(Self { heard, listener: Mutex::new(Some((end, thread))) })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text(self.heard.load(Ordering::Relaxed).to_string()))
    }

    fn stop(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((end, thread)) = listener {
            let _ = end.send(());
            let _ = thread.join();
        }
    }
}

export_handler!(Listens);
