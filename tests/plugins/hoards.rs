//! Keeps memory in statics, which have no destructor.
//!
//! - `/hoard?kib=COUNT` keeps that much more, in a `Vec` that grows; `/hoard?kib=COUNT&as=blocks` in
//!   blocks of 1 KiB. `/free` lets go of all.
//! - `/cross?count=COUNT` has a thread free what another one has made, and both end.
//! - `/threads?count=COUNT` starts so many threads, one after the other, that allocate.
//! - With `kib` in the plugin's configuration `new` keeps that much, and with `fails` it fails then
//!   in the serving process. With `thread` it leaves a thread behind.
//! - Everything else is answered with how many KiB are kept.
//!
//! A constructor has allocated before the host called anything.
#![expect(unsafe_code, reason = "a constructor")]

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread,
};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

static KEPT: Mutex<Kept> = Mutex::new(Kept { whole: Vec::new(), blocks: Vec::new() });
static EARLY: OnceLock<BTreeMap<u32, String>> = OnceLock::new();

extern "C" fn construct() {
    EARLY.get_or_init(|| (0..100).map(|it| (it, "early".repeat(20))).collect());
}

// SAFETY: a function without arguments, which needs nothing of the runtime.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCT: extern "C" fn() = construct;

struct Kept {
    whole: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn grow(&mut self, kib: usize, blocks: bool) {
        if blocks {
            self.blocks.extend((0..kib).map(|_| vec![7; 1024]));
        } else {
            let size = self.whole.len() + kib * 1024;
            self.whole.resize(size, 7);
        }
    }

    fn kib(&self) -> usize {
        assert!(self.whole.iter().all(|byte| *byte == 7), "it keeps what was written");
        self.whole.len() / 1024 + self.blocks.len()
    }
}

struct Hoards;

impl Handler for Hoards {
    fn new(context: &Context) -> Result<Self> {
        let config = context.config().unwrap_or_default();
        let number = |key: &str| {
            let rest = config.split(&format!("\"{key}\":")).nth(1)?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        kept().grow(number("kib").unwrap_or(0), true);
        if config.contains("fails") && !context.is_preflight() {
            return Err(Error::new("it keeps what it has"));
        }
        if config.contains("thread") && !context.is_preflight() {
            thread::spawn(|| {
                loop {
                    thread::park();
                }
            });
        }
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let number = |key: &str| {
            request.query_value(key).and_then(|it| it.parse::<usize>().ok()).unwrap_or(0)
        };
        match request.path() {
            "/hoard" => kept().grow(number("kib"), request.query_value("as").is_some()),
            "/free" => *kept() = Kept { whole: Vec::new(), blocks: Vec::new() },
            "/cross" => cross(number("count")),
            "/threads" => {
                for at in 0..number("count") {
                    let worker = thread::spawn(move || allocate(at));
                    worker.join().map_err(|_| Error::new("a thread has panicked"))?;
                }
            }
            _ => {}
        }
        let early = EARLY.get().map_or(0, BTreeMap::len);
        Ok(Response::text(format!("{} KiB, {early} early", kept().kib())))
    }
}

fn allocate(at: usize) {
    let all: Vec<String> = (0..50).map(|it| "x".repeat((at + it) * 37 % 4000)).collect();
    assert!(all.iter().map(String::len).sum::<usize>() > 0);
}

fn cross(count: usize) {
    let (give, taken) = mpsc::sync_channel::<Vec<u8>>(16);
    thread::scope(|scope| {
        scope.spawn(move || taken.iter().map(|it| it.len()).sum::<usize>());
        scope.spawn(move || {
            for at in 0..count {
                let _ = give.send(vec![1; 1 + at * 131 % 20_000]);
            }
        });
    });
}

export_handler!(Hoards);
