//! Nothing reaches a library that was called unloaded: ways in which something once did.
//!
//! Libraries in C, written here, because each does one thing that an author would rather not. What is
//! waited for says so itself; where the fault would end the process, that is the failure.
#![expect(unsafe_code, reason = "opens libraries and calls them")]

use std::{
    ffi::{CStr, CString},
    fs,
    mem::transmute,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use hotseat_unload::{
    CloseError, Holding, Library, LibraryId, LibraryLease, OpenError, Record, enter,
    purge::{PurgeRequest, register_thread},
    purge_thread,
    reaper::{Ended, Reaper, ReaperRules, Retire, Retired, Unloading},
    retire,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

/// Compiles libraries into a folder that others there are found in. `None`: there is no compiler.
struct Workshop(TempDir);

impl Workshop {
    fn open() -> Option<Self> {
        if Command::new("cc").arg("--version").output().is_ok() {
            return Some(Self(tempfile::tempdir().expect("a folder")));
        }
        eprintln!("skipped: there is no C compiler (`cc`; Debian's package `gcc`)");
        None
    }

    fn make(&self, name: &str, source: &str, more: &[&str]) -> PathBuf {
        let folder = self.0.path();
        let (written, made) =
            (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
        fs::write(&written, source).expect("write a source");
        let rpath = format!("-Wl,-rpath={}", folder.display());
        let compiled = Command::new("cc")
            .args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-pthread", "-Wl,--no-as-needed", "-o"])
            .args([&made, &written])
            .arg("-L")
            .arg(folder)
            .arg(rpath)
            .args(more)
            .status()
            .expect("the compiler runs");
        assert!(compiled.success());
        made
    }
}

fn open(file: &Path) -> Library {
    // SAFETY: written here; of an unloaded one nothing is called.
    unsafe { Library::open(file, 1) }.expect("it opens")
}

fn call(library: &Library, name: &CStr) {
    let address = library.symbol(name).expect("it has this function");
    // SAFETY: every function that is called so has this type.
    let function = unsafe { transmute::<*const (), extern "C" fn()>(address) };
    let _entered = enter(library.id());
    function();
}

fn give(library: &Library, name: &CStr, function: extern "C" fn()) {
    let address = library.symbol(name).expect("it has this function");
    // SAFETY: every function that is called so has this type.
    let set = unsafe { transmute::<*const (), extern "C" fn(extern "C" fn())>(address) };
    let _entered = enter(library.id());
    set(function);
}

fn is_mapped(file: &Path) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap_or_default().contains(&*file.to_string_lossy())
}

/// Ticks on threads of the C library's, each of which says that it has.
const TIMER: &str = r"
#include <signal.h>
#include <time.h>
static timer_t t;
static volatile int ticks;
static void tick(union sigval v) { (void)v; ticks++; }
void s_start(void) {
    struct sigevent e = {0};
    e.sigev_notify = SIGEV_THREAD; e.sigev_notify_function = tick;
    timer_create(CLOCK_MONOTONIC, &e, &t);
    struct itimerspec i = { { 0, 200000 }, { 0, 200000 } };
    timer_settime(t, 0, &i, 0);
    while (ticks == 0) {}
}
";

/// What a timer of a library ticks into while that is being closed counts, and is waited for.
#[test]
fn a_timer_ticks_until_it_is_taken_away() {
    let Some(shop) = Workshop::open() else { return };
    let file = shop.make("timer", TIMER, &[]);
    for number in 0..50 {
        let copy = file.with_file_name(format!("timer{number}.so"));
        fs::copy(&file, &copy).unwrap();
        let library = open(&copy);
        call(&library, c"s_start");
        library.close_soon(LONG, LONG).unwrap();
        assert!(!is_mapped(&copy));
    }
}

static TIMERS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn a_timer_is_there() {
    TIMERS.fetch_add(1, Ordering::SeqCst);
}

/// A library's own end may use its timer and delete it, on a purged thread and in a static destructor;
/// one that it leaves is deleted all the same.
#[test]
fn a_library_may_delete_its_timer_at_its_end() {
    let Some(shop) = Workshop::open() else { return };
    // Of a clock that no other test has.
    let source = r"
        #include <pthread.h>
        #include <signal.h>
        #include <time.h>
        static timer_t t, left;
        static pthread_key_t key;
        static void (*tell)(void);
        static void tick(union sigval v) { (void)v; }
        static int is_there(void) {
            struct itimerspec i = { { 0, 200000 }, { 0, 200000 } };
            return timer_gettime(t, &i) == 0 && timer_settime(t, 0, &i, 0) == 0;
        }
        static void at_purge(void *it) { (void)it; if (is_there()) tell(); }
        __attribute__((destructor)) static void end(void) {
            if (is_there() && timer_delete(t) == 0) tell();
        }
        void start(void (*f)(void)) {
            tell = f;
            struct sigevent e = {0};
            e.sigev_notify = SIGEV_THREAD; e.sigev_notify_function = tick;
            timer_create(CLOCK_BOOTTIME, &e, &t);
            timer_create(CLOCK_BOOTTIME, &e, &left);
            if (is_there()) tell();
            pthread_key_create(&key, at_purge);
            pthread_setspecific(key, &key);
        }
    ";
    let file = shop.make("deletes", source, &[]);
    let library = open(&file);
    give(&library, c"start", a_timer_is_there);
    let left = || {
        let all = fs::read_to_string("/proc/self/timers").ok()?;
        Some(
            all.lines()
                .filter(|line| *line == format!("ClockID: {}", libc::CLOCK_BOOTTIME))
                .count(),
        )
    };
    // A kernel need not have the list.
    assert!(matches!(left(), None | Some(2)));
    library.close_soon(LONG, LONG).unwrap();
    assert_eq!(TIMERS.load(Ordering::SeqCst), 3, "at its start, its purge and its end");
    assert!(matches!(left(), None | Some(0)), "{:?} are left", left());
}

/// A function that was made at run time lies in no object, and is called as any other: also when another
/// library has been closed meanwhile.
#[test]
fn a_timer_calls_what_was_made_at_run_time() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <signal.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <time.h>
        static timer_t t;
        static volatile int ticks;
        static void (*made)(union sigval);
        /* Adds 1 to the number that its argument points to. */
        #if defined __x86_64__
        static const unsigned char code[] = { 0xff, 0x07, 0xc3 };
        #else
        static const unsigned code[] = { 0xb9400001, 0x11000421, 0xb9000001, 0xd65f03c0 };
        #endif
        void start(void) {
            void *room = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memcpy(room, code, sizeof code);
            mprotect(room, 4096, PROT_READ | PROT_EXEC);
            __builtin___clear_cache((char *)room, (char *)room + sizeof code);
            made = (void (*)(union sigval))room;
            struct sigevent e = {0};
            e.sigev_notify = SIGEV_THREAD; e.sigev_notify_function = made;
            e.sigev_value.sival_ptr = (void *)&ticks;
            timer_create(CLOCK_MONOTONIC, &e, &t);
            struct itimerspec i = { { 0, 1000000 }, { 0, 1000000 } };
            timer_settime(t, 0, &i, 0);
        }
        int ticked(void) { int were = ticks; ticks = 0; return were; }
    ";
    let library = open(&shop.make("makes", source, &[]));
    let ticked = library.symbol(c"ticked").unwrap();
    // SAFETY: a function of this type.
    let ticked = unsafe { transmute::<*const (), extern "C" fn() -> i32>(ticked) };
    let has_ticked = || {
        let until = Instant::now() + LONG;
        while ticked() == 0 {
            assert!(Instant::now() < until, "it does not tick");
            thread::yield_now();
        }
    };
    call(&library, c"start");
    has_ticked();
    open(&shop.make("x", "int x;", &[])).close_soon(LONG, LONG).unwrap();
    ticked();
    has_ticked();
    library.close_soon(LONG, LONG).unwrap();
}

/// Two libraries need a third, whose timer ticks on behalf of the one that began it. It goes on behalf
/// of the other, and is taken away with the last.
#[test]
fn what_a_shared_library_is_called_for_goes_on_for_the_other() {
    let Some(shop) = Workshop::open() else { return };
    let shared = shop.make("shared", TIMER, &["-Wl,-soname=libshared.so"]);
    let user = "void s_start(void); void start(void) { s_start(); }";
    let [one, other] = ["one", "other"].map(|it| open(&shop.make(it, user, &["-lshared"])));
    call(&one, c"start");
    one.close_soon(LONG, LONG).unwrap();
    assert!(is_mapped(&shared));
    other.close_soon(LONG, LONG).unwrap();
    assert!(!is_mapped(&shared), "it went with the last that needs it");
}

/// The same while it is called: then it counts as a thread of the other.
#[test]
fn what_a_shared_library_is_called_for_counts_for_the_other() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <signal.h>
        #include <time.h>
        static timer_t t;
        static volatile int ticks, holds, held;
        static void tick(union sigval v) { (void)v; ticks++; if (holds) { held = 1; while (holds) {} } }
        void s_start(void) {
            struct sigevent e = {0};
            e.sigev_notify = SIGEV_THREAD; e.sigev_notify_function = tick;
            timer_create(CLOCK_MONOTONIC, &e, &t);
            struct itimerspec i = { { 0, 5000000 }, { 0, 5000000 } };
            timer_settime(t, 0, &i, 0);
            while (ticks == 0) {}
        }
        void s_hold(void) { holds = 1; while (!held) {} }
        void s_let_go(void) { holds = 0; }
    ";
    // Not the name that another test has: the loader goes by it, in the whole process.
    shop.make("counted", source, &["-Wl,-soname=libcounted.so"]);
    let user = "void s_start(void); void s_hold(void); void s_let_go(void);
        void start(void) { s_start(); } void hold(void) { s_hold(); } void let_go(void) { s_let_go(); }";
    let [one, other] = ["one", "other"].map(|it| open(&shop.make(it, user, &["-lcounted"])));
    call(&one, c"start");
    one.close_soon(LONG, LONG).unwrap();
    call(&other, c"hold");
    let Err(CloseError::Held(other, why)) = other.close() else { panic!("a timer of it runs") };
    assert!(why.contains("left behind"), "{why}");
    // It only writes a number: nothing of the library is in use by that.
    call(&other, c"let_go");
    other.close_soon(LONG, LONG).unwrap();
}

