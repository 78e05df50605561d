//! `hotseat serve --single`: the whole host in one process, for debuggers.
//!
//! Owns the order of the start (lock, sockets, worker, ready line), the signals and the end.

mod aftermath;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{keeper::Keeper, leave::Leaving};
use crate::{
    config::{Config, Limits, Listen},
    deploy::{settings::Origin, standing::Standing},
    log,
    serve::{BindError, Plane, Socket, bind},
    state::{StateDir, history::Entry},
    sys::{
        fault,
        process::{exit_now, say_aside},
    },
    worker::{Birth, Halt, Sockets, Worker, prepare_process},
};

/// A signal that follows another one sooner is taken for a copy of it (Ctrl-C in a terminal
/// reaches the whole process group).
const COPY_TIME: Duration = Duration::from_secs(1);

/// On top of a preflight's own limit, when a start is given up: its child is ended first.
const BOOT_MARGIN: Duration = Duration::from_secs(1);

/// A stop that was asked to be strict had to cut requests.
const STRICT: u8 = 3;

/// Runs a host until it is told to stop, then ends the process.
///
/// # Errors
/// The state is locked, an address is taken, a thread cannot be made.
pub fn serve(mut config: Config, origin: Origin) -> anyhow::Result<()> {
    prepare_process(&mut config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(host(config, origin))?;
    // Not by returning: a library that could not be unloaded may hang the normal end.
    log::flush();
    exit_now(code)
}

async fn host(config: Config, origin: Origin) -> anyhow::Result<u8> {
    let output = log::take_streams().context("take the standard streams")?;
    // Before anything else, so that a signal at the start is not lost.
    let mut signals = Signals::new().context("install the signal handlers")?;
    let state = StateDir::open(&config.state_dir)?;
    let sockets = Sockets {
        data: bind_all(&config.listen, Plane::Data)?,
        control: bind_all(&config.control, Plane::Control)?,
        health: bind_all(&config.health_listen, Plane::Health)?,
    };
    let _files = UnixFiles::of(sockets.control.iter().chain(&sockets.health));
    let mut data_files = UnixFiles::of(&sockets.data);
    let copies: std::io::Result<Vec<_>> = sockets.data.iter().map(Socket::try_clone).collect();
    let door = copies.context("copy the listeners")?;
    let ready = ready_line(&sockets)?;
    let (limits, strict) = (config.limits.clone(), config.strict_exit);
    let keeper = Keeper::start()?;
    let halt = Halt::default();
    let told = halt.clone();
    let mut started = keeper.run(move || begin(config, (sockets, state), origin, &told));
    let (worker, told) = tokio::select! {
        worker = &mut started => {
            let worker = worker.context("the start has ended by a panic")??;
            say_aside(output, format!("{ready}\n"));
            let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
            let text = format!("hotseat {version} has started, pid {pid}");
            worker.note(Entry::of_host("host", "start", "started", text));
            (worker, signals.until_stop().await)
        }
        told = signals.until_stop() => {
            halt.tell();
            tokio::select! {
                worker = &mut started => (worker.context("the start has ended by a panic")??, told),
                () = tokio::time::sleep(limits.preflight_time + BOOT_MARGIN) => {
                    tracing::warn!("the start has not ended: ending without it");
                    return Ok(0);
                }
                () = signals.again(told) => return Ok(0),
            }
        }
    };
    let text = "the host finishes what is in flight";
    worker.note(Entry::of_host("signal", "stop", "stopping", text));
    // A stop removes them by itself; then their names may be another host's.
    data_files.0.clear();
    let aborted = stop(worker, &keeper, door, limits, told, &mut signals).await;
    Ok(if strict && aborted > 0 { STRICT } else { 0 })
}

fn bind_all(listen: &[Listen], plane: Plane) -> Result<Vec<Socket>, BindError> {
    listen.iter().map(|it| bind(it, plane)).collect()
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

/// Starts the worker and lets it serve, unless the start is given up.
fn begin(
    config: Config,
    (sockets, state): (Sockets, StateDir),
    origin: Origin,
    halt: &Halt,
) -> anyhow::Result<Arc<Worker>> {
    let (withdraw, deeds) = aftermath::take_up(state.path(), &config.limits);
    let settings = (Standing::default(), Some(origin));
    let mut birth = Birth { withdraw, settings, ..Birth::alone() };
    birth.legacy.deeds = deeds;
    let worker = Worker::start(config, sockets, state, birth, halt)?;
    if !halt.is_told() {
        worker.accept()?;
        fault::serves();
    }
    Ok(Arc::new(worker))
}

/// Finishes what is in flight, within limits that a second signal shortens; how many requests were
/// cut.
async fn stop(
    worker: Arc<Worker>,
    keeper: &Keeper,
    door: Vec<Socket>,
    limits: Limits,
    first: Instant,
    signals: &mut Signals,
) -> usize {
    let (hurry, haste) = watch::channel(false);
    let drain = limits.stop_time;
    let (stop, kept) = (Some(door), Vec::new());
    let forsakes = false;
    let leaving = Leaving { worker: worker.clone(), limits, stop, kept, drain, forsakes, haste };
    let impatience = async {
        signals.again(first).await;
        let cut = Instant::now();
        hurry.send_replace(true);
        signals.again(cut).await;
        // What is left hangs in a plugin; only the end of the process ends it.
        tracing::error!("told a third time: ending at once");
        log::flush();
        exit_now(1)
    };
    let end = async {
        let aborted = leaving.leave(keeper, || ()).await;
        // An error: it has panicked, and is over as well.
        let _ = keeper.end(worker).await;
        aborted
    };
    tokio::select! {
        aborted = end => aborted,
        never = impatience => never,
    }
}

/// The signals of a host. TERM, INT and QUIT stop it; the others are only noted.
struct Signals {
    stop: [Signal; 3],
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            stop: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::quit())?,
            ],
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the signal that stops; returns when it came.
    async fn until_stop(&mut self) -> Instant {
        let Self { stop: [term, int, quit], hup, usr1, usr2 } = self;
        loop {
            let noted = tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                _ = quit.recv() => break,
                _ = hup.recv() => {
                    tracing::warn!(
                        "HUP: refused, a host in a single process cannot be upgraded; start it \
                         without `--single`"
                    );
                    continue;
                }
                _ = usr1.recv() => "USR1",
                _ = usr2.recv() => "USR2",
            };
            tracing::warn!("{noted}: nothing is done without a master");
        }
        tracing::info!("stopping: finishing what is in flight");
        Instant::now()
    }

    /// Waits for another stop signal that is no copy of the one at `last`.
    async fn again(&mut self, last: Instant) {
        let [term, int, quit] = &mut self.stop;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = quit.recv() => {}
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
    fn of<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Self {
        let path = |socket: &Socket| match socket {
            Socket::Unix(_, path) => Some(path.clone()),
            Socket::Tcp(_) | Socket::Abstract(..) => None,
        };
        Self(sockets.into_iter().filter_map(path).collect())
    }
}

impl Drop for UnixFiles {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
