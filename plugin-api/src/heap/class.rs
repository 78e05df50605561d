//! The sizes that blocks have: steps of 16 bytes up to 128, then eight steps a doubling.
//!
//! Invariant: a size that is a multiple of a power of two is served by a block that is one as well,
//! so that blocks in a row from an aligned start are all aligned.

/// Units: bytes. What a block is aligned to at least.
pub(super) const STEP: usize = 16;
/// The largest block of a class. Units: bytes.
pub(super) const SIZE_MAX: usize = 16 << 10;
/// The largest of those that threads have at hand. Units: bytes.
pub(super) const CACHED_MAX: usize = 1 << 10;

/// Where the even steps end. Units: bytes.
const EVEN_MAX: usize = 128;
const EVEN: usize = EVEN_MAX / STEP;
const EVEN_EXPONENT: usize = EVEN_MAX.trailing_zeros() as usize;
const STEPS: usize = 8;
const STEPS_EXPONENT: usize = STEPS.trailing_zeros() as usize;

/// How many there are.
pub(super) const COUNT: usize = of(SIZE_MAX) + 1;
/// How many of them are at hand for threads: the first ones.
pub(super) const CACHED: usize = of(CACHED_MAX) + 1;

/// The class of blocks for `size` bytes, from 1 to [`SIZE_MAX`].
#[inline]
pub(super) const fn of(size: usize) -> usize {
    let last = size.wrapping_sub(1);
    if last < EVEN_MAX {
        return last / STEP;
    }
    let exponent = last.ilog2() as usize;
    let step = (last >> (exponent - STEPS_EXPONENT)) - STEPS;
    EVEN + (exponent - EVEN_EXPONENT) * STEPS + step
}

#[expect(clippy::cast_possible_truncation, reason = "at most `SIZE_MAX`")]
const SIZES: [u32; COUNT] = {
    let mut sizes = [0; COUNT];
    let mut class = 0;
    while class < COUNT {
        sizes[class] = if class < EVEN {
            (class + 1) * STEP
        } else {
            let (doubling, step) = ((class - EVEN) / STEPS, (class - EVEN) % STEPS);
            (STEPS + step + 1) << (EVEN_EXPONENT + doubling - STEPS_EXPONENT)
        } as u32;
        class += 1;
    }
    sizes
};

/// How large the blocks of a class are. Units: bytes.
#[inline]
pub(super) const fn size(class: usize) -> u32 {
    SIZES[class]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_the_smallest_class_that_holds_it() {
        for size in 1..=SIZE_MAX {
            let class = of(size);
            let block = SIZES[class] as usize;
            assert!(block >= size, "{size} in {block}");
            assert!(class == 0 || (SIZES[class - 1] as usize) < size, "{size} in {block}");
            assert!(block - size < STEP.max(size / STEPS + 1), "{size} in {block}");
        }
        assert_eq!((COUNT, CACHED), (64, 32));
        assert_eq!(SIZES[CACHED - 1] as usize, CACHED_MAX);
        assert_eq!(SIZES[COUNT - 1] as usize, SIZE_MAX);
    }

    #[test]
    fn multiples_of_an_alignment_get_blocks_that_are() {
        for align in (0..=14).map(|exponent| 1 << exponent) {
            for size in (align..=SIZE_MAX).step_by(align) {
                let block = SIZES[of(size)] as usize;
                assert_eq!(block % align.min(STEP), 0);
                assert_eq!(block % align, if align > STEP { 0 } else { block % align }, "{size}");
            }
        }
    }
}