/// Its own destructor closes what it had opened, whose timer nobody else knows of.
#[test]
fn what_a_library_closes_by_itself_is_called_no_more() {
    let Some(shop) = Workshop::open() else { return };
    let opened = shop.make("opened", TIMER, &[]);
    let source = format!(
        r#"#include <dlfcn.h>
        static void *h;
        void start(void) {{ h = dlopen("{}", RTLD_NOW); ((void (*)(void))dlsym(h, "s_start"))(); }}
        __attribute__((destructor)) static void end(void) {{ dlclose(h); }}"#,
        opened.display()
    );
    let library = open(&shop.make("opener", &source, &[]));
    call(&library, c"start");
    library.close_soon(LONG, LONG).unwrap();
    // It was made to stay, because nobody could know who else needs it, or is called by nobody.
    assert!(is_mapped(&opened));
}

/// Somebody uses its symbols without having said that it needs them.
#[test]
fn what_is_used_and_not_needed_stays_while_it_is_called() {
    let Some(shop) = Workshop::open() else { return };
    let used = shop.make("used", TIMER, &[]);
    let source = format!(
        r#"#include <dlfcn.h>
        static void *h;
        __attribute__((constructor)) static void begin(void) {{ h = dlopen("{}", RTLD_NOW | RTLD_GLOBAL); }}
        void stop(void) {{ dlclose(h); }}"#,
        used.display()
    );
    let bringer = open(&shop.make("bringer", &source, &[]));
    let user = "void s_start(void); void start(void) { s_start(); }";
    let user = open(&shop.make("user", user, &[]));
    call(&bringer, c"stop");
    bringer.close_soon(LONG, LONG).unwrap();
    call(&user, c"start");
    user.close_soon(LONG, LONG).unwrap();
    assert!(is_mapped(&used));
}

