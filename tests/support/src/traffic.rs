//! Load in the background of a test: a few threads that ask without a pause.
//!
//! Owns the statement "no request failed meanwhile". Every answer is kept by its text, so that a
//! test can say which versions were met.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crate::client::{Client, Connection, Failures};

/// Threads that ask until they are told to stop.
#[derive(Debug)]
pub struct Traffic {
    ended: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    failures: Failures,
    threads: Vec<JoinHandle<BTreeMap<String, u64>>>,
}

impl Traffic {
    /// Two keep-alive clients and one that connects anew for each request.
    #[must_use]
    pub fn start(address: SocketAddr, target: &str, failures: &Failures) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let threads = [true, true, false].map(|keeps| {
            let (ended, count) = (ended.clone(), count.clone());
            let (failures, target) = (failures.clone(), target.to_owned());
            std::thread::spawn(move || {
                let mut bodies = BTreeMap::new();
                let mut client = Client::new(address, failures.clone());
                while !ended.load(Relaxed) {
                    if !keeps {
                        client = Client::new(address, failures.clone());
                    }
                    if let Ok(answer) = client.get(&target) {
                        *bodies.entry(answer.text()).or_default() += 1;
                    }
                    count.fetch_add(1, Relaxed);
                }
                bodies
            })
        });
        Self { ended, count, failures: failures.clone(), threads: threads.into() }
    }

    /// Requests so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Waits until `more` further requests were answered.
    ///
    /// # Panics
    /// When they are not answered within patience.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.count() + more;
        crate::patience::until(|| self.count() >= goal, || format!("{more} more requests"));
    }

    /// Ends it: how often each body was met.
    ///
    /// # Panics
    /// When a request failed or none was made.
    #[track_caller]
    pub fn finish(self) -> BTreeMap<String, u64> {
        self.ended.store(true, Relaxed);
        let mut all = BTreeMap::new();
        for thread in self.threads {
            for (body, count) in thread.join().expect("a traffic thread panicked") {
                *all.entry(body).or_default() += count;
            }
        }
        assert!(!all.is_empty(), "no request was answered");
        assert_eq!(self.failures.count(), 0, "requests failed meanwhile");
        all
    }
}

/// Sends `count` requests in one write and reads the answers in order.
///
/// # Errors
/// As the system says.
pub fn pipeline(
    connection: &mut Connection,
    target: &str,
    count: usize,
) -> std::io::Result<Vec<crate::Answer>> {
    let one = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send(one.repeat(count))?;
    (0..count).map(|_| connection.read_answer()).collect()
}
