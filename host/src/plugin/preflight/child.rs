//! The child's side: shuts itself in, then does to the candidate all that the host will do.
//!
//! Invariant: only this process, and only after the candidate has been unloaded or refused, speaks
//! on the private descriptor; a forked copy of it ends in silence.
#![expect(unsafe_code, reason = "rearranges descriptors and polls a plugin's future")]

use std::{
    ffi::OsString,
    future::Future,
    io::{self, Write as _},
    mem::MaybeUninit,
    os::unix::ffi::OsStringExt,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    thread,
    time::Duration,
};

use hotseat_plugin_api::abi;

use self::{cell::Voice, offer::Offered};
use super::wire::{Line, Stage};
use crate::{
    error::Coded,
    ids::Generation,
    plugin::{
        hooks::{self, LibraryId, registry::Record},
        instance::{Ended, Instance, take_text},
        library::{self, LoadError, LoadProblem, LoadRequest, panic_text},
        load::bring_up,
        services::LogTo,
        waker::HostWaker,
    },
};

mod cell;
mod offer;

/// Exit status: the verdict's descriptor is gone.
pub(super) const CANNOT_SPEAK: u8 = 70;
/// Exit status: the child could not be set up; the candidate never ran.
pub(super) const CANNOT_RUN: u8 = 71;

/// How long a candidate's threads may take to end after `stop`, and one thread to answer a purge.
const QUIET_TIME: Duration = Duration::from_millis(300);

/// The hidden subcommand `preflight-child`.
#[must_use]
pub fn main() -> ExitCode {
    let (voice, offered, request) = match set_up() {
        Ok(set_up) => set_up,
        Err(error) => {
            // Its parent may be gone.
            let _ = writeln!(io::stderr(), "{error}");
            return ExitCode::from(CANNOT_RUN);
        }
    };
    let verdict = try_candidate(&voice, &request, &offered);
    let forked = cell::end_children();
    let verdict = match verdict {
        Ok(passed) if !forked => passed,
        Ok(_) => refusal(
            "preflight_forked",
            "it left a process of its own behind".to_owned(),
            Some("a plugin must end the processes it starts, in `stop`".to_owned()),
        ),
        Err(refused) => refused,
    };
    if voice.say(verdict).is_err() { ExitCode::from(CANNOT_SPEAK) } else { ExitCode::SUCCESS }
}

fn set_up() -> io::Result<(Voice, Offered, LoadRequest)> {
    let (voice, request) = cell::enter()?;
    // All threads of our own are there before the candidate is opened, as in the host.
    let offered = Offered::start()?;
    let request = LoadRequest {
        path: OsString::from_vec(request.path).into(),
        plugin: request.plugin.parse().map_err(io::Error::other)?,
        label: request.label.parse().map_err(io::Error::other)?,
        generation: Generation(0),
        config: request.config,
        services: offered.services(),
        // The parent's clock decides.
        load_time: Duration::MAX,
        purge_time: QUIET_TIME,
    };
    Ok((voice, offered, request))
}

fn refusal(code: &str, text: String, hint: Option<String>) -> Line {
    Line::Refused { code: code.to_owned(), text, hint }
}

impl From<LoadError> for Line {
    fn from(error: LoadError) -> Self {
        refusal(error.code(), error.problem.to_string(), error.hint())
    }
}

/// All steps; the verdict, or a refusal.
fn try_candidate(voice: &Voice, request: &LoadRequest, offered: &Offered) -> Result<Line, Line> {
    let (instance, record, nodelete) = aside(|| load(voice, request))??;
    voice.stage(Stage::SelfTest);
    let tested = self_test(&instance, offered);
    voice.stage(Stage::Stop);
    let library = match aside(move || instance.end())? {
        Ended::Freed(library) => library,
        Ended::Running(instance) => {
            if let Err(left) = record.wait_quiet(QUIET_TIME) {
                tested?;
                let hazards = hazards(&record, nodelete, Some(&left));
                return Ok(Line::Passed { unmapped: false, hazards });
            }
            aside(move || instance.free())?
        }
    };
    tested?;
    voice.stage(Stage::Close);
    let closed = library.close_soon(QUIET_TIME, QUIET_TIME);
    let hazards = hazards(&record, nodelete, closed.as_ref().err());
    Ok(Line::Passed { unmapped: closed.is_ok(), hazards })
}

