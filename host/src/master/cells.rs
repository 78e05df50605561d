//! The file of the cells: made once for a host, and handed to each of its workers.
//!
//! Owns the descriptor alone; the master reads nothing of it. As workers come and go it stays, and
//! so it does when the master goes over to another image.

use std::{fs::OpenOptions, os::fd::OwnedFd};

use super::{Master, Role};
use crate::{cells, link::Order};

impl Master {
    /// Sees to it that there is one, before a worker makes one of its own.
    pub(super) fn make_cells(&mut self) {
        if self.cells.is_some() {
            return;
        }
        match cells::make() {
            Ok(made) => self.cells = Some(made),
            Err(error) => tracing::warn!(
                %error,
                "plugins have no cells that outlive their worker: the system gives no file for them"
            ),
        }
    }

    /// Where the image before had none, its last worker has made one.
    pub(super) fn ask_for_cells(&mut self) {
        if self.cells.is_some() {
            return;
        }
        if let Some(worker) = self.workers.iter_mut().find(|it| it.role == Role::Serving) {
            worker.tell(&Order::Cells, &[]);
        }
    }

    /// A worker has said where its own are.
    pub(super) fn told_of_cells(&mut self, number: u64, descriptor: i32) {
        let Some(worker) = self.worker(number).filter(|it| it.role == Role::Serving) else {
            return;
        };
        let path = format!("/proc/{}/fd/{descriptor}", worker.id());
        let opened = OpenOptions::new().read(true).write(true).open(path);
        match opened {
            // One that was made here was given to somebody meanwhile.
            Ok(_) if self.cells.is_some() => {}
            Ok(file) => self.cells = Some(OwnedFd::from(file)),
            Err(error) => tracing::warn!(
                worker = number, %error,
                "the cells of a worker cannot be opened: they end with it"
            ),
        }
    }
}
