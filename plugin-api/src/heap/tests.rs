//! The arena, called as the language calls it. It runs under Miri too, but for its system calls.

use std::{
    alloc::{GlobalAlloc as _, Layout},
    collections::VecDeque,
    sync::mpsc,
    thread,
};

use super::{Arena, Place, cache, chunk, class, figures::FIGURES};

/// A block of the arena that knows what is written in it.
struct Filled {
    block: *mut u8,
    layout: Layout,
    seed: u8,
}

// SAFETY: a block that may be given back anywhere.
unsafe impl Send for Filled {}

/// What is written and read of a block: all of a small one, the ends of a large one.
fn places(size: usize) -> impl Iterator<Item = usize> {
    let head = size.min(if cfg!(miri) { 32 } else { 2048 });
    (0..head).chain(size - head.min(16)..size)
}

fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

impl Filled {
    fn new(size: usize, align: usize, seed: u8) -> Self {
        let layout = Layout::from_size_align(size, align).unwrap();
        // SAFETY: of more than no bytes.
        let block = unsafe { Arena.alloc(layout) };
        let mut this = Self { block, layout, seed };
        this.check_place();
        this.fill();
        this
    }

    fn zeroed(size: usize) -> Self {
        let layout = Layout::from_size_align(size, 8).unwrap();
        // SAFETY: of more than no bytes.
        let block = unsafe { Arena.alloc_zeroed(layout) };
        let mut this = Self { block, layout, seed: 0 };
        this.check_place();
        for at in places(size) {
            // SAFETY: within the block.
            assert_eq!(unsafe { block.add(at).read() }, 0, "{at} of {size}");
        }
        this.seed = 99;
        this.fill();
        this
    }

    #[track_caller]
    fn check_place(&self) {
        assert!(!self.block.is_null(), "no memory for {:?}", self.layout);
        assert_eq!(self.block.addr() % self.layout.align(), 0, "{:?}", self.layout);
    }

    fn fill(&mut self) {
        for at in places(self.layout.size()) {
            // SAFETY: within the block.
            unsafe { self.block.add(at).write(self.seed.wrapping_add(low(at))) };
        }
    }

    #[track_caller]
    fn check(&self, size: usize) {
        for at in places(self.layout.size()).filter(|at| *at < size) {
            // SAFETY: within the block.
            let byte = unsafe { self.block.add(at).read() };
            assert_eq!(byte, self.seed.wrapping_add(low(at)), "{at} of {:?}", self.layout);
        }
    }

    /// What was written stays; then it is filled anew.
    fn resize(&mut self, size: usize) {
        self.check(usize::MAX);
        // The last bytes are not compared: they stand elsewhere then.
        let common = size.min(self.layout.size()).min(16);
        // SAFETY: the block's own layout; of more than no bytes.
        self.block = unsafe { Arena.realloc(self.block, self.layout, size) };
        self.layout = Layout::from_size_align(size, self.layout.align()).unwrap();
        self.check_place();
        for at in 0..common {
            // SAFETY: within both.
            let byte = unsafe { self.block.add(at).read() };
            assert_eq!(byte, self.seed.wrapping_add(low(at)), "{at} of {:?}", self.layout);
        }
        self.fill();
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        if self.block.is_null() {
            return;
        }
        self.check(usize::MAX);
        // SAFETY: taken for this layout, and not used any more.
        unsafe { Arena.dealloc(self.block, self.layout) };
    }
}

/// A row of numbers that is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    /// Many small ones, few large ones.
    fn size(&mut self) -> usize {
        let exponent = self.below(if cfg!(miri) { 15 } else { 21 });
        1 + self.below(1 << exponent)
    }
}

const ROUNDS: usize = if cfg!(miri) { 300 } else { 60_000 };

#[test]
fn a_layout_is_served_by_what_is_large_enough() {
    for align in (0..=17).map(|exponent| 1_usize << exponent) {
        for size in [1, 15, 16, 17, 1000, 1024, 1025, 16 << 10, (16 << 10) + 1, 256 << 10, 1 << 20]
        {
            let (served, multiple) = match Place::of(Layout::from_size_align(size, align).unwrap())
            {
                Place::Block(class) => (class::size(class) as usize, class::size(class) as usize),
                Place::Run(count) => (count as usize * chunk::PAGE, chunk::PAGE),
                Place::Large => continue,
            };
            assert!(served >= size, "{size} {align}");
            assert!(multiple.is_multiple_of(align), "{size} {align}");
        }
    }
}

