//! Mixed load whose clients never retry: GET and POST on kept and on new connections.
//!
//! Owns the statement "nobody noticed". Every client is a thread with a generator of its own, so
//! that a run can be told again by its seed. Must not repair anything: a request without a good
//! answer is a failure, whatever the reason, and says which.
//! Entry point: [`Load::start`].

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

mod client;
mod report;
#[cfg(test)]
mod tests;

pub use report::{Failure, Lost, Mark, Report, Trail};

/// Stack of a client thread: it holds a few small buffers. Units: bytes.
const STACK: usize = 256 << 10;

/// What a kept connection's client does while it thinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// It does not look at the connection until it sends: a connection that was closed meanwhile
    /// costs it a request.
    #[default]
    Blind,
    /// It sees a close at once, as good proxies do, and connects again; only a close that crosses
    /// a request costs it one.
    Watched,
}

/// Who asks for what, and how often.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Clients that keep their connection.
    pub kept: usize,
    /// Clients that connect anew for each request.
    pub fresh: usize,
    /// Time between two requests of one client, even.
    pub think: RangeInclusive<Duration>,
    /// What a GET asks for.
    pub get: String,
    /// What a POST asks for. Where the answer says what came (`x-length`, `x-sum`), it is held
    /// against what was sent.
    pub post: String,
    /// How many of a hundred requests are POSTs.
    pub post_percent: u32,
    /// Length of a POST's body, even. Units: bytes.
    pub body: RangeInclusive<usize>,
    /// How kept connections are looked at.
    pub idle: Idle,
    /// The generators' seed.
    pub seed: u64,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self {
            kept: 50,
            fresh: 4,
            think: Duration::ZERO..=Duration::from_millis(100),
            get: "/".to_owned(),
            post: "/".to_owned(),
            post_percent: 50,
            body: 0..=4096,
            idle: Idle::Blind,
            seed: 1,
        }
    }
}

/// Shared by the clients of one load.
#[derive(Debug)]
struct Shared {
    plan: LoadPlan,
    address: SocketAddr,
    begun: Instant,
    ended: AtomicBool,
    report: Mutex<Report>,
}

impl Shared {
    fn edit<T>(&self, change: impl FnOnce(&mut Report) -> T) -> T {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ended(&self) -> bool {
        self.ended.load(SeqCst)
    }
}

/// Clients that ask until they are told to stop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts all clients. Kept ones begin with a thought, so that they do not come as one.
    ///
    /// # Panics
    /// When threads cannot be started.
    #[must_use]
    pub fn start(address: SocketAddr, plan: LoadPlan) -> Self {
        let (kept, fresh) = (plan.kept, plan.fresh);
        let shared = Arc::new(Shared {
            plan,
            address,
            begun: Instant::now(),
            ended: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let threads = (0..kept + fresh).map(|number| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().stack_size(STACK);
            let client = move || client::Client::new(shared, number, number < kept).run();
            thread.spawn(client).expect("start a client")
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Good answers so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.edit(|report| report.answered)
    }

    /// Requests without a good answer so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.edit(|report| report.failed())
    }

    /// What was met so far.
    #[must_use]
    pub fn so_far(&self) -> Report {
        self.shared.edit(|report| report.clone())
    }

    /// Waits until `more` further requests had good answers.
    ///
    /// # Panics
    /// When they have none within patience.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.answered() + more;
        crate::patience::until(
            || self.answered() >= goal,
            || format!("{more} more good answers\n{}", self.so_far()),
        );
    }

    /// Lets each client end its request, and tells what was met.
    ///
    /// # Panics
    /// When a client panicked.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> Report {
        self.shared.ended.store(true, SeqCst);
        for thread in self.threads {
            thread.thread().unpark();
            thread.join().expect("a client panicked");
        }
        let took = self.shared.begun.elapsed();
        self.shared.edit(|report| Report { took, ..std::mem::take(report) })
    }
}
