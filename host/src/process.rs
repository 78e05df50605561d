//! `hotseat serve`: one process around one worker.
//!
//! Owns the order of the start (lock, sockets, worker, ready line), the signals and the end.

use std::{
    io::Write as _,
    sync::mpsc::{SyncSender, sync_channel},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::fs::Mode;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use crate::{
    config::{Config, Listen},
    serve::{Socket, bind},
    state::StateDir,
    sys,
    worker::{Halt, Sockets, Worker, prepare_process},
};

/// A signal that follows another one sooner is taken for a copy of it (Ctrl-C in a terminal
/// reaches the whole process group).
const COPY_TIME: Duration = Duration::from_secs(1);

/// On top of a preflight's own limit, when a start is given up: its child is ended first.
const BOOT_MARGIN: Duration = Duration::from_secs(1);

/// Between two looks at the connections that are left.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a host until it is told to stop.
///
/// # Errors
/// The state is locked, an address is taken, a thread cannot be made.
pub fn serve(config: Config) -> anyhow::Result<()> {
    prepare_process(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything else, so that a signal at the start is not lost.
        let mut signals = Signals::new().context("install the signal handlers")?;
        let state = StateDir::open(&config.state_dir)?;
        let sockets = Sockets {
            data: bind_all(&config.listen)?,
            control: bind_private(&config.control)?,
            health: bind_all(&config.health_listen)?,
        };
        let files = UnixFiles::of(&sockets);
        let ready = ready_line(&sockets)?;
        let limits = config.limits.clone();
        let mut keeper = Keeper::start(config, sockets, state)?;
        let worker = tokio::select! {
            worker = keeper.started() => worker?,
            told = signals.until_stop() => {
                let time = limits.preflight_time + BOOT_MARGIN;
                if let Some(worker) = keeper.halt(time, told, &mut signals).await {
                    stop(worker?, keeper, limits.stop_time, told, &mut signals).await;
                }
                drop(files);
                return Ok(());
            }
        };
        say(&ready);
        let told = signals.until_stop().await;
        stop(worker, keeper, limits.stop_time, told, &mut signals).await;
        drop(files);
        Ok(())
    })
}

fn bind_all(listen: &[Listen]) -> anyhow::Result<Vec<Socket>> {
    listen.iter().map(bind).collect()
}

/// Binds so that only the host's own user can connect to a Unix socket, from its first moment on.
fn bind_private(listen: &[Listen]) -> anyhow::Result<Vec<Socket>> {
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let sockets = bind_all(listen);
    rustix::process::umask(before);
    sockets
}

/// The one line that says that the host serves, for people and for whoever started it.
fn ready_line(sockets: &Sockets) -> anyhow::Result<String> {
    let list = |sockets: &[Socket]| -> anyhow::Result<String> {
        let addresses: Result<Vec<_>, _> = sockets.iter().map(Socket::address).collect();
        Ok(addresses?.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
    };
    Ok(format!(
        "hotseat {} ready: data {} control {} pid {}",
        env!("CARGO_PKG_VERSION"),
        list(&sockets.data)?,
        list(&sockets.control)?,
        std::process::id(),
    ))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; that is no reason not to serve.
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "the ready line could not be written");
    }
}

/// The thread that starts the worker and ends it, both of which may take as long as a plugin likes:
/// the signals are heard meanwhile. Made before the first plugin is opened: one that hangs in the
/// loader must not keep the host from stopping.
struct Keeper {
    halt: Halt,
    started: oneshot::Receiver<anyhow::Result<Worker>>,
    give: SyncSender<Worker>,
    ended: oneshot::Receiver<()>,
}

impl Keeper {
    fn start(config: Config, sockets: Sockets, state: StateDir) -> anyhow::Result<Self> {
        let (give, given) = sync_channel::<Worker>(1);
        let (say, started) = oneshot::channel();
        let (bye, ended) = oneshot::channel();
        let halt = Halt::default();
        let told = halt.clone();
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            // Nobody waits any more when the operator has lost patience.
            let _ = say.send(Worker::start(config, sockets, state, &told));
            if let Ok(worker) = given.recv() {
                worker.end();
            }
            let _ = bye.send(());
        });
        thread.context("start the thread that keeps the worker")?;
        Ok(Self { halt, started, give, ended })
    }

    async fn started(&mut self) -> anyhow::Result<Worker> {
        (&mut self.started).await.context("the start has ended by a panic")?
    }

    /// Gives the start up. `None`: it has not ended within `time`, or the operator has lost
    /// patience. Nothing was served yet, so the process may just end.
    async fn halt(
        &mut self,
        time: Duration,
        first: Instant,
        signals: &mut Signals,
    ) -> Option<anyhow::Result<Worker>> {
        self.halt.tell();
        tokio::select! {
            worker = self.started() => Some(worker),
            () = tokio::time::sleep(time) => {
                tracing::warn!("the start has not ended: ending without it");
                None
            }
            () = signals.again(first) => None,
        }
    }
}

/// Finishes what is in flight, within limits that a second signal shortens.
async fn stop(
    worker: Worker,
    keeper: Keeper,
    time: Duration,
    first: Instant,
    signals: &mut Signals,
) {
    worker.begin_stop();
    let deadline = tokio::time::Instant::now() + time;
    loop {
        if worker.connection_count() == 0 {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!(connections = worker.connection_count(), "the stop limit has passed");
                break;
            }
            () = signals.again(first) => {
                tracing::warn!(connections = worker.connection_count(), "told again: cutting");
                break;
            }
        }
    }
    let cut = Instant::now();
    // The thread waits for nothing else.
    let _ = keeper.give.send(worker);
    tokio::select! {
        _ = keeper.ended => {}
        () = signals.again(cut) => {
            tracing::error!("told a third time: ending at once");
            // What is left hangs in a plugin; only the end of the process ends it.
            sys::process::exit_now(1);
        }
    }
}

/// The signals of a host. TERM and INT stop it; the others are only noted.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the signal that stops; returns when it came.
    async fn until_stop(&mut self) -> Instant {
        loop {
            let noted = tokio::select! {
                _ = self.term.recv() => break,
                _ = self.int.recv() => break,
                _ = self.hup.recv() => "HUP",
                _ = self.usr1.recv() => "USR1",
                _ = self.usr2.recv() => "USR2",
            };
            tracing::info!(signal = noted, "nothing is done on this signal");
        }
        tracing::info!("stopping: finishing what is in flight");
        Instant::now()
    }

    /// Waits for another stop signal that is no copy of the one at `last`.
    async fn again(&mut self, last: Instant) {
        loop {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
            if last.elapsed() >= COPY_TIME {
                return;
            }
        }
    }
}

/// Removes the files of Unix sockets at the end.
struct UnixFiles(Vec<std::path::PathBuf>);

impl UnixFiles {
    fn of(sockets: &Sockets) -> Self {
        let all = sockets.data.iter().chain(&sockets.control).chain(&sockets.health);
        let path = |socket: &Socket| match socket {
            Socket::Unix(_, path) => Some(path.clone()),
            Socket::Tcp(_) => None,
        };
        Self(all.filter_map(path).collect())
    }
}

impl Drop for UnixFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
