//! Leaves a process of its own behind while it is being loaded.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

hotseat_test_plugins::plain!("must never serve");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    // SAFETY: the new process only waits for a signal.
    if unsafe { libc::fork() } == 0 {
        loop {
            // SAFETY: waits for a signal; there is nothing to uphold.
            unsafe { libc::pause() };
        }
    }
}
