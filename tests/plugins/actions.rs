//! Does what programs do with signal actions, and answers `ok`, or what was not as the manual says.
//! The path names what is tried.
#![expect(unsafe_code, reason = "calls the C library, and handles signals")]

use std::{
    ffi::c_int,
    mem::MaybeUninit,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

static HEARD: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HEARD.fetch_add(1, Ordering::SeqCst);
}

/// Asks for an action from within a handler.
extern "C" fn asks(_: c_int) {
    // What it is, is not looked at.
    let _ = action(libc::SIGURG);
    HEARD.fetch_add(1, Ordering::SeqCst);
}

fn own(handler: extern "C" fn(c_int), flags: c_int) -> libc::sigaction {
    // SAFETY: all zeros is an action without flags and mask.
    let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = flags;
    action
}

fn set(signal: c_int, new: &libc::sigaction) -> libc::sigaction {
    let mut before = own(count, 0);
    // SAFETY: a whole action, and room for one.
    assert_eq!(unsafe { libc::sigaction(signal, new, &raw mut before) }, 0, "set {signal}");
    before
}

fn action(signal: c_int) -> libc::sigaction {
    let mut now = own(count, 0);
    // SAFETY: only asks.
    assert_eq!(unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) }, 0, "ask {signal}");
    now
}

fn simple(signal: c_int, handler: usize) -> usize {
    // SAFETY: a rule of the system.
    unsafe { libc::signal(signal, handler) }
}

fn raise(signal: c_int) {
    // SAFETY: to this thread.
    unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
}

/// What a child that does `work` has as its status.
fn forked(work: fn() -> c_int) -> c_int {
    let mut status = 0;
    // SAFETY: the child does what a signal handler may, and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(work());
        }
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
    status
}

/// What of `signals` does not end a child that is started as a program.
fn shell(signals: &str) -> std::process::ExitStatus {
    let status = Command::new("sh").args(["-c", &format!("{signals}; exit 3")]).status();
    status.expect("start a shell")
}

fn own_action() {
    let mut wanted = own(count, libc::SA_ONSTACK | libc::SA_NODEFER);
    // SAFETY: a whole set.
    unsafe { libc::sigaddset(&raw mut wanted.sa_mask, libc::SIGUSR1) };
    assert_eq!(set(libc::SIGWINCH, &wanted).sa_sigaction, libc::SIG_DFL);
    let found = set(libc::SIGWINCH, &own(count, 0));
    assert_eq!((found.sa_sigaction, found.sa_flags), (wanted.sa_sigaction, wanted.sa_flags));
    // SAFETY: a whole set.
    let blocks = |it| unsafe { libc::sigismember(&raw const found.sa_mask, it) };
    assert_eq!((blocks(libc::SIGUSR1), blocks(libc::SIGUSR2)), (1, 0));
    raise(libc::SIGWINCH);
    assert_eq!(HEARD.load(Ordering::SeqCst), 1);
    assert_eq!(simple(libc::SIGWINCH, libc::SIG_IGN), wanted.sa_sigaction);
    raise(libc::SIGWINCH);
    assert_eq!(simple(libc::SIGWINCH, libc::SIG_DFL), libc::SIG_IGN);
    assert_eq!(action(libc::SIGWINCH).sa_sigaction, libc::SIG_DFL);
    assert_eq!(HEARD.load(Ordering::SeqCst), 1, "ignored");
}

/// The host's: nobody may call it, nor take it away.
fn hosts_action() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGPIPE] {
        assert_eq!(action(signal).sa_sigaction, libc::SIG_IGN, "{signal}");
        simple(signal, libc::SIG_DFL);
        assert_eq!(action(signal).sa_sigaction, libc::SIG_IGN, "{signal}");
    }
    // A reader that has gone is an error and no end, whatever a plugin wants.
    raise(libc::SIGPIPE);
    let fault = action(libc::SIGSEGV);
    assert!(![libc::SIG_DFL, libc::SIG_IGN].contains(&fault.sa_sigaction), "to pass faults on to");
    set(libc::SIGSEGV, &own(count, 0));
    set(libc::SIGSEGV, &fault);
    assert_eq!(action(libc::SIGSEGV).sa_sigaction, fault.sa_sigaction);
}

