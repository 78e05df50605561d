//! Uses one thread-local, which has a destructor, in `stop` and again in two drops of its handler.

use std::cell::RefCell;

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

thread_local! {
    static NOTES: RefCell<String> = const { RefCell::new(String::new()) };
}

fn note(what: char) {
    NOTES.with_borrow_mut(|notes| notes.push(what));
}

struct Part;

impl Drop for Part {
    fn drop(&mut self) {
        note('d');
    }
}

struct Fault {
    _first: Part,
    _second: Part,
}

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        note('n');
        Ok(Self { _first: Part, _second: Part })
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("tls_in_stop_and_drop"))
    }

    fn stop(&self) {
        note('s');
    }
}

export_handler!(Fault);
