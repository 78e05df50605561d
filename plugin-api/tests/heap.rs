//! The arena as the allocator of a whole program without a host, as `cargo test` of a plugin has it.
//!
//! Owns what only a program can show: threads that end, forks, allocation in destructors of
//! thread-locals. Invariant: what came back is known by the arena's own figures.
#![expect(unsafe_code, reason = "forks, and reads figures")]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler, heap};

#[derive(Debug)]
struct Hello;

impl Handler for Hello {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("hello"))
    }
}

export_handler!(Hello, name = "hello");

/// Allocates and frees as a program does.
fn work(seed: usize) -> usize {
    let mut map = BTreeMap::new();
    for at in 0..200 {
        map.insert((seed + at * 7919) % 1000, "x".repeat(at * at % 3000));
    }
    let text: String = map.values().map(String::as_str).collect();
    text.len() + map.into_keys().sum::<usize>()
}

/// Others work at the same time, so it is not exact.
fn live() -> i64 {
    heap::live_bytes()
}

#[test]
fn threads_that_end_leave_nothing() {
    let churn = |count: usize| {
        for at in 0..count {
            assert!(thread::spawn(move || work(at)).join().unwrap() > 0);
        }
    };
    churn(20);
    let before = live();
    churn(300);
    // Each thread could have kept 200 KiB at hand.
    assert!(live() - before < 8 << 20, "{before} {}", live());
}

#[test]
fn a_destructor_of_a_thread_local_may_allocate() {
    struct Late(Vec<String>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.push("late".repeat(100));
            assert!(work(self.0.len()) > 0);
        }
    }
    thread_local! {
        static FIRST: RefCell<Late> = const { RefCell::new(Late(Vec::new())) };
        static SECOND: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    for _ in 0..50 {
        let thread = thread::spawn(|| {
            // One registered before the thread's first block, one after it.
            FIRST.with_borrow_mut(|late| late.0.push("early".repeat(50)));
            SECOND.set(Some(Late(vec![String::from("block")])));
        });
        thread.join().unwrap();
    }
}

/// Whatever other threads hold at that moment.
#[test]
fn a_child_of_a_fork_can_allocate() {
    let (stop, begin) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(4)));
    let busy: Vec<_> = (0..3)
        .map(|at| {
            let (stop, begin) = (stop.clone(), begin.clone());
            thread::spawn(move || {
                begin.wait();
                while !stop.load(Relaxed) {
                    work(at);
                    drop(vec![1_u8; 100_000]);
                    drop(vec![1_u8; 600_000]);
                }
            })
        })
        .collect();
    begin.wait();
    for at in 0..30 {
        // SAFETY: the child only computes, and ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut large = vec![7_u8; 500_000];
            large.extend_from_slice(&vec![8; 3_000_000]);
            let good = work(at) > 0 && large.iter().filter(|byte| **byte == 8).count() == 3_000_000;
            drop(large);
            // SAFETY: ends the child without anybody's destructors.
            unsafe { libc::_exit(if good { 0 } else { 1 }) };
        }
        assert!(child > 0);
        let mut status = 0;
        // SAFETY: our own child, waited for once.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
    }
    stop.store(true, Relaxed);
    busy.into_iter().for_each(|it| it.join().unwrap());
}

static EARLY: AtomicBool = AtomicBool::new(false);

/// Before the program's first allocation.
extern "C" fn before_the_heap() {
    extern "C" fn allocate() {
        assert!(!EARLY.load(Relaxed) || work(3) > 0);
    }
    // SAFETY: takes no argument, and is there as long as the process.
    unsafe { libc::pthread_atfork(Some(allocate), Some(allocate), Some(allocate)) };
}

// SAFETY: a function without arguments, which needs nothing of the runtime.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_THE_HEAP: extern "C" fn() = before_the_heap;

/// One that was there before the heap runs while the heap is held.
#[test]
fn handlers_of_a_fork_may_allocate() {
    EARLY.store(true, Relaxed);
    // SAFETY: the child ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child without anybody's destructors.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: our own child, waited for once.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
}
