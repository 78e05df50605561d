//! What libraries in C leave with the C library, by the public interface: each is met by the host's
//! functions, and nothing of it outlives the library.
#![expect(unsafe_code, reason = "opens libraries and calls them")]

use std::{
    env,
    ffi::{CStr, c_int},
    fs,
    io::{PipeReader, PipeWriter, Read as _, Write as _},
    mem::transmute,
    os::{fd::AsRawFd as _, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    ptr,
    time::Duration,
};

use hotseat_unload::{CloseError, Library, enter, self_test};
use tempfile::TempDir;

mod lists;
mod memory;
mod pairs;
mod prints;
mod shared;

const LONG: Duration = Duration::from_secs(20);

/// A library from C in a folder of its own.
struct Built {
    _folder: TempDir,
    file: PathBuf,
}

fn build(source: &str) -> Built {
    let folder = tempfile::tempdir().expect("a folder");
    let file = compile(folder.path(), "own", source, &[]);
    Built { _folder: folder, file }
}

fn compile(folder: &Path, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let text = folder.join(format!("{name}.c"));
    fs::write(&text, source).expect("a folder of one's own");
    let file = folder.join(format!("lib{name}.so"));
    let status = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-pthread", "-o"])
        .args([&file, &text])
        .args(["-Wl,-rpath,$ORIGIN", "-L"])
        .arg(folder)
        .args(more)
        .status();
    assert!(status.expect("a compiler of C").success());
    file
}

fn open(file: &Path) -> Library {
    self_test().expect("the hooks are in place");
    // SAFETY: a library of these tests, of which nothing is used any more once it is closed.
    unsafe { Library::open(file, 1) }.expect("it can be opened")
}

/// Calls a function that takes a number and gives one.
fn call(library: &Library, name: &CStr, argument: c_int) -> c_int {
    let found = library.symbol(name).expect("it has this function");
    // SAFETY: the functions that these tests call have this type.
    let function = unsafe { transmute::<*const (), unsafe extern "C" fn(c_int) -> c_int>(found) };
    let _entered = enter(library.id());
    // SAFETY: as above.
    unsafe { function(argument) }
}

#[track_caller]
fn held(closed: Result<(), CloseError>, by: &str) -> Library {
    match closed {
        Err(CloseError::Held(library, reason)) if reason.contains(by) => library,
        other => panic!("it is not held by {by}: {other:?}"),
    }
}

/// Runs a test of this file in a process of its own, where it does what ends that.
fn apart(test: &str) -> Option<Output> {
    const APART: &str = "HOTSEAT_TEST_APART";
    if env::var_os(APART).is_some() {
        return None;
    }
    let own = env::current_exe().expect("a test has a path");
    let mut command = Command::new(own);
    command.args(["--exact", test, "--nocapture"]).env(APART, "1");
    Some(command.output().expect("it can be started"))
}

/// What `reader` gives until its end.
fn rest(mut reader: PipeReader, writer: PipeWriter) -> String {
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    text
}

/// The witness hears of the end of its own process only, and a child's ends as it should.
#[test]
fn a_child_of_a_library_ends_as_it_likes() {
    fn note(_: hotseat_unload::Ends, _: c_int, _: u64) -> bool {
        true
    }
    hotseat_unload::set_witness(hotseat_unload::Witness { handler: 0, note });
    let built = build(
        r#"
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static int out;
        static void bye(void) { if (write(out, "bye", 3) != 3) _exit(9); }
        int forks(int to) {
            int status = 0;
            pid_t child = fork();
            out = to;
            if (child == 0) { atexit(bye); exit(3); }
            waitpid(child, &status, 0);
            return WEXITSTATUS(status);
        }
    "#,
    );
    let library = open(&built.file);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    assert_eq!(call(&library, c"forks", writer.as_raw_fd()), 3);
    assert_eq!(rest(reader, writer), "bye", "its functions at the end are called");
    library.close_soon(LONG, LONG).expect("nothing holds it");
}

/// By C11's name as well: it would unwind through the host.
#[test]
fn a_library_ends_no_thread_of_the_host() {
    fn note(call: hotseat_unload::Ends, _: c_int, tag: u64) -> bool {
        if (call, tag) == (hotseat_unload::Ends::PthreadExit, 1) {
            // SAFETY: may be called in a handler.
            unsafe { libc::write(libc::STDERR_FILENO, c"noted\n".as_ptr().cast(), 6) };
        }
        true
    }
    if let Some(Output { status, stderr, .. }) = apart("a_library_ends_no_thread_of_the_host") {
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{said}");
        assert_eq!(said.matches("noted\n").count(), 1, "{said}");
        return;
    }
    // SAFETY: ends it if it hangs.
    unsafe { libc::alarm(20) };
    hotseat_unload::set_witness(hotseat_unload::Witness { handler: 0, note });
    let source = r#"
        #include <stddef.h>
        #include <threads.h>
        static int own(void *how) { thrd_exit(7); }
        int start(int how) {
            thrd_t thread;
            int code;
            thrd_create(&thread, own, NULL);
            return thrd_join(thread, &code) == thrd_success ? code : -1;
        }
        int ends(int how) { thrd_exit(how); }
    "#;
    let library = open(&build(source).file);
    assert_eq!(call(&library, c"start", 0), 7, "its own end as they like");
    call(&library, c"ends", 0);
}

/// The host's handler of a fault that is to be called once: the second fault ends the process, also
/// where a library has a handler of its own.
#[test]
fn a_handler_of_the_host_that_is_called_once_is_called_once() {
    extern "C" fn report(_: c_int) {
        // SAFETY: may be called in a handler.
        unsafe { libc::write(libc::STDERR_FILENO, c"called\n".as_ptr().cast(), 7) };
    }
    if let Some(Output { status, stderr, .. }) =
        apart("a_handler_of_the_host_that_is_called_once_is_called_once")
    {
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{said}");
        assert_eq!(said.matches("called\n").count(), 1, "{said}");
        return;
    }
    // SAFETY: whole actions, of a handler that stays; and the end by a signal that goes nowhere.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = report as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER;
        libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut());
        libc::alarm(20);
    }
    let built = build(
        r#"
        #include <signal.h>
        static void handle(int signal) { (void)signal; }
        int start(int number) { signal(SIGSEGV, handle); return number; }
    "#,
    );
    let library = open(&built.file);
    assert_eq!(call(&library, c"start", 7), 7);
    // The host's own fault.
    // SAFETY: it is not, which this process is to die of.
    unsafe { ptr::without_provenance_mut::<u8>(16).write_volatile(1) };
}

