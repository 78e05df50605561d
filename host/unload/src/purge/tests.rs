//! Purges of threads that answer, that cannot, and that have gone.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Purge, PurgeRequest, purge_all, register_thread};
use crate::hooks::tests::Played;

/// A thread that is registered and runs what it is sent when `go` says so.
struct Member {
    go: SyncSender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Member {
    fn start(name: &str) -> Self {
        let (requests, inbox) = sync_channel::<PurgeRequest>(4);
        let (go, allowed): (_, Receiver<()>) = sync_channel(4);
        let (ready, started) = sync_channel(0);
        let name = name.to_owned();
        let thread = thread::spawn(move || {
            let _registration = register_thread(name, move |request| {
                requests.try_send(request).map_err(|error| match error {
                    std::sync::mpsc::TrySendError::Full(request)
                    | std::sync::mpsc::TrySendError::Disconnected(request) => request,
                })
            });
            ready.send(()).unwrap();
            while allowed.recv().is_ok() {
                inbox.recv().unwrap().run();
            }
        });
        started.recv().unwrap();
        Self { go, thread: Some(thread) }
    }

    fn leave(mut self) {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap();
    }
}

#[test]
fn who_does_not_answer_is_named_and_may_answer_later() {
    let played = Played::start();
    let (quick, slow) = (Member::start("quick"), Member::start("slow"));
    quick.go.send(()).unwrap();
    let purge = Purge::begin(played.record.id());
    crate::tests::eventually(|| !purge.answers.lock().missing.values().any(|name| name == "quick"));
    let missing = purge.missing(Duration::from_millis(5));
    assert!(missing.iter().any(|name| name == "slow"), "{missing:?}");
    slow.go.send(()).unwrap();
    crate::tests::eventually(|| !purge.answers.lock().missing.values().any(|name| name == "slow"));
    quick.leave();
    slow.leave();
}

#[test]
fn who_has_left_is_not_waited_for() {
    let played = Played::start();
    let gone = Member::start("gone");
    let purge = Purge::begin(played.record.id());
    assert!(purge.missing(Duration::ZERO).iter().any(|name| name == "gone"));
    gone.leave();
    assert!(!purge.missing(Duration::ZERO).iter().any(|name| name == "gone"));
}

#[test]
fn a_request_that_was_given_back_is_offered_again() {
    let played = Played::start();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let (requests, posted) = sync_channel::<PurgeRequest>(1);
    let (ready, started) = sync_channel(0);
    let thread = thread::spawn(move || {
        let _registration = register_thread("picky".to_owned(), move |request| {
            if is_full.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(request);
            }
            requests.try_send(request).map_err(|unsent| match unsent {
                std::sync::mpsc::TrySendError::Full(request)
                | std::sync::mpsc::TrySendError::Disconnected(request) => request,
            })
        });
        ready.send(()).unwrap();
        posted.recv().unwrap().run();
    });
    started.recv().unwrap();
    let picky = |missing: Vec<String>| missing.iter().any(|name| name == "picky");
    let purge = Purge::begin(played.record.id());
    assert!(picky(purge.missing(Duration::ZERO)));
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(!picky(purge.missing(Duration::from_secs(20))));
    thread.join().unwrap();
}

#[test]
fn the_caller_is_purged_without_being_asked() {
    let played = Played::start();
    let _registration = register_thread("caller".to_owned(), Err);
    let missing = purge_all(played.record.id(), Duration::ZERO).err().unwrap_or_default();
    assert!(!missing.iter().any(|name| name == "caller"), "{missing:?}");
}
