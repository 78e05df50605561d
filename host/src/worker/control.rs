//! The control plane's thread: its runtime, its listeners, its part in purges.
//!
//! The same runtime drives the timers of plugins' own threads, so it may run their wakers and is
//! registered for purges like a data thread.

use std::{
    future::{pending, ready},
    io,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, watch},
};

use hotseat_unload::purge::{self, PurgeRequest};

use super::{Lead, Picture, asker::Asker};
use crate::{
    admin::{self, Backend, Door, EventPlaces, LameDuckSwitch, Listener, Relay, UpgradeDesk},
    artifact::trust::trusted,
    event::{Events, Phase},
    metrics::Metrics,
    serve::Socket,
    state::history::Entry,
    sys::{keep, start::start},
    upgrade::{Outcome, Request, Verdict},
};

/// Purges that may wait for the thread.
const PURGE_COUNT: usize = 256;

/// The running control plane.
#[derive(Debug)]
pub(super) struct Control {
    control: watch::Sender<Door>,
    health: watch::Sender<Door>,
    thread: JoinHandle<()>,
}

/// Everything that the control plane shows.
pub(super) fn backend(
    picture: &Arc<Picture>,
    events: &Events,
    metrics: &Arc<Metrics>,
    lead: &Lead,
    relay: &Relay,
) -> anyhow::Result<Backend> {
    // Each of them may hang in what it is for; none of the others does then.
    let asker = Asker::start("asker").context("start the asker")?;
    let reader = Asker::start("reader").context("start the reader")?;
    let (readiness, outline, full) = (picture.clone(), picture.clone(), picture.clone());
    let (record, read) = (picture.record.clone(), reader.clone());
    let (ended, find) = (record.clone(), reader.clone());
    Ok(Backend {
        desk: picture.desk.clone(),
        events: events.clone(),
        event_places: EventPlaces::new(picture.config.limits.event_streams_count),
        ready: Arc::new(move || readiness.readiness()),
        outline: Arc::new(move || outline.outline()),
        status: Arc::new(move || {
            let picture = full.clone();
            let there = full.clone();
            let asked = asker.ask(move || there.status());
            Box::pin(async move { asked.await.unwrap_or_else(|| picture.outline()) })
        }),
        history: Arc::new(move |limit, before| {
            let record = record.clone();
            let (mut page, older) = record.history().page(limit, before);
            let asked = older.map(|older| read.ask(move || record.history().older(older)));
            Box::pin(async move {
                if let Some(asked) = asked {
                    page.extend(asked.await.unwrap_or_default());
                }
                page
            })
        }),
        order: Arc::new(move |number| {
            let record = ended.clone();
            match record.history().order(number) {
                Ok(known) => Box::pin(ready(known)),
                Err(older) => {
                    let asked = find.ask(move || record.history().order_among(older, number));
                    Box::pin(async move { asked.await.flatten() })
                }
            }
        }),
        cells: picture.cells.clone(),
        metrics: metrics.clone(),
        upgrade: upgrade(picture, lead, reader.clone())?,
        lame_duck: lame_duck(picture, events, lead, reader),
        lame_status: picture.config.lame_status,
        relay: relay.clone(),
        working_dir: start().folder().unwrap_or(Path::new("(gone)")).to_owned(),
    })
}

/// Asks whoever leads this worker. What the caller names is run, or says what is run, so it has to
/// be out of the reach of other accounts, which can connect to the control plane as well.
///
/// A path may lead to a file system that does not answer, so it is looked at where nobody else waits.
fn upgrade(picture: &Arc<Picture>, lead: &Lead, writer: Asker) -> anyhow::Result<UpgradeDesk> {
    let vets = Asker::start("vets").context("start the thread that looks at what is named")?;
    let (picture, lead) = (picture.clone(), lead.upgrade.clone());
    Ok(Arc::new(move |request| {
        let (owners, named) = (picture.config.trusted_owners.clone(), request.clone());
        let names = request.binary.is_some() || request.config.is_some();
        let vetted = names.then(|| vets.ask(move || vet(&named, &owners)));
        let (record, writer, lead) = (picture.record.clone(), writer.clone(), lead.clone());
        Box::pin(async move {
            let vetted = match vetted {
                Some(vetted) => vetted.await,
                None => Some(None),
            };
            match vetted {
                Some(None) => lead(request).await,
                Some(Some(refused)) => {
                    let (by, verdict) = (request.by, refused.verdict.as_str());
                    let entry = Entry::of_host("control", "upgrade", verdict, refused.text.clone());
                    drop(writer.ask(move || record.note(Entry { by, ..entry })));
                    refused
                }
                None => refuse(Verdict::Busy, "too many questions wait".to_owned(), None),
            }
        })
    }))
}

