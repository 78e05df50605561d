//! What one load of a library leaves behind in its process, although the library is gone.
//!
//! Owns the count, from where on it is worth saying, and its words. It means something in a process
//! that has nothing else going on: a child that tries a library before the host loads it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figures::Figures;

mod count;

pub use count::Count;

/// What one more load has left. Any load leaves a few kilobytes of glibc's and the host's own books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaves {
    /// How much.
    pub figures: Figures,
    /// What the descriptors are: `socket`, `pipe`, a path.
    pub descriptors: Vec<String>,
}

/// Heap that one load may leave without a word: four times what one of a library that does nothing
/// leaves (4.1 to 4.4 KiB), below what the smallest real leak left (tokio's signal driver: 33 KiB).
/// Units: bytes.
const HEAP_BYTES: i64 = 16 << 10;

/// Heap that the first load of a process leaves at the least, in tables that are filled once: it was 15
/// to 19 KiB for a library that does nothing. Units: bytes.
const FIRST_HEAP_BYTES: i64 = 12 << 10;

impl Leaves {
    /// Of a process's first load: what another one may leave at the most.
    #[must_use]
    pub fn of_first_load(mut self) -> Self {
        let more = |bytes: i64| bytes.min((bytes - FIRST_HEAP_BYTES).max(0));
        self.figures.heap_bytes = self.figures.heap_bytes.map(more);
        self
    }

    /// Whether anybody should hear of it; of a first load: whether a second one is to tell.
    #[must_use]
    pub fn is_notable(&self) -> bool {
        let Figures { descriptors, threads, mappings, heap_bytes, rss_bytes: _ } = self.figures;
        [descriptors, threads, mappings].into_iter().flatten().any(|count| count > 0)
            || heap_bytes.is_some_and(|bytes| bytes > HEAP_BYTES)
    }
}

impl fmt::Display for Leaves {
    /// `2 descriptors (socket) and 33 KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { descriptors, threads, mappings, heap_bytes, rss_bytes: _ } = self.figures;
        let counted = |count: Option<i64>, one: &str, many: &str| match count {
            Some(1) => Some(format!("1 {one}")),
            Some(count) if count > 1 => Some(format!("{count} {many}")),
            _ => None,
        };
        let kinds = match self.descriptors.as_slice() {
            [] => String::new(),
            kinds => format!(" ({})", kinds.join(", ")),
        };
        let heap = heap_bytes.filter(|bytes| *bytes > HEAP_BYTES);
        let parts = [
            counted(descriptors, "descriptor", "descriptors").map(|it| it + &kinds),
            counted(threads, "thread", "threads"),
            counted(mappings, "mapped file", "mapped files"),
            heap.map(|bytes| format!("{} KiB", bytes >> 10)),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        match parts.split_last() {
            None => f.write_str("nothing"),
            Some((last, [])) => f.write_str(last),
            Some((last, others)) => write!(f, "{} and {last}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(descriptors: i64, threads: i64, heap_bytes: i64, kinds: &[&str]) -> Leaves {
        Leaves {
            figures: Figures {
                descriptors: Some(descriptors),
                threads: Some(threads),
                mappings: Some(-1),
                heap_bytes: Some(heap_bytes),
                rss_bytes: None,
            },
            descriptors: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_left_is_said_from_a_bound_on() {
        let quiet = leaves(0, 0, 16 << 10, &[]);
        assert_eq!((quiet.is_notable(), quiet.to_string()), (false, "nothing".to_owned()));
        let tokio = leaves(2, 0, 34_000, &["socket"]);
        assert_eq!(tokio.to_string(), "2 descriptors (socket) and 33 KiB");
        let all = leaves(1, 3, 766 << 10, &[]);
        assert_eq!(all.to_string(), "1 descriptor, 3 threads and 766 KiB");
        assert!([&tokio, &all, &leaves(0, 1, 0, &[])].iter().all(|it| it.is_notable()));
        assert!(leaves(1, 0, 0, &[]).is_notable());
        assert!(!Leaves::default().is_notable(), "what the system does not tell is nobody's");
        let heap_of_first =
            |bytes| leaves(0, 0, bytes, &[]).of_first_load().figures.heap_bytes.unwrap();
        let of_first = [-5, 5, 20 << 10, 45 << 10].map(heap_of_first);
        assert_eq!(of_first, [-5, 0, 8 << 10, 33 << 10]);
    }
}
