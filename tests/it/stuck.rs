//! A data thread, or a whole worker, stands still: it is seen, nothing goes there any more, and
//! another worker takes its place while nobody is refused.
//!
//! Owns what the scenarios share: a host with small limits, and clients that bring it to a stand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hotseat_test_support::{
    Builder, Connection, Failure, Host, Load, LoadPlan, eventually, fault, host, wire,
};
use serde_json::Value;

use crate::crash::try_status;

mod alone;
mod held;
mod loader;
mod silent;

/// `--stuck-time` of [`builder`].
const STUCK_TIME: Duration = Duration::from_secs(2);

/// On top of it, until somebody answers again.
const MARGIN: Duration = Duration::from_secs(2);

/// Two data threads that are given up soon.
fn builder() -> Builder {
    host!().arg("--threads=2").arg("--stuck-time=2s").arg("--beat-time=100ms")
}

/// `handler` v1 answers `v1`; v2, the second generation, stands still where it is told to.
fn standing(builder: Builder) -> Host {
    let host = builder.with(fault("plain_v1"), "libhandler_v1.so").start();
    host.deploy(&fault("stands_still"), "libhandler_v2.so").swapped();
    host
}

/// The threads that do not turn, as the status says.
fn blocked(host: &Host) -> Vec<Value> {
    let cores = try_status(host).map(|status| wire::list(&status, "/cores")).unwrap_or_default();
    cores.into_iter().map(|core| core["blocked"].clone()).filter(|it| !it.is_null()).collect()
}

/// Measures time in which this machine lets threads run: what a crowded one takes away is nobody's
/// delay.
struct Stopwatch(Arc<AtomicU64>);

impl Stopwatch {
    /// Of what lies between two looks, so much counts.
    const STEP_MAX: Duration = Duration::from_millis(50);

    fn start() -> Self {
        let counted = Arc::new(AtomicU64::new(0));
        let theirs = Arc::downgrade(&counted);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(counted) = theirs.upgrade() {
                std::thread::park_timeout(Self::STEP_MAX / 10);
                let step = last.elapsed().min(Self::STEP_MAX);
                last = Instant::now();
                counted.fetch_add(u64::try_from(step.as_micros()).unwrap(), Relaxed);
            }
        });
        Self(counted)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }

    /// Somebody answers again.
    #[track_caller]
    fn assert_in_time(&self, host: &Host) {
        let took = self.elapsed();
        assert!(took < STUCK_TIME + MARGIN, "answered after {took:?}\n{}", host.log_end());
    }
}

/// Brings both data threads to a stand, by these connections.
#[track_caller]
fn stop_threads(host: &Host, target: &str) -> [Connection; 2] {
    [1, 2].map(|count| {
        let mut connection = host.connect();
        connection.send_request("GET", target, "").unwrap();
        eventually!(blocked(host).len() == count, "{count} threads\n{}", host.log_end());
        connection
    })
}

/// Clients that connect again and again.
fn newcomers(host: &Host) -> Load {
    let think = Duration::ZERO..=Duration::from_millis(50);
    let plan = LoadPlan { kept: 0, fresh: 2, think, post_percent: 0, ..LoadPlan::default() };
    Load::start(host.data(), plan)
}

/// Whoever came was let in; a request may have ended with the process that had it.
#[track_caller]
fn assert_none_refused(load: Load) {
    load.stop().assert_only(&[Failure::Reset, Failure::Closed, Failure::Short]);
}

/// Waits until the control plane says that the host is not ready.
#[track_caller]
fn wait_red(host: &Host) {
    let page = || host.control().get("/readyz");
    eventually!(page().status == 503, "red\n{}", host.log_end());
    assert_eq!(page().text(), "not ready: no data thread turns\n");
}
