//! Numbers that a process has given, where they outlive it.
//!
//! They lie at the end of the page that a worker shares with whoever started it (`fault` has its
//! begin), so they are exact however the process ends. Knows nothing of what is numbered.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{pread, pwrite};

/// Where they begin. Units: bytes.
const AT: u64 = 4096 - 64;

/// What is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    /// Orders.
    Order,
    /// Generations.
    Generation,
}

impl Series {
    fn place(self) -> u64 {
        match self {
            Self::Order => AT,
            Self::Generation => AT + 8,
        }
    }
}

/// The page, for the process that gives numbers.
#[derive(Debug)]
pub struct Marks(OwnedFd);

impl Marks {
    /// Those in `page`.
    #[must_use]
    pub fn new(page: OwnedFd) -> Self {
        Self(page)
    }

    /// `number` is given. Numbers of a series ascend, so only the last one is kept.
    pub fn given(&self, series: Series, number: u64) {
        if let Err(error) = pwrite(&self.0, &number.to_ne_bytes(), series.place()) {
            tracing::warn!(%error, "the last number could not be noted");
        }
    }
}

/// The last number of `series` that the process with this page has given; 0: none.
#[must_use]
pub fn read(page: impl AsFd, series: Series) -> u64 {
    let mut bytes = [0; 8];
    let whole = pread(page, &mut bytes, series.place()).is_ok_and(|count| count == 8);
    if whole { u64::from_ne_bytes(bytes) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault;

    #[test]
    fn the_last_number_stays() {
        let page = fault::page().unwrap();
        let marks = Marks::new(page.try_clone().unwrap());
        assert_eq!(read(&page, Series::Order), 0);
        marks.given(Series::Order, 7);
        marks.given(Series::Generation, 9);
        marks.given(Series::Order, 8);
        drop(marks);
        assert_eq!((read(&page, Series::Order), read(&page, Series::Generation)), (8, 9));
        assert_eq!(fault::read(&page).note, None, "the note of a fault is not touched");
    }
}
