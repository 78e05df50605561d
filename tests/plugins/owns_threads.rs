//! Owns threads as most crates do: a runtime and a worker in fields, which end by being dropped.

use std::{
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use tokio::{runtime, sync::oneshot};

type Ask = oneshot::Sender<u64>;

/// A thread that ends, and is joined, when its owner is dropped.
struct Worker {
    asks: Option<Sender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start() -> Result<Self> {
        let (asks, heard) = channel::<Ask>();
        let thread = thread::Builder::new().name("worker".to_owned()).spawn(move || {
            for (number, ask) in heard.into_iter().enumerate() {
                // Whoever asks may have gone.
                let _ = ask.send(number as u64);
            }
        })?;
        Ok(Self { asks: Some(asks), thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

struct OwnsThreads {
    runtime: runtime::Runtime,
    worker: Worker,
}

impl Handler for OwnsThreads {
    fn new(_: &Context) -> Result<Self> {
        let mut builder = runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, worker: Worker::start()? })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let (ask, number) = oneshot::channel();
        let asks =
            self.worker.asks.as_ref().ok_or_else(|| Error::new("it lives as long as this"))?;
        asks.send(ask)?;
        let doubled = self.runtime.spawn(async move { number.await.map(|number| number * 2) });
        Ok(Response::text(format!("owns_threads {}", doubled.await??)))
    }
}

export_handler!(OwnsThreads);