#[test]
fn blocks_keep_what_is_written_in_them() {
    let mut numbers = Numbers(7);
    let mut kept = VecDeque::new();
    for round in 0..ROUNDS {
        let seed = low(round);
        match numbers.below(8) {
            0 => kept.push_back(Filled::zeroed(numbers.size())),
            1 => {
                let align = 1 << numbers.below(if cfg!(miri) { 13 } else { 18 });
                kept.push_back(Filled::new(numbers.size(), align, seed));
            }
            2 if !kept.is_empty() => {
                let at = numbers.below(kept.len());
                kept[at].resize(numbers.size());
            }
            _ => kept.push_back(Filled::new(numbers.size(), 8, seed)),
        }
        if kept.len() > 200 {
            let at = numbers.below(kept.len());
            drop(kept.swap_remove_back(at));
        }
    }
}

#[test]
fn blocks_are_given_back_on_other_threads() {
    let (give, taken) = mpsc::sync_channel::<Filled>(64);
    let taker = thread::spawn(move || {
        let mut numbers = Numbers(3);
        let mut kept = VecDeque::new();
        for filled in taken {
            kept.push_back(filled);
            if kept.len() > 50 {
                let at = numbers.below(kept.len());
                drop(kept.swap_remove_back(at));
            }
        }
    });
    let makers: Vec<_> = (0..3)
        .map(|seed| {
            let give = give.clone();
            thread::spawn(move || {
                let mut numbers = Numbers(seed);
                for round in 0..ROUNDS / 6 {
                    let size = numbers.size().min(40_000);
                    give.send(Filled::new(size, 8, low(round))).unwrap();
                }
            })
        })
        .collect();
    drop(give);
    makers.into_iter().for_each(|maker| maker.join().unwrap());
    taker.join().unwrap();
}

#[test]
fn a_block_may_grow_and_shrink_over_every_border() {
    let mut filled = Filled::new(1, 8, 5);
    let steps = [8, 16, 17, 128, 129, 1024, 1025, 16 << 10, (16 << 10) + 1, 256 << 10];
    let large = [(256 << 10) + 1, 1 << 20, (4 << 20) + 1, 9 << 20];
    let up = steps.iter().chain(large.iter().filter(|_| !cfg!(miri)));
    let down: Vec<_> = up.clone().rev().collect();
    for size in up.chain(down) {
        filled.resize(*size);
    }
}

/// What a thread has at hand serves others after its end.
#[test]
fn a_thread_leaves_nothing_at_hand() {
    if cfg!(miri) {
        return;
    }
    let counted = thread::spawn(|| {
        let blocks: Vec<_> = (0..100).map(|seed| Filled::new(48, 8, seed)).collect();
        drop(blocks);
        let at_hand = cache::at_hand();
        // Registered first, so it is empty at the end.
        (at_hand, thread::spawn(cache::at_hand).join().unwrap())
    });
    let (at_hand, fresh) = counted.join().unwrap();
    assert!((1..=64).contains(&at_hand), "{at_hand}");
    assert_eq!(fresh, 0);
}

#[test]
fn what_comes_back_is_counted() {
    if cfg!(miri) {
        return;
    }
    use std::sync::atomic::Ordering::Relaxed;
    // Other tests count as well: only that both grow by at least as much can be told.
    let sums = || {
        let sum = |read: fn(&crate::abi::heap::Cell) -> u64| FIGURES.cells.iter().map(read).sum();
        let (taken, given): (u64, u64) =
            (sum(|cell| cell.taken.load(Relaxed)), sum(|cell| cell.given.load(Relaxed)));
        (taken, given)
    };
    let before = sums();
    thread::spawn(|| {
        for _ in 0..1000 {
            drop(Filled::new(64, 8, 1));
            drop(Filled::new(100_000, 8, 1));
            drop(Filled::new(1_000_000, 8, 1));
        }
    })
    .join()
    .unwrap();
    let after = sums();
    let bytes = 1000 * (64 + 100_000 + 1_000_000);
    assert!(after.0 >= before.0 + bytes, "{before:?} {after:?}");
    assert!(after.1 >= before.1 + bytes, "{before:?} {after:?}");
}
