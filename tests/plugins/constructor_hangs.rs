//! Never comes back from being loaded, and holds the loader's lock meanwhile.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

hotseat_test_plugins::plain!("must never serve");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    loop {
        std::thread::park();
    }
}