/// What the kernel calls on a signal.
fn handler_of(signal: i32) -> usize {
    hotseat_unload::action::get(signal).map_or(libc::SIG_DFL, |action| action.sa_sigaction)
}

/// A handler that runs while the library is being closed starts a thread before it returns.
#[test]
fn a_handler_starts_a_thread_at_the_last_moment() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <pthread.h>
        #include <signal.h>
        static volatile int runs, goes_on, ends;
        static void *run(void *p) { while (!ends) {} return p; }
        static void handle(int s) {
            (void)s; runs = 1;
            while (!goes_on) {}
            pthread_t t; pthread_create(&t, 0, run, 0);
        }
        void start(void) { struct sigaction a = {0}; a.sa_handler = handle; sigaction(SIGURG, &a, 0); }
        void wait_for_it(void) { while (!runs) {} }
        void go_on(void) { goes_on = 1; }
        void stop(void) { ends = 1; }
    ";
    let file = shop.make("handler", source, &[]);
    let library = open(&file);
    call(&library, c"start");
    // SAFETY: the library's handler, on a thread of its own.
    let hit = thread::spawn(|| unsafe { libc::raise(libc::SIGURG) });
    call(&library, c"wait_for_it");
    let go_on = library.symbol(c"go_on").unwrap().addr();
    // As soon as nobody is called any more, while the close waits for who was.
    let last = thread::spawn(move || {
        while handler_of(libc::SIGURG) != libc::SIG_DFL {
            thread::yield_now();
        }
        // SAFETY: a function of this type, which only writes a number; the library is open as long as
        // its handler runs.
        let go_on = unsafe {
            transmute::<*const (), extern "C" fn()>(std::ptr::with_exposed_provenance(go_on))
        };
        go_on();
    });
    let mut library = library;
    let why = loop {
        match library.close() {
            // On a busy machine the wait may be over before.
            Err(CloseError::Held(held, why)) if why.contains("SIGURG") => library = held,
            Err(CloseError::Held(held, why)) => {
                library = held;
                break why;
            }
            other => panic!("it is not held: {other:?}"),
        }
    };
    assert!(why.contains("1 thread left behind"), "{why}");
    last.join().unwrap();
    hit.join().unwrap();
    call(&library, c"stop");
    library.close_soon(LONG, LONG).unwrap();
    assert!(!is_mapped(&file));
}

