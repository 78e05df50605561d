//! What other threads ask of a data thread on behalf of something that is only that thread's.
//!
//! Owns each data thread's line of errands, and the task that runs them. Knows nothing of what they do.
//! Invariant: an errand runs on its thread, the last of them as its desk closes; one that comes later is
//! given back.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt, mem,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use tokio::task::AbortHandle;

use super::shield::shield;

/// Something to be done on the desk's thread.
pub(super) type Errand = Box<dyn FnOnce() + Send>;

/// A task of a plugin.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Begins a task on the thread that it is called on.
pub type Begin = dyn Fn(Task) -> AbortHandle;

/// A data thread, as others reach it.
#[derive(Default)]
pub struct Desk(Mutex<Line>);

/// The data threads, as they are found from elsewhere.
pub trait DataThreads: Send + Sync {
    /// One that turns, if any does, and another one each time.
    fn next(&self) -> Option<Arc<Desk>>;

    /// Whether they are at their end: nothing begins there any more.
    fn are_ending(&self) -> bool;
}

#[derive(Default)]
struct Line {
    /// As many as things of that thread are in use elsewhere, at most twice (each asks for one more
    /// piece, and goes), and as tasks are on their way to it.
    errands: VecDeque<Errand>,
    /// Of the task that runs them.
    waker: Option<Waker>,
    closed: bool,
}

thread_local! {
    static DESK: RefCell<Option<Arc<Desk>>> = const { RefCell::new(None) };
    static BEGIN: RefCell<Option<Rc<Begin>>> = const { RefCell::new(None) };
    // 0: it has none yet.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// The calling thread by a number that no other one has ever had.
#[inline]
pub(super) fn here() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    HERE.with(|here| {
        if here.get() == 0 {
            here.set(LAST.fetch_add(1, Ordering::Relaxed) + 1);
        }
        here.get()
    })
}

/// The desk of the calling thread, if that is a data thread.
#[inline]
pub(super) fn own() -> Option<Arc<Desk>> {
    DESK.with_borrow(Clone::clone)
}

/// Begins `task` on the calling thread; it is dropped if that is no data thread, or one at its end.
pub(super) fn begin(task: Task) -> Option<AbortHandle> {
    let begin = BEGIN.with_borrow(Clone::clone)?;
    Some(begin(task))
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `errand` run on this desk's thread, after those before it. It comes back when that thread
    /// runs none any more.
    pub(super) fn send(&self, errand: Errand) -> Result<(), Errand> {
        let waker = {
            let mut line = self.lock();
            if line.closed {
                return Err(errand);
            }
            line.errands.push_back(errand);
            line.waker.take()
        };
        // Outside the lock: it may be anybody's.
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

/// Runs the errands of the calling thread, whose desk is `desk`, for as long as it is polled there;
/// `begin` begins the tasks among them.
pub fn serve(desk: Arc<Desk>, begin: Rc<Begin>) -> impl Future<Output = ()> {
    DESK.with_borrow_mut(|own| *own = Some(Arc::clone(&desk)));
    BEGIN.with_borrow_mut(|own| *own = Some(begin));
    Serving(desk)
}

struct Serving(Arc<Desk>);

impl Future for Serving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // What comes meanwhile wakes this again: nobody else of the thread waits for all of it.
        let errands = {
            let mut line = self.0.lock();
            line.waker = Some(cx.waker().clone());
            mem::take(&mut line.errands)
        };
        for errand in errands {
            shield(errand);
        }
        Poll::Pending
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let (left, waker) = {
            let mut line = self.0.lock();
            line.closed = true;
            (mem::take(&mut line.errands), line.waker.take())
        };
        // A thread that ends has no thread-locals at last.
        let _ = DESK.try_with(|own| own.take());
        let _ = BEGIN.try_with(|own| own.take());
        for errand in left {
            shield(errand);
        }
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::channel,
        task::{Wake, Waker},
        thread,
    };

    use super::*;

    struct Thread(thread::Thread);

    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn serve() -> impl Future<Output = ()> {
        super::serve(Arc::default(), Rc::new(|_| unreachable!("no task is begun here")))
    }

    #[test]
    fn errands_run_where_the_desk_is_served() {
        let mut serving = Box::pin(serve());
        let desk = own().unwrap();
        let home = here();
        let (tells, told) = channel();
        let posts = thread::spawn(move || {
            assert_ne!(here(), home);
            assert!(own().is_none());
            for number in 0..100 {
                let tells = tells.clone();
                let errand = move || tells.send((here(), number)).unwrap();
                assert!(desk.send(Box::new(errand)).is_ok());
            }
            desk
        });
        let waker = Waker::from(Arc::new(Thread(thread::current())));
        let mut seen = Vec::new();
        while seen.len() < 100 {
            assert!(serving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            seen.extend(told.try_iter());
            if seen.len() < 100 {
                thread::park_timeout(std::time::Duration::from_secs(5));
            }
        }
        assert!(seen.iter().map(|(at, _)| at).all(|at| *at == home));
        assert!(seen.iter().map(|(_, number)| *number).eq(0..100), "in their order");
        let desk = posts.join().unwrap();
        let (tells, told) = channel();
        assert!(desk.send(Box::new(move || tells.send(here()).unwrap())).is_ok());
        drop(serving);
        assert_eq!(told.try_recv(), Ok(home), "the last one, as it closes");
        assert!(own().is_none());
        assert!(desk.send(Box::new(|| ())).is_err(), "it comes back");
    }

    #[test]
    fn a_panic_of_one_is_nobody_elses() {
        let mut serving = Box::pin(serve());
        let (tells, told) = channel();
        let desk = own().unwrap();
        assert!(desk.send(Box::new(|| panic!("asked to"))).is_ok());
        assert!(desk.send(Box::new(move || tells.send(7).unwrap())).is_ok());
        assert!(serving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(told.try_recv(), Ok(7));
    }
}
