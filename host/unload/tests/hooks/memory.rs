//! What a library in C is given of memory.

use super::{build, call, open};

/// What a library is given of memory has nothing of its last owner's, whichever way it asks: an
/// address that was left there would seem to be one that it keeps.
#[test]
fn memory_of_a_library_begins_with_zeros() {
    let built = build(
        r#"
        #include <malloc.h>
        #include <stdlib.h>
        #include <string.h>
        static void *ask(int way, size_t size) {
            void *block = NULL;
            switch (way) {
            case 0: return malloc(size);
            case 1: return realloc(NULL, size);
            case 2: return aligned_alloc(64, size);
            case 3: return memalign(64, size);
            case 4: return posix_memalign(&block, 64, size) ? NULL : block;
            case 5: block = malloc(size / 2); memset(block, 0, size / 2); return realloc(block, size);
            default: return reallocarray(NULL, 2, size / 2);
            }
        }
        int written(int way) {
            int found = 0;
            for (size_t size = 64; size <= 4 << 20; size *= 4) {
                void *blocks[8];
                for (int i = 0; i < 8; i++) {
                    blocks[i] = ask(way, size);
                    memset(blocks[i], 0xaa, malloc_usable_size(blocks[i]));
                }
                for (int i = 0; i < 8; i++) free(blocks[i]);
                for (int i = 0; i < 8; i++) {
                    blocks[i] = ask(way, size);
                    unsigned char *bytes = blocks[i];
                    for (size_t at = 0; at < malloc_usable_size(bytes); at++) found += bytes[at] != 0;
                }
                for (int i = 0; i < 8; i++) free(blocks[i]);
            }
            return found;
        }
        "#,
    );
    let library = open(&built.file);
    for way in 0..7 {
        assert_eq!(call(&library, c"written", way), 0, "way {way}");
    }
    library.close().expect("nothing holds it");
}

/// Large blocks are as much as their owner writes to: also where they have no mapping of their own, as
/// the C library gives them once a large one was freed.
#[test]
fn large_blocks_are_not_touched() {
    let built = build(
        r#"
        #include <malloc.h>
        #include <stdio.h>
        #include <stdlib.h>
        static long resident(void) {
            long all = 0, mine = 0;
            FILE *file = fopen("/proc/self/statm", "r");
            if (!file || fscanf(file, "%ld %ld", &all, &mine) != 2) abort();
            fclose(file);
            return mine * 4096 >> 20;
        }
        static int mebibytes(int way, size_t size) {
            void *block = way == 3 ? malloc(1 << 20) : NULL;
            long before = resident();
            switch (way) {
            case 0: block = malloc(size); break;
            case 1: block = aligned_alloc(4096, size); break;
            case 2: if (posix_memalign(&block, 4096, size)) abort(); break;
            default: block = realloc(block, size); break;
            }
            long after = resident();
            free(block);
            return after - before;
        }
        int mapped(int way) { return mebibytes(way, 256 << 20); }
        int in_a_heap(int way) {
            free(malloc(31 << 20));
            return mebibytes(way, 30 << 20);
        }
        "#,
    );
    let library = open(&built.file);
    for way in 0..4 {
        for (name, most) in [(c"mapped", 128), (c"in_a_heap", 10)] {
            let touched = call(&library, name, way);
            assert!(touched < most, "{name:?}, way {way}: {touched} MiB");
        }
    }
    library.close().expect("nothing holds it");
}

/// The program pays nothing for it: its own blocks come as the C library gives them.
#[test]
fn memory_of_the_program_is_left_as_it_is() {
    /// Of blocks that were filled, freed and asked for again: how many bytes are not zero.
    fn kept(ask: impl Fn(usize) -> *mut u8) -> usize {
        const SIZE: usize = 1024;
        let all = || -> Vec<*mut u8> { (0..64).map(|_| ask(SIZE)).collect() };
        let mut found = 0;
        for round in 0..2 {
            let blocks = all();
            for block in &blocks {
                // SAFETY: a block of that size, whose bytes the C library has written or has had.
                unsafe {
                    let bytes = std::ptr::slice_from_raw_parts_mut(*block, SIZE);
                    if round == 1 {
                        found += (*bytes).iter().filter(|byte| **byte == 0xaa).count();
                    }
                    (*bytes).fill(0xaa);
                }
            }
            // SAFETY: each once.
            blocks.iter().for_each(|block| unsafe { libc::free(block.cast()) });
        }
        found
    }
    // SAFETY: any size may be asked for.
    let malloc = |size| unsafe { libc::malloc(size) }.cast();
    // SAFETY: as above.
    let realloc = |size| unsafe { libc::realloc(std::ptr::null_mut(), size) }.cast();
    // SAFETY: as above, with a power of two.
    let aligned_alloc = |size| unsafe { libc::aligned_alloc(128, size) }.cast();
    // SAFETY: as above.
    let memalign = |size| unsafe { libc::memalign(128, size) }.cast();
    let posix_memalign = |size| {
        let mut block = std::ptr::null_mut();
        // SAFETY: as above, with room for the answer.
        assert_eq!(unsafe { libc::posix_memalign(&raw mut block, 128, size) }, 0);
        block.cast()
    };
    let ways: [(&str, &dyn Fn(usize) -> *mut u8); 5] = [
        ("malloc", &malloc),
        ("realloc", &realloc),
        ("aligned_alloc", &aligned_alloc),
        ("memalign", &memalign),
        ("posix_memalign", &posix_memalign),
    ];
    for (name, ask) in ways {
        assert!(kept(ask) > 0, "{name}");
    }
}
