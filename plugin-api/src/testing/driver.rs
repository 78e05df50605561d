//! Polls what plugin code has made, on the thread of the test, as a data thread does.
//!
//! Owns what is under way and how long it is waited for. Knows nothing of requests.
//! Invariant: every poll and drop of plugin code is inside its world.
#![expect(unsafe_code, reason = "plays the host's side of the ABI")]

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Write as _},
    mem::{ManuallyDrop, MaybeUninit},
    ops::{Deref, DerefMut},
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{waker::Lent, world::World};
use crate::{
    Context, Level,
    abi::{Done, Future, poll},
    owned::OwnedBytes,
};

/// How long nothing must happen before the time jumps where another thread could wake something.
const QUIET: Duration = Duration::from_millis(20);

/// Something of plugin code that is dropped inside its world.
pub(super) struct Inside<T> {
    world: &'static World,
    inner: ManuallyDrop<T>,
}

impl<T> Inside<T> {
    pub(super) fn new(world: &'static World, inner: T) -> Self {
        Self { world, inner: ManuallyDrop::new(inner) }
    }
}

impl<T> Inside<T> {
    /// For a caller that is inside itself.
    pub(super) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: taken once; `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.inner) }
    }
}

impl<T> Deref for Inside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Inside<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for Inside<T> {
    fn drop(&mut self) {
        let _inside = self.world.enter();
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.inner) }
    }
}

/// A raw future, dropped once.
struct Raw<T>(Future<T>);

impl<T> Drop for Raw<T> {
    fn drop(&mut self) {
        // SAFETY: called once.
        unsafe { (self.0.drop)(self.0.data) }
    }
}

/// What a future of plugin code ended with.
pub(super) struct End<T> {
    /// One of [`poll`]'s.
    pub(super) code: u32,
    /// Of `READY` and `FAILED`.
    pub(super) value: Option<T>,
    /// The text of the panic.
    pub(super) panic: Option<String>,
}

/// A future of plugin code.
pub(super) struct Job<T> {
    world: &'static World,
    future: RefCell<Option<Inside<Raw<T>>>>,
    pub(super) waker: Lent,
    has_ended: Cell<bool>,
    end: RefCell<Option<End<T>>>,
}

impl<T> Job<T> {
    pub(super) fn new(world: &'static World, future: Future<T>) -> Self {
        let future = RefCell::new(Some(Inside::new(world, Raw(future))));
        let (waker, has_ended) = (Lent::new(world), Cell::new(false));
        Self { world, future, waker, has_ended, end: RefCell::new(None) }
    }

    /// Polls it if it was woken; whether it is over.
    pub(super) fn run(&self) -> bool {
        if !self.has_ended.get() && self.waker.take() {
            self.poll();
        }
        self.has_ended.get()
    }

    /// One poll, unless it has ended.
    pub(super) fn poll(&self) {
        // Nothing is borrowed while it runs.
        let Some(future) = self.future.take() else { return };
        self.world.record().told = None;
        let inside = self.world.enter();
        let mut out = MaybeUninit::uninit();
        let Future { data, poll, .. } = &future.0;
        // SAFETY: it is alive and has not ended; waker and room are there for the call.
        let code = unsafe { poll(*data, self.waker.raw(), out.as_mut_ptr()) };
        drop(inside);
        if code == poll::PENDING {
            self.future.replace(Some(future));
            return;
        }
        let is_filled = matches!(code, poll::READY | poll::FAILED);
        // SAFETY: filled on these codes.
        let value = is_filled.then(|| unsafe { out.assume_init() });
        let told = || self.world.record().told.as_ref().map(ToString::to_string);
        let panic = (code == poll::PANICKED).then(|| told().unwrap_or_default());
        self.has_ended.set(true);
        self.end.replace(Some(End { code, value, panic }));
        // What was answered may lie in it until it is read.
        self.future.replace(Some(future));
    }

    /// What it has ended with, once.
    pub(super) fn take_end(&self) -> Option<End<T>> {
        self.end.take()
    }

    /// Whether it has ended or was dropped.
    pub(super) fn is_over(&self) -> bool {
        self.has_ended.get()
    }

    /// Drops the future, wherever it is.
    pub(super) fn cancel(&self) {
        self.has_ended.set(true);
        drop(self.future.take());
    }
}

/// What is polled when it was woken.
pub(super) trait Runs {
    /// Polls it if need be; whether it is over.
    fn run(&self) -> bool;

    /// It goes with the kit.
    fn cancel(&self);
}

impl Runs for Job<Done> {
    fn run(&self) -> bool {
        let is_over = self.run();
        if is_over {
            self.cancel();
        }
        is_over
    }

    fn cancel(&self) {
        self.cancel();
    }
}

/// The text that a future which only ends has failed with.
pub(super) fn outcome(world: &'static World, end: End<Done>) -> Result<(), String> {
    let End { code, value, panic } = end;
    let text = value.map(|done| {
        let _inside = world.enter();
        // SAFETY: the text of a finished future is the receiver's.
        unsafe { OwnedBytes::from_abi(done.error) }.to_text()
    });
    match code {
        poll::READY => Ok(()),
        poll::FAILED => Err(text.unwrap_or_default()),
        _ => Err(format!("panicked: {}", panic.unwrap_or_default())),
    }
}

/// A task that the plugin has spawned.
struct Task {
    world: &'static World,
    job: Job<Done>,
}

impl Runs for Task {
    fn run(&self) -> bool {
        if !Runs::run(&self.job) {
            return false;
        }
        if let Some(end) = self.job.take_end()
            && let Err(error) = outcome(self.world, end)
        {
            let fields = vec![("error".to_owned(), error.into())];
            self.world.say(Level::Error, "a task has failed", fields);
        }
        true
    }

    fn cancel(&self) {
        self.job.cancel();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.job.cancel();
        self.world.tasks.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Everything of one kit that is under way.
pub(super) struct Driver {
    pub(super) world: &'static World,
    context: Context,
    /// None of its tasks begins.
    is_preflight: bool,
    patience: Duration,
    under_way: RefCell<Vec<Rc<dyn Runs>>>,
}

impl Driver {
    pub(super) fn new(
        world: &'static World,
        context: Context,
        is_preflight: bool,
        patience: Duration,
    ) -> Self {
        Self { world, context, is_preflight, patience, under_way: RefCell::default() }
    }

    /// Polls it from now on whenever it was woken.
    pub(super) fn add(&self, job: Rc<dyn Runs>) {
        self.under_way.borrow_mut().push(job);
    }

    /// Polls once what was woken.
    fn turn(&self) {
        if !self.is_preflight {
            for task in self.world.tasks.take() {
                let job = Job::new(self.world, task.0);
                self.add(Rc::new(Task { world: self.world, job }));
            }
        }
        // Nothing is borrowed while plugin code runs; what is dropped runs some as well.
        let all = self.under_way.take();
        let rest: Vec<_> = all.into_iter().filter(|job| !job.run()).collect();
        self.under_way.borrow_mut().extend(rest);
    }

    /// Lets everything go on until `done` gives something.
    ///
    /// # Panics
    /// When that takes longer than the patience of the kit, in real time.
    #[track_caller]
    pub(super) fn wait<T>(
        &self,
        what: &dyn fmt::Display,
        mut done: impl FnMut() -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            let rung = self.world.bell.count();
            self.turn();
            if let Some(done) = done() {
                return done;
            }
            let left = self.left(what, began);
            if self.world.bell.count() == rung {
                self.idle(rung, left);
            }
        }
    }

    /// Nothing was woken: waits for whom there is, or lets the time jump.
    fn idle(&self, rung: u64, left: Duration) {
        let World { bell, clock, .. } = self.world;
        let next = clock.next().filter(|_| self.world.pool.running() == 0);
        let Some(next) = next else {
            bell.wait(rung, left);
            return;
        };
        if clock.is_real() {
            bell.wait(rung, left.min(next.saturating_sub(clock.now())));
            clock.set(clock.now());
        } else if self.is_quiet(rung, left) {
            clock.jump();
        }
    }

    /// Whether nothing but time can wake anything any more.
    fn is_quiet(&self, rung: u64, left: Duration) -> bool {
        // Who waits for the drain is woken by the test.
        let others = self.world.others().saturating_sub(self.context.drain().waiting());
        others == 0 || !self.world.bell.wait(rung, QUIET.min(left))
    }

    /// Lets everything go on that can, without time passing.
    #[track_caller]
    pub(super) fn settle(&self) {
        let began = Instant::now();
        loop {
            let rung = self.world.bell.count();
            self.turn();
            let left = self.left(&"what is under way", began);
            if self.world.bell.count() != rung {
                continue;
            }
            if self.world.pool.running() > 0 {
                self.world.bell.wait(rung, left);
            } else if self.is_quiet(rung, left) {
                return;
            }
        }
    }

    /// What is left of the patience.
    #[track_caller]
    fn left(&self, what: &dyn fmt::Display, began: Instant) -> Duration {
        let left = self.patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            let picture = self.picture();
            panic!("{what} has not come to its end within {:?}{picture}", self.patience);
        }
        left
    }

    /// Time passes, from one timer to the next, and everything goes on meanwhile.
    #[track_caller]
    pub(super) fn advance(&self, duration: Duration) {
        let end = self.world.clock.now().saturating_add(duration);
        loop {
            self.settle();
            match self.world.clock.next().filter(|next| *next <= end) {
                Some(next) => self.world.clock.set(next),
                None => break,
            }
        }
        self.world.clock.set(end);
        self.settle();
    }

    /// Drops all that is under way.
    pub(super) fn cancel_all(&self) {
        let all = self.under_way.take();
        all.iter().for_each(|job| job.cancel());
    }

    /// What there is to wait for, for whoever has waited in vain.
    fn picture(&self) -> String {
        let World { clock, pool, tasks, .. } = self.world;
        let mut text = String::from("\nit waits for something that nobody does; there are");
        // A `String` takes everything.
        let _ = write!(
            text,
            " {} timers at {:?}, {} pieces of blocking code, {} tasks",
            clock.waiting(),
            clock.now(),
            pool.running(),
            tasks.count.load(Ordering::Acquire),
        );
        if self.context.drain().waiting() > 0 {
            text.push_str(", somebody who waits for the drain");
        }
        if self.world.bodies.are_waited_for() {
            text.push_str(", somebody who waits for a request's body that the test has not ended");
        }
        let record = self.world.record();
        record.panics.iter().for_each(|panic| text.push_str(&format!("\npanic: {panic}")));
        let skip = record.logs.len().saturating_sub(10);
        record.logs.iter().skip(skip).for_each(|line| text.push_str(&format!("\nlog: {line}")));
        text
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("world", &self.world).finish_non_exhaustive()
    }
}
