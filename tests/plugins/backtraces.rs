//! Captures a backtrace, and looks at it, as it is made.

use std::{backtrace::Backtrace, hint::black_box};

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

struct Backtraces;

impl Handler for Backtraces {
    fn new(_: &Context) -> Result<Self> {
        black_box(Backtrace::force_capture().to_string());
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        Ok(Response::text("made"))
    }
}

export_handler!(Backtraces);
