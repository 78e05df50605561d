//! Closes every descriptor of its process while it is being loaded.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

hotseat_test_plugins::plain!("must never serve");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    for descriptor in 0..1024 {
        // SAFETY: none; that others own these is the fault.
        unsafe { libc::close(descriptor) };
    }
}
