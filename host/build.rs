//! Exports the interposed symbols from the executable, so that a plugin's references to them bind
//! to the host's definitions (see `plugin::hooks`). rustc's LLD does so by itself for what the C
//! library has as well; GNU ld, and what only the host has, need it.

fn main() {
    for symbol in [
        "_Exit",
        "__cxa_thread_atexit_impl",
        "__sigaction",
        "__sysv_signal",
        "_exit",
        "abort",
        "bsd_signal",
        "exit",
        "hotseat_heap_v1",
        "kill",
        "mq_notify",
        "on_exit",
        "openlog",
        "pthread_create",
        "pthread_exit",
        "pthread_key_create",
        "pthread_key_delete",
        "pthread_kill",
        "quick_exit",
        "raise",
        "sigaction",
        "sigaltstack",
        "sigignore",
        "siginterrupt",
        "signal",
        "sigset",
        "ssignal",
        "sysv_signal",
        "thrd_create",
        "timer_create",
        "timer_delete",
        "tss_create",
        "tss_delete",
    ] {
        println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol={symbol}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