/// Whoever asks the loader itself is given the host's function where it would get the C library's, and
/// nothing else.
#[test]
fn who_asks_the_loader_gets_what_others_find() {
    let source = r#"
        #include <dlfcn.h>
        #include <pthread.h>
        #include <string.h>
        #include <unistd.h>
        static void *ask(int way, const char *name) {
            void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
            void *found =
                way == 0 ? dlsym(RTLD_NEXT, name) : way == 1 ? dlsym(RTLD_DEFAULT, name) :
                way == 2 ? dlsym(libc, name) : way == 3 ? dlvsym(RTLD_NEXT, name, "GLIBC_2.34") :
                way == 4 ? dlvsym(libc, name, "GLIBC_2.34") :
                way == 5 ? dlvsym(RTLD_DEFAULT, name, "GLIBC_2.34") : 0;
            dlclose(libc);
            return found;
        }
        int PREFIX_finds(int way) {
            dlerror();
            return ask(way, "pthread_create") == (void *)pthread_create && dlerror() == 0;
        }
        static int page;
        static void *run(void *it) { char byte; return read(page, &byte, 1) == 1 ? it : 0; }
        int PREFIX_starts(int way) {
            int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
                ask(0, "pthread_create");
            pthread_t thread;
            page = way;
            return create(&thread, 0, run, 0) == 0 && pthread_detach(thread) == 0;
        }
    "#;
    let folder = tempfile::tempdir().expect("a folder");
    // One that it needs, with a function of its own that has the name of a known one.
    let other = format!(
        "{}\nint on_exit_was; int on_exit(void (*f)(int, void *), void *a) {{ (void)f; (void)a; \
         return 4711; }}",
        source.replace("PREFIX", "other")
    );
    compile(folder.path(), "other", &other, &["-Wl,-soname=libother.so"]);
    let own = format!(
        "{}\nint raise(int number) {{ return ((int (*)(int))dlsym(RTLD_NEXT, \"raise\"))(number); }}
         int own(int n) {{
             void *self = dlopen(\"{}\", RTLD_NOW | RTLD_NOLOAD);
             n = dlsym(self, \"raise\") == (void *)raise;
             dlclose(self);
             return n;
         }}
         int behind(int n) {{ return ((int (*)(void *, void *))dlsym(RTLD_NEXT, \"on_exit\"))(0, 0); }}
         int unknown(int n) {{ return dlsym(RTLD_NEXT, \"no such function\") == 0 && dlerror() != 0; }}
         int plain(int n) {{ return dlsym(RTLD_NEXT, \"getppid\") == dlsym(RTLD_DEFAULT, \"getppid\"); }}",
        source.replace("PREFIX", "own"),
        folder.path().join("libown.so").display(),
    );
    let file =
        compile(folder.path(), "own", &own, &["-Wl,-Bsymbolic", "-Wl,--no-as-needed", "-lother"]);
    let library = open(&file);
    for way in 0..6 {
        assert_eq!(call(&library, c"own_finds", way), 1, "way {way}");
        assert_eq!(call(&library, c"other_finds", way), 1, "way {way}, of what it needs");
    }
    assert_eq!(call(&library, c"own", 0), 1, "what it has itself is its own");
    assert_eq!(call(&library, c"behind", 0), 4711, "what it needs has one");
    assert_eq!((call(&library, c"unknown", 0), call(&library, c"plain", 0)), (1, 1));
    // SAFETY: the names are C strings.
    let of_libc = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    // SAFETY: as above.
    assert_ne!(of_libc, unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_create".as_ptr()) });
    for name in [c"own_starts", c"other_starts"] {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        assert_eq!(call(&library, name, reader.as_raw_fd()), 1);
        assert_eq!(library.record().thread_count(), 1, "{name:?}");
        writer.write_all(b"x").expect("room");
        library.record().wait_quiet(LONG).expect("it ends");
    }
    library.close_soon(LONG, LONG).expect("nothing holds it");
}

/// Others may use it, and count on what it does then.
#[test]
fn a_library_that_the_loader_keeps_is_called_at_a_fork() {
    let built = build(
        r#"
        #include <pthread.h>
        static int calls;
        static void before(void) { calls++; }
        int start(int number) { return pthread_atfork(before, 0, 0); }
        int count(int number) { return calls; }
    "#,
    );
    let library = open(&built.file);
    assert_eq!(call(&library, c"start", 0), 0);
    let count = library.symbol(c"count").expect("it has this function");
    // SAFETY: it stays mapped, and has this type.
    let count = unsafe { transmute::<*const (), unsafe extern "C" fn(c_int) -> c_int>(count) };
    let path = std::ffi::CString::new(built.file.to_str().expect("text")).expect("text");
    // SAFETY: it is there already.
    assert!(!unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) }.is_null());
    assert!(matches!(library.close(), Err(CloseError::Mapped(_))));
    assert_eq!(fork(), 7);
    // SAFETY: as above.
    assert_eq!(unsafe { count(0) }, 1);
}

fn fork() -> c_int {
    // SAFETY: the child does nothing but end, and the parent waits for it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends it.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: its own child, and room for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WEXITSTATUS(status)
}

/// What a library opens, closes and opens again is called once at a fork, as the C library would: where
/// it lay is likely where it lies.
#[test]
fn what_is_opened_again_is_called_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = r#"
        #include <pthread.h>
        static int calls;
        static void before(void) { calls++; }
        __attribute__((constructor)) static void begin(void) { pthread_atfork(before, 0, 0); }
        int count(void) { return calls; }
    "#;
    let opened = compile(folder.path(), "opened", opened, &[]);
    let own = format!(
        r#"#include <dlfcn.h>
        static void *opened;
        int start(int how) {{ opened = dlopen("{}", RTLD_NOW); return opened ? how : -1; }}
        int stop(int how) {{ return dlclose(opened); }}
        int count(int how) {{ return ((int (*)(void))dlsym(opened, "count"))(); }}"#,
        opened.display()
    );
    let library = open(&compile(folder.path(), "own", &own, &[]));
    for _ in 0..8 {
        assert_eq!((call(&library, c"start", 1), call(&library, c"stop", 1)), (1, 0));
    }
    assert_eq!(call(&library, c"start", 1), 1);
    assert_eq!(fork(), 7);
    assert_eq!(call(&library, c"count", 0), 1);
    assert_eq!(call(&library, c"stop", 0), 0);
    assert_eq!(fork(), 7);
    library.close_soon(LONG, LONG).expect("nothing holds it");
}

/// Whoever forks is in the code of the library meanwhile; and nobody is once that is closed.
#[test]
fn a_fork_that_calls_a_library_holds_it() {
    let source = r#"
        #include <pthread.h>
        #include <unistd.h>
        static int to, from;
        static void say(char what) { if (write(to, &what, 1) != 1) _exit(9); }
        static void before(void) { char byte; say('b'); if (read(from, &byte, 1) != 1) say('?'); }
        static void parent(void) { say('p'); }
        static void child(void) { say('c'); }
        static void first(void) { say('1'); }
        static void first_after(void) { say('2'); }
        int PREFIX_start(int number) {
            to = number & 255;
            from = number >> 8;
            return pthread_atfork(first, first_after, 0) | pthread_atfork(before, parent, child);
        }
    "#;
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (source.replace("PREFIX", "own"), source.replace("PREFIX", "other"));
    compile(folder.path(), "other", &other, &["-Wl,-soname=libother.so"]);
    for (number, (function, more)) in
        [(c"own_start", None), (c"other_start", Some("-lother"))].into_iter().enumerate()
    {
        let name = format!("own{number}");
        let more: Vec<_> = ["-Wl,--no-as-needed"].into_iter().chain(more).collect();
        let file = compile(folder.path(), &name, &own, &more);
        let library = open(&file);
        let (mut said, says) = std::io::pipe().expect("a pipe");
        let (hears, mut tell) = std::io::pipe().expect("a pipe");
        let pipes = says.as_raw_fd() | hears.as_raw_fd() << 8;
        assert_eq!(call(&library, function, pipes), 0);
        let library = std::thread::scope(|scope| {
            let forks = scope.spawn(fork);
            let mut begun = [0];
            said.read_exact(&mut begun).expect("it begins");
            assert_eq!(begun, *b"b");
            let closed = library.close();
            tell.write_all(b"x").expect("room");
            assert_eq!(forks.join().expect("no panic"), 7);
            held(closed, "1 thread left behind")
        });
        let mut text = [0; 4];
        said.read_exact(&mut text).expect("all of it");
        text[1..].sort_unstable();
        assert_eq!(text, *b"12cp", "each once, {function:?}");
        library.close_soon(LONG, LONG).expect("nothing holds it");
        assert!(!fs::read_to_string("/proc/self/maps").expect("a list").contains(&name));
        assert_eq!(fork(), 7);
        assert_eq!(rest(said, says), "", "nobody calls it any more");
    }
}

/// By the C library's own function, as the host asks.
fn second_stack() -> libc::stack_t {
    // SAFETY: plain data.
    let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: only asks, with room for the answer.
    let rc = unsafe { libc::syscall(libc::SYS_sigaltstack, 0, &raw mut now) };
    assert_eq!(rc, 0);
    now
}

const SECOND_STACK: &str = r#"
    #include <signal.h>
    static char room[65536];
    static stack_t before;
    int start(int number) {
        stack_t own = { .ss_sp = room, .ss_size = sizeof room };
        return sigaltstack(&own, &before) == 0 ? number : -1;
    }
    int puts_back(int number) { return sigaltstack(&before, 0) == 0 ? number : -1; }
    int takes_away(int number) {
        stack_t none = { .ss_flags = SS_DISABLE };
        return sigaltstack(&none, 0) == 0 ? number : -1;
    }
    int sees_own(int number) {
        stack_t now;
        return sigaltstack(0, &now) == 0 && now.ss_sp == room ? number : -1;
    }
"#;

/// A library never sees another one's, so that it cannot put it back.
#[test]
fn a_second_stack_comes_back_as_the_hosts() {
    let (first, second) = (build(SECOND_STACK), build(SECOND_STACK));
    let own = second_stack().ss_sp;
    let (first, second) = (open(&first.file), open(&second.file));
    for back in [c"puts_back", c"takes_away"] {
        assert_eq!((call(&first, c"start", 1), call(&first, c"sees_own", 1)), (1, 1));
        assert_eq!((call(&second, c"start", 1), call(&second, c"sees_own", 1)), (1, 1));
        assert_eq!(call(&first, c"sees_own", 1), -1);
        assert_ne!(second_stack().ss_sp, own);
        assert_eq!(call(&second, back, 1), 1);
        assert_eq!(second_stack().ss_sp, own, "{back:?}");
    }
    call(&first, c"start", 1);
    call(&second, c"start", 1);
    first.close_soon(LONG, LONG).expect("it is not its stack");
    call(&second, c"puts_back", 1);
    assert_eq!(second_stack().ss_sp, own);
    call(&second, c"start", 1);
    second.close_soon(LONG, LONG).expect("this thread is purged");
    assert_eq!(second_stack().ss_sp, own);
}

/// One that nobody purges, because it has not registered.
#[test]
fn a_second_stack_of_a_thread_that_is_not_purged_holds_it() {
    let built = build(SECOND_STACK);
    let library = open(&built.file);
    let (tell, told) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let library = &library;
        let thread = scope.spawn(move || {
            call(library, c"start", 1);
            begun.send(()).expect("somebody waits");
            told.recv().expect_err("dropped");
        });
        has_begun.recv().expect("it begins");
        let reason = library.held();
        drop(tell);
        thread.join().expect("no panic");
        assert_eq!(reason.as_deref(), Some("a second stack of 1 thread"));
    });
    library.close_soon(LONG, LONG).expect("nothing holds it");
}

/// Nobody may call them once the library has gone, and a leaked stream is called at the end.
#[test]
fn what_the_c_library_keeps_on_its_heap_holds_a_library() {
    let source = r#"
        #include <stdio.h>
        #include <printf.h>
        static ssize_t put(void *cookie, const char *text, size_t size) {
            (void)cookie; (void)text;
            return size;
        }
        static char room[64], *text;
        static size_t size;
        static FILE *stream;
        static int print(FILE *to, const struct printf_info *info, const void *const *all) {
            (void)info; (void)all;
            return fputs("own", to) < 0 ? -1 : 3;
        }
        static int count(const struct printf_info *info, size_t n, int *types, int *sizes) {
            (void)info; (void)n; (void)types; (void)sizes;
            return 0;
        }
        int PREFIX_starts(int way) {
            cookie_io_functions_t functions = { 0, put, 0, 0 };
            if (way == 3) return register_printf_specifier('W', print, count);
            stream = way == 0 ? fopencookie(0, "w", functions) :
                way == 1 ? fmemopen(room, sizeof room, "w") : open_memstream(&text, &size);
            return stream && fputs("some text", stream) >= 0 ? 0 : -1;
        }
        int PREFIX_ends(int way) {
            if (way == 3) return register_printf_specifier('W', 0, 0);
            return fclose(stream);
        }
    "#;
    let folder = tempfile::tempdir().expect("a folder");
    let (own, other) = (source.replace("PREFIX", "own"), source.replace("PREFIX", "other"));
    compile(folder.path(), "other", &other, &["-Wl,-soname=libother.so"]);
    let file = compile(folder.path(), "own", &own, &["-Wl,--no-as-needed", "-lother"]);
    let mut library = open(&file);
    let ways = ["`fopencookie`", "`fmemopen`", "`open_memstream`", "`%W`"];
    for (way, reason) in (0..).zip(ways) {
        for (starts, ends) in [(c"own_starts", c"own_ends"), (c"other_starts", c"other_ends")] {
            assert_eq!(call(&library, starts, way), 0, "{reason}");
            library = held(library.close(), reason);
            assert_eq!(call(&library, ends, way), 0, "{reason}");
            assert_eq!(library.held(), None, "{reason}");
        }
    }
    library.close_soon(LONG, LONG).expect("nothing holds it");
    // SAFETY: all streams of this process.
    assert_eq!(unsafe { libc::fflush(ptr::null_mut()) }, 0);
}
