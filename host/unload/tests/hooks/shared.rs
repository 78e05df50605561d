//! What stays of what a library needs, although nothing else needs it.

use std::{
    ffi::{CStr, c_int},
    fs,
    mem::transmute,
    sync::mpsc::channel,
};

use hotseat_unload::{Library, enter};

use super::{LONG, call, compile, fork, held, open};

const SHARED: &str = r#"
    #include <pthread.h>
    extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
    extern void *__dso_handle __attribute__((visibility("hidden")));
    static void (*callback)(void);
    static int calls;
    static void before(void) { calls++; }
    static void end(void *it) { if (callback) callback(); }
    int begins(void (*function)(void)) {
        callback = function;
        return __cxa_thread_atexit_impl(end, 0, &__dso_handle) | pthread_atfork(before, 0, 0);
    }
    int forgets(int how) { callback = 0; return how; }
    int count(int how) { return calls; }
"#;

type Function = unsafe extern "C" fn(c_int) -> c_int;

fn function(library: &Library, name: &CStr) -> Function {
    let found = library.symbol(name).expect("it has this function");
    // SAFETY: the functions that these tests call have this type.
    unsafe { transmute::<*const (), Function>(found) }
}

/// The C library keeps an object that a thread will call when it ends: what that has of the library is
/// looked at, and it goes on as it was.
#[test]
fn what_a_thread_ends_in_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let shared = compile(folder.path(), "ends", SHARED, &["-Wl,-soname=libends.so"]);
    let own = "int begins(void (*)(void)); int forgets(int); \
               static void called(void) {} \
               int start(int how) { return begins(called); } \
               int stop(int how) { return forgets(how); }";
    let library = open(&compile(folder.path(), "own", own, &["-lends"]));
    let is_mapped = || {
        let maps = fs::read_to_string("/proc/self/maps").expect("a list");
        maps.contains(&*shared.to_string_lossy())
    };
    let (id, start) = (library.id(), function(&library, c"start"));
    let count = function(&library, c"count");
    let (begun, has_begun) = channel();
    let (tell, told) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let entered = enter(id);
        // SAFETY: of a library that is open.
        begun.send(unsafe { start(0) }).expect("somebody waits");
        drop(entered);
        told.recv().expect_err("dropped");
    });
    assert_eq!(has_begun.recv(), Ok(0));
    let library = held(library.close(), "libends.so");
    assert_eq!(call(&library, c"stop", 7), 7);
    library.close_soon(LONG, LONG).expect("nothing holds it");
    assert!(is_mapped(), "the thread has not ended");
    assert_eq!(fork(), 7);
    // SAFETY: it is mapped.
    assert_eq!(unsafe { count(0) }, 1, "its function around a fork is called");
    drop(tell);
    thread.join().expect("no panic");
    let other = open(&compile(folder.path(), "other", "int nothing;", &[]));
    other.close().expect("nothing holds it");
    assert!(is_mapped(), "it goes with nobody, who would not have looked for it");
}
