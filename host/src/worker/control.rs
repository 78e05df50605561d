//! The control plane's thread: its runtime, its listeners, its part in purges.
//!
//! The same runtime drives the timers of plugins' own threads, so it may run their wakers and is
//! registered for purges like a data thread.

use std::{future::pending, io, sync::Arc, thread::JoinHandle};

use anyhow::Context as _;
use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, watch},
};

use super::{Picture, asker::Asker};
use crate::{
    admin::{self, Backend, Listener},
    event::Events,
    metrics::Metrics,
    plugin::purge::{self, PurgeRequest},
    serve::Socket,
};

/// Purges that may wait for the thread.
const PURGE_COUNT: usize = 256;

/// The running control plane.
#[derive(Debug)]
pub(super) struct Control {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Everything that the control plane shows.
pub(super) fn backend(
    picture: &Arc<Picture>,
    events: &Events,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Backend> {
    let asker = Asker::start().context("start the asker")?;
    let (ready, outline, full) = (picture.clone(), picture.clone(), picture.clone());
    let (record, history) = (picture.record.clone(), asker.clone());
    Ok(Backend {
        desk: picture.desk.clone(),
        events: events.clone(),
        ready: Arc::new(move || ready.readiness()),
        outline: Arc::new(move || outline.outline()),
        status: Arc::new(move || {
            let picture = full.clone();
            let there = full.clone();
            let asked = asker.ask(move || there.status());
            Box::pin(async move { asked.await.unwrap_or_else(|| picture.outline()) })
        }),
        history: Arc::new(move |limit| {
            let record = record.clone();
            let asked = history.ask(move || record.history(limit));
            Box::pin(async move { asked.await.unwrap_or_default() })
        }),
        metrics: metrics.clone(),
        working_dir: std::env::current_dir().context("read the working directory")?,
    })
}

impl Control {
    /// Starts the thread. The handle is for timers of threads without a runtime.
    pub(super) fn start(
        control: &[Socket],
        health: &[Socket],
        backend: Backend,
    ) -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let timer = runtime.handle().clone();
        let clone = |sockets: &[Socket]| -> io::Result<Vec<Socket>> {
            sockets.iter().map(Socket::try_clone).collect()
        };
        let (control, health) = (clone(control)?, clone(health)?);
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let (post, purges) = mpsc::channel(PURGE_COUNT);
            // Left last, after the runtime and every timer in it.
            let _registration = purge::register_thread("control".to_owned(), move |request| {
                post.try_send(request).map_err(mpsc::error::TrySendError::into_inner)
            });
            let ready = backend.ready.clone();
            let done = runtime.block_on(async {
                let control = admin::serve(
                    listeners(control)?,
                    admin::router(backend),
                    until(stopped.clone()),
                );
                let health =
                    admin::serve(listeners(health)?, admin::health_router(ready), until(stopped));
                tokio::select! {
                    ((), ()) = async { tokio::join!(control, health) } => {}
                    () = run_purges(purges) => {}
                }
                io::Result::Ok(())
            });
            if let Err(error) = done {
                tracing::error!(%error, "the control plane cannot be served");
            }
            drop(runtime);
        })?;
        Ok((Self { stop, thread }, timer))
    }

    /// Ends the thread after the answers that are on their way.
    pub(super) fn end(self) {
        self.stop.send_replace(true);
        let _ = self.thread.join();
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone has stopped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn run_purges(mut purges: mpsc::Receiver<PurgeRequest>) {
    while let Some(request) = purges.recv().await {
        request.run();
    }
    pending::<()>().await;
}

/// Registers the sockets with the runtime of the calling task.
fn listeners(sockets: Vec<Socket>) -> io::Result<Vec<Listener>> {
    let listener = |socket| {
        Ok(match socket {
            Socket::Tcp(socket) => Listener::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Socket::Unix(socket, _) => Listener::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    };
    sockets.into_iter().map(listener).collect()
}
