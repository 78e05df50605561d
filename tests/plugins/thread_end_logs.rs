//! Logs from a thread-local destructor at the end of a thread of its own, which has logged before.

use std::cell::RefCell;

use hotseat_plugin_api::{Context, Error, Handler, Request, Response, Result, export_handler};

struct Loud(Context);

impl Drop for Loud {
    fn drop(&mut self) {
        self.0.info("said at the thread's end", &[("place", &"thread_local")]);
        let caught = std::panic::catch_unwind(|| panic!("thrown at the thread's end"));
        drop(caught);
    }
}

thread_local! {
    static LOUD: RefCell<Option<Loud>> = const { RefCell::new(None) };
}

struct Fault {
    context: Context,
}

impl Handler for Fault {
    fn new(context: &Context) -> Result<Self> {
        Ok(Self { context: context.clone() })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        let context = self.context.clone();
        let thread = std::thread::spawn(move || {
            context.info("said while the thread runs", &[]);
            LOUD.set(Some(Loud(context)));
        });
        thread.join().map_err(|_| Error::new("the thread panicked"))?;
        Ok(Response::text("thread_end_logs"))
    }
}

export_handler!(Fault);
