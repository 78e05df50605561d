//! One whole life of the candidate: opened, made, tried, stopped, dropped, closed.
//!
//! Invariant: each step runs on a thread that ends with it, as every step does in the serving
//! process: what depends on the thread must fail here first.
#![expect(unsafe_code, reason = "polls a plugin's future")]

use std::{
    future::Future,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    thread,
    time::Duration,
};

use hotseat_plugin_api::abi;

use hotseat_unload::{
    LibraryId, NODELETE, Record, enter, purge_thread,
    reaper::{Ended, Retire as _},
    resolved::Resolved,
};

use super::{cell::Voice, offer::Offered, refusal};
use crate::plugin::{
    instance::{Instance, take_text},
    library::{self, LoadError, LoadProblem, LoadRequest, panic_text},
    load::bring_up,
    preflight::{
        stays::MAPPED,
        wire::{Line, Stage},
    },
    services::{LogTo, PanicReport},
    waker::HostWaker,
};

/// How long a candidate's threads may take to end after its drop, and one thread to answer a purge.
/// Only what does not end waits for so long.
pub(super) const QUIET_TIME: Duration = Duration::from_millis(300);

/// How it went.
pub(super) struct Course {
    pub(super) unmapped: bool,
    pub(super) hazards: Vec<String>,
    /// What it was given of what it needs.
    pub(super) resolved: Vec<Resolved>,
}

/// What is tried on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    First,
    /// What each load does again. The layout check keeps pointers into the library before, so it is
    /// not done once more, and no author expects two self-tests.
    Again,
}

/// All steps; how it went, or a refusal.
pub(super) fn run(
    voice: &Voice,
    request: &LoadRequest,
    offered: &Offered,
    scope: Scope,
) -> Result<Course, Line> {
    let Opened { instance, record, nodelete, resolved } = aside(|| load(voice, request, scope))??;
    let tested = match scope {
        Scope::First => {
            voice.stage(Stage::SelfTest);
            self_test(&instance, offered)
        }
        Scope::Again => Ok(()),
    };
    voice.stage(Stage::Stop);
    let library = match aside(move || instance.end(|| voice.stage(Stage::Drop)))? {
        Ended::Freed(library) => library,
        Ended::Running(instance) => {
            if let Err(left) = record.wait_quiet(QUIET_TIME) {
                tested?;
                let hazards = hazards(&record, nodelete, Some(&left));
                return Ok(Course { unmapped: false, hazards, resolved });
            }
            voice.stage(Stage::Drop);
            aside(move || instance.free())?
        }
    };
    tested?;
    voice.stage(Stage::Close);
    let held = match library.settle(QUIET_TIME, QUIET_TIME) {
        // What it is swapped for needs the same libraries, so these stay there, unlike here.
        Ok(()) => library.would_hold(),
        Err(_) => None,
    };
    let closed = library.close_soon(QUIET_TIME, QUIET_TIME);
    let mapped = closed.err().map(|error| error.to_string()).or(held);
    let hazards = hazards(&record, nodelete, mapped.as_ref());
    Ok(Course { unmapped: mapped.is_none(), hazards, resolved })
}

fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, LoadError> {
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, work);
        thread.map_err(LoadProblem::Spawn)?.join().map_err(|_| LoadProblem::Broken)
    });
    Ok(ended?)
}

/// A candidate with its instance, and what is known of its library.
struct Opened {
    instance: Instance,
    record: Arc<Record>,
    nodelete: bool,
    resolved: Vec<Resolved>,
}

fn load(voice: &Voice, request: &LoadRequest, scope: Scope) -> Result<Opened, LoadError> {
    voice.stage(Stage::Open);
    let library = library::open(request, LogTo::Stderr)?;
    let record = Arc::clone(library.record());
    let (nodelete, resolved) = (library.nodelete(), library.resolved());
    voice.stage(Stage::New);
    let checks_layout = scope == Scope::First;
    let instance = bring_up(library, request, abi::new_flags::PREFLIGHT, checks_layout)?;
    purge_thread(record.id());
    Ok(Opened { instance, record, nodelete, resolved })
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
    let nodelete =
        (nodelete && mapped.is_none_or(|reason| reason != NODELETE)).then(|| NODELETE.to_owned());
    let mapped = mapped.map(|reason| format!("{MAPPED}{reason}"));
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
            let known = report.as_ref().and_then(PanicReport::hint);
            let otherwise = "return an error from `self_test` instead of a panic, and see its text";
            refusal("self_test_panicked", text, Some(known.unwrap_or(otherwise).to_owned()))
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
        let entered = enter(self.library);
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
        let _entered = enter(self.library);
        // SAFETY: the plugin's own future, dropped once.
        unsafe { (self.future.drop)(self.future.data) };
    }
}
