//! What a fork finds of the engine's books: all of them whole, and open. And what libraries want to be
//! called around it (`handlers`), which comes before the books are taken and after they are given back.
//!
//! A child has the one thread that has forked, and what another one had locked stays so for ever. So
//! whoever forks has every lock of the books, and opens them on both sides. A library that forks may
//! thus do in its child what it may do elsewhere: allocate, start threads, make keys and timers. What
//! its signals do there is its own (`signals`), and how it ends is nobody's business (`ends`).
//!
//! A child must neither open nor close libraries: another thread may have been at it, and its turn is
//! not for a fork to wait for, because a constructor that forks has it. Nor is anybody there who would
//! answer a purge.

use std::{any::Any, cell::RefCell, mem::ManuallyDrop, ptr, sync::Once};

use super::{callbacks, heap, objects, on_heap, pairs, real, registry, texts};
use crate::purge;

/// The locks, in the order in which they may be taken: a holder of one may want those behind it.
const LOCKS: [fn() -> Box<dyn Any>; 9] = [
    purge::hold,
    callbacks::hold,
    handlers::hold,
    on_heap::hold,
    pairs::hold,
    objects::hold,
    registry::hold,
    heap::hold,
    texts::hold,
];

pub(crate) mod handlers;

thread_local! {
    // What this thread has while it forks. Without a destructor, as all of a thread's here.
    static HELD: RefCell<ManuallyDrop<Vec<Box<dyn Any>>>> =
        const { RefCell::new(ManuallyDrop::new(Vec::new())) };
}

/// Has every fork from now on take the books along; before the first library, so that those who
/// register later, and may come here with locks of their own, are called first.
pub(super) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        if let Some(register) = real::register_atfork() {
            // SAFETY: functions that stay. Without room for them only a child has less luck, and no
            // handler of a library is called.
            unsafe { register(Some(prepare), Some(in_parent), Some(in_child), ptr::null_mut()) };
        }
    });
}

unsafe extern "C" fn prepare() {
    handlers::before();
    let held = LOCKS.map(|hold| hold());
    HELD.with_borrow_mut(|all| all.extend(held));
}

unsafe extern "C" fn in_parent() {
    open();
    handlers::after(1);
}

unsafe extern "C" fn in_child() {
    open();
    handlers::after(2);
}

fn open() {
    // The last one that was taken first.
    while let Some(held) = HELD.with_borrow_mut(|all| all.pop()) {
        drop(held);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::{c_int, c_void},
        sync::{
            Barrier,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    /// Forks while another thread is within `holds`, which calls what it is given: that returns when it
    /// hears that the fork is over, or has waited for a while, as the fork may for it. How the child
    /// ends that does `tries`.
    fn fork_while(holds: impl FnOnce(&dyn Fn()) + Send, tries: impl FnOnce()) -> c_int {
        let (step, is_over) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            let (step, is_over) = (&step, &is_over);
            scope.spawn(move || {
                holds(&|| {
                    step.wait();
                    for _ in 0..30 {
                        if !is_over.load(Ordering::SeqCst) {
                            thread::park_timeout(Duration::from_millis(1));
                        }
                    }
                });
            });
            step.wait();
            // SAFETY: the child does nothing but what it is to try, and ends; the parent waits.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends it if it hangs.
                unsafe { libc::alarm(5) };
                tries();
                // SAFETY: ends it.
                unsafe { libc::_exit(0) };
            }
            is_over.store(true, Ordering::SeqCst);
            let mut status = 0;
            // SAFETY: its own child, and room for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        })
    }

    #[test]
    fn a_child_finds_every_lock_open() {
        begin();
        for (number, hold) in LOCKS.into_iter().enumerate() {
            let holds = |waits: &dyn Fn()| {
                let held = hold();
                waits();
                drop(held);
            };
            assert_eq!(fork_while(holds, || drop(hold())), 0, "lock {number}");
            drop(hold());
        }
    }

    /// Whoever looks at what is loaded has a lock of the loader's, which the C library leaves shut.
    #[test]
    fn a_child_may_ask_the_loader() {
        unsafe extern "C" fn nothing(
            _: *mut libc::dl_phdr_info,
            _: usize,
            _: *mut c_void,
        ) -> c_int {
            1
        }
        begin();
        let holds = |waits: &dyn Fn()| objects::with_all(|_| waits()).unwrap();
        let tries = || {
            // SAFETY: a function that looks at nothing.
            assert_eq!(unsafe { libc::dl_iterate_phdr(Some(nothing), ptr::null_mut()) }, 1);
        };
        assert_eq!(fork_while(holds, tries), 0);
    }
}