/// A forked child sets its own; its handlers are those of its parent until then.
fn forked_children() {
    set(libc::SIGWINCH, &own(count, 0));
    let heard = forked(|| {
        raise(libc::SIGWINCH);
        c_int::from(HEARD.load(Ordering::SeqCst) != 1)
    });
    assert_eq!(heard, 0, "inherited");
    assert_eq!(HEARD.load(Ordering::SeqCst), 0, "another process");
    let piped = forked(|| {
        simple(libc::SIGPIPE, libc::SIG_DFL);
        if action(libc::SIGPIPE).sa_sigaction == libc::SIG_DFL {
            raise(libc::SIGPIPE);
        }
        0
    });
    assert_eq!(libc::WTERMSIG(piped), libc::SIGPIPE);
    assert_eq!(action(libc::SIGPIPE).sa_sigaction, libc::SIG_IGN);
    simple(libc::SIGWINCH, libc::SIG_DFL);
}

/// A program begins with the defaults for what its parent handles.
fn started_programs() {
    let mortal = libc::SIGRTMIN() + 2;
    set(mortal, &own(count, 0));
    simple(mortal, libc::SIG_DFL);
    for (signal, number) in [("PIPE", libc::SIGPIPE), ("ALRM", libc::SIGALRM)] {
        assert_eq!(shell(&format!("kill -{signal} $$")).signal(), Some(number));
    }
    assert_eq!(shell(&format!("kill -{mortal} $$")).signal(), Some(mortal));
    assert_eq!(shell("kill -WINCH $$").code(), Some(3));
}

/// However it is said, the host goes on being told how its children end, and so is the plugin.
fn children() {
    simple(libc::SIGCHLD, libc::SIG_IGN);
    assert_eq!(shell("true").code(), Some(3));
    set(libc::SIGCHLD, &own(count, libc::SA_NOCLDWAIT | libc::SA_RESTART));
    assert_ne!(action(libc::SIGCHLD).sa_flags & libc::SA_NOCLDWAIT, 0, "as it was given");
    assert_eq!(shell("true").code(), Some(3));
    // Whichever thread of the process the kernel has chosen runs the handler when it likes.
    let until = Instant::now() + Duration::from_secs(10);
    while HEARD.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < until, "the end of a child was not heard of");
        std::thread::yield_now();
    }
    simple(libc::SIGCHLD, libc::SIG_DFL);
}

/// `SA_RESTART` decides whether a signal interrupts a read.
fn interrupted_reads() {
    for (flags, interrupted) in [(0, true), (libc::SA_RESTART, false)] {
        HEARD.store(0, Ordering::SeqCst);
        set(libc::SIGWINCH, &own(count, flags));
        let mut pipe = [0; 2];
        // SAFETY: room for two descriptors.
        assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
        let over = Arc::new(AtomicBool::new(false));
        let (reader, ended) = (pipe[0], Arc::clone(&over));
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: this thread, while it lives.
            tell.send(unsafe { libc::pthread_self() }).expect("somebody listens");
            let mut byte = 0_u8;
            // SAFETY: room for a byte.
            let read = unsafe { libc::read(reader, (&raw mut byte).cast(), 1) };
            ended.store(true, Ordering::SeqCst);
            while HEARD.load(Ordering::SeqCst) < 50 {
                std::thread::yield_now();
            }
            read
        });
        let reads = told.recv().expect("it says who it is");
        // As often as it takes to meet it in its read; it does not end before it was met so often.
        while HEARD.load(Ordering::SeqCst) < 50 || (interrupted && !over.load(Ordering::SeqCst)) {
            // SAFETY: a thread that is joined below.
            unsafe { libc::pthread_kill(reads, libc::SIGWINCH) };
            std::thread::yield_now();
        }
        // SAFETY: a byte of the other end.
        unsafe { libc::write(pipe[1], c"x".as_ptr().cast(), 1) };
        let read = thread.join().expect("it does not panic");
        assert_eq!(read, if interrupted { -1 } else { 1 });
        for end in pipe {
            // SAFETY: made above.
            unsafe { libc::close(end) };
        }
    }
    simple(libc::SIGWINCH, libc::SIG_DFL);
}

