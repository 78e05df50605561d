//! Counts requests, in three ways that need care in code that is unloaded: an atomic in the
//! handler, a thread-local with a destructor, and a worker thread.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

/// Requests that may wait for the worker; more are not recorded.
const QUEUE_MAX: usize = 1024;

thread_local! {
    /// What this data thread has answered. It owns heap memory, so it has a destructor: the host
    /// runs it on every thread before it unmaps the library.
    static SEEN: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct Counter {
    total: AtomicU64,
    recorded: Arc<AtomicU64>,
    worker: Mutex<Option<JoinHandle<()>>>,
    queue: SyncSender<Event>,
}

enum Event {
    Request,
    Stop,
}

impl Handler for Counter {
    fn new(context: &Context) -> Result<Self> {
        let (queue, events) = mpsc::sync_channel(QUEUE_MAX);
        let recorded = Arc::new(AtomicU64::new(0));
        let (context, count) = (context.clone(), Arc::clone(&recorded));
        let worker = thread::Builder::new().name("counter".to_owned()).spawn(move || {
            while let Ok(Event::Request) = events.recv() {
                count.fetch_add(1, Ordering::Relaxed);
                context.counter("counter_requests_total", 1.0, &[]);
            }
        })?;
        Ok(Self { total: AtomicU64::new(0), recorded, worker: Mutex::new(Some(worker)), queue })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let thread = SEEN.with_borrow_mut(|seen| {
            seen.push(request.id());
            // Bounded: it only shows that the thread remembers.
            let surplus = seen.len().saturating_sub(8);
            seen.drain(..surplus);
            format!("{seen:?}")
        });
        match self.queue.try_send(Event::Request) {
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Error::new("the worker has ended")),
        }
        let recorded = self.recorded.load(Ordering::Relaxed);
        Ok(Response::text(format!(
            "request {total}, {recorded} recorded, last on this thread: {thread}\n"
        )))
    }

    /// A thread that outlives its instance would keep the library in memory for good.
    fn stop(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // Both can only fail when the worker has ended already.
            let _ = self.queue.send(Event::Stop);
            let _ = worker.join();
        }
    }
}

export_handler!(Counter);

#[cfg(test)]
mod tests {
    use hotseat_plugin_api::{Result, testing::Host};

    use super::Counter;

    #[test]
    fn requests_are_counted() -> Result<()> {
        let mut kit = Host::<Counter>::new().start()?;
        assert!(kit.get("/").send().text().starts_with("request 1, "));
        let text = kit.get("/").send().text();
        assert!(text.starts_with("request 2, "), "{text}");
        assert!(text.ends_with("last on this thread: [1, 2]\n"), "{text}");
        // Its worker has recorded all of them when it has stopped.
        kit.stop();
        assert_eq!(kit.metric("counter_requests_total"), Some(2.0));
        Ok(())
    }
}
