//! Exports the interposed functions from this package's own executables, and tells the build script
//! of every program that uses it how to do the same (`DEP_HOTSEAT_UNLOAD_LINK_ARGS`, one argument a
//! word). rustc's LLD exports by itself what the C library has as well; GNU ld does not.

/// As in `hooks::interpose`; the self-test of a program that lacks one says so.
const SYMBOLS: [&str; 59] = [
    "_Exit",
    "__cxa_thread_atexit_impl",
    "__deregister_frame",
    "__deregister_frame_info",
    "__register_atfork",
    "__register_frame",
    "__register_frame_info",
    "__sigaction",
    "__sysv_signal",
    "_exit",
    "abort",
    "addseverity",
    "aligned_alloc",
    "bsd_signal",
    "dlsym",
    "dlvsym",
    "exit",
    "fclose",
    "fmemopen",
    "fopencookie",
    "hdestroy",
    "hsearch",
    "kill",
    "malloc",
    "memalign",
    "mq_notify",
    "on_exit",
    "open_memstream",
    "open_wmemstream",
    "openlog",
    "posix_memalign",
    "pthread_atfork",
    "pthread_create",
    "pthread_exit",
    "pthread_key_create",
    "pthread_key_delete",
    "pthread_kill",
    "quick_exit",
    "raise",
    "realloc",
    "register_printf_function",
    "register_printf_specifier",
    "register_printf_type",
    "sigaction",
    "sigaltstack",
    "sigignore",
    "siginterrupt",
    "signal",
    "sigset",
    "socketpair",
    "ssignal",
    "sysv_signal",
    "thrd_create",
    "thrd_exit",
    "timer_create",
    "timer_delete",
    "tss_create",
    "tss_delete",
    "write",
];

fn main() {
    let arguments = SYMBOLS.map(|symbol| format!("-Wl,--export-dynamic-symbol={symbol}"));
    for argument in &arguments {
        println!("cargo:rustc-link-arg={argument}");
    }
    println!("cargo:link_args={}", arguments.join(" "));
    println!("cargo:rerun-if-changed=build.rs");
}