/// Runs one step on a thread that ends with it, as every step does in the serving process: what
/// depends on the thread must fail here first.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, LoadError> {
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work);
        thread.map_err(LoadProblem::Spawn)?.join().map_err(|_| LoadProblem::Broken)
    });
    Ok(ended?)
}

fn load(voice: &Voice, request: &LoadRequest) -> Result<(Instance, Arc<Record>, bool), LoadError> {
    voice.stage(Stage::Open);
    let library = library::open(request, LogTo::Stderr)?;
    let record = Arc::clone(library.record());
    let nodelete = library.nodelete();
    voice.stage(Stage::New);
    let instance = bring_up(library, request, abi::new_flags::PREFLIGHT, true)?;
    hooks::purge_thread(record.id());
    Ok((instance, record, nodelete))
}

fn hazards(record: &Record, nodelete: bool, mapped: Option<&String>) -> Vec<String> {
    let (threads, destructors, keys) = record.totals();
    let counted = [
        (threads, "thread started", "threads started"),
        (destructors, "thread-local destructor", "thread-local destructors"),
        (keys, "pthread key", "pthread keys"),
    ];
    let counted = counted.into_iter().filter_map(|(n, one, many)| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    });
    // Said once, also where it is the reason why the library stays mapped.
    let nodelete = (nodelete && mapped.is_none_or(|reason| reason != library::NODELETE))
        .then(|| library::NODELETE.to_owned());
    let mapped = mapped.map(|reason| format!("stays mapped: {reason}"));
    counted.chain(nodelete).chain(mapped).collect()
}

fn self_test(instance: &Instance, offered: &Offered) -> Result<(), Line> {
    let Some(future) = instance.self_test() else { return Ok(()) };
    let test = SelfTest { future, library: instance.library() };
    offered.timer().block_on(test).map_err(|failed| match failed {
        Failed::Error(text) => refusal(
            "self_test_failed",
            format!("`self_test` failed: {text}"),
            Some("see what `self_test` needs: configuration, files, other services".to_owned()),
        ),
        Failed::Panic => {
            let report = instance.take_panic();
            let text = format!("`self_test` panicked{}", panic_text(report.as_ref()));
            let hint = "return an error from `self_test` instead of a panic, and see its text";
            refusal("self_test_panicked", text, Some(hint.to_owned()))
        }
    })
}

enum Failed {
    Error(String),
    Panic,
}

/// A plugin's future that only ends.
struct SelfTest {
    future: abi::Future<abi::Done>,
    library: LibraryId,
}

impl Future for SelfTest {
    type Output = Result<(), Failed>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let waker = HostWaker::new(cx.waker());
        let mut done = MaybeUninit::<abi::Done>::uninit();
        let entered = hooks::enter(self.library);
        // SAFETY: the plugin's own future, polled on one thread and not after its end.
        let code =
            unsafe { (self.future.poll)(self.future.data, waker.as_ptr(), done.as_mut_ptr()) };
        drop(entered);
        Poll::Ready(match code {
            abi::poll::PENDING => return Poll::Pending,
            abi::poll::READY => Ok(()),
            abi::poll::FAILED => {
                // SAFETY: FAILED fills it, and its text is ours then.
                let done = unsafe { done.assume_init() };
                Err(Failed::Error(take_text(self.library, done.error)))
            }
            abi::poll::PANICKED => Err(Failed::Panic),
            other => Err(Failed::Error(format!("it returned the code {other}"))),
        })
    }
}

impl Drop for SelfTest {
    fn drop(&mut self) {
        let _entered = hooks::enter(self.library);
        // SAFETY: the plugin's own future, dropped once.
        unsafe { (self.future.drop)(self.future.data) };
    }
}
