//! Installs a signal handler of its own: it can never be unmapped safely.
#![expect(unsafe_code, reason = "a constructor is placed in `.init_array` by hand")]

hotseat_test_plugins::plain!("signal_handler");

// SAFETY: the loader calls what stands in `.init_array` once, with arguments nobody reads here.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn on_signal(_: libc::c_int) {}

extern "C" fn constructor() {
    // SAFETY: a zeroed `sigaction` with a handler is complete; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigaction(libc::SIGWINCH, &raw const action, std::ptr::null_mut());
    }
}
