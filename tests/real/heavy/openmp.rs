//! OpenMP in C (libgomp): its helpers wait in the dependency for more work.

use hotseat_plugin_api::{Context, Handler, Request, Response, Result, export_handler};

unsafe extern "C" {
    fn sum_in_parallel(count: i64) -> i64;
}

struct Plugin;

impl Handler for Plugin {
    fn new(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, _: Request<'_>) -> Result<Response> {
        // SAFETY: takes a number and gives one.
        let sum = unsafe { sum_in_parallel(10_000) };
        Ok(Response::text(format!("{sum}\n")))
    }
}

export_handler!(Plugin, name = "real");
