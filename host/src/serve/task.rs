//! Tasks of a data thread: the one place where they are made.
//!
//! # Invariants
//! - Every poll of a task, and its end, is a turn of the thread, whoever's code it runs.
//! - The end of a task is a scope in which nothing of a plugin is let go of where it falls, and so is
//!   every poll of one that holds a stream of h2; see [`release`].

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use super::pulse::{Doing, PulseWriter};
use crate::plugin::release;

/// Runs `future` on this thread from now on; each of its polls is a turn that is at `doing`.
pub(super) fn spawn<F>(pulse: &Rc<PulseWriter>, doing: Doing, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    tokio::task::spawn_local(Task { pulse: pulse.clone(), doing, future: Some(future) })
}

pin_project! {
    /// A future whose polls and end are turns.
    struct Task<F> {
        pulse: Rc<PulseWriter>,
        doing: Doing,
        // `None` once it has ended: what it held is dropped within a turn.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Task<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                this.pulse.turn(Doing::Destructor, || release::scope(|| this.future.set(None)));
            }
        }
    }
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _turn = this.pulse.begin(*this.doing);
        release::turn(|| {
            let future = this.future.as_mut().as_pin_mut();
            let future = future.expect("a task that has ended is not polled");
            let ended = match this.doing {
                Doing::Stream => release::scope(|| future.poll(cx)),
                _ => future.poll(cx),
            };
            // From here on what was let go of goes.
            this.pulse.doing(Doing::Destructor);
            if ended.is_ready() {
                release::scope(|| this.future.set(None));
            }
            ended
        })
    }
}

/// Makes `future` the one that a data thread runs: whenever something of a plugin is to be let go of
/// between two tasks, it is polled, and that goes. Its turns are its own.
pub(super) async fn lead<F: Future>(pulse: &PulseWriter, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let output = std::future::poll_fn(|cx| {
        release::emptied_by(cx);
        let polled = future.as_mut().poll(cx);
        pulse.turn(Doing::Destructor, || release::scope(|| ()));
        polled
    })
    .await;
    release::emptied_by_nobody();
    output
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, sync::Arc};

    use tokio::runtime::{Builder, LocalOptions};

    use super::*;
    use crate::serve::pulse::Pulse;

    /// Notes where it is dropped.
    struct Bomb {
        pulse: Rc<PulseWriter>,
        within: Rc<Cell<Option<bool>>>,
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.within.set(Some(self.pulse.is_within()));
        }
    }

    fn run(work: impl AsyncFnOnce(&Rc<PulseWriter>, Bomb)) -> Option<bool> {
        let pulse = Rc::new(PulseWriter::new(Arc::<Pulse>::default()));
        let within = Rc::new(Cell::new(None));
        let bomb = Bomb { pulse: pulse.clone(), within: within.clone() };
        let runtime = Builder::new_current_thread().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(work(&pulse, bomb));
        drop(runtime);
        assert!(!pulse.is_within(), "every turn has ended");
        within.get()
    }

    #[test]
    fn a_poll_and_its_end_are_one_turn() {
        let within = run(async |pulse, bomb| {
            let theirs = pulse.clone();
            let task = async move {
                let _bomb = bomb;
                assert!(theirs.is_within());
                tokio::task::yield_now().await;
                assert!(theirs.is_within());
            };
            let task = spawn(pulse, Doing::Connection, task);
            assert!(!pulse.is_within(), "not begun");
            task.await.unwrap();
        });
        assert_eq!(within, Some(true));
    }

    #[test]
    fn what_is_aborted_or_panics_ends_within_a_turn() {
        let aborted = run(async |pulse, bomb| {
            let task = spawn(pulse, Doing::Connection, async move {
                let _bomb = bomb;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
        let panicked = run(async |pulse, bomb| {
            let mut bomb = Some(bomb);
            let task = poll_fn(move |_| -> Poll<()> {
                let _bomb = bomb.take();
                panic!("on purpose");
            });
            assert!(spawn(pulse, Doing::Connection, task).await.unwrap_err().is_panic());
        });
        let left = run(async |pulse, bomb| {
            spawn(pulse, Doing::Connection, async move {
                let _bomb = bomb;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
        });
        assert_eq!([aborted, panicked, left], [Some(true); 3], "also with its runtime");
    }
}
