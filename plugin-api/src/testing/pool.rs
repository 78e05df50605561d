//! Blocking code, each piece on a thread of its own.
//!
//! Invariant: what runs holds the time still, and is waited for at the end.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    future,
    waker::Kept,
    world::{World, lock},
};
use crate::abi::{self, Done, Job};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) is_full: AtomicBool,
    running: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Pieces that have not ended.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Waits until all have ended.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            // What it ran has caught its own panic.
            let _ = thread.join();
        }
    }
}

/// A job that is dropped unless it is run.
struct Owned(Option<Job>);

impl Owned {
    fn run(mut self) {
        if let Some(job) = self.0.take() {
            // SAFETY: run once.
            unsafe { (job.run)(job.data) }
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            // SAFETY: never run, and dropped once.
            unsafe { (job.drop)(job.data) }
        }
    }
}

#[derive(Debug, Default)]
struct End {
    has_ended: bool,
    waiting: Option<Kept>,
}

/// [`abi::HostVt::blocking`], and [`abi::HostVt::blocking_call`]: a job begins at once.
pub(super) unsafe extern "C" fn blocking(host: *const (), job: Job) -> abi::Future<Done> {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let job = Owned(Some(job));
    let pool = &world.pool;
    let end = Arc::<Mutex<End>>::default();
    let ends = Arc::clone(&end);
    let work = move || {
        let inside = world.enter();
        job.run();
        drop(inside);
        let waiting = {
            let mut end = lock(&ends);
            end.has_ended = true;
            end.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        world.pool.running.fetch_sub(1, Ordering::AcqRel);
        world.bell.ring();
    };
    if pool.is_full.load(Ordering::Relaxed) {
        drop(work);
        return future::of(|_| Some(Err("the pool's queue is full")));
    }
    pool.running.fetch_add(1, Ordering::AcqRel);
    match thread::Builder::new().name("blocking".to_owned()).spawn(work) {
        Ok(thread) => lock(&pool.threads).push(thread),
        Err(_) => {
            pool.running.fetch_sub(1, Ordering::AcqRel);
            return future::of(|_| Some(Err("the system has no thread for it")));
        }
    }
    future::of(move |waker| {
        // SAFETY: the waker of a poll is valid for it.
        let kept = unsafe { Kept::of(world, waker) };
        let mut state = lock(&end);
        if state.has_ended {
            drop(state);
            return Some(Ok(()));
        }
        let before = state.waiting.replace(kept);
        drop(state);
        drop(before);
        None
    })
}
