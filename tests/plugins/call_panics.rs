//! Panics in every call; at `/again` with what a thread of its own has panicked with, after a panic that
//! it has caught.

use std::{panic, thread};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Fault;

impl Handler for Fault {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, request: Request<'_>) -> Result<Response> {
        if request.path() == "/again" {
            let caught = panic::catch_unwind(|| panic!("a panic that is caught"));
            drop(caught);
            let thread = thread::spawn(|| panic!("a panic of a thread"));
            let Err(payload) = thread.join();
            panic::resume_unwind(payload);
        }
        panic!("the test plugin was asked to panic")
    }
}

export_handler!(Fault);
