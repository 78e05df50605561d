//! A runtime of an odd size and a short end: `/threads`, `/blocking` tell of its size; `/ends` leaves
//! blocking code behind that ends with the handler, `/stays` such that never ends.

use std::{
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread::park,
};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};
use tokio::{runtime::Handle, task::spawn_blocking};

mod limits {
    use std::time::Duration;

    use hotseat_plugin_api::RuntimeOptions;

    pub(crate) const RUNTIME: RuntimeOptions =
        RuntimeOptions { threads: 3, blocking_threads: 2, stop_time: Duration::from_millis(200) };
}

/// Pieces of blocking code that are there at once.
#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Odd {
    /// Goes with the handler.
    lives: Sender<()>,
    over: Mutex<Option<Receiver<()>>>,
}

impl Handler for Odd {
    fn new(_: &Context) -> Result<Self> {
        let (lives, over) = channel();
        Ok(Self { lives, over: Mutex::new(Some(over)) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        match request.path() {
            "/threads" => Ok(Response::text(Handle::current().metrics().num_workers().to_string())),
            "/blocking" => {
                let (seen, pair) = (Arc::<Seen>::default(), Arc::new(Barrier::new(2)));
                let pieces = (0..64).map(|_| {
                    let (seen, pair) = (seen.clone(), pair.clone());
                    spawn_blocking(move || {
                        seen.most.fetch_max(seen.now.fetch_add(1, SeqCst) + 1, SeqCst);
                        // Two are there at once, whatever comes between.
                        pair.wait();
                        seen.now.fetch_sub(1, SeqCst);
                    })
                });
                for piece in pieces.collect::<Vec<_>>() {
                    piece.await?;
                }
                Ok(Response::text(seen.most.load(SeqCst).to_string()))
            }
            "/ends" => {
                let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
                let over = over.ok_or("it was asked once before")?;
                // Nobody sends: it ends with the handler.
                drop(spawn_blocking(move || over.recv()));
                Ok(Response::text("until the end"))
            }
            "/stays" => {
                drop(spawn_blocking(|| {
                    loop {
                        park();
                    }
                }));
                Ok(Response::text("for ever"))
            }
            _ => Ok(Response::text("own options")),
        }
    }

    fn stop(&self) {
        // A sender that is used, so that nobody takes it away.
        let _ = &self.lives;
    }
}

export_handler!(Odd, runtime = { limits::RUNTIME });
