//! Tasks that the plugin has spawned, until a kit takes them.
#![expect(unsafe_code, reason = "a task is raw data and functions")]

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::world::{World, lock};
use crate::abi::{Done, Future, spawn};

/// The host's bound as it is unless the operator says otherwise.
const COUNT: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    new: Mutex<Vec<Spawned>>,
    /// Those that have not ended, taken or not.
    pub(super) count: AtomicUsize,
}

/// A task that the host owns.
#[derive(Debug)]
pub(super) struct Spawned(pub(super) Future<Done>);

// SAFETY: by the ABI a task may go to another thread between two calls.
unsafe impl Send for Spawned {}

impl Tasks {
    /// Those that nobody has taken yet.
    pub(super) fn take(&self) -> Vec<Spawned> {
        std::mem::take(&mut lock(&self.new))
    }
}

/// [`abi::HostVt::spawn`](crate::abi::HostVt::spawn).
pub(super) unsafe extern "C" fn spawn(host: *const (), task: Future<Done>, _: u32) -> u32 {
    // SAFETY: the data of our table.
    let world = unsafe { World::of(host) };
    let tasks = &world.tasks;
    let mut new = lock(&tasks.new);
    // Looked at under the lock, under which the end takes what is left.
    if world.ended.load(Ordering::Acquire) {
        return spawn::ENDED;
    }
    if tasks.count.load(Ordering::Acquire) >= COUNT {
        return spawn::FULL;
    }
    tasks.count.fetch_add(1, Ordering::AcqRel);
    new.push(Spawned(task));
    drop(new);
    world.bell.ring();
    spawn::ACCEPTED
}

impl World {
    /// From now on no task is taken; those that were not begun.
    pub(super) fn end_tasks(&self) -> Vec<Spawned> {
        let mut new = lock(&self.tasks.new);
        self.ended.store(true, Ordering::Release);
        std::mem::take(&mut new)
    }
}
