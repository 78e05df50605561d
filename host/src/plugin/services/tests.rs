//! The host's functions as a plugin calls them: through the table.

use std::{
    mem::MaybeUninit,
    sync::Mutex,
    task::Waker,
    time::{Duration, Instant},
};

use super::*;
use crate::plugin::{tests::Played, waker::HostWaker};

#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl MetricSink for Sink {
    fn record(
        &self,
        plugin: &PluginName,
        kind: u32,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        self.0.lock().unwrap().push(format!("{plugin} {kind} {name} {labels:?} {value}"));
    }

    fn beside(&self, _: &PluginName) -> Arc<Beside> {
        Arc::default()
    }
}

fn context(played: &Played, runtime: &tokio::runtime::Runtime) -> (Context, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    let services = Services::new(
        Arc::clone(&sink) as Arc<dyn MetricSink>,
        runtime.handle().clone(),
        Arc::new(BlockingPool::start(1, 1).unwrap()),
    );
    let who = ("played".parse().unwrap(), Generation(3));
    let context = Context::new(who, Arc::clone(played.record()), services, (LogTo::Tracing, None));
    (context, sink)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn text(text: &'static str) -> abi::Str {
    abi::Str::new(text.as_bytes())
}

/// Polls a future of the host once, as a plugin would; its code and its error's text.
fn poll(future: &abi::Future<abi::Done>) -> (u32, String) {
    let waker = HostWaker::new(Waker::noop());
    let mut done = MaybeUninit::uninit();
    // SAFETY: a live future, a live waker, and room for the result.
    let code = unsafe { (future.poll)(future.data, waker.as_ptr(), done.as_mut_ptr()) };
    if code == abi::poll::PENDING {
        return (code, String::new());
    }
    // SAFETY: filled by any other code of the host.
    let abi::Done { error } = unsafe { done.assume_init() };
    // SAFETY: alive until it is freed below.
    let text = unsafe { abi::Str { ptr: error.ptr, len: error.len }.bytes() };
    let text = String::from_utf8(text.to_vec()).unwrap();
    if let Some(free) = error.drop {
        // SAFETY: freed once, with its own values.
        unsafe { free(error.owner, error.ptr, error.len) };
    }
    (code, text)
}

fn discard(future: &abi::Future<abi::Done>) {
    // SAFETY: dropped once, and not used afterwards.
    unsafe { (future.drop)(future.data) };
}

#[test]
fn metrics_reach_the_sink_with_the_plugins_name() {
    let (played, runtime) = (Played::start(), runtime());
    let (context, sink) = context(&played, &runtime);
    let label = abi::Header { name: text("kind"), value: text("x") };
    let host = (&raw const context).cast();
    // SAFETY: a live context, live texts.
    unsafe { (VT.metric)(host, abi::metric::GAUGE, text("seats"), &raw const label, 1, 2.5) };
    assert_eq!(*sink.0.lock().unwrap(), [r#"played 1 seats [("kind", "x")] 2.5"#]);
}

#[test]
fn a_panic_is_told_once_to_its_own_library_on_its_own_thread() {
    let (played, runtime) = (Played::start(), runtime());
    let (context, _) = context(&played, &runtime);
    let host = (&raw const context).cast();
    // SAFETY: a live context, live texts.
    unsafe { (VT.panicked)(host, text("boom"), text("src/lib.rs:1:2")) };
    let library = played.record().id();
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| take_panic(library)).join().unwrap());
    assert_eq!(elsewhere, None);
    let report = take_panic(library).unwrap();
    assert_eq!(report.to_string(), "`boom` at src/lib.rs:1:2");
    assert_eq!(take_panic(library), None);
}

#[test]
fn a_sleep_without_a_runtime_uses_the_hosts() {
    let (played, runtime) = (Played::start(), runtime());
    let (context, _) = context(&played, &runtime);
    let host = (&raw const context).cast();
    let began = Instant::now();
    let nap = Duration::from_millis(5);
    // SAFETY: a live context.
    let future = unsafe { (VT.sleep)(host, 5_000_000) };
    assert_eq!(poll(&future).0, abi::poll::PENDING);
    // Drives the timers.
    runtime.block_on(async { tokio::time::sleep(nap * 2).await });
    assert_eq!(poll(&future), (abi::poll::READY, String::new()));
    assert!(began.elapsed() >= nap);
    discard(&future);
    assert!(played.record().is_quiet());
}

#[test]
fn blocking_work_that_finds_no_room_fails_with_a_text() {
    unsafe extern "C" fn wait(data: *mut ()) {
        // SAFETY: the lock that the test leaked for this job.
        let gate = unsafe { &*data.cast::<Mutex<()>>() };
        drop(gate.lock());
    }
    unsafe extern "C" fn nothing(_: *mut ()) {}
    let (played, runtime) = (Played::start(), runtime());
    let (context, _) = context(&played, &runtime);
    let host = (&raw const context).cast();
    let gate = Mutex::new(());
    let held = gate.lock().unwrap();
    let data = (&raw const gate).cast_mut().cast::<()>();
    let submit = || {
        let job = abi::Job { data, run: wait, drop: nothing };
        // SAFETY: a live context; the gate outlives every job, see below.
        unsafe { (VT.blocking)(host, job) }
    };
    let running = submit();
    crate::plugin::tests::eventually(|| context.services.blocking.waiting_count() == 0);
    let waiting = submit();
    let surplus = submit();
    assert_eq!(poll(&running).0, abi::poll::PENDING);
    let (code, error) = poll(&surplus);
    assert_eq!(code, abi::poll::FAILED);
    assert_eq!(error, "1 jobs wait for the blocking pool already");
    drop(held);
    crate::plugin::tests::eventually(|| played.record().is_quiet());
    assert_eq!(poll(&waiting).0, abi::poll::READY);
    [running, waiting, surplus].iter().for_each(discard);
}

#[test]
fn the_table_says_its_size() {
    assert_eq!(VT.size as usize, size_of::<abi::HostVt>());
}

#[test]
fn a_service_that_panics_says_so() {
    let played = Played::start();
    let without_time = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (context, _) = context(&played, &without_time);
    // SAFETY: a live context.
    let future = unsafe { (VT.sleep)((&raw const context).cast(), 1) };
    let waker = HostWaker::new(Waker::noop());
    let mut done = MaybeUninit::uninit();
    // SAFETY: a live future, a live waker, and room for the result.
    let code = unsafe { (future.poll)(future.data, waker.as_ptr(), done.as_mut_ptr()) };
    assert_eq!(code, abi::poll::PANICKED);
    discard(&future);
}