/// A handler that sets itself again, as in System V, while the library is being closed: it is not set.
#[test]
fn a_handler_sets_itself_again_at_the_last_moment() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <signal.h>
        static volatile int runs, goes_on;
        static void handle(int s) { runs = 1; while (!goes_on) {} signal(s, handle); }
        void start(void) { signal(SIGWINCH, handle); }
        void wait_for_it(void) { while (!runs) {} }
        void go_on(void) { goes_on = 1; }
    ";
    let file = shop.make("again", source, &[]);
    let mut library = open(&file);
    call(&library, c"start");
    // SAFETY: the library's handler, on a thread of its own.
    let hit = thread::spawn(|| unsafe { libc::raise(libc::SIGWINCH) });
    call(&library, c"wait_for_it");
    let go_on = library.symbol(c"go_on").unwrap().addr();
    let last = thread::spawn(move || {
        while handler_of(libc::SIGWINCH) != libc::SIG_DFL {
            thread::yield_now();
        }
        // SAFETY: a function of this type, which only writes a number; the library is open as long as
        // its handler runs.
        let go_on = unsafe {
            transmute::<*const (), extern "C" fn()>(std::ptr::with_exposed_provenance(go_on))
        };
        go_on();
    });
    while let Err(error) = library.close() {
        match error {
            // On a busy machine the wait may be over before.
            CloseError::Held(held, why) if why.contains("SIGWINCH") => library = held,
            other => panic!("it is held: {other:?}"),
        }
    }
    last.join().unwrap();
    hit.join().unwrap();
    assert_eq!(handler_of(libc::SIGWINCH), libc::SIG_DFL);
    assert!(!is_mapped(&file));
}

