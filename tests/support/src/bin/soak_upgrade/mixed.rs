//! Upgrades under mixed load: kept and new connections, HTTP/2, WebSockets, uploads.
//!
//! Owns what counts as failed: whatever a client without retries could notice.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hotseat_test_support::{
    Connection, Host, Load, LoadPlan, fault,
    http2::{Http2Load, Http2Plan},
    patience::{breathe, patience},
    procfs,
    stream::SocketLoad,
    transfer::Upload,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{Options, host, quantiles, settle, wait_committed};

/// The part of the load that goes to nginx too.
pub(crate) fn kept_plan() -> LoadPlan {
    LoadPlan { kept: 50, fresh: 0, ..LoadPlan::default() }
}

const SOCKETS: usize = 8;
const UPLOADS: usize = 2;
/// Units: bytes.
const UPLOAD: u64 = 8 << 20;

/// Clients whose upload spans an upgrade each time.
struct Uploads {
    ended: Arc<AtomicBool>,
    /// Upgrades so far.
    commits: Arc<AtomicU32>,
    threads: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Uploads {
    fn start(address: SocketAddr) -> Self {
        let (ended, commits) = (Arc::default(), Arc::default());
        let threads = (0..UPLOADS).map(|_| {
            let (ended, commits) = (Arc::clone(&ended), Arc::clone(&commits));
            std::thread::spawn(move || upload(address, &ended, &commits))
        });
        let threads = threads.collect();
        Self { ended, commits, threads }
    }

    /// How many there were, and what failed.
    fn stop(self) -> (u64, Vec<String>) {
        self.ended.store(true, SeqCst);
        let mut all = (0, Vec::new());
        for thread in self.threads {
            let (count, failed) =
                thread.join().unwrap_or((0, vec!["a client panicked".to_owned()]));
            all.0 += count;
            all.1.extend(failed);
        }
        all
    }
}

fn upload(address: SocketAddr, ended: &AtomicBool, commits: &AtomicU32) -> (u64, Vec<String>) {
    let (mut count, mut failed) = (0, Vec::new());
    while !ended.load(SeqCst) {
        let one = || {
            let mut upload = Upload::begin(address, "/", UPLOAD)?;
            upload.send_up_to(UPLOAD / 2)?;
            let before = commits.load(SeqCst);
            while commits.load(SeqCst) == before && !ended.load(SeqCst) {
                breathe(Duration::from_millis(5));
            }
            upload.finish()
        };
        match one() {
            Ok(_) => count += 1,
            Err(error) => failed.push(format!("upload: {error}")),
        }
    }
    (count, failed)
}

/// HUP, and new connections until a process answers that has not answered before: how long it took.
fn until_new_answers(host: &Host, old: u32) -> Result<Duration, String> {
    let begun = Instant::now();
    host.hup();
    while begun.elapsed() < patience() {
        let answer = Connection::open(host.data())
            .and_then(|mut connection| connection.get("/"))
            .map_err(|error| format!("a new connection: {error}"))?;
        let pid = answer.header("x-pid").and_then(|pid| pid.parse::<u32>().ok());
        if answer.status != 200 {
            return Err(format!("a new connection: {}", answer.status));
        }
        if pid.is_some_and(|pid| pid != old) {
            return Ok(begun.elapsed());
        }
        breathe(Duration::from_millis(2));
    }
    Err(format!("no new process answers\n{}", host.log_end()))
}

/// Master's memory and descriptors. Units: KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Master {
    pub(crate) rss: u64,
    pub(crate) descriptors: usize,
}

impl Master {
    pub(crate) fn of(host: &Host) -> Self {
        settle(host);
        Self { rss: procfs::rss_kib(host.pid()), descriptors: procfs::descriptors(host.pid()) }
    }
}

/// The targets that were missed.
pub(crate) fn run(options: &Options) -> anyhow::Result<Vec<String>> {
    // Short, so that several workers drain at a time, but no more than are allowed to.
    let args = ["--soak-time=200ms", "--upgrade-drain=4s", "--draining-count=30"];
    let host = host(options, &args)?.with(fault("plain_v1"), "libother_v1.so").start();
    let first = Master::of(&host);
    let load = Load::start(host.data(), LoadPlan { fresh: 4, ..kept_plan() });
    let http2 = Http2Load::start(host.data(), Http2Plan::default());
    let sockets = SocketLoad::start(host.data(), "/ws", SOCKETS, Duration::from_millis(50));
    let uploads = Uploads::start(host.data());
    load.wait_for(200);
    http2.wait_for(200);

    let mut random = StdRng::seed_from_u64(1);
    let (mut times, mut failed) = (Vec::new(), Vec::new());
    let mut old = host.worker_pid();
    for _ in 0..options.upgrades {
        match until_new_answers(&host, old) {
            Ok(time) => times.push(time),
            Err(text) => failed.push(text),
        }
        old = wait_committed(&host, old);
        uploads.commits.fetch_add(1, SeqCst);
        breathe(Duration::from_millis(random.random_range(0..300)));
    }
    let (uploaded, upload_failures) = uploads.stop();
    let (load, http2, sockets) = (load.stop(), http2.stop(), sockets.stop());
    let last = Master::of(&host);

    let strange = sockets.codes.iter().filter(|code| **code != 1012).count();
    failed.extend(upload_failures);
    failed.extend(load.examples.iter().map(|it| format!("HTTP/1: {it}")));
    failed.extend(http2.examples.iter().map(|it| format!("HTTP/2: {it}")));
    failed.extend(sockets.broken.iter().map(|it| format!("WebSocket: {it}")));
    let text = load.to_string();
    let line = text.lines().next().unwrap_or_default();
    let count = failed.len().max(usize::try_from(load.failed() + http2.failed)?);
    println!(
        "load      {line}\n          {} streams of HTTP/2, {} GOAWAYs, {} handed back unsent",
        http2.answered, http2.goaways, http2.unsent
    );
    println!(
        "          {} echoes, {} closes with 1012; {uploaded} uploads across upgrades",
        sockets.echoes,
        sockets.codes.len() - strange
    );
    println!(
        "failed    {count}   closed unannounced {}   reconnects {}",
        load.closed_unannounced, load.reconnects
    );
    failed.iter().take(12).for_each(|it| println!("          {it}"));
    println!("new pid   {} after HUP, {} upgrades", quantiles(&times), times.len());
    println!(
        "master    RSS {} to {} KiB, descriptors {} to {}",
        first.rss, last.rss, first.descriptors, last.descriptors
    );

    let mut missed = Vec::new();
    if count > 0 {
        missed.push(format!("{count} requests failed"));
    }
    if load.closed_unannounced > 0 {
        missed.push(format!("{} connections were closed unannounced", load.closed_unannounced));
    }
    if strange > 0 {
        missed.push(format!("{strange} WebSockets were closed with another code than 1012"));
    }
    if load.answered == 0 || http2.answered == 0 || sockets.echoes == 0 || uploaded == 0 {
        missed.push("a kind of client did nothing".to_owned());
    }
    if last.descriptors > first.descriptors + 4 {
        missed.push(format!("descriptors: {} to {}", first.descriptors, last.descriptors));
    }
    Ok(missed)
}
