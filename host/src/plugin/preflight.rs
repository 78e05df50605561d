//! The sacrificial child: a candidate runs there first, and what kills it kills nobody else.
//!
//! [`run`] starts our own executable again as `preflight-child`, hands it the candidate and waits
//! for a verdict; [`child::main`] is the other side. Exit status alone proves nothing, so a verdict
//! carries the nonce of its request. Knows nothing of orders.
//!
//! # Invariants
//! - However the candidate behaves, the answer comes within the time limit (and one second).
//! - End of file is never waited for: a forked grandchild may hold the pipe open.
//! - The child's whole process group is dead, and the child reaped, when [`run`] returns: a library that
//!   is loaded next meets no lock of it, and waits for no process but its own.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use hotseat_unload::resolved::Resolved;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, Signal},
};

use self::{talk::Heard, wire::Line};
use crate::{
    cells::Bounds,
    config::{Config, UnloadPolicy, plugin::PluginSettings},
    ids::{Label, PluginName},
    sys::{keep, program, start::start, upbringing},
};

pub mod child;
mod error;
mod stays;
mod talk;
mod wire;

pub use error::{PreflightError, PreflightProblem};
pub use hotseat_unload::leaves::Leaves;
pub use wire::Stage;

/// What to try, and how.
#[derive(Clone, Debug)]
pub struct PreflightRequest {
    /// A file that nobody writes to.
    pub path: PathBuf,
    /// The plugin it will be.
    pub plugin: PluginName,
    /// The version it will be.
    pub label: Label,
    /// What it is given of its own settings.
    pub settings: PluginSettings,
    /// The file of the host's cells, of which the child gets a copy of its own.
    pub cells: Option<PathBuf>,
    /// How much it may have of them.
    pub cell_bounds: Bounds,
    /// The whole time, from the request to the verdict.
    pub time: Duration,
    /// With [`UnloadPolicy::Require`] a library that stays mapped is refused.
    pub unload_policy: UnloadPolicy,
    /// See [`Limits::static_tls`](crate::config::Limits::static_tls).
    pub static_tls: usize,
}

/// What a candidate is tried with.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    /// Its own settings.
    pub settings: &'a PluginSettings,
    /// Those of the host.
    pub config: &'a Config,
    /// The file of the host's cells, of which the child gets a copy of its own.
    pub cells: Option<PathBuf>,
}

impl PreflightRequest {
    /// The private copy at `path` as that version of that plugin, with what it is given.
    #[must_use]
    pub fn new(path: PathBuf, (plugin, label): (PluginName, Label), given: &Given<'_>) -> Self {
        let Given { settings, config, cells } = given;
        Self {
            path,
            settings: (*settings).clone(),
            cells: cells.clone(),
            cell_bounds: config.limits.of_cells(),
            plugin,
            label,
            time: config.limits.preflight_time,
            unload_policy: config.unload,
            static_tls: config.limits.static_tls,
        }
    }
}

/// The child accepted the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How long it took.
    pub took: Duration,
    /// The library was gone after its instance was dropped.
    pub unmapped: bool,
    /// What it used that makes unloading harder, and what stayed mapped; for people.
    pub hazards: Vec<String>,
    /// What each load of it leaves behind in its process.
    pub leaves: Leaves,
    /// What the child's loader has given it of what it needs.
    pub resolved: Vec<Resolved>,
}

impl Verdict {
    /// A line about a library that was still there in the end.
    #[must_use]
    pub fn stays(&self) -> Option<String> {
        (!self.unmapped).then(|| stays::line(&self.hazards))
    }

    /// A line about what each load leaves, if that is worth one.
    #[must_use]
    pub fn left_behind(&self) -> Option<String> {
        let leaves = self.leaves.is_notable().then_some(&self.leaves)?;
        Some(format!("each load leaves {leaves} behind"))
    }
}

/// How long the dead child may take to be gone.
const REAP_TIME: Duration = Duration::from_secs(1);

/// Variables that speak of this process only; the child must not act on them.
const OWN_VARIABLES: [&str; 6] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Tries a candidate in a child. Blocks the calling thread for at most `request.time` and a bit;
/// the child dies with that thread.
///
/// # Errors
/// [`PreflightError`]: the candidate must not be loaded.
pub fn run(request: &PreflightRequest) -> Result<Verdict, PreflightError> {
    Waiting::start(request.static_tls).run(request)
}

/// A child that waits for what it is to try. To start a process takes as long as to read a library: who
/// starts one first has it at hand then. Dropped, the child is gone.
#[derive(Debug)]
pub struct Waiting(io::Result<Trial>);

impl Waiting {
    /// Starts one with room for `static_tls` bytes; see
    /// [`Limits::static_tls`](crate::config::Limits::static_tls). Why none could be started, [`run`]
    /// says. The child dies with the calling thread.
    ///
    /// [`run`]: Self::run
    #[must_use]
    pub fn start(static_tls: usize) -> Self {
        keep::put_back();
        Self(spawn(command(static_tls)))
    }

