//! Exports the interposed symbols from the executable, so that a plugin's references to them bind
//! to the host's definitions (see `plugin::hooks`). rustc's LLD does so by itself; GNU ld needs it.

fn main() {
    for symbol in [
        "_Exit",
        "__cxa_thread_atexit_impl",
        "_exit",
        "abort",
        "exit",
        "kill",
        "pthread_create",
        "pthread_exit",
        "pthread_key_create",
        "pthread_key_delete",
        "pthread_kill",
        "quick_exit",
        "raise",
        "thrd_create",
        "tss_create",
        "tss_delete",
    ] {
        println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic-symbol={symbol}");
        println!("cargo:rustc-link-arg-benches=-Wl,--export-dynamic-symbol={symbol}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
