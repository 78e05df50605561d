//! Which numbers of orders, loads and events come next.
//!
//! Owns what of them is reserved on the disk. A number is given once, whoever ends whenever; a disk
//! that cannot be written is no reason to stop giving them.

use std::sync::{MutexGuard, PoisonError};

use super::Record;
use crate::{error::Coded as _, ids::Generation, state::Numbers, sys::marks::Series};

/// Which numbers are reserved.
#[derive(Debug)]
pub(super) struct Numbering {
    pub(super) written: Numbers,
    /// The last attempt to write has failed, which was logged.
    pub(super) fails: bool,
    /// The number of the first order that comes.
    pub(super) first_order: u64,
}

impl Record {
    /// The number of the first order that comes to whoever has opened the record.
    #[must_use]
    pub fn first_order(&self) -> u64 {
        self.numbering().first_order
    }

    /// The number of the first event, where nobody else gives them.
    #[must_use]
    pub fn first_event(&self) -> u64 {
        self.numbering().written.events
    }

    pub(super) fn numbering(&self) -> MutexGuard<'_, Numbering> {
        self.numbering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The order of this number was taken in.
    pub fn order_given(&self, number: u64) {
        if let Some(marks) = &self.marks {
            marks.given(Series::Order, number);
        }
    }

    /// Reserves the numbers of what may come soon: `order` and the event after `event` come next, and
    /// at most `burst` orders before this is called again. A disk that fails is no reason to stop.
    pub fn reserve(&self, order: u64, event: u64, burst: usize) {
        let next = self.next_numbers(order, event);
        let written = self.numbering().written;
        if let Some(more) = written.ahead_of(next, burst as u64) {
            self.write_numbers(more);
        }
    }

    /// Gives back what was reserved: `order` and the event after `event` come next.
    pub fn settle_numbers(&self, order: u64, event: u64) {
        self.write_numbers(self.next_numbers(order, event));
    }

    fn next_numbers(&self, order: u64, event: u64) -> Numbers {
        let generations = self.book().manifest.next_generation.0;
        Numbers { orders: order, generations, events: event + 1 }
    }

    fn write_numbers(&self, numbers: Numbers) {
        let _pen = self.pen();
        // What cannot be written now is reserved as soon as it can be.
        if self.is_sealed() || self.unwritable().is_some() {
            return;
        }
        let mut numbering = self.numbering();
        let written = numbers.write(self.dir.path());
        match &written {
            Ok(_) => numbering.written = numbers,
            Err(error) if !numbering.fails => tracing::error!(
                %error, hint = error.hint(),
                "numbers cannot be reserved: after the host's end they may be given again"
            ),
            Err(_) => {}
        }
        numbering.fails = written.is_err();
        if let Ok(path) = written {
            self.syncer.file(path);
        }
    }

    /// What the state folder says: these numbers and those behind them nobody has had.
    #[must_use]
    pub fn reserved(&self) -> Numbers {
        self.numbering().written
    }

    /// What another worker has given is not given again.
    pub fn skip_generations(&self, next: Generation) {
        let _pen = self.pen();
        let manifest = &mut self.book().manifest;
        manifest.next_generation = manifest.next_generation.max(next);
    }

    /// The number of the next load. It counts as used from here on, also when the load fails: one
    /// that hangs keeps its path, which has the number, in the loader, and a path must not come
    /// twice.
    #[must_use]
    pub fn take_generation(&self) -> Generation {
        let _pen = self.pen();
        let taken = self.book().manifest.take_generation();
        self.generation_given(taken);
        taken
    }

    pub(super) fn generation_given(&self, generation: Generation) {
        if let Some(marks) = &self.marks {
            marks.given(Series::Generation, generation.0);
        }
    }
}