    /// As [`run`].
    ///
    /// # Errors
    /// As for [`run`].
    pub fn run(self, request: &PreflightRequest) -> Result<Verdict, PreflightError> {
        let mut child = self.0.map_err(PreflightProblem::Spawn)?;
        let began = Instant::now();
        let nonce = nonce().map_err(|error| PreflightProblem::Spawn(error.into()))?;
        let mut text = wire::request(request, &nonce, std::process::id());
        text.push('\n');
        let heard = talk::talk(&mut child, &text, &nonce, began + request.time);
        let status = child.end();
        judge(request, began.elapsed(), heard, status)
    }
}

fn nonce() -> rustix::io::Result<String> {
    let mut bytes = [0_u8; 16];
    let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes[..n].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Our own executable, also if its file has been replaced since.
fn command(static_tls: usize) -> Command {
    let mut command = Command::new(program::own());
    command.arg0("hotseat").arg("preflight-child");
    if hotseat_unload::self_test().is_ok() {
        command.arg(child::TESTED);
    }
    // `new` may read its settings from the environment, so the child sees what the host was given:
    // not what a plugin has put there since, which would decide where libraries are looked for.
    command.env_clear().envs(start().environment().iter().map(|(name, value)| (name, value)));
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    if let Some(folder) = start().way_back() {
        command.current_dir(folder);
    }
    upbringing::prepare(&mut command, |name| start().variable(name).map(Into::into), static_tls);
    // A symbolised backtrace costs tens of megabytes and more time than the whole preflight.
    command.env("RUST_BACKTRACE", "0").env("RUST_LIB_BACKTRACE", "0");
    command
}

/// Starts the child, in a process group of its own. Nothing runs between fork and exec, so the C
/// library can use `posix_spawn`.
fn spawn(mut command: Command) -> io::Result<Trial> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    program::ready(&mut command, false)?;
    let mut child = command.spawn()?;
    match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Trial { child, pidfd }),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error.into())
        }
    }
}

/// A child, which is killed and reaped when this is dropped.
#[derive(Debug)]
struct Trial {
    child: Child,
    pidfd: OwnedFd,
}

impl Trial {
    /// Kills the group, and reaps. Code of a plugin may have reaped it already, as some do with
    /// any child: then its number may be another one's.
    fn end(&mut self) -> Option<ExitStatus> {
        let gone = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).is_err();
        if !gone {
            // The child's, because the child is not reaped yet. Nobody is left where it has left its
            // group; a grandchild that has made a session of its own survives: a preflight is no
            // sandbox.
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let time = Timespec::try_from(REAP_TIME).ok();
        // An interrupted wait is made good by `try_wait`'s answer below.
        let _ = rustix::event::poll(&mut fds, time.as_ref());
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Its number is somebody else's once it has been reaped.
        if let Ok(None) = self.child.try_wait() {
            self.end();
        }
    }
}

fn judge(
    request: &PreflightRequest,
    took: Duration,
    heard: Heard,
    status: Option<ExitStatus>,
) -> Result<Verdict, PreflightError> {
    let Heard { verdict, stage, exited, garbled, output } = heard;
    let settings = &request.settings;
    let output = settings.hide(output);
    let wrong = |problem| Err(PreflightError { problem, output });
    match verdict {
        Some(Line::Passed { unmapped, hazards, leaves, resolved }) => {
            if !unmapped && request.unload_policy == UnloadPolicy::Require {
                return wrong(PreflightProblem::WouldStayResident { hazards });
            }
            return Ok(Verdict { took, unmapped, hazards, leaves: *leaves, resolved });
        }
        Some(Line::Refused { code, text, hint }) => {
            return wrong(PreflightProblem::refused(&code, settings.hide(text), hint));
        }
        Some(Line::Stage(_)) | None => {}
    }
    if garbled {
        return wrong(PreflightProblem::NoVerdict { stage });
    }
    if !exited {
        return wrong(PreflightProblem::Timeout { time: request.time, stage });
    }
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(libc::SIGXCPU), _)) => {
            wrong(PreflightProblem::Timeout { time: request.time, stage })
        }
        Some((Some(signal), _)) => wrong(PreflightProblem::Crashed { signal, stage }),
        Some((_, Some(status))) if status == i32::from(child::CANNOT_RUN) => {
            wrong(PreflightProblem::Spawn(io::Error::other("the child could not be set up")))
        }
        Some((_, Some(status))) if status != i32::from(child::CANNOT_SPEAK) => {
            wrong(PreflightProblem::Exited { status, stage })
        }
        None if exited => wrong(PreflightProblem::Lost { stage }),
        Some(_) | None => wrong(PreflightProblem::NoVerdict { stage }),
    }
}

#[cfg(test)]
mod tests;
