//! Takes its process down, by request or a while after it was made.
//!
//! - `/crash?how=HOW` does so within the request; `&after=SECONDS` on a thread of its own later,
//!   and the request is answered. HOW is `segv`, `abort`, `stack`, `exit` or `fork`, which only a
//!   child does that it forks.
//! - With `after_ms` and `how` in the plugin's configuration it does so that long after `new` in
//!   the serving process (`segv` unless it says otherwise).
//! - Everything else is answered with the process id.
#![expect(unsafe_code, reason = "the fault is the purpose")]

use std::time::{Duration, Instant};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

#[derive(Clone, Copy)]
enum How {
    Segv,
    Abort,
    Stack,
    Exit,
    Fork,
}

impl How {
    fn parse(text: &str) -> Self {
        match text {
            "abort" => Self::Abort,
            "stack" => Self::Stack,
            "exit" => Self::Exit,
            "fork" => Self::Fork,
            _ => Self::Segv,
        }
    }

    fn happen(self) {
        match self {
            // SAFETY: none; the fault is the purpose.
            Self::Segv => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
            Self::Abort => std::process::abort(),
            Self::Stack => {
                std::hint::black_box(deeper(1));
            }
            Self::Exit => std::process::exit(3),
            Self::Fork => fork(),
        }
    }

    fn happen_after(self, time: Duration) {
        std::thread::spawn(move || {
            let end = Instant::now() + time;
            while let Some(rest) = end.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(rest);
            }
            self.happen();
        });
    }
}

/// Has a child fault, and waits for its end.
fn fork() {
    // SAFETY: the child only faults.
    let child = unsafe { libc::fork() };
    if child == 0 {
        How::Segv.happen();
    }
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
}

/// Uses up the stack; `black_box` keeps the frames.
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + std::hint::black_box(frame)[7] }
}

/// The value of a key in a flat JSON object, without its quotes.
fn value<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let rest = json.split_once(&format!("\"{key}\""))?.1.trim_start().strip_prefix(':')?;
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    Some(rest[..end].trim().trim_matches('"'))
}

struct Crash;

impl Handler for Crash {
    fn new(context: &Context) -> Result<Self> {
        let config = context.config().unwrap_or_default();
        if let (Some(millis), false) = (value(config, "after_ms"), context.is_preflight()) {
            let how = How::parse(value(config, "how").unwrap_or_default());
            how.happen_after(Duration::from_millis(millis.parse()?));
        }
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/crash" {
            let how = How::parse(&request.query_value("how").unwrap_or_default());
            match request.query_value("after").map(|text| text.parse()) {
                Some(seconds) => how.happen_after(Duration::try_from_secs_f64(seconds?)?),
                None => how.happen(),
            }
        }
        let pid = std::process::id().to_string();
        Ok(Response::text(format!("crash {pid}")).with_header("x-pid", pid))
    }
}

export_handler!(Crash);