/// What was mapped when its own close was over is never unmapped by anybody else.
#[test]
fn what_stays_mapped_stays_for_good() {
    let Some(shop) = Workshop::open() else { return };
    let kept = shop.make("kept", "int x;", &["-Wl,-soname=libkept.so"]);
    let source = r#"
        #include <dlfcn.h>
        static void *h;
        __attribute__((constructor)) static void begin(void) { h = dlopen("libkept.so", RTLD_NOW); }
        __attribute__((destructor)) static void end(void) { dlclose(h); }
    "#;
    let library = open(&kept);
    let keeper = open(&shop.make("keeper", source, &[]));
    assert!(matches!(library.close(), Err(CloseError::Mapped(_))));
    keeper.close_soon(LONG, LONG).unwrap();
    assert!(is_mapped(&kept), "its `Mapped` was for good");
}

/// Leaves its own address on the stack, here or on a thread of its own.
const LEAVES: &str = r"
#include <pthread.h>
static void *leave(void *none) {
    void *volatile left[1024];
    for (int i = 0; i < 1024; i++) left[i] = (void *)leave;
    return none;
}
void s_here(void) { leave(0); }
void s_apart(void) { pthread_t t; pthread_create(&t, 0, leave, 0); pthread_join(t, 0); }
void s_nothing(void) {}
";

/// Keeps what it finds on the stack, as a value is moved with bytes of it that were never written.
const MOVES: &str = r"
#include <pthread.h>
static void *volatile kept[512];
static void *move(void *none) {
    void *volatile value[512];
    for (int i = 0; i < 512; i++) kept[i] = value[i];
    return none;
}
void s_here(void) { move(0); }
void s_apart(void) { pthread_t t; pthread_create(&t, 0, move, 0); pthread_join(t, 0); }
void s_nothing(void) {}
";

