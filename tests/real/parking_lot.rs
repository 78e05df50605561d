//! parking_lot: locks in statics that threads of the plugin park on.

use std::thread;

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use parking_lot::{Condvar, Mutex, RwLock};

static COUNT: RwLock<u64> = RwLock::new(0);
static TURN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let other = thread::spawn(|| {
            *COUNT.write() += 1;
            *TURN.0.lock() = true;
            TURN.1.notify_all();
        });
        let mut turn = TURN.0.lock();
        while !*turn {
            TURN.1.wait(&mut turn);
        }
        drop(turn);
        other.join().map_err(|_| Error::new("the thread panicked"))?;
        Ok(Response::text(format!("{}\n", *COUNT.read() > 0)))
    }
}

export_handler!(Plugin, name = "real");
