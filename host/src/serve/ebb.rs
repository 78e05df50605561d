//! Memory after a flood of connections.
//!
//! What thousands of connections had lies in the allocator when they are gone, between what others
//! still use, and is given back to the system only when it is asked to. Owns when that is.

/// Fewer connections leave nothing that is worth the walk through the heaps.
const FLOOD_COUNT: usize = 256;

/// How many looks in a row must find the connections gone: while they still go, more will come free.
const LOOKS: u32 = 5;

/// Follows the number of connections.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    most: usize,
    low: u32,
}

impl Ebb {
    /// Looks once, at `count` connections; whether the memory of a flood is to be given back now.
    pub(super) fn look(&mut self, count: usize) -> bool {
        self.most = self.most.max(count);
        let gone = self.most >= FLOOD_COUNT && count <= self.most / 2;
        self.low = if gone { self.low + 1 } else { 0 };
        if self.low < LOOKS {
            return false;
        }
        *self = Self { most: count, low: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_that_has_gone_is_told_once() {
        let mut ebb = Ebb::default();
        let mut looks = |counts: &[usize]| -> Vec<bool> {
            counts.iter().map(|count| ebb.look(*count)).collect()
        };
        assert!(!looks(&[0, 100, 0, 0, 0, 0, 0, 0]).contains(&true), "no flood");
        assert!(!looks(&[300, 140, 140, 160, 140, 140, 140]).contains(&true), "it still goes");
        assert_eq!(looks(&[100, 90, 80, 80, 80]), [false, true, false, false, false]);
        assert!(!looks(&[20; 10]).contains(&true), "what is left is no flood");
    }
}