/// What one library has left on a stack gets into the data of the next one; unless the stack is wiped in
/// between: because the next one is new to the thread, because the first one is on its way out, or because
/// a thread begins there.
#[test]
fn what_is_left_on_a_stack_holds_nobody() {
    let Some(shop) = Workshop::open() else { return };
    let first = shop.make("leaves", LEAVES, &["-O0"]);
    let second = shop.make("moves", MOVES, &["-O0", "-Wno-uninitialized"]);
    let rows: [(&CStr, bool, bool, bool); 4] = [
        (c"s_here", true, false, true),
        (c"s_here", false, true, true),
        (c"s_apart", false, false, true),
        // The negative control: two that serve side by side are not told apart.
        (c"s_here", false, false, false),
    ];
    for (function, is_new, is_retired, is_wiped) in rows {
        let leaves = open(&first);
        // Its constructors would run on this thread.
        let moves = thread::scope(|it| it.spawn(|| open(&second)).join()).unwrap();
        if !is_new {
            call(&moves, c"s_nothing");
        }
        call(&leaves, function);
        if is_retired {
            retire(leaves.id());
        }
        call(&moves, function);
        match leaves.close() {
            Ok(()) => assert!(is_wiped, "else this test tests nothing"),
            Err(CloseError::Held(leaves, reason)) => {
                assert!(!is_wiped, "{function:?}, new {is_new}, retired {is_retired}: {reason}");
                moves.close_soon(LONG, LONG).unwrap();
                // Who was found to hold it is believed to for a while, unless that has changed.
                leaves.close_soon(LONG, LONG).unwrap();
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        moves.close_soon(LONG, LONG).unwrap();
    }
}

/// What the program began with, and closes later, is no library's whose place it had.
#[test]
fn what_the_program_began_with_stays() {
    let Some(shop) = Workshop::open() else { return };
    let own = shop.make("x", "int x;", &[]);
    let copy = |name: String| {
        let to = own.with_file_name(name);
        fs::copy(&own, &to).unwrap();
        to
    };
    let early = |number: usize| {
        let name = copy(format!("early{number:02}.so"));
        let name = CString::new(name.to_str().unwrap()).unwrap();
        // SAFETY: an ordinary library.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) }
    };
    let handles: Vec<_> = (0..20).map(early).collect();
    drop(open(&copy("first.so".to_owned())));
    for handle in handles {
        // SAFETY: opened above, and not used.
        unsafe { libc::dlclose(handle) };
    }
    let all: Vec<_> = (0..20).map(|number| open(&copy(format!("plugi{number:02}.so")))).collect();
    for library in all {
        library.close_soon(LONG, LONG).unwrap();
    }
}

#[test]
fn only_a_path_of_its_own_is_opened() {
    let Some(shop) = Workshop::open() else { return };
    let file = shop.make("x", "int x;", &[]);
    // SAFETY: ordinary libraries.
    let refused = |path: &Path| unsafe { Library::open(path, 1) }.unwrap_err();
    assert!(matches!(refused(Path::new("libm.so.6")), OpenError::Path));
    assert!(matches!(refused(Path::new("/tmp/$LIB/x.so")), OpenError::Path));
    let library = open(&file);
    assert!(matches!(refused(&file), OpenError::InUse));
    let link = file.with_file_name("link.so");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(matches!(refused(&link), OpenError::InUse), "one object for the loader");
    library.close_soon(LONG, LONG).unwrap();
    open(&link).close_soon(LONG, LONG).unwrap();
}

static NESTED: Mutex<Option<PathBuf>> = Mutex::new(None);

extern "C" fn open_another() {
    let path = NESTED.lock().unwrap_or_else(PoisonError::into_inner).take().expect("a path");
    // SAFETY: an ordinary library, which is not opened.
    let refused = unsafe { Library::open(&path, 1) };
    assert!(matches!(refused, Err(OpenError::Nested)));
}

/// A destructor that asks its host for another library is refused, and nobody waits for ever.
#[test]
fn a_library_that_is_closed_cannot_have_another_opened() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        static void (*ask)(void);
        void set(void (*f)(void)) { ask = f; }
        __attribute__((destructor)) static void end(void) { ask(); }
    ";
    let library = open(&shop.make("asks", source, &[]));
    *NESTED.lock().unwrap() = Some(shop.make("x", "int x;", &[]));
    give(&library, c"set", open_another);
    library.close_soon(LONG, LONG).unwrap();
    assert!(NESTED.lock().unwrap().is_none(), "it has asked");
}

static HERE: Mutex<Option<LibraryId>> = Mutex::new(None);

extern "C" fn purge_here() {
    purge_thread(HERE.lock().unwrap_or_else(PoisonError::into_inner).expect("a library"));
}

/// Purged from within its own call, it would go on with what was freed.
#[test]
fn a_library_is_not_purged_under_its_feet() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <pthread.h>
        #include <stdlib.h>
        static pthread_key_t key;
        static int freed;
        static void end(void *p) { freed = 1; free(p); }
        void work(void (*ask)(void)) {
            pthread_key_create(&key, end);
            pthread_setspecific(key, malloc(8));
            ask();
            if (freed) abort();
        }
    ";
    let library = open(&shop.make("works", source, &[]));
    *HERE.lock().unwrap() = Some(library.id());
    give(&library, c"work", purge_here);
    library.close_soon(LONG, LONG).unwrap();
}

#[test]
fn there_is_no_lease_of_what_has_gone() {
    let Some(shop) = Workshop::open() else { return };
    let library = open(&shop.make("x", "int x;", &[]));
    let record = Arc::clone(library.record());
    let lease = LibraryLease::new(Arc::clone(&record), Holding::Job).expect("it is there");
    drop(lease);
    library.close_soon(LONG, LONG).unwrap();
    assert!(LibraryLease::new(record, Holding::Job).is_none());
}