fn vet(request: &Request, owners: &[u32]) -> Option<Outcome> {
    let named = [("binary", &request.binary), ("configuration", &request.config)];
    named.into_iter().find_map(|(what, path)| {
        let error = trusted(path.as_deref()?, owners).err()?;
        Some(refuse(Verdict::Preflight, format!("{what} {error}"), error.hint()))
    })
}

fn refuse(verdict: Verdict, text: String, hint: Option<String>) -> Outcome {
    tracing::warn!(hint, "no upgrade: {text}");
    Outcome {
        verdict,
        text,
        hint,
        old_pid: Some(std::process::id()),
        new_pid: None,
        binary: None,
        took: Duration::ZERO,
        at: SystemTime::now(),
    }
}

/// Switches this worker, and tells whoever leads it, so that its successors are alike.
fn lame_duck(
    picture: &Arc<Picture>,
    events: &Events,
    lead: &Lead,
    writer: Asker,
) -> LameDuckSwitch {
    let (picture, tell, events) = (picture.clone(), lead.lame_duck.clone(), events.clone());
    Arc::new(move |on, by| {
        let was = picture.stage.is_lame_duck();
        let done = picture.stage.lame_duck(on);
        if done {
            tell(on);
        }
        if done && was != on {
            let (word, text) = if on {
                ("on", "/readyz asks for no more traffic")
            } else {
                ("off", "/readyz says what is")
            };
            events.publish(Phase::LameDuck, |event| event.detail = Some(format!("{word}: {text}")));
            let record = picture.record.clone();
            let entry = Entry { by, ..Entry::of_host("control", "lame_duck", word, text) };
            // Where a disk that is slow is in nobody's way.
            drop(writer.ask(move || record.note(entry)));
        }
        Box::pin(ready(done))
    })
}

impl Control {
    /// Starts the thread; both kinds of listeners are as `door` says. The handle is for timers of
    /// threads without a runtime.
    pub(super) fn start(
        control: &[Socket],
        health: &[Socket],
        door: Door,
        backend: Backend,
    ) -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let timer = runtime.handle().clone();
        let clone = |sockets: &[Socket]| -> io::Result<Vec<Socket>> {
            sockets.iter().map(Socket::try_clone).collect()
        };
        let (control, health) = (clone(control)?, clone(health)?);
        let (control_door, control_opened) = watch::channel(door);
        let (health_door, health_opened) = watch::channel(door);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            keep::block_broken_pipes();
            let (post, purges) = mpsc::channel(PURGE_COUNT);
            // Left last, after the runtime and every timer in it.
            let _registration = purge::register_thread("control".to_owned(), move |request| {
                post.try_send(request).map_err(mpsc::error::TrySendError::into_inner)
            });
            let (readiness, lame_status) = (backend.ready.clone(), backend.lame_status);
            let streams = backend.event_places.count();
            let done = runtime.block_on(async {
                let router = admin::router(backend);
                let control = admin::serve(listeners(control)?, router, control_opened, streams);
                let router = admin::health_router(readiness, lame_status);
                let health = admin::serve(listeners(health)?, router, health_opened, 0);
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
        Ok((Self { control: control_door, health: health_door, thread }, timer))
    }

    /// Who may come to the control plane, and who to the listeners for health alone.
    pub(super) fn set(&self, control: Door, health: Door) {
        self.control.send_replace(control);
        self.health.send_replace(health);
    }

    /// Ends the thread after the answers that are on their way.
    pub(super) fn end(self) {
        self.set(Door::Closed, Door::Closed);
        let _ = self.thread.join();
    }
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
            Socket::Unix(socket, _) | Socket::Abstract(socket, _) => {
                Listener::Unix(tokio::net::UnixListener::from_std(socket)?)
            }
        })
    };
    sockets.into_iter().map(listener).collect()
}
