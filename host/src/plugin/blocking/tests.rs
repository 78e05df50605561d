//! The pool's bounds, and what becomes of a job.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    time::Duration,
};

use hotseat_unload::{Holding, purge::purge_all};

use super::*;
use crate::plugin::tests::Played;

/// A job that waits for a word, and tells whether it ran or was dropped.
struct Work {
    go: Receiver<()>,
    fate: SyncSender<&'static str>,
}

unsafe extern "C" fn run(data: *mut ()) {
    // SAFETY: the box that `job` made; consumed here.
    let work = unsafe { Box::from_raw(data.cast::<Work>()) };
    work.fate.send("began").unwrap();
    let _ = work.go.recv();
    work.fate.send("ran").unwrap();
}

unsafe extern "C" fn discard(data: *mut ()) {
    // SAFETY: the box that `job` made; consumed here.
    let work = unsafe { Box::from_raw(data.cast::<Work>()) };
    work.fate.send("dropped").unwrap();
}

fn job() -> (abi::Job, SyncSender<()>, Receiver<&'static str>) {
    let (go, wait) = sync_channel(1);
    let (fate, told) = sync_channel(4);
    let data = Box::into_raw(Box::new(Work { go: wait, fate })).cast();
    (abi::Job { data, run, drop: discard }, go, told)
}

#[track_caller]
fn lease(played: &Played) -> LibraryLease {
    LibraryLease::new(Arc::clone(played.record()), Holding::Job).unwrap()
}

#[test]
fn a_job_runs_and_holds_its_library_until_then() {
    let played = Played::start();
    let pool = BlockingPool::start(1, 4).unwrap();
    let (job, go, told) = job();
    let mut end = pool.submit(job, lease(&played)).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    assert!(end.poll_end(Waker::noop()).is_pending());
    assert_eq!(played.record().holders(), "1 job in the blocking pool");
    go.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), "ran");
    crate::plugin::tests::eventually(|| played.record().is_quiet());
    assert_eq!(end.poll_end(Waker::noop()), Poll::Ready(Ok(())));
}

#[test]
fn a_job_beyond_the_limit_is_dropped() {
    let played = Played::start();
    let pool = BlockingPool::start(1, 1).unwrap();
    let (running, go, told) = job();
    let _end = pool.submit(running, lease(&played)).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    let (waiting, _go, waits) = job();
    let mut end = pool.submit(waiting, lease(&played)).unwrap();
    let (surplus, _go, dropped) = job();
    assert_eq!(pool.submit(surplus, lease(&played)).err(), Some(QueueFull { limit: 1 }));
    assert_eq!(dropped.recv().unwrap(), "dropped");
    assert_eq!(pool.waiting_count(), 1);
    drop(pool);
    assert_eq!(waits.recv().unwrap(), "dropped");
    assert!(matches!(end.poll_end(Waker::noop()), Poll::Ready(Err(_))));
    drop(go);
    assert_eq!(told.recv().unwrap(), "ran");
    crate::plugin::tests::eventually(|| played.record().is_quiet());
}

#[test]
fn a_busy_thread_purges_itself_after_its_job() {
    let played = Played::start();
    let pool = BlockingPool::start(1, 4).unwrap();
    let (job, go, told) = job();
    let _end = pool.submit(job, lease(&played)).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    let missing = purge_all(played.record().id(), Duration::from_millis(1)).unwrap_err();
    assert!(missing.iter().any(|name| name == "blocking 0"), "{missing:?}");
    go.send(()).unwrap();
    crate::plugin::tests::eventually(|| {
        purge_all(played.record().id(), Duration::from_secs(1)).is_ok()
    });
}
