//! Dies on a signal while it is being loaded: only a child may find out.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

hotseat_test_plugins::plain!("must never serve");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    // SAFETY: none; the fault is the purpose.
    unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
}
