//! A program with threads of its own, which all call a library in C while that is swapped.
//!
//! ```text
//! $ cc -shared -fPIC -pthread -o /tmp/libcounter.so host/unload/examples/counter.c
//! $ cargo run -p hotseat-unload --example threads -- /tmp/libcounter.so 100
//! 100 loads, 100000 calls, 100 unloaded, 0 stay
//! ```
//! Whoever has the last use of a load, on whatever thread, hands it to the reaper.
#![expect(unsafe_code, reason = "loads a library and calls it")]

use std::{
    env,
    error::Error,
    ffi::{CStr, c_int, c_long},
    fs,
    mem::transmute,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use hotseat_unload::{
    Library, Record, enter,
    purge::{PurgeRequest, register_thread},
    purge_thread,
    reaper::{Ended, GRACE, Reaper, ReaperHandle, ReaperRules, Retire, Retired, Unloading},
    self_test,
};

const THREADS: usize = 4;
const CALLS_PER_LOAD: u64 = 1000;

/// The library while it is used.
struct Counter {
    library: Library,
    count: unsafe extern "C" fn() -> c_long,
    stop: unsafe extern "C" fn(),
}

impl Counter {
    fn load(file: &Path, number: u64) -> Result<Self, Box<dyn Error>> {
        // SAFETY: whoever names it vouches for it.
        let library = unsafe { Library::open(file, number) }?;
        let find = |name: &CStr| {
            library.symbol(name).ok_or_else(|| format!("it has no {}", name.to_string_lossy()))
        };
        let (start, count, stop) = (find(c"start")?, find(c"count")?, find(c"stop")?);
        // SAFETY: the functions of these names have these types, and are called only while the
        // library is there.
        let (start, count, stop) = unsafe {
            (
                transmute::<*const (), unsafe extern "C" fn() -> c_int>(start),
                transmute::<*const (), unsafe extern "C" fn() -> c_long>(count),
                transmute::<*const (), unsafe extern "C" fn()>(stop),
            )
        };
        let entered = enter(library.id());
        // SAFETY: called once, before anything else.
        let failed = unsafe { start() };
        drop(entered);
        if failed == 0 { Ok(Self { library, count, stop }) } else { Err("it cannot start".into()) }
    }

    fn count(&self) -> i64 {
        let _entered = enter(self.library.id());
        // SAFETY: it has started and has not been stopped.
        unsafe { (self.count)() }
    }
}

impl Retire for Counter {
    fn record(&self) -> &Arc<Record> {
        self.library.record()
    }

    fn end(self, freeing: impl FnOnce()) -> Ended<Self> {
        let entered = enter(self.library.id());
        // SAFETY: called once, when nobody counts any more.
        unsafe { (self.stop)() };
        drop(entered);
        freeing();
        Ended::Freed(self.free())
    }

    fn free(self) -> Library {
        purge_thread(self.library.id());
        self.library
    }
}

/// One load of it; the last of its users hands it over.
struct Load {
    counter: Option<Counter>,
    number: u64,
    file: PathBuf,
    reaper: ReaperHandle<Counter>,
}

impl Drop for Load {
    fn drop(&mut self) {
        let Some(instance) = self.counter.take() else { return };
        let file = std::mem::take(&mut self.file);
        let unmapped = Box::new(move || drop(fs::remove_file(file)));
        self.reaper.retire(Retired { tag: self.number, instance, unmapped });
    }
}

/// What our threads are asked to do.
enum Job {
    Count(Arc<Load>),
    Purge(PurgeRequest),
}

/// Starts a thread; it ends when nobody has its line any more.
fn work(name: String, calls: Arc<AtomicU64>) -> Result<Arc<Sender<Job>>, Box<dyn Error>> {
    let (line, jobs) = channel::<Job>();
    let line = Arc::new(line);
    let (own, (ready, registered)) = (Arc::downgrade(&line), sync_channel(0));
    thread::Builder::new().name(name.clone()).spawn(move || {
        let post = move |request| match own.upgrade() {
            Some(line) => line.send(Job::Purge(request)).map_err(|unsent| match unsent.0 {
                Job::Purge(request) => request,
                Job::Count(_) => unreachable!("what was sent comes back"),
            }),
            None => Err(request),
        };
        let _registration = register_thread(name, post);
        let _ = ready.send(());
        for job in jobs {
            match job {
                Job::Count(load) => {
                    if let Some(counter) = &load.counter {
                        counter.count();
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // No frame of a library is on the stack here.
                Job::Purge(request) => request.run(),
            }
        }
    })?;
    registered.recv()?;
    Ok(line)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("threads PATH [LOADS]")?);
    let loads = arguments.next().map_or(Ok(100), |it| it.to_string_lossy().parse::<u64>())?;
    self_test()?;
    let rules = ReaperRules {
        never: None,
        stop_time: Duration::from_secs(5),
        purge_time: Duration::from_secs(5),
        grace: GRACE,
    };
    let (reports, reported) = channel();
    // Whoever does not listen any more has ended.
    let reaper = Reaper::start(rules, move |report| drop(reports.send(report)))?;
    let calls = Arc::<AtomicU64>::default();
    let lines = (0..THREADS).map(|at| work(format!("worker {at}"), Arc::clone(&calls)));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    for number in 1..=loads {
        let file = env::temp_dir().join(format!("counter-{}-{number}.so", std::process::id()));
        fs::copy(&path, &file)?;
        let counter = Some(Counter::load(&file, number)?);
        let load = Arc::new(Load { counter, number, file, reaper: reaper.handle() });
        for line in lines.iter().cycle().zip(0..CALLS_PER_LOAD).map(|(line, _)| line) {
            line.send(Job::Count(Arc::clone(&load)))?;
        }
        // The threads still have it.
        drop(load);
    }
    let (mut unloaded, mut stay) = (0, 0);
    while unloaded + stay < loads {
        let report = reported.recv()?;
        match report.state {
            Unloading::Unloaded => unloaded += 1,
            Unloading::Resident(why) => {
                println!("load {} stays: {why}", report.tag);
                stay += 1;
            }
            Unloading::Pending(_) => {}
        }
    }
    let calls = calls.load(Ordering::Relaxed);
    println!("{loads} loads, {calls} calls, {unloaded} unloaded, {stay} stay");
    Ok(())
}