/// A handler asks for an action while its thread is in the host's books.
fn asked_within_a_handler() {
    set(libc::SIGWINCH, &own(asks, libc::SA_RESTART));
    let over = Arc::new(AtomicBool::new(false));
    let (ended, (tell, told)) = (Arc::clone(&over), std::sync::mpsc::channel());
    let thread = std::thread::spawn(move || {
        // SAFETY: this thread, while it lives.
        tell.send(unsafe { libc::pthread_self() }).expect("somebody listens");
        while !ended.load(Ordering::SeqCst) {
            let mut key = 0;
            // SAFETY: a key of this library, made and deleted.
            unsafe {
                libc::pthread_key_create(&raw mut key, None);
                libc::pthread_key_delete(key);
            }
            set(libc::SIGURG, &own(count, 0));
            simple(libc::SIGURG, libc::SIG_DFL);
        }
    });
    let busy = told.recv().expect("it says who it is");
    // As often as it goes: on a crowded machine each takes a turn of the other thread.
    let until = Instant::now() + Duration::from_secs(2);
    while HEARD.load(Ordering::SeqCst) < 3000 && Instant::now() < until {
        // SAFETY: a thread that is joined below.
        unsafe { libc::pthread_kill(busy, libc::SIGWINCH) };
        std::thread::yield_now();
    }
    over.store(true, Ordering::SeqCst);
    thread.join().expect("it does not panic");
    assert!(HEARD.load(Ordering::SeqCst) > 0);
    simple(libc::SIGWINCH, libc::SIG_DFL);
}

/// A library that was closed and has left its handler.
fn closed_too_early() {
    // SAFETY: a library of the test's and its function.
    unsafe {
        let library = libc::dlopen(c"libneeded.so".as_ptr(), libc::RTLD_NOW);
        assert!(!library.is_null(), "the test brings it");
        let listen = libc::dlsym(library, c"needed_listen".as_ptr());
        std::mem::transmute::<*mut libc::c_void, extern "C" fn()>(listen)();
        libc::dlclose(library);
    }
    raise(libc::SIGWINCH);
}

fn errors() {
    let new = own(count, 0);
    for signal in [0, -1, 65, libc::SIGKILL, libc::SIGSTOP] {
        // SAFETY: a whole action.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) }, -1);
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{signal}");
        assert_eq!(simple(signal, libc::SIG_IGN), libc::SIG_ERR, "{signal}");
    }
}

/// Functions that would be called at the process's end, when nothing of this is there any more.
fn registered_ends() {
    unsafe extern "C" {
        fn on_exit(function: extern "C" fn(c_int, *mut ()), argument: *mut ()) -> c_int;
        fn atexit(function: extern "C" fn()) -> c_int;
        fn pthread_atfork(
            before: extern "C" fn(),
            parent: extern "C" fn(),
            child: extern "C" fn(),
        ) -> c_int;
    }
    extern "C" fn with_status(_: c_int, _: *mut ()) {}
    extern "C" fn nothing() {}
    // SAFETY: functions of these kinds; that they go is the point.
    unsafe {
        assert_eq!(on_exit(with_status, ptr::null_mut()), 0);
        assert_eq!(atexit(nothing), 0);
        assert_eq!(pthread_atfork(nothing, nothing, nothing), 0);
    }
}

struct Actions;

impl Handler for Actions {
    fn new(_: &Context) -> Result<Self> {
        registered_ends();
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        HEARD.store(0, Ordering::SeqCst);
        let tried: fn() = match request.path() {
            "/own" => own_action,
            "/hosts" => hosts_action,
            "/forked" => forked_children,
            "/started" => started_programs,
            "/children" => children,
            "/interrupted" => interrupted_reads,
            "/within" => asked_within_a_handler,
            "/closed" => closed_too_early,
            "/errors" => errors,
            other => return Err(Error::new(format!("nothing is called `{other}`"))),
        };
        // A panic is an answer as well, and the test reads the log.
        tried();
        Ok(Response::text("ok"))
    }
}

export_handler!(Actions);
