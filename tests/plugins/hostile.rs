//! Everything that has pinned libraries elsewhere, in every request: a thread-local with Drop,
//! `thread::current`, a thread spawned and joined, a random number, a caught panic.

use std::{cell::RefCell, panic};

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};
use hotseat_test_plugins::versioned_body;

/// Owns memory, so that a destructor that does not run is a leak and one that runs too late a
/// crash.
struct Scratch(RefCell<Vec<u8>>);

impl Drop for Scratch {
    fn drop(&mut self) {
        self.0.borrow_mut().clear();
    }
}

thread_local! {
    static SCRATCH: Scratch = const { Scratch(RefCell::new(Vec::new())) };
}

fn touch() -> usize {
    SCRATCH.with(|scratch| {
        let mut bytes = scratch.0.borrow_mut();
        bytes.resize(64, 7);
        bytes.len()
    })
}

struct Hostile {
    text: String,
}

impl Handler for Hostile {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { text: versioned_body(context.label()) })
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        let here = std::thread::current().id();
        let joined = std::thread::spawn(move || (touch(), std::thread::current().id() != here));
        let (length, other) = joined.join().map_err(|_| Error::new("the thread panicked"))?;
        let caught = panic::catch_unwind(|| {
            assert!(rand::random::<u64>() == 0, "one that is caught");
        });
        let good = touch() == length && other && caught.is_err();
        if !good {
            return Err(Error::new("the hostile plugin met its match"));
        }
        request.body().bytes(64 << 10).await?;
        Ok(Response::text(self.text.clone()))
    }
}

export_handler!(Hostile);
