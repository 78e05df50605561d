//! Tasks of a plugin with a runtime of its own: tokio works in them, whoever spawns them, and in
//! blocking code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{runtime::Handle, time::sleep};

struct Tasks {
    context: Context,
    ticks: Arc<AtomicUsize>,
    slept: Arc<AtomicUsize>,
}

async fn sleeps(slept: Arc<AtomicUsize>) {
    sleep(Duration::from_millis(1)).await;
    slept.fetch_add(1, Ordering::Relaxed);
}

impl Handler for Tasks {
    fn new(context: &Context) -> Result<Self> {
        let (ticks, slept) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = ticks.clone();
        drop(context.every(Duration::from_millis(5), move || sleeps(counts.clone()))?);
        drop(context.spawn(sleeps(slept.clone()))?);
        let (own, theirs) = (context.clone(), slept.clone());
        let spawns = move || own.spawn(sleeps(theirs)).map(drop);
        // A thread that knows of no runtime.
        std::thread::spawn(spawns).join().map_err(|_| "it panicked")??;
        Ok(Self { context: context.clone(), ticks, slept })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let task = self.context.spawn(sleeps(self.slept.clone()))?;
        task.await?;
        let inside = self.context.blocking(|| Handle::try_current().is_ok()).await?;
        let (slept, ticks) = (&self.slept, self.ticks.load(Ordering::Relaxed));
        let slept = slept.load(Ordering::Relaxed);
        Ok(Response::text(format!("slept {slept} ticks {} inside {inside}", ticks.min(2))))
    }
}

export_handler!(Tasks, runtime = "tokio");