/// What `Retire::end` leaves on its thread is purged by whoever has made that thread.
struct Careless(Library);

impl Retire for Careless {
    fn record(&self) -> &Arc<Record> {
        self.0.record()
    }

    fn end(self, freeing: impl FnOnce()) -> Ended<Self> {
        call(&self.0, c"leave");
        freeing();
        Ended::Freed(self.0)
    }

    fn free(self) -> Library {
        self.0
    }
}

static GOES: AtomicBool = AtomicBool::new(false);

extern "C" fn wait_until_it_goes() {
    while !GOES.load(Ordering::SeqCst) {
        thread::yield_now();
    }
}

#[test]
fn a_reaper_purges_the_thread_on_which_something_ends() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <pthread.h>
        static pthread_key_t key; static void (*wait)(void);
        static void end(void *p) { (void)p; wait(); }
        void set(void (*f)(void)) { wait = f; }
        void leave(void) { pthread_key_create(&key, end); pthread_setspecific(key, &key); }
    ";
    let file = shop.make("leaves", source, &[]);
    let library = open(&file);
    give(&library, c"set", wait_until_it_goes);
    let rules = ReaperRules { never: None, stop_time: LONG, purge_time: LONG, grace: LONG };
    let (says, said) = channel();
    let reaper = Reaper::start(rules, move |report| drop(says.send(report))).unwrap();
    let (instance, unmapped) = (Careless(library), Box::new(|| ()));
    reaper.handle().retire(Retired { tag: 1, instance, unmapped });
    let report = said.recv_timeout(LONG).unwrap();
    assert!(matches!(report.state, Unloading::Pending(_)), "{report:?}");
    GOES.store(true, Ordering::SeqCst);
    let ended = std::iter::from_fn(|| said.recv_timeout(LONG).ok())
        .find(|report| !matches!(report.state, Unloading::Pending(_)));
    assert_eq!(ended.unwrap().state, Unloading::Unloaded);
    assert!(!is_mapped(&file));
}

/// A request answers for the thread that it was posted to, and for no other; lost, it is posted again.
#[test]
fn a_purge_asks_until_the_thread_itself_answers() {
    let Some(shop) = Workshop::open() else { return };
    let source = r"
        #include <pthread.h>
        static pthread_key_t key; static int value;
        static void end(void *p) { (*(int *)p)++; }
        void leave(void) { pthread_key_create(&key, end); pthread_setspecific(key, &value); }
    ";
    let file = shop.make("leaves", source, &[]);
    let library = open(&file);
    let (requests, posted) = channel::<PurgeRequest>();
    let (ready, is_ready) = channel();
    let (number, address) = (library.id(), library.symbol(c"leave").unwrap().addr());
    let worker = thread::spawn(move || {
        let lost = Mutex::new(2);
        let post = move |request: PurgeRequest| {
            let mut lost = lost.lock().unwrap();
            match *lost {
                // Run elsewhere, and dropped.
                2 => request.run(),
                1 => drop(request),
                _ => return requests.send(request).map_err(|unsent| unsent.0),
            }
            *lost -= 1;
            Ok(())
        };
        let _registration = register_thread("worker".to_owned(), post);
        let entered = enter(number);
        let address = std::ptr::with_exposed_provenance::<()>(address);
        // SAFETY: a function of this type, of a library that is open.
        let leave = unsafe { transmute::<*const (), extern "C" fn()>(address) };
        leave();
        drop(entered);
        ready.send(()).unwrap();
        posted.recv_timeout(LONG).unwrap().run();
    });
    is_ready.recv().unwrap();
    let began = Instant::now();
    library.close_soon(LONG, LONG).unwrap();
    assert!(began.elapsed() < LONG && !is_mapped(&file));
    worker.join().unwrap();
}
