//! The host's services in a child: the same functions, with plain lines for a log and no metrics.

use std::{io, path::PathBuf, sync::Arc, thread};

use tokio::{runtime, sync::mpsc, sync::mpsc::error::TrySendError};

use hotseat_unload::purge::{PurgeRequest, register_thread};

use crate::{
    cells::{Bounds, Trial},
    ids::PluginName,
    plugin::{
        blocking::BlockingPool,
        services::{MetricSink, Services},
    },
    status::Beside,
};

/// Jobs that wait at most; a child runs one `new` and one `self_test`.
const JOBS_MAX: usize = 64;
/// Purges that wait at most; there is one in a child's life.
const PURGES_MAX: usize = 4;

struct NoMetrics;

impl MetricSink for NoMetrics {
    fn record(&self, _: &PluginName, _: u32, _: &str, _: &[(&str, &str)], _: f64) {}

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

/// What the candidate is offered.
pub(super) struct Offered {
    services: Services,
}

impl Offered {
    /// Starts the pool and the thread that drives timers; a `new` that blocks the main thread on a
    /// timer would wait for ever otherwise.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
        let timer = runtime.handle().clone();
        let (sender, mut purges) = mpsc::channel::<PurgeRequest>(PURGES_MAX);
        thread::Builder::new().name("timers".to_owned()).spawn(move || {
            let _registration = register_thread("timers".to_owned(), move |request| {
                sender.try_send(request).map_err(|error| match error {
                    TrySendError::Full(request) | TrySendError::Closed(request) => request,
                })
            });
            runtime.block_on(async {
                while let Some(request) = purges.recv().await {
                    request.run();
                }
            });
        })?;
        let blocking = Arc::new(BlockingPool::start(1, JOBS_MAX)?);
        Ok(Self { services: Services::new(Arc::new(NoMetrics), timer, blocking) })
    }

    /// With a copy of the cells that are in the file at `cells`, and their bounds.
    pub(super) fn services(&self, cells: Option<PathBuf>, bounds: Bounds) -> Services {
        Services { cells: Arc::new(Trial::of(cells, bounds)), ..self.services.clone() }
    }

    /// The runtime that the timers belong to.
    pub(super) fn timer(&self) -> &runtime::Handle {
        &self.services.timer
    }
}
